"""The order in which recognised lines are read: columns one after the other, the cells of a table row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from rag.backends.ocr.base import Line

CELL = " | "  # between the cells of a table's row, as in the tables of PDFs
_WIDE = 1.6  # line heights between two words: they stand in different cells or columns
_GUTTER = 0.8  # line heights between two columns at least
_COLUMN_ROWS = 3  # rows that columns have at least
_COLUMN_LETTERS = 16  # letters that a line of a column has on average: a table's cell has fewer


@dataclass(frozen=True, slots=True)
class Row:
    """Lines side by side. With `new_block` a gap parts it from the row before."""

    cells: tuple[Line, ...]
    new_block: bool

    @property
    def y0(self) -> float:
        return min(cell.y0 for cell in self.cells)

    @property
    def y1(self) -> float:
        return max(cell.y1 for cell in self.cells)


def in_order(lines: Sequence[Line]) -> list[Row]:
    """All lines as rows in reading order; lines close together on one row come as one cell."""
    pieces = [piece for line in lines for piece in _pieces(line)]
    if not pieces:
        return []
    height = median(piece.y1 - piece.y0 for piece in pieces)
    groups = _in_columns(pieces, height)
    pitch = _pitch(groups, height)
    rows: list[Row] = []
    for group in groups:
        above: list[Line] | None = None
        for cells in group:
            step = _top(cells) - _top(above) if above is not None else 0.0
            apart = above is None or step > 1.35 * pitch or not 0.7 < _height(cells) / _height(above) < 1.4
            rows.append(Row(tuple(_together(cells, height)), apart))
            above = cells
    return rows


def _pieces(line: Line) -> list[Line]:
    """The line cut where its words stand far apart."""
    pieces = [[line.words[0]]]
    height = line.y1 - line.y0
    for left, right in pairwise(line.words):
        if right.x0 - left.x1 > _WIDE * height:
            pieces.append([])
        pieces[-1].append(right)
    return [Line(tuple(words)) for words in pieces]


def _in_columns(pieces: Sequence[Line], height: float) -> list[list[list[Line]]]:
    """Groups of rows: each column is a group, and so is what stands between columns."""
    rows = _rows(pieces)
    groups: list[list[list[Line]]] = [[]]
    start = 0
    while start < len(rows):
        end, gutter = _columns_from(rows, start, height)
        if gutter is None:
            groups[-1].append(rows[start])
            start += 1
            continue
        inside = [piece for row in rows[start:end] for piece in row]
        groups += _in_columns([piece for piece in inside if _middle(piece) < gutter], height)
        groups += _in_columns([piece for piece in inside if _middle(piece) >= gutter], height)
        groups.append([])
        start = end
    return [group for group in groups if group]


def _columns_from(rows: Sequence[list[Line]], start: int, height: float) -> tuple[int, float | None]:
    """How far down from a row columns stand beside each other, and where the gutter between them is."""
    best: tuple[int, float | None] = (start, None)
    covered: list[tuple[float, float]] = []
    for end in range(start, len(rows)):
        covered = _union([*covered, *((piece.x0, piece.x1) for piece in rows[end])])
        gutters = [
            (left[1] + right[0]) / 2 for left, right in pairwise(covered) if right[0] - left[1] > _GUTTER * height
        ]
        good = [gutter for gutter in gutters if _are_columns(rows[start : end + 1], gutter)]
        if good:
            best = (end + 1, good[0])
        elif not gutters and end > start:
            break
    return best


def _are_columns(rows: Sequence[list[Line]], gutter: float) -> bool:
    """Whether running text stands on both sides, not the cells of a table."""
    for side in (True, False):
        lines = [piece for row in rows for piece in row if (_middle(piece) < gutter) is side]
        letters = sum(len(word.text) for line in lines for word in line.words)
        if len(lines) < _COLUMN_ROWS or letters < _COLUMN_LETTERS * len(lines):
            return False
    return True


def _rows(pieces: Sequence[Line]) -> list[list[Line]]:
    """From the top down, each row from left to right."""
    rows: list[list[Line]] = []
    for piece in sorted(pieces, key=lambda piece: piece.y0 + piece.y1):
        middle = (piece.y0 + piece.y1) / 2
        row = next((row for row in rows[-3:] if any(cell.y0 < middle < cell.y1 for cell in row)), None)
        # Of one row are those beside each other: lines of a slanted scan can overlap in height.
        if row is not None and all(piece.x0 >= cell.x1 - 2 or piece.x1 <= cell.x0 + 2 for cell in row):
            row.append(piece)
        else:
            rows.append([piece])
    for row in rows:
        row.sort(key=lambda piece: piece.x0)
    return rows


def _union(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for left, right in sorted(spans):
        if joined and left <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], right))
        else:
            joined.append((left, right))
    return joined


def _together(cells: Sequence[Line], height: float) -> list[Line]:
    """Those made one that no wide gap parts."""
    joined = [cells[0]]
    for cell in cells[1:]:
        if cell.x0 - joined[-1].x1 <= _WIDE * height:
            joined[-1] = Line((*joined[-1].words, *cell.words))
        else:
            joined.append(cell)
    return joined


def _pitch(groups: Sequence[Sequence[list[Line]]], height: float) -> float:
    """How far it usually is from one line to the next."""
    steps = sorted(
        step
        for group in groups
        for above, below in pairwise(group)
        if 0.5 * height < (step := _top(below) - _top(above)) < 4 * height
    )
    # The lower half: on a page of short paragraphs most steps are gaps between them.
    return median(steps[: len(steps) // 2 + 1]) if steps else 1.3 * height


def _top(cells: Sequence[Line]) -> float:
    return min(cell.y0 for cell in cells)


def _height(cells: Sequence[Line]) -> float:
    return max(1.0, median(cell.y1 - cell.y0 for cell in cells))


def _middle(piece: Line) -> float:
    return (piece.x0 + piece.x1) / 2
