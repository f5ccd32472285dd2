"""What was measured as one HTML file with plots: no scripts, nothing loaded from anywhere, light or dark as the reader's system is."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from django.utils import timezone

from rag.domain.metrics import MEASURES
from rag.evaluation.retrieval import MAIN, Measured

_STYLE = """
:root { color-scheme: light dark; --text: #1c2024; --soft: #60646c; --line: #d9d9e0; --back: #fff; }
@media (prefers-color-scheme: dark) { :root { --text: #edeef0; --soft: #b0b4ba; --line: #43484e; --back: #111113; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 62rem;
 margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } p { color: var(--soft); max-width: 44rem; } svg { width: 100%; height: auto; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .875rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
svg text { fill: var(--text); font: 12px system-ui, sans-serif; } svg .soft { fill: var(--soft); }
.grid { stroke: var(--line); stroke-width: 1; } .zero { stroke: var(--soft); stroke-width: 1.5; }
.icon { width: .875rem; height: .875rem; } .whisker { stroke-width: 2; } .key { margin-right: 1rem; white-space: nowrap; }
.s0 { fill: #0d74ce; stroke: #0d74ce; } .s1 { fill: #ad5700; stroke: #ad5700; } .s2 { fill: #8e4ec6; stroke: #8e4ec6; }
.s3 { fill: #218358; stroke: #218358; } .s4 { fill: #ce2c31; stroke: #ce2c31; } .s5 { fill: #60646c; stroke: #60646c; }
@media (prefers-color-scheme: dark) {
.s0 { fill: #70b8ff; stroke: #70b8ff; } .s1 { fill: #ffa057; stroke: #ffa057; } .s2 { fill: #d19dff; stroke: #d19dff; }
.s3 { fill: #3dd68c; stroke: #3dd68c; } .s4 { fill: #ff9592; stroke: #ff9592; } .s5 { fill: #b0b4ba; stroke: #b0b4ba; } }
"""
# Colour is never alone: each order has its own mark too.
_MARKS = ("circle", "square", "diamond", "triangle", "cross", "bar")
_LEFT, _WIDTH, _ROW, _STEP = 150, 860, 20, 14  # of a plot, in its own units


def html(measured: Sequence[Measured]) -> str:
    """The whole page. It holds names of sets and figures; no question and no passage."""
    stages = list(dict.fromkeys(row.stage for each in measured for row in each.rows))
    kinds = {stage: place % len(_MARKS) for place, stage in enumerate(stages)}
    fingerprint = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{fingerprint}'\">",
        f"<title>Retrieval, measured</title><style>{_STYLE}</style></head><body><h1>Retrieval, measured</h1>",
        f"<p>{timezone.localtime():%Y-%m-%d %H:%M}. Whiskers and ranges are 95 % bootstrap intervals.{_reduced(measured)}</p>",
        _legend(kinds),
        f"<h2>{MAIN}</h2>",
        _plot(
            [
                _Line(each.name, row.stage, row.means[MAIN], row.intervals[MAIN])
                for each in measured
                for row in each.rows
            ],
            kinds,
        ),
        "<h2>Difference to the better of meaning and words alone</h2>",
        "<p>Question by question, so the interval is that of the difference: one that spans 0 proves nothing.</p>",
        _plot(_differences(measured), kinds),
        "<h2>All measures</h2>",
        _table(measured),
        "<h2>Milliseconds of a search: half of the questions, and 95 of 100</h2>",
        _times(measured),
        "</body></html>",
    ]
    return "\n".join(parts)


def _reduced(measured: Sequence[Measured]) -> str:
    sets = [each for each in measured if each.left_out]
    if not sets:
        return ""
    said = ", ".join(f"{escape(each.name)} without {each.left_out:,} of its passages" for each in sets)
    return f" Measured on part of the passages, which is easier than the whole: {said}."


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    stage: str
    mean: float
    interval: tuple[float, float]


def _differences(measured: Sequence[Measured]) -> list[_Line]:
    found = []
    for each in measured:
        for row in each.rows:
            mean, low, high = row.difference
            if (low, mean, high) != (0, 0, 0):  # the better leg itself
                found.append(_Line(each.name, row.stage, mean, (low, high)))
    return found


def _legend(kinds: Mapping[str, int]) -> str:
    keys = (
        f'<span class="key"><svg viewBox="0 0 14 14" class="icon" aria-hidden="true">'
        f"{_mark(kind, 7, 7)}</svg> {escape(stage)}</span>"
        for stage, kind in kinds.items()
    )
    return f"<p>{' '.join(keys)}</p>"


def _plot(lines: Sequence[_Line], kinds: Mapping[str, int]) -> str:
    """Each set's orders under one another, a mark with its whiskers each."""
    if not lines:
        return "<p>Nothing to show.</p>"
    low = min(line.interval[0] for line in lines)
    high = max(line.interval[1] for line in lines)
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if (high - low) / step <= 10)
    ticks = [round(step * number, 4) for number in range(int(low // step), int(-(-high // step)) + 1)]

    def x(value: float) -> float:
        return round(_LEFT + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (_WIDTH - _LEFT - 20), 1)

    groups: dict[str, list[_Line]] = {}
    for line in lines:
        groups.setdefault(line.name, []).append(line)
    drawn: list[str] = []
    y = 10
    for name, group in groups.items():
        drawn.append(f'<text x="0" y="{y + _STEP * len(group) / 2 + 4}">{escape(name)}</text>')
        for line in group:
            y += _STEP
            kind = kinds[line.stage]
            least, most = (x(value) for value in line.interval)
            said = f"{line.name}, {line.stage}: {line.mean:.4f} ({line.interval[0]:.4f} to {line.interval[1]:.4f})"
            drawn.append(
                f'<g><title>{escape(said)}</title><line class="whisker s{kind}" x1="{least}" x2="{most}" y1="{y}" y2="{y}"/>'
                f"{_mark(kind, x(line.mean), y)}</g>"
            )
        y += _ROW
    height = y + 10
    grid = [
        f'<line class="{"zero" if tick == 0 else "grid"}" x1="{x(tick)}" x2="{x(tick)}" y1="5" y2="{height - 15}"/>'
        f'<text class="soft" x="{x(tick)}" y="{height}" text-anchor="middle">{tick:g}</text>'
        for tick in ticks
    ]
    return f'<svg viewBox="0 0 {_WIDTH} {height + 6}" role="img">{"".join([*grid, *drawn])}</svg>'


def _mark(kind: int, x: float, y: float) -> str:
    name = _MARKS[kind]
    if name == "circle":
        return f'<circle class="s{kind}" cx="{x}" cy="{y}" r="4"/>'
    shapes = {
        "square": f"M{x - 4} {y - 4}h8v8h-8z",
        "diamond": f"M{x} {y - 5}l5 5l-5 5l-5 -5z",
        "triangle": f"M{x} {y - 5}l5 9h-10z",
        "cross": f"M{x - 5} {y - 1.5}h10v3h-10z M{x - 1.5} {y - 5}h3v10h-3z",
        "bar": f"M{x - 2} {y - 5}h4v10h-4z",
    }
    return f'<path class="s{kind}" d="{shapes[name]}"/>'


def _table(measured: Sequence[Measured]) -> str:
    names = list(MEASURES)
    head = ["set", "order", "questions", "passages", *names, "95 %", "to the better leg"]
    rows = []
    for each in measured:
        for row in each.rows:
            low, high = row.intervals[MAIN]
            mean, least, most = row.difference
            cells = [each.name, row.stage, f"{len(each.found):,}", f"{each.passages:,}"]
            cells += [f"{row.means[name]:.4f}" if name in row.means else "–" for name in names]
            rows.append([*cells, f"{low:.3f}–{high:.3f}", f"{mean:+.4f} ({least:+.3f} to {most:+.3f})"])
    return _tabled(head, rows)


def _times(measured: Sequence[Measured]) -> str:
    steps = list(dict.fromkeys(step for each in measured for step in each.timings))
    rows = [
        [
            each.name,
            *(
                f"{each.timings[step][0]:.1f} / {each.timings[step][1]:.1f}" if step in each.timings else "–"
                for step in steps
            ),
        ]
        for each in measured
    ]
    return _tabled(["set", *steps], rows)


def _tabled(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cells(kind: str, row: Sequence[str]) -> Iterator[str]:
        return (f"<{kind}>{escape(cell)}</{kind}>" for cell in row)

    body = "".join(f"<tr>{''.join(cells('td', row))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{"".join(cells("th", head))}</tr></thead><tbody>{body}</tbody></table></div>'
