"""The reading order of a page: the file's own where it is sound, else from the places of the lines.

Why: most programs write text in reading order, columns included, and know it better than any geometry. Where they do
not, lines jump up the page or from column to column; then the page is cut along its gutters, and what runs across them
(a title, a wide figure) parts what stands above it from what stands below.
"""

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

from rag.backends.parsers._layout import Item, Line, Table, Word, joined, line_of
from rag.backends.parsers._pdf_drawn import Rectangle
from rag.backends.parsers._pdf_grids import ruled_tables
from rag.backends.parsers._pdf_notes import with_notes
from rag.backends.parsers._pdf_page import RawPage
from rag.backends.parsers._pdf_tables import NARROW_GAP, by_rows, open_tables, parted

_LEFTWARDS = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
_LEAST_ROWS = 6
_MOST_GUTTERS = 4
_LONG_LINE = 18  # letters
_MOST_ITEMS = 1_500  # above, the page is a drawing and keeps the file's order
_DEEPEST = 12  # cuts within cuts
_LEAST_GUTTER = 4.0  # points
_LEAST_LINES = 4  # on either side of a gutter
_WIDE_SPACE = 1.2  # of a line's height: space that parts two regions

Edges = NDArray[np.float64]


def arranged(raw: RawPage) -> list[Item]:
    """The page's lines in reading order, tables and notes among them."""
    upright = joined(line for line in raw.lines if not line.aside)
    aside = joined(line for line in raw.lines if line.aside)
    across, down = _turned_rules(raw)
    items = ruled_tables(upright, across, down)
    gutters = text_gutters([item for item in items if isinstance(item, Line)])
    pieces = [piece for item in items for piece in (parted(item, gutters) if isinstance(item, Line) else [item])]
    if len(pieces) <= _MOST_ITEMS:
        if len(pieces) > len(items) or any(other.y0 < one.y1 - 1 for one, other in pairwise(pieces)):
            pieces = open_tables(by_rows(pieces), gutters)
        pieces = in_reading_order(pieces)
    return with_notes([*_whole(pieces), *aside], raw.notes)


def _turned_rules(raw: RawPage) -> tuple[list[Rectangle], list[Rectangle]]:
    across, down = raw.across, raw.down
    if not raw.turn:
        return across, down
    across, down = (
        [tuple(row) for row in raw.turned(np.array(rules)).tolist()] if rules else [] for rules in (across, down)
    )
    return (down, across) if raw.turn in (90, 270) else (across, down)


def _beside(one: Item, other: Item) -> bool:
    return min(one.y1, other.y1) - max(one.y0, other.y0) > 0.5 * min(one.y1 - one.y0, other.y1 - other.y0)


def _whole(items: Sequence[Item]) -> list[Item]:
    """The items, with the parts of one line that still follow each other made one again."""
    result: list[Item] = []
    for item in items:
        last = result[-1] if result else None
        if isinstance(last, Line) and isinstance(item, Line) and item.row >= 0 and last.row == item.row:
            result[-1] = line_of(last.words + item.words, item.row)
        else:
            if isinstance(item, Table) and _runs_left(item):
                item.rows = [row[::-1] for row in item.rows]
            result.append(item)
    return result


def text_gutters(lines: Sequence[Line]) -> list[float]:
    """Where columns of running text are parted on rows that the file draws from edge to edge, from left to right.

    A row of two columns looks like a row of a table, or like one line where the gutter is narrow. A gutter is a place
    that most rows leave free, with long lines on either side that mostly fill their column.
    """
    level = [_beside(one, other) for one, other in pairwise(lines)]
    if sum(line.gap > NARROW_GAP for line in lines) + sum(level) < _LEAST_ROWS:
        return []
    rows = _drawn_rows(lines, level)
    gaps = [
        (one.x1, other.x0, number, index)
        for number, (row, gap) in enumerate(rows)
        if gap > NARROW_GAP
        for index, (one, other) in enumerate(pairwise(row), 1)
        if other.x0 - one.x1 > NARROW_GAP * one.size
    ]
    if len(gaps) < _LEAST_ROWS:
        return []
    lefts, rights = np.array([gap[0] for gap in gaps]), np.array([gap[1] for gap in gaps])
    starts, ends = np.array([row[0].x0 for row, _ in rows]), np.array([row[-1].x1 for row, _ in rows])
    gutters: list[float] = []
    taken = np.zeros(len(gaps), bool)
    while len(gutters) < _MOST_GUTTERS:
        middles = (lefts + rights) / 2
        held = (lefts <= middles[:, None]) & (rights >= middles[:, None]) & ~taken & ~taken[:, None]
        counts = held.sum(axis=1)
        best = int(counts.argmax())
        crossing = int(((starts < middles[best] - 20) & (ends > middles[best] + 20)).sum())
        if counts[best] < _LEAST_ROWS or counts[best] < 0.5 * crossing:
            break
        taken |= held[best]
        members = [gaps[place] for place in np.flatnonzero(held[best])]
        if _between_text([row for row, _ in rows], members):
            gutters.append(float(middles[best]))
    return sorted(gutters)


def _drawn_rows(lines: Sequence[Line], level: Sequence[bool]) -> list[tuple[list[Word], float]]:
    """The words of lines that follow each other in the file on the same row, and the widest gap between them."""
    rows: list[tuple[list[Word], float]] = []
    for place, line in enumerate(lines):
        if place and level[place - 1] and line.x0 > lines[place - 1].x1:
            rows[-1] = (rows[-1][0] + line.words, math.inf)
        else:
            rows.append((line.words, line.gap))
    return rows


def _between_text(rows: Sequence[list[Word]], gaps: Sequence[tuple[float, float, int, int]]) -> bool:
    """Whether long lines that fill their column stand on both sides of the gaps (left, right, row, first word after)."""
    for side in (-1, 1):
        letters, widths = [], []
        for _, _, number, index in gaps:
            row = rows[number]
            run = row[:index][::-1] if side < 0 else row[index:]
            end = next(
                (
                    at
                    for at, (one, other) in enumerate(pairwise(run), 1)
                    if _space(one, other) > max(one.size, other.size)
                ),
                len(run),
            )
            letters.append(sum(len(word.text) + 1 for word in run[:end]))
            widths.append(abs(run[end - 1].x1 - run[0].x0) if side > 0 else abs(run[0].x1 - run[end - 1].x0))
        if median(letters) < _LONG_LINE or median(widths) < 0.8 * sorted(widths)[int(0.9 * len(widths))]:
            return False
    return True


def _space(one: Word, other: Word) -> float:
    return max(other.x0 - one.x1, one.x0 - other.x1)


def _runs_left(table: Table) -> bool:
    """Whether most letters of the table are of scripts that run to the left: then its first column is the right one."""
    text = "".join(word.text for row in table.rows for cell in row for word in cell)
    return 2 * len(_LEFTWARDS.findall(text)) > sum(map(str.isalpha, text))


def in_reading_order(items: list[Item]) -> list[Item]:
    """The items as they are where their order is sound, else as their places say."""
    if all(one.y1 <= other.y0 + 0.5 * min(one.height, other.height) for one, other in pairwise(items)):
        return items  # from top to bottom
    edges = np.array([(item.x0, item.y0, item.x1, item.y1) for item in items])
    before = _faults(edges)
    if before <= 0.03 * len(items) + 2:
        return items
    order = _ordered(np.arange(len(items)), edges, _DEEPEST)
    if _faults(edges[order]) * 2 >= before:
        return items
    return [items[index] for index in order]


def _faults(edges: Edges) -> int:
    """How often an order goes wrong: a line after one that it stands above, or a step across a gutter and back."""
    x0, y0, x1, y1 = edges.T
    overlap = np.minimum(x1[:, None], x1) - np.maximum(x0[:, None], x0)
    narrower = np.minimum((x1 - x0)[:, None], x1 - x0)
    middle = (y0 + y1) / 2
    above = middle < y0[:, None]  # [i, j]: j stands above i
    wrong = np.triu((overlap > 0.5 * narrower) & above, 1)
    across = (np.minimum(y1[:-1], y1[1:]) - np.maximum(y0[:-1], y0[1:]) > 0.5 * np.minimum(y1 - y0, 1e9)[1:]) & (
        (x0[1:] > x1[:-1]) | (x1[1:] < x0[:-1])
    )
    return int(wrong.any(axis=1).sum() + across.sum())


def _ordered(indices: NDArray[np.int64], edges: Edges, depth: int) -> NDArray[np.int64]:
    """`indices` in reading order."""
    if len(indices) < 2:
        return indices
    gutter = _gutter(edges[indices]) if depth else None
    if gutter is None:
        return _split_or_sorted(indices, edges, depth)
    x0, x1 = edges[indices, 0], edges[indices, 2]
    spanning = (x0 < gutter) & (x1 > gutter)
    if not spanning.any():
        left = x1 <= gutter
        return np.concatenate([_ordered(indices[left], edges, depth - 1), _ordered(indices[~left], edges, depth - 1)])
    # What runs across parts what stands above it from what stands below it.
    middles = (edges[indices, 1] + edges[indices, 3]) / 2
    bars = np.sort(middles[spanning])
    band = np.searchsorted(bars, middles, side="right")
    parts: list[NDArray[np.int64]] = []
    for number in range(len(bars) + 1):
        parts.append(_ordered(indices[~spanning & (band == number)], edges, depth - 1))
        if number < len(bars):
            parts.append(indices[spanning & (middles == bars[number])])
    return np.concatenate(parts)


def _gutter(edges: Edges) -> float | None:
    """The middle of the gutter between two columns; None where the items form one column."""
    if len(edges) < 2 * _LEAST_LINES:
        return None
    x0, y0, x1, y1 = edges.T
    begins, ends = sorted(x0.tolist()), sorted(x1.tolist())
    best: tuple[float, float] | None = None
    for left in sorted({round(begin, 1) for begin in begins})[1:]:
        until = bisect_right(ends, left)
        if until < _LEAST_LINES:
            continue
        gap = left - ends[until - 1]
        if gap < 0.5 * _LEAST_GUTTER:
            # Some lines reach nearly to it: the gap that most keep counts.
            gap = left - ends[int(0.9 * until) - 1]
        at = left - 0.05 - min(gap, _LEAST_GUTTER) / 2
        before, after = bisect_right(ends, at), len(begins) - bisect_left(begins, at)
        fewer, crossing = min(before, after), len(begins) - before - after
        if fewer < _LEAST_LINES or crossing > 0.5 * fewer or gap < _LEAST_GUTTER:
            continue
        score = fewer - 2 * crossing + min(gap, 40.0) / 40
        if (best is None or score > best[0]) and _are_columns(y0, y1, x1 <= at, x0 >= at):
            best = (score, at)
    return best[1] if best else None


def _are_columns(y0: Edges, y1: Edges, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> bool:
    return _side_by_side(y0, y1, before, after) and _dense(y0, y1, before) and _dense(y0, y1, after)


def _side_by_side(y0: Edges, y1: Edges, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> bool:
    """Whether the two groups share most of the height of the shorter."""
    low = max(y0[before].min(), y0[after].min())
    high = min(y1[before].max(), y1[after].max())
    shorter = min(y1[before].max() - y0[before].min(), y1[after].max() - y0[after].min())
    return bool(high - low > 0.5 * shorter)


def _dense(y0: Edges, y1: Edges, group: NDArray[np.bool_]) -> bool:
    """Whether most of the group follow each other closely, as lines of a column do; labels on a form do not."""
    order = np.argsort(y0[group], kind="stable")
    tops, bottoms = y0[group][order], y1[group][order]
    close = tops[1:] - bottoms[:-1] < 0.8 * (bottoms - tops)[:-1]
    return bool(close.sum() >= 0.6 * len(close))


def _split_or_sorted(indices: NDArray[np.int64], edges: Edges, depth: int) -> NDArray[np.int64]:
    """Cut at the widest space across, where there is one; else from top to bottom, side by side from the left."""
    by_top = indices[np.argsort(edges[indices, 1], kind="stable")]
    if depth and len(indices) >= 2 * _LEAST_LINES:
        tops, bottoms = edges[by_top, 1], np.maximum.accumulate(edges[by_top, 3])
        spaces = tops[1:] - bottoms[:-1]
        height = median((edges[indices, 3] - edges[indices, 1]).tolist())
        widest = int(np.argmax(spaces))
        if spaces[widest] > _WIDE_SPACE * height:
            return np.concatenate(
                [_ordered(by_top[: widest + 1], edges, depth - 1), _ordered(by_top[widest + 1 :], edges, depth - 1)]
            )
    rows: list[list[int]] = []
    for index in by_top.tolist():
        middle = (edges[index, 1] + edges[index, 3]) / 2
        first = rows[-1][0] if rows else -1
        level = (edges[first, 1] + edges[first, 3]) / 2
        if rows and edges[first, 1] <= middle <= edges[first, 3] and edges[index, 1] <= level <= edges[index, 3]:
            rows[-1].append(index)
        else:
            rows.append([index])
    return np.array([index for row in rows for index in sorted(row, key=lambda place: edges[place, 0])])
