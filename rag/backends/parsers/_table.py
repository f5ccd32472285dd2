"""Writes tables so that a part of one is still understood: the header row stands over every group of rows.

Why groups: passages are cut at blank lines near `rag.domain.chunking.AIM` tokens. A group that fits makes each passage a
table of its own, with its header.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from rag.backends.parsers._writer import Writer
from rag.domain.text import one_line

# A row's number in the sheet, and its filled cells by the number of their column.
Row = tuple[int, dict[int, str]]

_MOST_ROWS = 20  # of a group
_MOST_CHARACTERS = 400  # of a group, header included: about 150 tokens of words, figures and bars
_LONG_LABEL = 60
_VALUE = re.compile(
    r"[-+(]?\s*(?:[$€£¥₹]|[A-Z]{3})?\s*[-+]?\d[\d.,'\s]*(?:[eE][-+]?\d+)?\s*(?:%|[$€£¥₹]|[A-Z]{3})?\)?"
    r"|\d{4}-\d\d(?:-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?)?)?|\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d+:\d\d(?::\d\d)?|TRUE|FALSE",
)
_PERIOD = re.compile(r"(?:19|20)\d\d(?:-\d\d(?:-\d\d)?)?")


@dataclass(frozen=True, slots=True)
class _Header:
    lines: tuple[str, ...]
    labels: dict[int, str]


def write_table(writer: Writer, rows: Iterable[Row]) -> None:
    """Writes the rows in their order; rows apart by an empty one are tables of their own, which may share a header."""
    header = None
    region: list[dict[int, str]] = []
    last = 0
    for number, cells in rows:
        filled = {column: text for column in sorted(cells) if (text := one_line(cells[column]))}
        if not filled:
            continue
        if region and number > last + 1:
            header = _write_region(writer, region, header)
            region = []
        region.append(filled)
        last = number
    if region:
        _write_region(writer, region, header)


def _write_region(writer: Writer, rows: list[dict[int, str]], above: _Header | None) -> _Header | None:
    """Writes one table; `above` is the header of the table before it, which stays that of the next when this has none."""
    columns = sorted({column for row in rows for column in row})
    captions = 0
    while len(columns) > 1 and captions < len(rows) and len(rows[captions]) == 1:
        captions += 1
    for row in rows[:captions]:
        writer.block(next(iter(row.values())))
    rows = rows[captions:]
    if not rows:
        return above
    count = _header_rows(rows) if len(columns) > 1 else 0
    if count:
        labels = {column: one_line(" ".join(row.get(column, "") for row in rows[:count])) for column in columns}
        header: _Header | None = _Header(tuple(_line(row, columns) for row in rows[:count]), labels)
    elif above is not None and len(columns) > 1 and set(columns) <= set(above.labels):
        header, columns = above, list(above.labels)
    else:
        header = None
    lines = [_line(row, columns) for row in rows[count:]]
    top = sum(map(len, header.lines)) if header else 0
    if header and lines and top + median(map(len, lines)) > _MOST_CHARACTERS:
        _write_records(writer, rows[count:], header)
    else:
        _write_groups(writer, header.lines if header else (), lines)
    return header or above


def _header_rows(rows: Sequence[dict[int, str]]) -> int:
    """How many of the first rows name the columns: none, one or two."""
    if len(rows) < 2 or not _names(rows[0]):
        return 0
    for count in (1, 2):
        if count < len(rows) and any(_VALUE.fullmatch(text) for text in rows[count].values()):
            return count
        if count < len(rows) and not _names(rows[count]):
            break
    return 1


def _names(row: dict[int, str]) -> bool:
    """Whether the cells can be the names of columns: short, different, no figures but years."""
    texts = list(row.values())
    if len(texts) < 2 or len(set(texts)) < len(texts) or any(len(text) > _LONG_LABEL for text in texts):
        return False
    return all(_PERIOD.fullmatch(text) or not _VALUE.fullmatch(text) for text in texts)


def _line(row: dict[int, str], columns: Sequence[int]) -> str:
    return " | ".join(row.get(column, "") for column in columns).rstrip(" |").lstrip()


def _write_groups(writer: Writer, header: Sequence[str], lines: Sequence[str]) -> None:
    top = sum(len(line) + 1 for line in header)
    group: list[str] = []
    size = top
    for line in lines:
        if group and (len(group) >= _MOST_ROWS or size + len(line) > _MOST_CHARACTERS):
            writer.block("\n".join((*header, *group)))
            group, size = [], top
        group.append(line)
        size += len(line) + 1
    if group or header:
        writer.block("\n".join((*header, *group)))


def _write_records(writer: Writer, rows: Iterable[dict[int, str]], header: _Header) -> None:
    """A wide table: every row as lines of "name: value", the first of them again where a row takes several groups."""
    for row in rows:
        lines = [f"{label}: {row[column]}" if (label := header.labels.get(column)) else row[column] for column in row]
        first, group, size = lines[0], [lines[0]], len(lines[0])
        for line in lines[1:]:
            if len(group) > 1 and size + len(line) > _MOST_CHARACTERS:
                writer.block("\n".join(group))
                group, size = [first], len(first)
            group.append(line)
            size += len(line) + 1
        writer.block("\n".join(group))
