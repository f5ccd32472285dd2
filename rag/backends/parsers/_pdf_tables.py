"""Tables of a PDF's page: by the rules drawn around their cells, else by words that stand in columns.

A table is kept as rows, each cell whole: its lines are joined, so that a passage says which number belongs to what.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import median

from rag.backends.parsers._layout import Item, Line, Table, Word, line_of
from rag.backends.parsers._pdf_drawn import Rectangle

_NEAR = 3.0  # points: rules so near meet
_MOST_RULES = 3_000  # of one page
_MOST_CELLS = 20_000
_LONG_CELL = 1_500  # characters: with such a cell it is a layout, not a table
NARROW_GAP = 0.55  # of the letters' size: blanks in justified text seldom are wider
_WIDE_GAP = 1.0  # of the letters' size, between two cells
_SHORT = 25  # characters: lines so short that stand level in several cells are rows of their own
_LEAD = re.compile(r"[^\w\s]{1,2}|\(?(\d{1,3}|[A-Za-z]|[ivxlcIVXLC]{1,6})[.):]+|\.?\d{1,2}(\.\d{1,3}){0,4}\.|\.\d{1,3}")
_PROSE = 40  # characters: cells of two columns that are all so long are columns of text


# --- With rules


def ruled_tables(lines: Sequence[Line], across: Sequence[Rectangle], down: Sequence[Rectangle]) -> list[Item]:
    """The lines in their order, those inside a ruled grid of two columns and more replaced by a table."""
    if len(down) < 3 or len(across) < 2 or len(across) + len(down) > _MOST_RULES:
        return list(lines)
    items: list[Item] = list(lines)
    for grid in _grids(across, down):
        items = _filled(grid, items)
    return items


@dataclass(slots=True)
class _Grid:
    xs: list[float]
    ys: list[float]
    across: list[Rectangle]
    down: list[Rectangle]

    def cells(self) -> list[list[int]]:
        """For each row and column the number of the cell: neighbours without a rule between them share one."""
        columns, rows = len(self.xs) - 1, len(self.ys) - 1
        owner = list(range(rows * columns))

        def find(cell: int) -> int:
            while owner[cell] != cell:
                cell = owner[cell]
            return cell

        for row in range(rows):
            middle = (self.ys[row] + self.ys[row + 1]) / 2
            for column in range(1, columns):
                if not any(
                    abs((x0 + x1) / 2 - self.xs[column]) <= _NEAR and y0 - 1 <= middle <= y1 + 1
                    for x0, y0, x1, y1 in self.down
                ):
                    owner[find(row * columns + column)] = find(row * columns + column - 1)
        for column in range(columns):
            middle = (self.xs[column] + self.xs[column + 1]) / 2
            for row in range(1, rows):
                if not any(
                    abs((y0 + y1) / 2 - self.ys[row]) <= _NEAR and x0 - 1 <= middle <= x1 + 1
                    for x0, y0, x1, y1 in self.across
                ):
                    owner[find(row * columns + column)] = find((row - 1) * columns + column)
        return [[find(row * columns + column) for column in range(columns)] for row in range(rows)]


def _grids(across: Sequence[Rectangle], down: Sequence[Rectangle]) -> Iterator[_Grid]:
    """Rules that touch each other, by groups, where they part the page in columns and rows."""
    rules = [*across, *down]
    horizontal = len(across)
    group = list(range(len(rules)))

    def find(rule: int) -> int:
        while group[rule] != rule:
            group[rule] = group[group[rule]]
            rule = group[rule]
        return rule

    order = sorted(range(len(rules)), key=lambda rule: rules[rule][1])
    active: list[int] = []
    for rule in order:
        x0, y0, x1, _ = rules[rule]
        active = [other for other in active if rules[other][3] >= y0 - _NEAR]
        for other in active:
            if rules[other][0] <= x1 + _NEAR and rules[other][2] >= x0 - _NEAR:
                group[find(rule)] = find(other)
        active.append(rule)
    members: dict[int, list[int]] = {}
    for rule in range(len(rules)):
        members.setdefault(find(rule), []).append(rule)
    for found in members.values():
        level = [rules[rule] for rule in found if rule < horizontal]
        upright = [rules[rule] for rule in found if rule >= horizontal]
        if len(level) < 2 or not upright:
            continue
        ends = [edge for x0, _, x1, _ in level for edge in (x0, x1)]
        xs = _places([(x0 + x1) / 2 for x0, _, x1, _ in upright] + [min(ends), max(ends)])
        ys = _places([(y0 + y1) / 2 for _, y0, _, y1 in level])
        if len(xs) >= 3 and len(ys) >= 2 and len(xs) * len(ys) <= _MOST_CELLS:
            yield _Grid(xs, ys, level, upright)


def _places(values: Sequence[float]) -> list[float]:
    """The values in order, those that lie near each other as one."""
    places: list[float] = []
    for value in sorted(values):
        if not places or value - places[-1] > _NEAR:
            places.append(value)
    return places


def _filled(grid: _Grid, items: Sequence[Item]) -> list[Item]:
    """The items with the words inside the grid as one table where the first of them stood; as they were if it is none."""
    left, right, top, bottom = grid.xs[0] - 1, grid.xs[-1] + 1, grid.ys[0] - 1, grid.ys[-1] + 1
    inside: list[Line] = []
    kept: list[Item] = []
    place = -1
    for item in items:
        if (
            isinstance(item, Table)
            or item.aside
            or item.x1 < left
            or item.x0 > right
            or item.y1 < top
            or item.y0 > bottom
        ):
            kept.append(item)
            continue
        words = [
            word
            for word in item.words
            if left <= (word.x0 + word.x1) / 2 <= right and top <= (word.y0 + word.y1) / 2 <= bottom
        ]
        if not words:
            kept.append(item)
            continue
        if place < 0:
            place = len(kept)
        inside.append(item if len(words) == len(item.words) else line_of(words, item.row))
        outside = [word for word in item.words if word not in words]
        if outside:
            kept.append(line_of(outside, item.row))
    rows = _rows_of_cells(grid, inside)
    if rows is None:
        return list(items)
    kept.insert(place, Table(rows, grid.xs[0], grid.ys[0], grid.xs[-1], grid.ys[-1]))
    return kept


def _rows_of_cells(grid: _Grid, lines: Sequence[Line]) -> list[list[list[Word]]] | None:
    cells = grid.cells()
    words: dict[int, list[list[Word]]] = {}  # by cell, then by line
    for line in lines:
        for piece in _by_cell(line, grid, cells):
            words.setdefault(piece[0], []).append(piece[1])
    if len(words) < 2 or any(_is_layout(cell) for cell in words.values()):
        return None
    rows: list[list[list[Word]]] = []
    written: set[int] = set()
    for numbers in cells:
        row: list[list[list[Word]]] = []
        for column, number in enumerate(numbers):
            if not column or number != numbers[column - 1]:
                row.append([] if number in written else words.get(number, []))
                written.add(number)
        if any(row):
            rows += _rows_inside(row)
    used = max((sum(1 for cell in row if cell) for row in rows), default=0)
    return _without_empty_columns(rows) if used > 1 else None


def _by_cell(line: Line, grid: _Grid, cells: Sequence[Sequence[int]]) -> Iterator[tuple[int, list[Word]]]:
    """The line's words by the number of the cell that they stand in."""
    row = [_between(grid.ys, (word.y0 + word.y1) / 2) for word in line.words]
    column = [_between(grid.xs, (word.x0 + word.x1) / 2) for word in line.words]
    numbers = [cells[at][across] for at, across in zip(row, column, strict=True)]
    for number, group in groupby(zip(numbers, line.words, strict=True), key=lambda pair: pair[0]):
        yield number, [word for _, word in group]


def _is_layout(cell: Sequence[Sequence[Word]]) -> bool:
    """Whether a cell holds so much, or words in columns of their own, that the grid frames parts of the page."""
    if sum(len(word.text) + 1 for line in cell for word in line) > _LONG_CELL:
        return True
    lines = [line_of(list(line)) for line in cell]
    beside = sum(_is_beside(one, other) for one, other in pairwise(lines))
    return beside + sum(len(parted(line)) > 1 for line in lines) >= 2


def _rows_inside(row: Sequence[Sequence[list[Word]]]) -> list[list[list[Word]]]:
    """A row between two rules as the rows of short lines that it holds, where its cells agree on them; else as one."""
    counts = [len(cell) for cell in row if len(cell) > 1]
    if len(counts) >= 2 and 2 * len(counts) >= sum(1 for cell in row if cell) and len(set(counts)) == 1:
        number = counts[0]
        full = [cell for cell in row if len(cell) == number]
        lengths = [sum(len(word.text) + 1 for word in line) for cell in full for line in cell]
        level = all(
            max(line[0].y0 for line in lines) - min(line[0].y0 for line in lines) < 0.5 * lines[0][0].size
            for lines in zip(*full, strict=True)
        )
        if level and median(lengths) <= _SHORT:
            return [
                [cell[place] if len(cell) == number else _all_words(cell) if not place else [] for cell in row]
                for place in range(number)
            ]
    return [[_all_words(cell) for cell in row]]


def _all_words(cell: Sequence[Sequence[Word]]) -> list[Word]:
    return [word for line in cell for word in line]


def _without_empty_columns(rows: list[list[list[Word]]]) -> list[list[list[Word]]]:
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        return rows
    used = [column for column in range(width) if any(row[column] for row in rows)]
    return [[row[column] for column in used] for row in rows]


def _between(places: Sequence[float], value: float) -> int:
    for index in range(len(places) - 2):
        if value < places[index + 1]:
            return index
    return len(places) - 2


# --- Without rules


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
        line = item if isinstance(item, Line) and not item.aside and len(item.text) <= _SHORT else None
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
        result += _table(run)
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
            and _is_beside(row.cells[-1][-1], item)
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


def _is_beside(last: Line, line: Line) -> bool:
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


def _table(run: Sequence[_Row]) -> Iterator[Item]:
    """The rows as a table and the lines around it, or as lines where they do not stand in columns."""
    body = list(run)
    while body and len(body[-1].cells) == 1 and not _continues_cell(body):
        body.pop()
    most = max((len(row.cells) for row in body), default=0)
    table = _in_columns(body) if sum(len(row.cells) > 1 for row in body) >= 2 or most > 2 else None
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
        _without_empty_columns(placed),
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
