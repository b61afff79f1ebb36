#!/usr/bin/env python3
"""Checks that the house stands: who may include whom, and what stays outside.

Goal: floors 0 to 4 stay free of sockets, files, threads, clocks and entropy, so that the same lines run in the
simulator; and no folder knows one beside or above it.
Method: read every #include and the text of every source under src/. No compiler is involved, so it takes no time
and also sees code that is switched off. Before it looks at the repository it plants one violation of each rule in
a temporary tree and fails if any of them goes unseen.

    tests/floors_test.py [source root]
"""

import pathlib
import re
import sys
import tempfile

FLOORS = {
    "base": 0,
    "crypto": 1, "mqtt": 1, "crdt": 1, "rules": 1,
    "store": 2,
    "broker": 3, "link": 3, "sync": 3, "identity": 3, "twin": 3,
    "node": 4,
    "io": 5, "sim": 5,
    "holdfast": 6,
}
SANS_IO_MAX = 4  # The highest floor that knows nothing of the outside world.

# Headers of the outside world: (pattern of the header's name, what to do instead).
THREADS = "floors 0 to 4 run on one thread: threads and locks belong in io/"
CLOCK = "time comes in as an argument: use the types of base/ and the step's `now`"
FILES = "disk and network are Effects out and Inputs in: do this in io/"
TEXT = "return an Error or an Effect; printing and logging belong to io/ and holdfast/"
OUTSIDE_HEADERS = [
    (r"thread|mutex|shared_mutex|condition_variable|future|stop_token|semaphore|latch|barrier|pthread\.h",
     THREADS),
    (r"coroutine", "plain state machines only: g++ 12 miscompiles coroutines"),
    (r"chrono|ctime|time\.h", CLOCK),
    (r"random", "use the Prng that the step hands in"),
    (r"filesystem|fstream|sys/.*|unistd\.h|fcntl\.h|dirent\.h", FILES),
    (r"netinet/.*|arpa/.*|net/.*|netdb\.h|poll\.h|linux/.*", FILES),
    (r"csignal|signal\.h", "signals belong in io/"),
    (r"iostream|syncstream|cstdio|stdio\.h", TEXT),
    (r"atomic", "shared counts live in base/: use its types"),
]
# Exceptions to the above: header -> pattern of the files (below src/) that may include it.
ALLOWED_IN = {
    "atomic": r"base/.*",
    "cstdio": r"base/assert\.(h|cc)",  # The last words of a failed assertion.
}

# Calls into the outside world, searched in text without comments and strings.
NOT_MEMBER = r"(?<![\w.>])(?<!\w::)"  # `x.rand()`, `x->rand()` and `Prng::rand()` are somebody else's.
OUTSIDE_CALLS = [
    (NOT_MEMBER + r"(?:secure_)?getenv\s*\(|\bstd::getenv\b",
     "configuration comes in as an argument: read the environment in holdfast/"),
    (r"(?:\bstd::|(?<!\w)::)time\s*\(|" + NOT_MEMBER + r"time\s*\(\s*(?:nullptr|NULL|0|&)", CLOCK),
    (NOT_MEMBER + r"(?:clock_gettime|gettimeofday|localtime|localtime_r|nanosleep|usleep)\s*\(", CLOCK),
    (NOT_MEMBER + r"(?:s?rand|s?random|rand_r|getrandom|getentropy)\s*\(|\bstd::s?rand\b|\brandom_device\b",
     "use the Prng that the step hands in"),
    (r"\bstd::this_thread\b|\bstd::j?thread\b", THREADS),
    (NOT_MEMBER + r"(?:f?printf|puts|fopen)\s*\(|\bstd::(?:f?printf|puts|fopen|cout|cerr)\b", TEXT),
]
PRINTING_ALLOWED_IN = r"base/assert\.(h|cc)"

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', re.M)
# Comments, strings, characters. The lookbehind keeps the digit separators of 1'000'000 from being a character.
TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<d>[^(\s]{0,16})\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])+\'',
    re.S)


def blank(text, keep_strings):
    """`text` without comments (and strings), every line still at its place."""
    def replace(match):
        token = match.group(0)
        if keep_strings and not token.startswith("/"):
            return token
        return re.sub(r"[^\n]", " ", token)
    return TOKEN.sub(replace, text)


def check_file(path, name):
    """Violations in one file, `name` being its path below src/, as (line, message)."""
    text = path.read_text(encoding="utf-8", errors="replace")
    folder = name.split("/")[0]
    floor = FLOORS[folder]
    is_test = re.search(r"_(test|fuzz)\.(cc|h)$|_testing\.h$", name) is not None
    sans_io = floor <= SANS_IO_MAX and not is_test

    code = blank(text, keep_strings=True)
    for match in INCLUDE.finditer(code):
        quote, header = match.groups()
        line = code.count("\n", 0, match.start()) + 1
        other = header.split("/")[0]
        if quote == '"':
            if "/" not in header:
                yield line, f'"{header}": write the path from src/, as "{folder}/{header}"'
            elif other not in FLOORS:
                yield line, f'"{header}": no folder "{other}" in this house; use <> for foreign headers'
            elif other != folder and FLOORS[other] == floor:
                yield line, (f'"{header}": {folder}/ and {other}/ are rooms on floor {floor} and do not know '
                             f"each other; let them meet on a floor above")
            elif FLOORS[other] > floor:
                yield line, (f'"{header}": {folder}/ is on floor {floor}, {other}/ above it on floor '
                             f"{FLOORS[other]}; move the shared part down, or this code up")
            continue
        if other == "zstd.h" and not (folder == "link" and name.endswith(".cc")):
            yield line, "<zstd.h>: only source files of link/ compress; ask link/ for it"
        if other == "CLI" and name != "holdfast/command_line.cc":
            yield line, f"<{header}>: only holdfast/command_line.cc pays for CLI11; use holdfast/command_line.h"
        if not sans_io:
            continue
        if other in ("openssl", "argon2.h") and folder != "crypto":
            yield line, f"<{header}>: only crypto/ knows OpenSSL and libargon2; ask crypto/ for it"
        for pattern, advice in OUTSIDE_HEADERS:
            if re.fullmatch(pattern, header) and not re.fullmatch(ALLOWED_IN.get(header, "(?!)"), name):
                yield line, f"<{header}>: {advice}"

    if sans_io:
        code = blank(text, keep_strings=False)
        for pattern, advice in OUTSIDE_CALLS:
            if advice is TEXT and re.fullmatch(PRINTING_ALLOWED_IN, name):
                continue
            for match in re.finditer(pattern, code):
                line = code.count("\n", 0, match.start()) + 1
                yield line, f"{match.group(0).strip()}: {advice}"


def check_tree(src):
    """All violations below `src`, as printable lines."""
    problems = []
    for path in sorted(src.rglob("*")):
        if path.suffix not in (".h", ".cc", ".inc") or not path.is_file():
            continue
        name = path.relative_to(src).as_posix()
        folder = name.split("/")[0]
        if folder not in FLOORS:
            problems.append(f"src/{name}:1: '{folder}' has no floor; put it in a folder of the house, or add the "
                            f"folder to FLOORS in tests/floors_test.py")
            continue
        problems += [f"src/{name}:{line}: {message}" for line, message in check_file(path, name)]
    return problems


# What the self-check plants: (file, text, what the message must contain).
PLANTED = [
    ("base/a.cc", '#include "mqtt/b.h"\n', "src/base/a.cc:1: \"mqtt/b.h\": base/ is on floor 0"),
    ("store/a.h", '// x\n#include "broker/b.h"\n', "src/store/a.h:2:"),
    ("crypto/a.cc", '#include "mqtt/b.h"\n', "do not know each other"),
    ("sim/a.cc", '#include "io/b.h"\n', "do not know each other"),
    ("node/a_test.cc", '#include "io/b.h"\n', "above it on floor 5"),
    ("base/a.h", '#include "b.h"\n', 'write the path from src/, as "base/b.h"'),
    ("base/a.h", '#include "boost/b.h"\n', "no folder"),
    ("attic/a.h", "int a;\n", "has no floor"),
    ("node/a.cc", "#include <thread>\n", "belong in io/"),
    ("node/a.cc", "  #  include <sys/socket.h>\n", "Effects out"),
    ("store/a.h", "#include <chrono>\n", "time comes in"),
    ("store/a.h", "#include <coroutine>\n", "state machines"),
    ("broker/a.h", "#include <atomic>\n", "base/"),
    ("mqtt/a.h", "#include <cstdio>\n", "printing"),
    ("base/bytes.cc", "#include <cstdio>\n", "printing"),
    ("store/a.cc", "#include <openssl/evp.h>\n", "only crypto/"),
    ("identity/a.cc", "#include <argon2.h>\n", "only crypto/"),
    ("io/a.cc", "#include <zstd.h>\n", "only source files of link/"),
    ("link/a.h", "#include <zstd.h>\n", "only source files of link/"),
    ("holdfast/a_command.cc", "#include <CLI/CLI.hpp>\n", "only holdfast/command_line.cc"),
    ("link/a.cc", 'auto e = getenv("X");\n', "environment"),
    ("link/a.cc", 'auto e = std::getenv("X");\n', "environment"),
    ("link/a.cc", "/* one\n two */\nauto t = time(nullptr);\n", "src/link/a.cc:3: time(nullptr: time comes in"),
    ("link/a.cc", "auto t = std::time(x);\n", "time comes in"),
    ("link/a.cc", "int r = rand();\n", "Prng"),
    ("link/a.cc", "int million = 1'000'000; int r = ::rand();\n", "Prng"),
    ("link/a.cc", "std::random_device d;\n", "Prng"),
    ("link/a.cc", 'printf("x");\n', "printing"),
]
INNOCENT = [
    ("node/a.cc", '#include "base/b.h"\n#include "store/b.h"\n#include "node/a.h"\n#include <vector>\n'),
    ("base/a.h", "#include <atomic>\n"),
    ("base/assert.cc", '#include <cstdio>\nvoid f() { std::fprintf(stderr, "x"); }\n'),
    ("crypto/a.cc", "#include <openssl/evp.h>\n"),
    ("io/a.cc", '#include <openssl/ssl.h>\n#include <thread>\n#include "node/a.h"\nint x = rand();\n'),
    ("link/a.cc", "#include <zstd.h>\n"),
    ("holdfast/command_line.cc", "#include <CLI/CLI.hpp>\n"),
    ("link/a_test.cc", "#include <thread>\n#include <iostream>\n"),
    ("link/a.h", '// rand() and <thread> in words\n/* #include <thread>\n*/ const char* s = "time(nullptr) rand()";\n'
                 "Instant a = clock.time(0); int b = prng.rand(); int c = operand(1); int d = strand (2);\n"
                 "Instant time(int); int e = Prng::rand(); char q = '\"'; int runtime(int);\n"),
]


def self_check():
    """Fails unless every planted violation is seen, and nothing else."""
    failures = []
    for name, text, *expected in PLANTED + INNOCENT:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, name)
            path.parent.mkdir()
            path.write_text(text)
            problems = check_tree(pathlib.Path(folder))
        if expected and not any(expected[0] in problem for problem in problems):
            failures.append(f"planted but not seen: {name}: {text!r}, wanted {expected[0]!r}, got {problems}")
        if not expected and problems:
            failures.append(f"innocent but accused: {name}: {problems}")
    return failures


def main():
    failures = self_check()
    if failures:
        print("floors_test.py does not see what it should:", *failures, sep="\n  ")
        return 1
    src = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent / "src"
    problems = check_tree(src)
    for problem in problems:
        print(problem)
    print(f"floors: {len(problems)} violations ({len(PLANTED)} planted ones seen)")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
