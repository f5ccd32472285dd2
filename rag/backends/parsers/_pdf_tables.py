"""Tables without rules: words that stand in columns over several rows.

A table is kept as rows, each cell whole: its lines are joined, so that a passage says which number belongs to what.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from rag.backends.parsers._layout import Item, Line, Table, Word, line_of

NARROW_GAP = 0.55  # of the letters' size: blanks in justified text seldom are wider
_WIDE_GAP = 1.0  # of the letters' size, between two cells
SHORT = 25  # characters: lines so short that stand level in several cells are rows of their own
_LEAD = re.compile(r"[^\w\s]{1,2}|\(?(\d{1,3}|[A-Za-z]|[ivxlcIVXLC]{1,6})[.):]+|\.?\d{1,2}(\.\d{1,3}){0,4}\.|\.\d{1,3}")
_PROSE = 40  # characters: cells of two columns that are all so long are columns of text


def parted(line: Line, gutters: Sequence[float] = ()) -> list[Line]:
    """The line cut at its wide gaps and at the gutters that no word of it crosses; itself alone where it has none."""
    if line.gap <= (NARROW_GAP if gutters else _WIDE_GAP) or line.aside or line.apart:
        return [line]
    words = line.words
    cuts = []
    for index, (one, other) in enumerate(pairwise(words), 1):
        gap, size = max(other.x0 - one.x1, one.x0 - other.x1), max(one.size, other.size)
        wide = gap > _WIDE_GAP * size or (
            gap > NARROW_GAP * size and any(one.x1 <= gutter <= other.x0 for gutter in gutters)
        )
        if wide and not (index == 1 and _LEAD.fullmatch(one.text)):
            cuts.append(index)
    if not cuts:
        return [line]
    edges = [0, *cuts, len(words)]
    return [line_of(words[start:end], line.row) for start, end in pairwise(edges)]


@dataclass(slots=True)
class _Row:
    """Cells side by side; each is lines below each other."""

    cells: list[list[Line]]

    @property
    def top(self) -> float:
        return min(cell[0].y0 for cell in self.cells)

    @property
    def bottom(self) -> float:
        return max(line.y1 for cell in self.cells for line in cell)


def by_rows(items: Sequence[Item]) -> list[Item]:
    """The items in their order, tables that the file draws column by column put row by row."""
    result: list[Item] = []
    runs: list[list[Line]] = []  # columns that stand beside each other, as far as they are one table
    for item in items:
        line = item if isinstance(item, Line) and not item.aside and len(item.text) <= SHORT else None
        if line is not None and runs and _is_below(runs[-1][-1], line):
            runs[-1].append(line)
            continue
        if line is None or (runs and not _starts_beside(runs[-1], line)):
            result += _merged(runs)
            runs = []
        if line is None:
            result.append(item)
        else:
            runs.append([line])
    return [*result, *_merged(runs)]


def _is_below(above: Line, line: Line) -> bool:
    """Whether `line` comes next in the column of `above`."""
    step = line.y0 - above.y1
    return -0.5 * line.height < step < 2 * line.height and min(above.x1, line.x1) > max(above.x0, line.x0)


def _starts_beside(run: Sequence[Line], line: Line) -> bool:
    """Whether `line` is level with the first line of a column, to its right."""
    return abs(run[0].y0 - line.y0) < 0.5 * line.height and line.x0 > max(other.x1 for other in run)


def _merged(runs: Sequence[Sequence[Line]]) -> Iterator[Line]:
    """The lines of the columns row by row, where they are three or more that agree on their rows."""
    tops = [{round(line.y0) for line in run} for run in runs]
    first = tops[0] if tops else set()
    agree = len(runs) >= 3 and all(
        len(run) >= 3 and sum(1 for top in others if {top - 1, top, top + 1} & first) >= 0.7 * len(others)
        for run, others in zip(runs, tops, strict=True)
    )
    if not agree:
        yield from (line for run in runs for line in run)
        return
    yield from sorted((line for run in runs for line in run), key=lambda line: (round(line.y0 / 3), line.x0))


def open_tables(items: Sequence[Item], gutters: Sequence[float] = ()) -> list[Item]:
    """The items in their order, lines that stand in columns over several rows replaced by a table.

    No table reaches over one of the `gutters` between columns of text.
    """
    result: list[Item] = []
    run: list[_Row] = []
    for entry in [*_rows(items, gutters), None]:
        if isinstance(entry, _Row) and (_follows(run, entry) if run else len(entry.cells) > 1):
            run.append(entry)
            continue
        result += _table(run, alone=not gutters)
        run = []
        if isinstance(entry, Table):
            result.append(entry)
        elif entry is not None and len(entry.cells) > 1:
            run = [entry]
        elif entry is not None:
            result += entry.cells[0]
    return result


def _rows(items: Sequence[Item], gutters: Sequence[float]) -> Iterator[_Row | Table]:
    """Lines that follow each other in the file and stand side by side, as rows."""
    row: _Row | None = None
    for item in items:
        if isinstance(item, Table):
            if row:
                yield row
            row = None
            yield item
        elif (
            row is not None
            and is_beside(row.cells[-1][-1], item)
            and not any(row.cells[-1][-1].x1 <= gutter <= item.x0 for gutter in gutters)
        ):
            last = row.cells[-1][-1]
            if _LEAD.fullmatch(last.text):  # a number before its paragraph is no cell
                row.cells[-1][-1] = line_of(last.words + item.words, last.row)
            else:
                row.cells.append([item])
        else:
            if row is not None:
                yield row
            row = _Row([[item]])
    if row is not None:
        yield row


def is_beside(last: Line, line: Line) -> bool:
    """Whether `line` stands beside `last` on the same row, apart from it."""
    overlap = min(last.y1, line.y1) - max(last.y0, line.y0)
    if last.aside or last.apart or line.aside or line.apart or overlap < 0.5 * min(last.height, line.height):
        return False
    gap = max(line.x0 - last.x1, last.x0 - line.x1)
    return gap > 0.8 * _WIDE_GAP * max(last.words[-1].size, line.words[0].size)


def _follows(run: Sequence[_Row], row: _Row) -> bool:
    """Whether `row` can belong to the same table as those above it."""
    above, last, line = run[-1], run[-1].cells[-1][-1], row.cells[0][0]
    step = row.top - above.bottom
    if last.aside or line.aside or last.apart or line.apart or not -0.5 * last.height <= step <= 2.5 * last.height:
        return False
    if len(row.cells) > 1:
        return True
    # A line alone at the left edge is a heading, or the text after a table.
    return line.x0 > min(cell[0].x0 for other in run for cell in other.cells) + line.size


def _table(run: Sequence[_Row], *, alone: bool) -> Iterator[Item]:
    """The rows as a table and the lines around it, or as lines where they do not stand in columns.

    A row of three cells and more makes a table `alone`, where the page has no columns of text.
    """
    body = list(run)
    while body and len(body[-1].cells) == 1 and not _continues_cell(body):
        body.pop()
    most = max((len(row.cells) for row in body), default=0)
    table = _in_columns(body) if sum(len(row.cells) > 1 for row in body) >= 2 or (alone and most > 2) else None
    if table:
        yield table
    yield from (line for row in run[len(body) if table else 0 :] for cell in row.cells for line in cell)


def _continues_cell(rows: Sequence[_Row]) -> bool:
    """Whether the last of the rows, with one cell, goes on in a cell of the row above that is full."""
    if len(rows) < 2 or len(rows[-1].cells) != 1:
        return False
    line, above = rows[-1].cells[0][0], rows[-2]
    return line.y0 - above.bottom < line.height and any(
        abs(cell[0].x0 - line.x0) < 3 and line.x1 - line.x0 < 1.3 * (cell[0].x1 - cell[0].x0) for cell in above.cells
    )


def _in_columns(rows: Sequence[_Row]) -> Table | None:
    """The rows as a table; None where their cells do not stand below each other."""
    multiple = [row for row in rows if len(row.cells) > 1]
    if 2 * len(multiple) < len(rows):
        return None
    columns = _columns(multiple)
    if len(columns) < 2 or _is_prose(multiple, columns):
        return None
    placed: list[list[list[Word]]] = []
    for number, row in enumerate(rows):
        cells: list[list[Word]] = [[] for _ in columns]
        for cell in row.cells:
            column = _column_of(columns, cell[0])
            cells[column] += [word for line in cell for word in line.words]
        if number and _continues_cell(rows[: number + 1]):
            for mine, more in zip(placed[-1], cells, strict=True):
                mine += more
        else:
            placed.append(cells)
    lines = [line for row in rows for cell in row.cells for line in cell]
    return Table(
        without_empty_columns(placed),
        min(line.x0 for line in lines),
        min(line.y0 for line in lines),
        max(line.x1 for line in lines),
        max(line.y1 for line in lines),
    )


def _columns(rows: Sequence[_Row]) -> list[tuple[float, float]]:
    """The stretches of the page's width that cells take; a few cells may reach over several."""
    widest = max(len(row.cells) for row in rows)
    spans = [(cell[0].x0, cell[0].x1) for row in rows if 2 * len(row.cells) > widest for cell in row.cells]
    return max((_stretches(spans, allowed) for allowed in {0, len(rows) // 7}), key=len)


def _stretches(spans: Sequence[tuple[float, float]], allowed: int) -> list[tuple[float, float]]:
    """Where more than `allowed` of the spans lie, from left to right."""
    stretches: list[tuple[float, float]] = []
    covering = 0
    begun = 0.0
    for place, step in sorted([(x0, 1) for x0, _ in spans] + [(x1, -1) for _, x1 in spans]):
        if step == 1 and covering == allowed:
            begun = place
        covering += step
        if step == -1 and covering == allowed:
            stretches.append((begun, place))
    return stretches


def _column_of(columns: Sequence[tuple[float, float]], line: Line) -> int:
    def overlap(column: int) -> tuple[float, float]:
        x0, x1 = columns[column]
        return min(x1, line.x1) - max(x0, line.x0), -abs(x0 - line.x0)

    return max(range(len(columns)), key=overlap)


def _is_prose(rows: Sequence[_Row], columns: Sequence[tuple[float, float]]) -> bool:
    """Whether these are columns of running text rather than cells: their lines are long and fill the columns."""
    if len(columns) > 3 or len(rows) < 4:
        return False
    for column, (x0, x1) in enumerate(columns):
        lines = [line for row in rows for cell in row.cells for line in cell if _column_of(columns, line) == column]
        if not lines:
            return False
        if median(len(line.text) for line in lines) < _PROSE / len(columns) * 1.3:
            return False
        if median(line.x1 - line.x0 for line in lines) < 0.7 * (x1 - x0):
            return False
    return True


def without_empty_columns(rows: list[list[list[Word]]]) -> list[list[list[Word]]]:
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        return rows
    used = [column for column in range(width) if any(row[column] for row in rows)]
    return [[row[column] for column in used] for row in rows]
