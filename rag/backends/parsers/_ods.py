"""Reads OpenDocument spreadsheets, whose cells hold the very text that they show."""

from typing import Any

from rag.backends.parsers._odf_package import OdfPackage
from rag.backends.parsers._ooxml import child, local, value
from rag.backends.parsers._workbook import Count, Sheet, Workbook
from rag.backends.parsers.base import Work
from rag.domain.errors import Permanent

_NOT_ONE = "This file is not an OpenDocument spreadsheet."
_MOST_REPEATS = 10_000  # of a filled cell or row: more is a pattern that fills the sheet
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"


def read(package: OdfPackage, work: Work) -> Workbook:
    """Every sheet with its cells as they are shown; raises `Permanent` when this is no spreadsheet."""
    if "content.xml" not in package and "encrypted-package" in package:
        raise Permanent("This spreadsheet is encrypted in a way that is not read here; save it without a password.")
    if "content.xml" not in package:
        raise Permanent(_NOT_ONE)
    root = package.xml("content.xml")
    content = child(root, "body", "spreadsheet")
    if content is None:
        raise Permanent(_NOT_ONE)
    hiding = {
        value(style, "name")
        for style in root.iter("{*}style")
        if any(value(properties, "display") == "false" for properties in style)
    }
    tables = [table for table in content if local(table) == "table"]
    reader = _Reader()
    for done, table in enumerate(tables, 1):
        name = value(table, "name") or f"Sheet {done}"
        reader.fill(Sheet(name, hidden=value(table, "style-name") in hiding), table)
        work.progress(done, len(tables))
    return Workbook(reader.sheets, package.properties())


class _Reader:
    def __init__(self) -> None:
        self.sheets: list[Sheet] = []
        self.number = 0
        self.count = Count()

    def fill(self, sheet: Sheet, table: Any) -> None:
        self.sheets.append(sheet)
        self.number = 1
        # Rows may lie in groups and headers; tables in cells are not this sheet's.
        for row in table.iter("{*}table-row"):
            if next(row.iterancestors("{*}table"), None) is table:
                self._row(row, sheet)
        for shapes in table:
            if local(shapes) == "shapes":
                sheet.images += sum(1 for node in shapes.iter() if local(node) in ("image", "object"))
                for box in shapes.iter("{*}text-box"):
                    sheet.notes.append("\n".join(_inline(line) for line in box.iter(f"{_TEXT}p")))

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
        for item in cell:
            match local(item):
                case "p" | "h":
                    lines.append(_inline(item))
                case "annotation":
                    note = "\n".join(_inline(line) for line in item.iter(f"{_TEXT}p")).strip()
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
