#!/usr/bin/env python3
"""Checks that docs/events.md knows every event of the log, and no other.

Goal: whoever searches for an identifier that a node wrote finds what it means and what to do.
Method: read every source under src/ that is no test, and the tables of the page. Before that it plants one mistake of each
kind and fails if it goes unseen.

    tests/events_test.py [root of the repository]
"""

import pathlib
import re
import sys

EVENT = re.compile(r"HF-[A-Z]+-[0-9]{3}")
ROW = re.compile(r"(?m)^\| `(HF-[A-Z]+-[0-9]{3})` \| ([^|]+) \| ([^|]+) \|$")


def events_of(sources):
    """{identifier: the first source that has it} of (name, text) pairs."""
    found = {}
    for name, text in sources:
        for event in EVENT.findall(text):
            found.setdefault(event, name)
    return found


def problems(sources, page):
    events = events_of(sources)
    rows = ROW.findall(page)
    described = [event for event, _, _ in rows]
    for event in sorted(set(events) - set(described)):
        yield f"{events[event]}: {event} is not in docs/events.md; add a row: | `{event}` | meaning | what to do |"
    for event in sorted(set(described) - set(events)):
        yield f"docs/events.md: {event} is in no source; remove its row, and never use the identifier for something else"
    for event in sorted({event for event in described if described.count(event) > 1}):
        yield f"docs/events.md: {event} is there more than once"
    for event in sorted(set(EVENT.findall(page)) - set(described) - set(events)):
        yield f"docs/events.md: {event} is mentioned and is no event"
    if described != sorted(described):
        yield "docs/events.md: the identifiers are not in order"


def self_check():
    """Fails unless every planted mistake is seen, and nothing else."""
    row = "| `HF-{}` | meaning | what to do |\n"
    source = [("a.cc", 'log("HF-A-001", "x");\n')]
    cases = [
        (source, row.format("A-001"), ""),
        (source, "", "a.cc: HF-A-001 is not in"),
        (source, row.format("A-001") + row.format("A-002"), "HF-A-002 is in no source"),
        (source, row.format("A-001") * 2, "more than once"),
        (source, row.format("A-001") + "See HF-A-003.\n", "is mentioned"),
        (source, "| `HF-A-001` | meaning |\n", "is not in"),
        (source + [("b.h", "HF-B-001")], row.format("B-001") + row.format("A-001"), "not in order"),
    ]
    for sources, page, expected in cases:
        found = list(problems(sources, page))
        if bool(found) != bool(expected) or not all(expected in each for each in found[:1]):
            return f"planted {page!r}, wanted {expected!r}, got {found}"
    return ""


def main():
    if failure := self_check():
        print(f"events_test.py does not see what it should: {failure}")
        return 1
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent
    tests = re.compile(r"_(test|fuzz)\.(cc|h)$|_testing\.h$")
    paths = [path for path in sorted((root / "src").rglob("*")) if path.suffix in (".h", ".cc") and not tests.search(path.name)]
    sources = [(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")) for path in paths]
    found = list(problems(sources, (root / "docs" / "events.md").read_text(encoding="utf-8")))
    print(*found, sep="\n", end="\n" if found else "")
    print(f"events: {len(events_of(sources))} events, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
