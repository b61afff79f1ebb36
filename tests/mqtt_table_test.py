#!/usr/bin/env python3
"""Checks that docs/mqtt.md says what is there: the tables of what the MQTT standards demand.

Goal: every numbered statement of 5.0 and of 3.1.1 has its line, and what a line names exists, so that a function or a
test that is renamed takes its line along.
Method: read the tables, the sources and the tests as text. Before it looks at the repository it plants one violation of
each rule in a small table of its own and fails if any of them goes unseen.

    tests/mqtt_table_test.py [root of the repository]
"""

import pathlib
import re
import sys
import tempfile

PAGE = "docs/mqtt.md"

# How many statements the standard's appendix B has in each section; the first number is 1 but for FIRST.
STATEMENTS = {
    "MQTT 5.0": {
        "1.5.4": 3, "1.5.5": 1, "1.5.7": 1, "2.1.3": 1, "2.2.1": 5, "2.2.2": 1,
        "3.1.0": 2, "3.1.2": 30, "3.1.3": 12, "3.1.4": 6, "3.2.0": 2, "3.2.2": 22,
        "3.3.1": 13, "3.3.2": 20, "3.3.4": 10, "3.4.2": 3, "3.5.2": 3, "3.6.1": 1, "3.6.2": 3, "3.7.2": 3,
        "3.8.1": 1, "3.8.3": 5, "3.8.4": 8, "3.9.2": 2, "3.9.3": 2,
        "3.10.1": 1, "3.10.3": 2, "3.10.4": 6, "3.11.2": 2, "3.11.3": 2, "3.12.4": 1,
        "3.14.0": 1, "3.14.1": 1, "3.14.2": 4, "3.14.4": 3, "3.15.1": 1, "3.15.2": 3,
        "4.1.0": 2, "4.2.0": 1, "4.3.1": 1, "4.3.2": 5, "4.3.3": 13, "4.4.0": 2, "4.5.0": 2, "4.6.0": 6,
        "4.7.0": 1, "4.7.1": 2, "4.7.2": 1, "4.7.3": 4, "4.8.2": 6, "4.9.0": 3,
        "4.12.0": 7, "4.12.1": 2, "4.13.1": 1, "4.13.2": 1, "6.0.0": 4,
    },
    "MQTT 3.1.1": {
        "1.5.3": 3, "2.2.2": 2, "2.3.1": 7, "3.1.0": 2, "3.1.2": 24, "3.1.3": 11, "3.1.4": 5, "3.2.0": 1, "3.2.2": 6,
        "3.3.1": 12, "3.3.2": 3, "3.3.4": 1, "3.3.5": 2, "3.6.1": 1, "3.8.1": 1, "3.8.3": 4, "3.8.4": 6, "3.9.3": 2,
        "3.10.1": 1, "3.10.3": 2, "3.10.4": 6, "3.12.4": 1, "3.14.1": 1, "3.14.4": 3,
        "4.1.0": 2, "4.3.1": 1, "4.3.2": 2, "4.3.3": 2, "4.4.0": 1, "4.5.0": 2, "4.6.0": 6,
        "4.7.1": 3, "4.7.2": 1, "4.7.3": 4, "4.8.0": 2, "6.0.0": 4, "7.0.0": 2, "7.1.1": 1, "7.1.2": 1,
    },
}  # fmt: skip
FIRST = {("MQTT 5.0", "2.2.1"): 2}  # There is no [MQTT-2.2.1-1].

UNNUMBERED = "Not cited by number"
BINDS = ("server", "client", "both")
STATEMENT = re.compile(r"MQTT-(\d+\.\d+\.\d+)-(\d+)")
FILE = re.compile(r"`((?:src|tests)/[^`]+)`(?: `(\w+)`)?")
TEST = re.compile(r"`(\w+)\.(\w+)`")


def wanted(version, sections):
    """The identifiers of a table, in their order."""
    for section, count in sections.items():
        first = FIRST.get((version, section), 1)
        yield from (f"MQTT-{section}-{number}" for number in range(first, first + count))


def rows_of(text):
    """Heading of the second level -> [(line, cells)], without the heads of the tables."""
    tables = {}
    heading = ""
    for line, row in enumerate(text.splitlines(), 1):
        if row.startswith("## "):
            heading = row[3:].strip()
        elif row.startswith("|") and not re.match(r"\|[-| ]+\|$", row):
            cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
            if cells[0] not in ("statement", "section", "limit"):
                tables.setdefault(heading, []).append((line, cells))
    return tables


class Sources:
    """Files and tests of the repository, each read once."""

    def __init__(self, root):
        self.root = root
        self.texts = {}
        self.tests = set()
        for path in sorted(root.glob("src/**/*_test.cc")):
            found = re.findall(r"^TEST(?:_F|_P)?\((\w+),\s*(\w+)\)", path.read_text(encoding="utf-8"), re.M)
            self.tests.update(found)

    def text(self, name):
        """None if there is no such file."""
        if name not in self.texts:
            path = self.root / name
            self.texts[name] = path.read_text(encoding="utf-8") if path.is_file() else None
        return self.texts[name]


def check_places(cell, identifier, sources):
    places = FILE.findall(cell)
    if not places:
        yield "names no file that obeys it"
    for name, function in places:
        text = sources.text(name)
        if text is None:
            yield f"there is no {name}"
        elif function and not re.search(rf"\b{function}\b", text):
            yield f"{name} has no {function}"
        elif not function and (identifier is None or f"[{identifier}]" not in text):
            yield f"{name} does not cite it, and no function of it is named"


def check_tests(cell, sources):
    files = FILE.findall(cell)
    tests = TEST.findall(FILE.sub("", cell))
    if not files and not tests:
        yield "names no test"
    for suite, name in tests:
        if (suite, name) not in sources.tests:
            yield f"there is no test {suite}.{name}"
    for name, function in files:
        if f"def {function}(" not in (sources.text(name) or ""):
            yield f"{name} has no test {function or 'that is named'}"


def check_table(version, sections, rows, sources):
    identifiers = list(wanted(version, sections))
    seen = []
    for line, cells in rows:
        identifier = cells[0]
        if not STATEMENT.fullmatch(identifier):
            yield line, f"{identifier}: not an identifier such as MQTT-3.1.2-4"
            continue
        if identifier in seen:
            yield line, f"{identifier}: stands twice in the table of {version}"
        elif identifier not in identifiers:
            yield line, f"{identifier}: {version} has no such statement"
        elif seen and identifiers.index(identifier) < max(identifiers.index(one) for one in seen if one in identifiers):
            yield line, f"{identifier}: out of order"
        seen.append(identifier)
        if len(cells) != 5 or not all(cells):
            yield line, f"{identifier}: a row has five cells, none of them empty"
            continue
        if cells[1] not in BINDS:
            yield line, f"{identifier}: binds {', '.join(BINDS)}, not {cells[1]!r}"
        for problem in [*check_places(cells[3], identifier, sources), *check_tests(cells[4], sources)]:
            yield line, f"{identifier}: {problem}"
    for identifier in identifiers:
        if identifier not in seen:
            yield 1, f"{identifier}: missing in the table of {version}"


def check(root, statements):
    """All violations of the page below `root`, as printable lines, and how many rows it has."""
    sources = Sources(root)
    text = sources.text(PAGE)
    if text is None:
        return [f"{PAGE}:1: there is no such page"], 0
    tables = rows_of(text)
    problems = []
    count = 0
    for version, sections in statements.items():
        rows = tables.get(version, [])
        count += len(rows)
        problems += check_table(version, sections, rows, sources)
    for line, cells in tables.get(UNNUMBERED, []):
        if len(cells) != 4 or not all(cells):
            problems.append((line, f"{cells[0]}: a row has four cells, none of them empty"))
            continue
        found = [*check_places(cells[2], None, sources), *check_tests(cells[3], sources)]
        problems += [(line, f"{cells[0]}: {problem}") for problem in found]
    return [f"{PAGE}:{line}: {problem}" for line, problem in problems], count


# The self-check: a house of two files and a table of three rows, and what is wrong with it when one thing changes.
HOUSE = {
    "src/a.cc": "void on_packet() {}  // [MQTT-1.1.1-2]\n",
    "src/a_test.cc": "TEST(Packet, IsRead) {\n",
    "tests/e2e/test_a.py": "    def test_packets(self):\n",
    PAGE: """## MQTT 9

| statement | binds | demand | where | shown by |
|---|---|---|---|---|
| MQTT-1.1.1-1 | server | reads | first, `src/a.cc` `on_packet` | `Packet.IsRead` |
| MQTT-1.1.1-2 | both | writes | `src/a.cc` | `tests/e2e/test_a.py` `test_packets` |
| MQTT-1.2.1-1 | client | goes | client's duty; closed by `src/a.cc` `on_packet` | `Packet.IsRead` |

## Not cited by number

| section | demand | where | shown by |
|---|---|---|---|
| 1.3 | comes | `src/a.cc` `on_packet` | `Packet.IsRead` |
""",
}
HOUSE_STATEMENTS = {"MQTT 9": {"1.1.1": 2, "1.2.1": 1}}
# (what is there, what is planted in its place, what the message must contain)
PLANTED = [
    ("| MQTT-1.1.1-2 |", "| MQTT-1.1.1-1 |", "stands twice"),
    ("| MQTT-1.1.1-2 |", "| MQTT-1.1.1-1 |", "MQTT-1.1.1-2: missing"),
    ("| MQTT-1.1.1-1 |", "| MQTT-1.2.1-1 |", "out of order"),
    ("| MQTT-1.1.1-2 |", "| MQTT-1.1.1-3 |", "has no such statement"),
    ("| MQTT-1.1.1-2 |", "| 1.1.1-2 |", "not an identifier"),
    ("| MQTT-1.2.1-1 | client |", "| MQTT-1.2.1-1 |", "five cells"),
    ("| writes |", "| |", "none of them empty"),
    ("| both |", "| all |", "binds"),
    ("first, `src/a.cc` `on_packet`", "first", "names no file"),
    ("first, `src/a.cc`", "first, `src/b.cc`", "there is no src/b.cc"),
    ("first, `src/a.cc` `on_packet`", "first, `src/a.cc` `on_pack`", "has no on_pack"),
    ("first, `src/a.cc` `on_packet`", "first, `src/a.cc`", "does not cite it"),
    ("`Packet.IsRead` |\n| MQTT-1.1.1-2", "soon |\n| MQTT-1.1.1-2", "names no test"),
    ("`Packet.IsRead` |\n| MQTT-1.1.1-2", "`Packet.IsLost` |\n| MQTT-1.1.1-2", "there is no test Packet.IsLost"),
    ("`test_packets`", "`test_packet`", "has no test test_packet"),
    ("| 1.3 | comes |", "| 1.3 | |", "four cells"),
    ("| comes | `src/a.cc` `on_packet` |", "| comes | `src/a.cc` |", "does not cite it"),
]


def self_check():
    """Fails unless every planted violation is seen, and nothing else."""
    failures = []
    for old, new, expected in [("", "", None), *PLANTED]:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in HOUSE.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text.replace(old, new, 1) if old and name == PAGE else text)
            problems, _ = check(pathlib.Path(folder), HOUSE_STATEMENTS)
        if expected is None and problems:
            failures.append(f"innocent but accused: {problems}")
        if expected is not None and old not in HOUSE[PAGE]:
            failures.append(f"nowhere to plant: {old!r}")
        if expected is not None and not any(expected in problem for problem in problems):
            failures.append(f"planted but not seen: {new!r}, wanted {expected!r}, got {problems}")
    return failures


def main():
    failures = self_check()
    if failures:
        print("mqtt_table_test.py does not see what it should:", *failures, sep="\n  ")
        return 1
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent
    problems, rows = check(root, STATEMENTS)
    for problem in problems:
        print(problem)
    print(f"mqtt: {len(problems)} violations in {rows} statements ({len(PLANTED)} planted ones seen)")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
