"""Reads OpenDocument spreadsheets, whose cells hold the very text that they show."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

from rag.backends.parsers._office import Package
from rag.backends.parsers._workbook import Count, Sheet, Workbook
from rag.backends.parsers._xlsx import local
from rag.domain.errors import Permanent

_MOST_REPEATS = 10_000  # of a filled cell or row: more is a pattern that fills the sheet
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"


def read(package: Package, progress: Callable[[int, int | None], None]) -> Workbook:
    """Every sheet with its cells as they are shown; raises `Permanent` when this is no spreadsheet."""
    from lxml import etree

    if "content.xml" not in package:
        raise Permanent("This file is not an OpenDocument spreadsheet.")
    reader = _Reader(progress)
    events = etree.iterparse(
        BytesIO(package.read("content.xml")),
        events=("start", "end"),
        tag=(f"{_TABLE}table", f"{_TABLE}table-row", f"{_STYLE}style", f"{_OFFICE}spreadsheet"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
    )
    try:
        for event, element in events:
            reader.take(event, element)
    except etree.XMLSyntaxError:
        raise Permanent("This spreadsheet is damaged and cannot be read.") from None
    if not reader.is_spreadsheet:
        raise Permanent("This file is not an OpenDocument spreadsheet.")
    return Workbook(reader.sheets)


class _Reader:
    def __init__(self, progress: Callable[[int, int | None], None]) -> None:
        self.sheets: list[Sheet] = []
        self.is_spreadsheet = False
        self.progress = progress
        self.hiding: set[str] = set()  # styles of sheets that are not displayed
        self.depth = 0
        self.number = 0
        self.count = Count()

    def take(self, event: str, element: Any) -> None:
        match event, local(element):
            case "start", "spreadsheet":
                self.is_spreadsheet = True
            case "end", "style":
                if any(child.get(f"{_TABLE}display") == "false" for child in element):
                    self.hiding.add(element.get(f"{_STYLE}name") or "")
            case "start", "table":
                self.depth += 1
                if self.depth == 1:
                    self.number = 1
                    name = element.get(f"{_TABLE}name") or f"Sheet {len(self.sheets) + 1}"
                    self.sheets.append(Sheet(name, hidden=element.get(f"{_TABLE}style-name") in self.hiding))
            case "end", "table":
                self.depth -= 1
                if self.depth == 0:
                    self.progress(len(self.sheets), None)
                    self._count_pictures(element)
                    element.clear()
            case "end", "table-row" if self.depth == 1:
                self._row(element, self.sheets[-1])
                element.clear()

    def _count_pictures(self, table: Any) -> None:
        for shapes in table.iterchildren(f"{_TABLE}shapes"):
            self.sheets[-1].images += sum(1 for node in shapes.iter() if local(node) in ("image", "object"))

    def _row(self, row: Any, sheet: Sheet) -> None:
        cells: dict[int, str] = {}
        column = 0
        for cell in row:
            if local(cell) not in ("table-cell", "covered-table-cell"):
                continue
            repeats = _repeats(cell, "columns")
            # What a merged cell covers is not shown.
            text = self._text(cell, sheet) if local(cell) == "table-cell" else ""
            if text:
                cells |= dict.fromkeys(range(column, column + min(repeats, _MOST_REPEATS)), text)
            column += repeats
        repeats = _repeats(row, "rows")
        if cells:
            sheet.hidden_cells = sheet.hidden_cells or row.get(f"{_TABLE}visibility") in ("collapse", "filter")
            for place in range(min(repeats, _MOST_REPEATS)):
                self.count.add(len(cells))
                sheet.rows.append((self.number + place, cells))
        self.number += repeats

    def _text(self, cell: Any, sheet: Sheet) -> str:
        lines = []
        for child in cell:
            match local(child):
                case "p" | "h":
                    lines.append(_inline(child))
                case "annotation":
                    note = "\n".join(_inline(line) for line in child.iter(f"{_TEXT}p")).strip()
                    if note:
                        sheet.notes.append(f"Comment: {note}")
                case "frame":
                    sheet.images += 1
        text = "\n".join(lines)
        if not text and cell.get(f"{_OFFICE}value-type"):
            text = next(
                (value for kind in ("string-value", "value", "date-value") if (value := cell.get(f"{_OFFICE}{kind}"))),
                "",
            )
        if not text and cell.get(f"{_TABLE}formula") and not cell.get(f"{_OFFICE}value-type"):
            sheet.uncalculated += 1
        return text


def _repeats(element: Any, what: str) -> int:
    text = element.get(f"{_TABLE}number-{what}-repeated") or "1"
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 10 else 1


def _inline(element: Any) -> str:
    """The text of a paragraph, with its coded blanks and line ends."""
    pieces = []
    for node in element.iter():
        match local(node):
            case "s":
                count = node.get(f"{_TEXT}c") or "1"
                pieces.append(" " * (min(int(count), 1000) if count.isdigit() else 1))
            case "tab":
                pieces.append("\t")
            case "line-break":
                pieces.append("\n")
            case "":
                pass
            case _:
                pieces.append(node.text or "")
        if node is not element:
            pieces.append(node.tail or "")
    return "".join(pieces)
