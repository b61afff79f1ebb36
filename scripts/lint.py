#!/usr/bin/env python3
"""Runs clang-tidy on what changed.

clang-tidy takes seconds for each file. A file that was clean stays clean while nothing it is made of changes: so
the hash of the source, the project's headers it includes, .clang-tidy and the compile command is remembered once
the file has passed. Tests and fuzz harnesses are left out (gtest's macros are slow to check and not ours).

    scripts/lint.py [--budget-s 180] [--all] [file.cc...]

What was changed last comes first. When the budget is used up no further file is started, and the rest is reported and left to
the next run.

It reads the files in a tree of its own, which is never built and has no precompiled headers: what a file uses and does not
include is found here, and of most files here alone.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
CLEAN = ROOT / "build" / "lint"  # One empty file for each hash that passed.
TIDY = "clang-tidy-19"
# clang's own compile commands: g++'s have options that clang does not know.
PRESET = "asan"
TREE = ROOT / "build" / "lint-tree"

INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.M)


def compile_commands():
    """Source file -> its command."""
    configure = ["cmake", "--preset", PRESET, "-B", TREE, "-D", "CMAKE_DISABLE_PRECOMPILE_HEADERS=ON"]
    subprocess.run(configure, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    entries = json.loads((TREE / "compile_commands.json").read_text())
    return {pathlib.Path(entry["file"]): entry["command"] for entry in reversed(entries)}


def last_changed():
    """File -> when it was last committed, in seconds; what is not, or was edited since, is not there."""

    def git(*words):
        try:
            return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
        except FileNotFoundError:  # An archive, on a machine that has no need of git.
            return []

    times, moment = {}, 0
    for line in git("log", "--format=%ct", "--name-only", "--relative", "--diff-filter=AMR"):
        if line.isdigit():
            moment = int(line)
        elif line:
            times.setdefault(ROOT / line, moment)
    for line in git("diff", "--name-only", "--relative", "HEAD"):
        times.pop(ROOT / line, None)
    return times


def closure(source, seen):
    """Adds `source` and every header of the project that it includes, directly or not, to `seen`."""
    if source in seen or not source.is_file():
        return
    seen[source] = content = source.read_bytes()
    for header in INCLUDE.findall(content):
        closure(SRC / header.decode(), seen)


def digest(files, command, salt):
    state = hashlib.sha256(salt + shlex.quote(command).encode())
    for path in sorted(files):
        state.update(str(path).encode() + b"\0" + hashlib.sha256(files[path]).digest())
    return state.hexdigest()


def tidy(source):
    result = subprocess.run([TIDY, "--quiet", "-p", str(TREE), str(source)], cwd=ROOT, capture_output=True, text=True)
    # What is left on stderr is "N warnings generated" about system headers, unless it failed.
    return result.returncode, result.stdout + (result.stderr if result.returncode else "")


def main():
    parser = argparse.ArgumentParser(description="clang-tidy on what changed")
    parser.add_argument("--budget-s", type=float, default=180)
    parser.add_argument("--all", action="store_true", help="forget what passed before")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    options = parser.parse_args()

    commands = compile_commands()
    version = subprocess.run([TIDY, "--version"], check=True, capture_output=True).stdout
    salt = version + (ROOT / ".clang-tidy").read_bytes()
    chosen = [file.resolve() for file in options.files] or [
        file for file in commands
        if file.is_relative_to(SRC) and file.is_file() and not re.search(r"_(test|fuzz)\.cc$", file.name)]
    CLEAN.mkdir(parents=True, exist_ok=True)

    # Most likely to be wrong: first in line, should the budget not suffice. A clone has all its files of the same moment.
    times = last_changed()
    unchecked = []
    for source in chosen:
        if source not in commands:
            sys.exit(f"lint: {source} is in no build tree")
        files = {}
        closure(source, files)
        stamp = CLEAN / digest(files, commands[source], salt)
        if options.all or not stamp.exists():
            unchecked.append((source, stamp, max(times.get(file, file.stat().st_mtime) for file in files)))
    unchecked.sort(key=lambda item: -item[2])

    started = time.monotonic()
    failed, skipped = [], []

    def one(item):
        source, stamp, _ = item
        if time.monotonic() - started > options.budget_s:
            skipped.append(source)
            return
        code, output = tidy(source)
        if code == 0:
            stamp.touch()
        else:
            failed.append(source)
            print(output, flush=True)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, unchecked))

    print(f"lint: {len(chosen)} files, {len(unchecked) - len(skipped)} checked, {len(failed)} with findings")
    if skipped:
        print(f"lint: {len(skipped)} files not checked within {options.budget_s:.0f} s; run me again:")
        for source in skipped:
            print(f"  {source.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
