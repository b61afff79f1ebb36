#!/usr/bin/env python3
"""Checks that docs/design/hostile.md says what is there: classes of mistakes and bounds, each with its guard and its tests.

Goal: a guard or a test that is renamed or removed takes its line along, and every limit that is counted has its line.
Method: that of tests/mqtt_table_test.py, whose reading of tables, places and tests this uses. It plants a violation of each
rule first and fails if one goes unseen.

    tests/hostile_table_test.py [root of the repository]
"""

import pathlib
import re
import sys
import tempfile

from mqtt_table_test import Sources, check_places, check_tests

PAGE = "docs/design/hostile.md"
LIMITS = "src/broker/limits.h"
METRICS = "src/holdfast/metrics.cc"
KEYS = "docs/configuration.md"
CLASSES = 13
# Heading -> how many cells a row has, which of them names the guard, which the tests.
TABLES = {"Classes of mistakes": (4, 2, 3), "Bounds": (7, 5, 6)}


def rows_of(text):
    tables = {}
    heading = ""
    head = False
    for line, row in enumerate(text.splitlines(), 1):
        if row.startswith("## "):
            heading, head = row[3:].strip(), True
        elif re.match(r"\|[-| ]+\|$", row):
            head = False
        elif row.startswith("|") and not head:
            tables.setdefault(heading, []).append((line, [cell.strip() for cell in row.strip().strip("|").split("|")]))
    return tables


def check(root, classes):
    sources = Sources(root)
    tables = rows_of(sources.text(PAGE) or "")
    problems = []
    for heading, (width, guard, tests) in TABLES.items():
        for line, cells in tables.get(heading, []):
            if len(cells) != width or not all(cells):
                problems.append((line, f"{cells[0]}: a row has {width} cells, none of them empty"))
                continue
            found = [*check_places(cells[guard], None, sources), *check_tests(cells[tests], sources)]
            problems += [(line, f"{cells[0]}: {problem}") for problem in found]
    if len(tables.get("Classes of mistakes", [])) != classes:
        problems.append((1, f"there are {classes} classes of mistakes"))
    names = re.search(r"kNames\[\] = \{(.*?)\}", sources.text(LIMITS) or "", re.S)
    limits = set(re.findall(r'"(\w+)"', names[1] if names else ""))
    metrics = set(re.findall(r'page\.(?:metric|gauge|counter|histogram)\("(\w+)"', sources.text(METRICS) or ""))
    keys = sources.text(KEYS) or ""
    told = set()
    for line, cells in tables.get("Bounds", []):
        if len(cells) != 7:
            continue
        told.update(re.findall(r"`(\w+)`", cells[4]))
        for name in re.findall(r"`(\w+)`", cells[4]):
            if name not in limits and name.removeprefix("holdfast_") not in metrics:
                problems.append((line, f"{cells[0]}: nothing is counted as {name}"))
        if "`" not in cells[4]:
            problems.append((line, f"{cells[0]}: is counted nowhere"))
        for key in re.findall(r"`(\w+)`", cells[3 - 1]):
            if f"`{key}`" not in keys:
                problems.append((line, f"{cells[0]}: {KEYS} has no key {key}"))
    problems += [(1, f"the limit {name} has no line") for name in sorted(limits - told)]
    return [f"{PAGE}:{line}: {problem}" for line, problem in problems], sum(map(len, tables.values()))


HOUSE = {
    "src/a.cc": "void on_packet() {}\n",
    "src/a_test.cc": "TEST(Packet, IsRead) {\n",
    LIMITS: 'kNames[] = {"bytes"};\n',
    METRICS: 'page.counter("refused_total", "Refused.", 1);\n',
    KEYS: "`max_packet`\n",
    PAGE: """## Classes of mistakes

| class | what happened | guard | shown by |
|---|---|---|---|
| one | fell | `src/a.cc` `on_packet` | `Packet.IsRead` |

## Bounds

| what | bound | key | at the bound | counted as | kept by | shown by |
|---|---|---|---|---|---|---|
| bytes | 9 | `max_packet` | refused | `bytes` | `src/a.cc` `on_packet` | `Packet.IsRead` |
| time | 9 s | none | refused | `holdfast_refused_total` | `src/a.cc` `on_packet` | `Packet.IsRead` |
""",
}
PLANTED = [
    ("| one | fell |", "| one | |", "4 cells"),
    ("| one | fell | `src/a.cc` `on_packet`", "| one | fell | `src/a.cc` `on_pack`", "has no on_pack"),
    ("`Packet.IsRead` |\n\n", "`Packet.IsLost` |\n\n", "no test Packet.IsLost"),
    ("| one | fell | `src/a.cc` `on_packet` | `Packet.IsRead` |\n", "", "1 classes"),
    ("| bytes | 9 |", "| bytes | |", "7 cells"),
    ("`max_packet`", "`max_pack`", "no key max_pack"),
    ("| `bytes` |", "| `bites` |", "nothing is counted as bites"),
    ("| `bytes` |", "| `bites` |", "the limit bytes has no line"),
    ("| `holdfast_refused_total` |", "| yes |", "is counted nowhere"),
]


def self_check():
    failures = []
    for old, new, expected in [("", "", None), *PLANTED]:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in HOUSE.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text.replace(old, new, 1) if old and name == PAGE else text, encoding="utf-8")
            problems, _ = check(pathlib.Path(folder), 1)
        if expected is None and problems:
            failures.append(f"innocent but accused: {problems}")
        if expected is not None and not any(expected in problem for problem in problems):
            failures.append(f"planted but not seen: {new!r}, wanted {expected!r}, got {problems}")
    return failures


def main():
    failures = self_check()
    if failures:
        print("hostile_table_test.py does not see what it should:", *failures, sep="\n  ")
        return 1
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent
    problems, rows = check(root, CLASSES)
    for problem in problems:
        print(problem)
    print(f"hostile: {len(problems)} violations in {rows} lines ({len(PLANTED)} planted ones seen)")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
