"""Tables whose cells are drawn with rules around them.

A table is kept as rows, each cell whole: its lines are joined, so that a passage says which number belongs to what.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import median

from rag.backends.parsers._layout import Item, Line, Table, Word, line_of
from rag.backends.parsers._pdf_drawn import Rectangle
from rag.backends.parsers._pdf_tables import SHORT, is_beside, parted, without_empty_columns

_NEAR = 3.0  # points: rules so near meet
_MOST_RULES = 1_500  # of one page
_MOST_TESTS = 2_000_000  # of rules against cells
_LONG_CELL = 1_500  # characters: with such a cell it is a layout, not a table


def ruled_tables(lines: Sequence[Line], across: Sequence[Rectangle], down: Sequence[Rectangle]) -> list[Item]:
    """The lines in their order, those inside a ruled grid of two columns and more replaced by a table."""
    across, down = _distinct(across), _distinct(down)
    if len(down) < 3 or len(across) < 2 or len(across) + len(down) > _MOST_RULES:
        return list(lines)
    items: list[Item] = list(lines)
    for grid in _grids(across, down):
        items = _filled(grid, items)
    return items


def _distinct(rules: Sequence[Rectangle]) -> list[Rectangle]:
    """The rules without those drawn twice at the same place, to half a point."""
    return list({tuple(round(2 * side) for side in rule): rule for rule in rules}.values())


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

        beside = _stretches(self.xs, [((x0 + x1) / 2, y0, y1) for x0, y0, x1, y1 in self.down])
        for row in range(rows):
            middle = (self.ys[row] + self.ys[row + 1]) / 2
            for column in range(1, columns):
                if not any(start - 1 <= middle <= end + 1 for start, end in beside[column]):
                    owner[find(row * columns + column)] = find(row * columns + column - 1)
        above = _stretches(self.ys, [((y0 + y1) / 2, x0, x1) for x0, y0, x1, y1 in self.across])
        for column in range(columns):
            middle = (self.xs[column] + self.xs[column + 1]) / 2
            for row in range(1, rows):
                if not any(start - 1 <= middle <= end + 1 for start, end in above[row]):
                    owner[find(row * columns + column)] = find((row - 1) * columns + column)
        return [[find(row * columns + column) for column in range(columns)] for row in range(rows)]


def _stretches(places: Sequence[float], rules: Sequence[tuple[float, float, float]]) -> list[list[tuple[float, float]]]:
    """For each of the places the stretches (start, end) of the rules (place, start, end) that lie there."""
    found: list[list[tuple[float, float]]] = [[] for _ in places]
    for place, start, end in rules:
        at = bisect_left(places, place - _NEAR)
        while at < len(places) and places[at] <= place + _NEAR:
            found[at].append((start, end))
            at += 1
    return found


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
        if len(xs) >= 3 and len(ys) >= 2 and len(xs) * len(ys) * len(found) <= _MOST_TESTS:
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
    return without_empty_columns(rows) if used > 1 else None


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
    beside = sum(is_beside(one, other) for one, other in pairwise(lines))
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
        if level and median(lengths) <= SHORT:
            return [
                [cell[place] if len(cell) == number else _all_words(cell) if not place else [] for cell in row]
                for place in range(number)
            ]
    return [[_all_words(cell) for cell in row]]


def _all_words(cell: Sequence[Sequence[Word]]) -> list[Word]:
    return [word for line in cell for word in line]


def _between(places: Sequence[float], value: float) -> int:
    for index in range(len(places) - 2):
        if value < places[index + 1]:
            return index
    return len(places) - 2
