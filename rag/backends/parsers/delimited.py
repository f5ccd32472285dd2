"""Tables in plain text: comma-, semicolon-, tab- or bar-separated."""

import csv
import re
from collections import Counter
from pathlib import Path
from typing import ClassVar

from rag.backends.parsers._kinds import is_text, kind_of
from rag.backends.parsers._table import Row, write_table
from rag.backends.parsers._workbook import Count
from rag.backends.parsers._writer import Writer
from rag.backends.parsers.base import Parser, Work
from rag.backends.parsers.text import decode, read_limited
from rag.domain.errors import Permanent
from rag.domain.text import clean
from rag.domain.types import ParsedDocument

_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_LINES = 50
_LONGEST_FIELD = 1024 * 1024
_STRAY_LINES = 200  # in one field: a quotation mark that nobody closed
_NAMED = re.compile(r"\A(?:sep=(.)\n)")


class DelimitedParser(Parser):
    name: ClassVar[str] = "csv/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"text/csv", "text/tab-separated-values"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".csv", ".tsv", ".tab"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return kind_of(head) == "" and is_text(head)

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        text = clean(decode(read_limited(path)))
        named = _NAMED.match(text)
        text = text[named.end() :] if named else text
        lines = text.split("\n")
        delimiter = named[1] if named else "\t" if path.suffix.lower() in (".tsv", ".tab") else _delimiter(lines)
        writer = Writer()
        write_table(writer, _rows(lines, delimiter))
        page = writer.page()
        if not page.text:
            raise Permanent("This file holds no text.")
        work.progress(1, 1)
        return ParsedDocument("", (page,), self.name)


def _rows(lines: list[str], delimiter: str) -> list[Row]:
    try:
        rows = _parsed(lines, delimiter)
    except csv.Error:
        rows = []
    if not rows or any("\n" in cell and cell.count("\n") > _STRAY_LINES for row in rows for cell in row):
        try:
            rows = _parsed(lines, delimiter, quoted=False)
        except csv.Error:
            raise Permanent("This table has a cell that is far too long to be one.") from None
    numbered: list[Row] = []
    for row in rows:
        cells = {column: cell for column, cell in enumerate(row) if cell}
        if cells:
            # Numbered without gaps: an empty line in such a file ends no table.
            numbered.append((len(numbered) + 1, cells))
    return numbered


def _parsed(lines: list[str], delimiter: str, *, quoted: bool = True) -> list[list[str]]:
    csv.field_size_limit(_LONGEST_FIELD)
    source = (line + "\n" for line in lines)
    if quoted:
        reader = csv.reader(source, delimiter=delimiter, skipinitialspace=True)
    else:
        reader = csv.reader(source, delimiter=delimiter, skipinitialspace=True, quoting=csv.QUOTE_NONE)
    count = Count()
    rows = []
    for row in reader:
        count.add(len(row))
        rows.append(row)
    return rows


def _delimiter(lines: list[str]) -> str:
    """The delimiter that cuts the first lines into equally many cells, the more the better."""

    def quality(delimiter: str) -> tuple[float, int]:
        try:
            widths = Counter(len(row) for row in _parsed(lines[:_SAMPLE_LINES], delimiter) if row)
        except csv.Error:
            return (0.0, 0)
        width, rows = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        return (rows / widths.total(), width) if width > 1 else (0.0, 0)

    best = max(_DELIMITERS, key=quality)
    return best if quality(best)[1] else ","
