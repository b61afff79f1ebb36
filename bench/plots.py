"""Plots as SVG, made of nothing but strings: bars with every run as a dot, latency by percentile, arrivals.

Colours are CSS classes with a light and a dark set, so that a plot fits the page it is shown on.
"""

import html
import math

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LIGHT = {"paper": "#ffffff", "ink": "#1c2430", "soft": "#66707d", "grid": "#e6e9ed", "must": "#b3261e"}
DARK = {"paper": "#0f141a", "ink": "#e6eaf0", "soft": "#97a2b0", "grid": "#242c36", "must": "#ff8a80"}
LIGHT_SERIES = ["#0f766e", "#c2820e", "#b4436c", "#5b6abf", "#8a94a3", "#7a5c2e"]
DARK_SERIES = ["#2dd4bf", "#f0b440", "#f285ab", "#98a6f7", "#7d8896", "#c9a46a"]


def colours(named, series):
    rules = """text {{ fill: {ink}; }}
.note {{ fill: {soft}; }}
.mustink {{ fill: {must}; }}
.paper {{ fill: {paper}; }}
.grid {{ stroke: {grid}; }}
.axis {{ stroke: {soft}; }}
.must {{ stroke: {must}; }}
.dot {{ fill: {paper}; stroke: {ink}; }}
""".format(**named)
    return rules + "".join(
        f".f{index} {{ fill: {colour}; }}\n.s{index} {{ stroke: {colour}; }}\n" for index, colour in enumerate(series)
    )


STYLE = f"""
text {{ font-family: {FONT}; font-size: 13px; }}
.title {{ font-size: 17px; font-weight: 600; }}
.panel {{ font-size: 14px; font-weight: 600; }}
.note, .mustink {{ font-size: 12px; }}
.value {{ font-variant-numeric: tabular-nums; }}
.strong {{ font-weight: 600; }}
.end {{ text-anchor: end; }}
.middle {{ text-anchor: middle; }}
.grid, .axis {{ stroke-width: 1; }}
.must {{ stroke-width: 1.5; stroke-dasharray: 4 3; }}
.line {{ fill: none; stroke-width: 2.4; stroke-linejoin: round; stroke-linecap: round; }}
.thin {{ fill: none; stroke-width: 1; opacity: .4; }}
.dot {{ stroke-width: 1; opacity: .75; }}
.pale {{ opacity: .4; }}
{colours(LIGHT, LIGHT_SERIES)}@media (prefers-color-scheme: dark) {{
{colours(DARK, DARK_SERIES)}}}
"""
# One colour for each contender, the same in every plot.
COLOURS = {
    "Holdfast": 0,
    "Mosquitto": 1,
    "Mosquitto tuned": 2,
    "Redis always": 2,
    "FlashMQ": 3,
    "sync loop": 4,
    "NATS JetStream": 5,
    "in clear": 1,
}
WIDTH = 860


def short(value):
    """1530000 -> 1.53 M; three digits that count."""
    for limit, unit in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= limit:
            return f"{digits(value / limit)}{unit}"
    return digits(value)


def digits(value):
    if value == 0:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def ticks(top, wanted=5):
    """Round steps from 0 to at least `top`."""
    raw = top / wanted
    base = 10 ** math.floor(math.log10(raw))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= raw)
    return [step * index for index in range(math.ceil(top / step - 1e-9) + 1)]


class Drawing:
    def __init__(self, title, note):
        self.parts = []
        self.height = 0
        self.title = title
        self.text(24, 34, title, "title")
        self.text(24, 54, note, "note")
        self.y = 76

    def text(self, x, y, words, style=""):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{html.escape(words)}</text>')

    def line(self, x1, y1, x2, y2, style):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>')

    def bar(self, x, y, width, height, colour, pale=False):
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height}" rx="3" '
            f'class="f{colour}{" pale" if pale else ""}"/>'
        )

    def dot(self, x, y):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" class="dot"/>')

    def path(self, points, style, colour):
        way = " ".join(f"{'M' if index == 0 else 'L'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(points))
        self.parts.append(f'<path d="{way}" class="{style} s{colour}"/>')

    def legend(self, x, y, names, notes=None):
        for name in names:
            words = f"{name}, {notes[name]}" if notes else name
            self.bar(x, y - 9, 16, 10, COLOURS[name])
            self.text(x + 22, y, words, "strong" if name == "Holdfast" else "")
            x += 44 + 7.2 * len(words)

    def svg(self):
        height = math.ceil(self.y + 12)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" role="img" aria-label="{html.escape(self.title)}">\n<style>{STYLE}</style>\n'
            f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>\n' + "\n".join(self.parts) + "\n</svg>\n"
        )


def bars(title, note, panels):
    """panels: (title, unit, [(contender, median, [runs], pale)]); each panel has its own scale from zero."""
    drawing = Drawing(title, note)
    left, right = 150, 110
    for panel, unit, contenders in panels:
        top = max(max(runs) for _, _, runs, _ in contenders)
        scale = (WIDTH - left - right) / top
        drawing.y += 20
        drawing.text(24, drawing.y, panel, "panel")
        drawing.text(WIDTH - 24, drawing.y, unit, "note end")
        drawing.y += 10
        begin = drawing.y
        drawing.line(left, begin, left, begin + 30 * len(contenders), "axis")
        for name, median, runs, pale in contenders:
            middle = drawing.y + 15
            drawing.text(left - 10, middle + 5, name, "end" + (" strong" if name == "Holdfast" else ""))
            drawing.bar(left, drawing.y + 5, median * scale, 20, COLOURS[name], pale)
            for run in runs:
                drawing.dot(left + run * scale, middle)
            beyond = left + max(median, max(runs)) * scale + 10
            drawing.text(beyond, middle + 5, short(median), "value" + (" strong" if name == "Holdfast" else ""))
            drawing.y += 30
        drawing.y += 12
    return drawing.svg()


def percentiles(title, note, panels):
    """panels: (title, [(contender, [(percent, microseconds)])], bound or None). Far percentiles are drawn wide."""
    drawing = Drawing(title, note)
    marks = [(10, "10 %"), (50, "50 %"), (90, "90 %"), (99, "99 %"), (99.9, "99.9 %")]
    left, right, height = 74, 40, 210

    def place(percent):
        share = math.log10(1 / (1 - percent / 100)) / 3.0
        return left + share * (WIDTH - left - right)

    for panel, curves, bound in panels:
        drawing.y += 20
        drawing.text(24, drawing.y, panel, "panel")
        drawing.legend(24, drawing.y + 24, [name for name, _ in curves])
        drawing.y += 40
        values = [value for _, curve in curves for percent, value in curve if percent <= 99.9]
        values += [bound] if bound else []
        low = math.log10(min(values)) - 0.05
        high = math.log10(max(values)) + 0.08
        begin = drawing.y

        def rise(value):
            return begin + height * (1 - (math.log10(value) - low) / (high - low))

        for power in range(math.floor(low), math.ceil(high) + 1):
            for factor in (1, 2, 5):
                value = factor * 10**power
                if low <= math.log10(value) <= high:
                    drawing.line(left, rise(value), WIDTH - right, rise(value), "grid")
                    name = f"{value:g} us" if value < 1000 else f"{value / 1000:g} ms"
                    drawing.text(left - 8, rise(value) + 4, name, "note end")
        for percent, name in marks:
            drawing.line(place(percent), begin, place(percent), begin + height, "grid")
            drawing.text(place(percent), begin + height + 18, name, "note middle")
        if bound:
            drawing.line(left, rise(bound), WIDTH - right, rise(bound), "must")
            drawing.text(WIDTH - right - 4, rise(bound) - 6, f"median at most {bound:g} us", "mustink end")
        for name, curve in curves:
            points = [(place(percent), rise(value)) for percent, value in curve if percent <= 99.9]
            drawing.path(points, "line", COLOURS[name])
        drawing.y = begin + height + 40
    return drawing.svg()


def arrivals(title, note, contenders):
    """contenders: (name, [timeline of each run: (seconds, records)]); the run in the middle is drawn strong."""
    drawing = Drawing(title, note)
    left, right, height = 74, 40, 260
    ordered = {name: sorted(runs, key=lambda run: run[-1][0]) for name, runs in contenders}
    middles = {name: runs[(len(runs) - 1) // 2] for name, runs in ordered.items()}
    times = {name: f"{digits(run[-1][0])} s" for name, run in middles.items()}
    drawing.legend(24, drawing.y + 14, list(ordered), times)
    drawing.y += 36
    begin = drawing.y
    across = ticks(max(run[-1][0] for _, runs in contenders for run in runs))
    up = ticks(max(run[-1][1] for _, runs in contenders for run in runs), 4)

    def place(second, count):
        x = left + second / across[-1] * (WIDTH - left - right)
        return x, begin + height * (1 - count / up[-1])

    for count in up:
        x, y = place(0, count)
        drawing.line(x, y, WIDTH - right, y, "grid")
        drawing.text(x - 8, y + 4, short(count), "note end")
    for second in across:
        x, y = place(second, 0)
        drawing.line(x, begin, x, y, "grid")
        drawing.text(x, y + 18, f"{second:g} s", "note middle")
    for name, runs in ordered.items():
        for run in runs:
            points = [place(0, 0)] + [place(*point) for point in run]
            drawing.path(points, "line" if run is middles[name] else "thin", COLOURS[name])
    drawing.y = begin + height + 34
    return drawing.svg()
