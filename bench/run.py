#!/usr/bin/env python3
"""Measures Holdfast beside its peers, in turn, and writes figures, a page and plots to bench/results/.

    bench/run.py                            every row, 5 rounds: about 20 minutes
    bench/run.py --quick                    a trial of everything in two minutes; its figures mean nothing
    bench/run.py --rows durable-1,link-drain
    bench/run.py --flashmq PATH             with FlashMQ, if you have it
    bench/run.py --redraw DIR               page and plots again from what DIR holds

Exit code 1 if Holdfast lost, doubled or disordered a message, if a run of it failed, or (without --quick) if a
figure is not what it must be. bench/README.md says what the rows mean.
"""

import argparse
import os
import pathlib
import resource
import shutil
import signal
import sys
import tempfile
import time

import report
from rows import FIGURES, Bench, all_rows
from servers import FlashMq, Holdfast, HoldfastInClear, Mosquitto, Nats, Redis, Trouble

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = ("load", "log_load", "sync_loop", "read_back", "holdfast_clear")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, help="how often each contender runs (5; --quick: 1)")
    parser.add_argument("--seconds", type=float, help="measured time of a run (4; --quick: 0.7)")
    parser.add_argument("--warmup", type=float, help="time before that which does not count (1; --quick: 0.2)")
    parser.add_argument("--quick", action="store_true", help="short runs and a small backlog")
    parser.add_argument("--rows", help="only these, by key; --list names them")
    parser.add_argument("--list", action="store_true", help="name the rows")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", help="build tree")
    parser.add_argument("--holdfast", type=pathlib.Path, help="the binary, if not the build tree's")
    parser.add_argument("--flashmq", type=pathlib.Path, help="a FlashMQ binary, as one more peer")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "bench" / "results", help="where results go")
    parser.add_argument("--scratch", type=pathlib.Path, default=ROOT / "build", help="where servers keep their data")
    parser.add_argument("--redraw", type=pathlib.Path, help="a directory of results")
    options = parser.parse_args()
    quick = options.quick
    options.rounds = options.rounds or (1 if quick else 5)
    options.seconds = options.seconds or (0.7 if quick else 4)
    options.warmup = options.warmup if options.warmup is not None else (0.2 if quick else 1)
    options.backlog = 20_000 if quick else 200_000
    options.log = 100_000 if quick else 10_000_000
    options.holdfast = options.holdfast or options.build / "src" / "holdfast" / "holdfast"
    return options


def programs_missing(options):
    needed = [options.holdfast] + [options.build / "bench" / name for name in PROGRAMS]
    needed += [options.flashmq] if options.flashmq else []
    missing = [f"{path} (`make bench` builds what is ours)" for path in needed if not path.is_file()]
    servers = (Mosquitto.binary, Redis.binary, Nats.binary)
    missing += [f"{name} (scripts/install.sh bench)" for name in servers if not shutil.which(name)]
    return missing


def new_directory(results, revision):
    name = time.strftime("%Y-%m-%d") + "-" + revision
    path = results / name
    number = 2
    while path.exists():
        path = results / f"{name}.{number}"
        number += 1
    path.mkdir(parents=True)
    return path


def describe(run, row):
    """The figures of one run, for the line that shows progress."""
    keys = dict.fromkeys([row.figure] + [must.figure for must in row.musts])
    parts = []
    for key in keys:
        values = report.figure_of([run], key)
        if values:
            figure = FIGURES[key]
            value = report.shown(values[0], figure.unit)
            parts.append(f"{figure.label} {value}" if figure.unit else f"{value} {figure.label}")
    found = report.faults([run])
    return ", ".join(parts + [f"{count} {name.upper()}" for name, count in found.items()])


def measure(rows, rounds, scratch):
    """All rows, round by round, so that a slow quarter of an hour of the machine hits everybody alike."""
    runs = {row.key: {name: [] for name in row.contenders} for row in rows}
    loads = []
    troubles = []
    width = max(len(row.title) for row in rows)
    names = max(len(name) for row in rows for name in row.contenders)
    for number in range(rounds):
        loads.append(os.getloadavg()[0])
        print(f"\nround {number + 1} of {rounds}, load average {loads[-1]:.2f}", flush=True)
        for row in rows:
            contenders = list(row.contenders.items())
            first = number % len(contenders)  # Nobody is always first.
            for name, run in contenders[first:] + contenders[:first]:
                print(f"  {row.title:<{width}}  {name:<{names}}  ", end="", flush=True)
                try:
                    result = run()
                except Trouble as trouble:
                    print(f"FAILED: {trouble}", flush=True)
                    why = str(trouble).replace(scratch, "DIR")  # Results name no path of this machine.
                    troubles.append({"row": row.key, "contender": name, "round": number + 1, "why": why})
                    continue
                runs[row.key][name].append(result)
                print(describe(result, row), flush=True)
    return runs, loads, troubles


def document_of(rows, runs, loads, troubles, facts):
    done = []
    for row in rows:
        bounds = [must.most for must in row.musts if must.most and not must.peer and must.figure == row.figure]
        done.append(
            {
                "key": row.key,
                "title": row.title,
                "about": row.about,
                "figure": row.figure,
                "drawing": row.drawing,
                "from_memory": row.from_memory(),
                "bound": bounds[0] if bounds else None,
                "comparisons": report.compare(row, runs[row.key]),
                "summary": report.summarize(row, runs[row.key]),
                "runs": runs[row.key],
            }
        )
    return {
        "conditions": facts,
        "load_averages": loads,
        "integrity": report.integrity(done),
        "troubles": [f"{one['row']}, {one['contender']}, round {one['round']}: {one['why']}" for one in troubles],
        "rows": done,
    }


def main():
    options = arguments()
    if options.redraw:
        report.draw(report.read(options.redraw), options.redraw)
        return 0
    if missing := programs_missing(options):
        sys.exit("bench: missing\n  " + "\n  ".join(missing))
    # Servers get the binary's full path; they run in directories of their own.
    Holdfast.binary = options.holdfast.resolve()
    HoldfastInClear.binary = (options.build / "bench" / "holdfast_clear").resolve()
    # For the clients that say nothing, here and in the servers.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    FlashMq.binary = options.flashmq.resolve() if options.flashmq else None

    options.results.mkdir(parents=True, exist_ok=True)
    options.scratch.mkdir(parents=True, exist_ok=True)
    if os.stat(options.results).st_dev != os.stat(options.scratch).st_dev:
        sys.exit("bench: --scratch is on another file system than --results; measure where you keep your data")

    # Being asked to end is no reason to leave servers behind.
    def end(*_):
        raise KeyboardInterrupt

    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, end)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.scratch, ignore_cleanup_errors=True) as scratch:
        bench = Bench((options.build / "bench").resolve(), scratch, options.seconds, options.warmup, options.backlog, options.log)
        rows = all_rows(bench, options.flashmq is not None)
        if options.list:
            for row in rows:
                print(f"{row.key:<14}  {row.title}: {row.about}")
            return 0
        if options.rows:
            wanted = options.rows.split(",")
            if unknown := set(wanted) - {row.key for row in rows}:
                sys.exit(f"bench: no row {', '.join(sorted(unknown))}; --list names them")
            rows = [row for row in rows if row.key in wanted]

        kinds = [Holdfast, Mosquitto, Redis, Nats] + ([FlashMq] if options.flashmq else [])
        try:
            versions = {kind.name: kind.version() for kind in kinds}
        except (Trouble, OSError) as trouble:
            sys.exit(f"bench: {trouble}")
        facts = report.conditions(
            ROOT,
            scratch,
            versions,
            {name: getattr(options, name) for name in ("rounds", "seconds", "warmup", "backlog", "quick")},
        )
        print(f"{facts['cpus']} x {facts['cpu']}, Linux {facts['kernel']}, revision {facts['revision']}")
        try:
            runs, loads, troubles = measure(rows, options.rounds, scratch)
        except KeyboardInterrupt:
            sys.exit("\nbench: interrupted; nothing was written")

    document = document_of(rows, runs, loads, troubles, facts)
    directory = new_directory(options.results, facts["revision"])
    report.write(document, directory)
    report.draw(document, directory)

    lines = [line for row in document["rows"] for line in row["comparisons"]]
    print("\n" + report.text_table(lines, document["integrity"]))
    print(f"\n{os.path.relpath(directory)}/README.md")
    failed = not document["integrity"]["met"] or any(one["contender"] == "Holdfast" for one in troubles)
    missed = not options.quick and any(line["met"] is False for line in lines)
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
