"""From runs to figures: medians, ratios, what must hold and whether it does; as text, Markdown, JSON and plots."""

import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess

import plots
from rows import CURVES, FAULTS, FIGURES


def median(values):
    return statistics.median(values)


def figure_of(runs, figure):
    """The figure of every run that has it."""
    values = []
    for run in runs:
        try:
            values.append(FIGURES[figure].of(run))
        except KeyError:
            pass
    return values


def compare(row, runs):
    """One line for each of the row's figures: Holdfast's, the peer's, their ratio, what must hold."""
    lines = []
    for must in row.musts:
        ours = figure_of(runs.get("Holdfast", []), must.figure)
        peer = figure_of(runs.get(must.peer, []), must.figure) if must.peer else []
        line = {
            "row": row.title,
            "figure": FIGURES[must.figure].label,
            "unit": FIGURES[must.figure].unit,
            "holdfast": median(ours) if ours else None,
            "peer": must.peer,
            "peer_value": None,
            "ratio": None,
            "must": "",
            "met": None,
        }
        if must.peer and peer:
            line["peer_value"] = max(peer) if must.best else median(peer)
            if ours and line["peer_value"]:
                line["ratio"] = line["holdfast"] / line["peer_value"]
        if must.known:
            unit = " x" if must.peer else f" {FIGURES[must.figure].unit}".rstrip()
            bound = plots.short(must.least) if must.least >= 1e5 else f"{must.least or must.most:g}"
            line["must"] = f"{'>=' if must.least else '<='} {bound}{unit}"
            judged = line["ratio"] if must.peer else line["holdfast"]
            line["met"] = judged is not None and must.met(judged)
        lines.append(line)
    return lines


def faults(runs):
    """Sums over all runs; only what is not zero."""
    sums = {name: sum(run.get(name, 0) for run in runs) for name in FAULTS}
    return {name: count for name, count in sums.items() if count}


def checked_runs(results):
    """Runs of Holdfast whose messages were accounted for."""
    return [run for row in results for run in row["runs"].get("Holdfast", []) if "lost" in run]


def integrity(results):
    """Lost, doubled and disordered, of Holdfast, in every run."""
    runs = checked_runs(results)
    found = faults(runs)
    messages = sum(run.get("delivered", 0) for run in runs)
    return {"runs": len(runs), "messages": messages, "faults": found, "met": bool(runs) and not found}


def summarize(row, runs):
    """Medians and ranges for results.json."""
    out = {}
    for name, ones in runs.items():
        out[name] = {}
        for figure in FIGURES:
            values = figure_of(ones, figure)
            if values:
                out[name][figure] = {"median": median(values), "min": min(values), "max": max(values)}
        out[name]["faults"] = faults(ones)
    return out


# --- Tables.


def shown(value, unit):
    if value is None:
        return "-"
    if unit:
        return f"{value:,.0f} {unit}" if value >= 100 else f"{plots.digits(value)} {unit}"
    return plots.short(value)


def verdict(met):
    return {True: "yes", False: "NO", None: ""}[met]


HEADER = ["", "figure", "Holdfast", "against", "", "ratio", "must", "met"]


def table_cells(lines, whole):
    cells = []
    before = None
    for line in lines:
        cells.append(
            [
                line["row"] if line["row"] != before else "",
                line["figure"],
                shown(line["holdfast"], line["unit"]),
                line["peer"],
                shown(line["peer_value"], line["unit"]) if line["peer"] else "",
                f"{plots.digits(line['ratio'])} x" if line["ratio"] is not None else "",
                line["must"],
                verdict(line["met"]),
            ]
        )
        before = line["row"]
    found = ", ".join(f"{count} {name}" for name, count in whole["faults"].items()) or "0"
    about = f"{whole['runs']} runs, {plots.short(whole['messages'])} deliveries"
    cells.append(["lost, doubled, disordered", about, found, "", "", "", "0", verdict(whole["met"])])
    return cells


def text_table(lines, whole):
    cells = [HEADER, *table_cells(lines, whole)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADER))]
    to_the_right = {2, 4, 5}
    out = []
    for index, row in enumerate(cells):
        parts = [
            cell.rjust(width) if column in to_the_right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        out.append("  ".join(parts).rstrip())
        if index == 0:
            out.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(out)


def markdown_table(lines, whole):
    align = ["---", "---", "---:", "---", "---:", "---:", "---", "---"]
    rows = [HEADER, align, *table_cells(lines, whole)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def runs_table(results):
    """Every contender with its spread, and what it lost."""
    out = ["| | | figure | median | lowest | highest | runs | server, us a message | lost, doubled, disordered |"]
    out.append("|---|---|---|---:|---:|---:|---:|---:|---|")
    for row in results:
        for name, summary in row["summary"].items():
            values = summary.get(row["figure"])
            if not values:
                continue
            figure = FIGURES[row["figure"]]
            cells = [shown(values[key], figure.unit) for key in ("median", "min", "max")]
            cost = summary.get("server_us", {}).get("median")
            found = ", ".join(f"{count} {fault}" for fault, count in summary["faults"].items())
            counted = any("lost" in run for run in row["runs"][name])
            cells += [str(len(row["runs"][name])), plots.digits(cost) if cost else ""]
            cells.append(found or ("0" if counted else ""))
            out.append(f"| {row['title']} | {name} | {figure.label} | " + " | ".join(cells) + " |")
    return "\n".join(out)


# --- Conditions.


def git(root, *words):
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=30)
    return done.stdout.strip() if done.returncode == 0 else ""


def revision(root):
    name = git(root, "rev-parse", "--short=10", "HEAD") or "unknown"
    changed = git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results")
    return name + ("-changed" if changed else "")


def first_match(path, pattern, otherwise="unknown"):
    try:
        found = re.search(pattern, pathlib.Path(path).read_text(), re.M)
    except OSError:
        return otherwise
    return found[1].strip() if found else otherwise


def conditions(root, scratch, versions, options):
    kind = subprocess.run(
        ["findmnt", "-n", "-o", "FSTYPE", "--target", str(scratch)], capture_output=True, text=True, timeout=10
    ).stdout.strip()
    memory_kb = int(first_match("/proc/meminfo", r"^MemTotal:\s+(\d+)", "0"))
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "revision": revision(root),
        "cpu": first_match("/proc/cpuinfo", r"^model name\s*:\s*(.+)$", platform.machine()),
        "cpus": os.cpu_count(),
        "memory_gb": round(memory_kb / 1e6, 1),
        "kernel": platform.release(),
        "system": first_match("/etc/os-release", r'^PRETTY_NAME="?([^"\n]+)'),
        "file_system": kind,
        "versions": versions,
        "options": options,
    }


# --- Plots.


def plot_bars(results):
    panels = []
    for row in results:
        if row["drawing"] != "bars":
            continue
        contenders = []
        for name, runs in row["runs"].items():
            values = figure_of(runs, row["figure"])
            if values:
                contenders.append((name, median(values), values, name in row["from_memory"]))
        if contenders:
            # Ours first, then the fastest.
            contenders.sort(key=lambda one: (one[0] != "Holdfast", -one[1]))
            panels.append((row["title"], FIGURES[row["figure"]].label, contenders))
    note = "Bars are medians, dots are runs. Pale: acknowledges from memory, nothing is on disk. 256-byte messages."
    return plots.bars("Throughput", note, panels) if panels else None


def median_curve(runs, which):
    """At each percentile the median of all runs."""
    curves = [dict(map(tuple, run[which]["curve"])) for run in runs if run.get(which, {}).get("count")]
    if not curves:
        return []
    return [(percent, median([curve[percent] for curve in curves])) for percent in curves[0]]


def plot_percentiles(results):
    panels = []
    for row in results:
        if row["drawing"] != "percentiles":
            continue
        curves = [(name, median_curve(runs, CURVES[row["figure"]])) for name, runs in row["runs"].items()]
        curves = [(name, curve) for name, curve in curves if curve]
        if curves:
            curves.sort(key=lambda one: one[0] == "Holdfast")  # Drawn last, on top.
            panels.append((f"{row['title']}: {row['about']}", curves, row["bound"]))
    note = "How many of the messages were at most this slow. Medians of all runs at each percentile."
    return plots.percentiles("Latency", note, panels) if panels else None


def plot_arrivals(results):
    for row in results:
        if row["drawing"] == "arrivals":
            contenders = [(name, [run["timeline"] for run in runs]) for name, runs in row["runs"].items() if runs]
            if contenders:
                contenders.sort(key=lambda one: one[0] == "Holdfast")
                note = "Records with a subscriber at the hub, from the moment the link's connection stands."
                return plots.arrivals("A site's backlog reaches the hub", note, contenders)
    return None


PLOTS = {"throughput.svg": plot_bars, "latency.svg": plot_percentiles, "drain.svg": plot_arrivals}


# --- Files: results.json to be read by people too, and every run as a line of runs.jsonl.


def write(document, directory):
    rows = [{key: value for key, value in row.items() if key != "runs"} for row in document["rows"]]
    (directory / "results.json").write_text(json.dumps(document | {"rows": rows}, indent=1) + "\n")
    with open(directory / "runs.jsonl", "w") as out:
        for row in document["rows"]:
            for name, runs in row["runs"].items():
                for run in runs:
                    out.write(json.dumps({"row": row["key"], "contender": name} | run) + "\n")


def read(directory):
    document = json.loads((directory / "results.json").read_text())
    rows = {row["key"]: row for row in document["rows"]}
    for row in rows.values():
        row["runs"] = {name: [] for name in row["summary"]}
    for line in (directory / "runs.jsonl").read_text().splitlines():
        run = json.loads(line)
        rows[run["row"]]["runs"][run["contender"]].append(run)
    return document


# --- The page.


def page(document, drawn):
    facts = document["conditions"]
    lines = [line for row in document["rows"] for line in row["comparisons"]]
    options = facts["options"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    loads = document["load_averages"]
    out = [
        f"# Figures of {facts['date'][:10]}, revision {facts['revision']}",
        "",
        "What the rows mean, and what an acknowledgement means at each peer, is in [bench/README.md](../../README.md).",
        "",
        markdown_table(lines, document["integrity"]),
        "",
        *(f"![{name.removesuffix('.svg')}]({name})\n" for name in drawn),
        "## Conditions",
        "",
        f"- {facts['cpus']} x {facts['cpu']}, {facts['memory_gb']} GB, {facts['system']}, Linux {facts['kernel']}, "
        f"{facts['file_system']}",
        f"- {versions}",
        f"- {options['rounds']} rounds in turn, {options['seconds']:g} s each after {options['warmup']:g} s of warm-up",
        f"- load average before each round: {', '.join(f'{load:.2f}' for load in loads)}",
        "",
    ]
    if options["quick"]:
        out += ["**Taken with `--quick`: a trial of the benchmark, not a measurement.**", ""]
    if max(loads, default=0) > facts["cpus"]:
        out += ["**Other programs kept this machine busy: compare nothing with other days.**", ""]
    if document["troubles"]:
        out += ["## Runs without a result", "", *(f"- {trouble}" for trouble in document["troubles"]), ""]
    out += ["## All contenders", "", runs_table(document["rows"]), ""]
    return "\n".join(out)


def draw(document, directory):
    """Writes plots and page beside results.json."""
    drawn = []
    for name, plot in PLOTS.items():
        svg = plot(document["rows"])
        if svg:
            (directory / name).write_text(svg)
            drawn.append(name)
    (directory / "README.md").write_text(page(document, drawn))
