"""Reads Excel's XML workbooks cell by cell.

Why not by the library that reads the binary ones: it allocates the whole used range, so one stray cell at the end of a
sheet costs gigabytes, and it drops number formats: 0.125 is then all that is left of 12.5%.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from rag.backends.parsers._formats import GENERAL, built_in, shown
from rag.backends.parsers._office import Package
from rag.backends.parsers._ooxml import (
    Embedded,
    Relation,
    chart_text,
    local,
    main_part,
    picture_text,
    properties,
    related,
    relations,
    value,
)
from rag.backends.parsers._workbook import Count, Sheet, Workbook
from rag.backends.parsers.base import Work
from rag.domain.errors import Permanent

_PLACE = re.compile(r"([A-Za-z]{1,3})(\d{1,7})")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_THREADED = re.compile(r"\A\[Threaded comment\].*?^Comment:\s*", re.DOTALL | re.MULTILINE)
_HIDDEN = ("hidden", "veryHidden")


def read(package: Package, work: Work) -> Workbook:
    """Every sheet with its cells as they are shown; raises `Permanent` when this is no workbook."""
    main = main_part(package, "workbook")
    if not main:
        raise Permanent("This file is not an Excel workbook.")
    root, links = package.xml(main), relations(package, main)
    setting = next(root.iter("{*}workbookPr"), None)
    reader = _Reader(package, from_1904=value(setting, "date1904") in ("1", "true", "on"))
    reader.formats = _formats(package, next(related(package, links, "styles"), ""))
    reader.strings = _strings(package, next(related(package, links, "sharedStrings"), ""))
    embedded = Embedded(package, work)
    entries = list(root.iter("{*}sheet"))
    sheets = []
    for done, entry in enumerate(entries, 1):
        link = links.get(value(entry, "id"), Relation("", ""))
        sheet = Sheet(entry.get("name") or f"Sheet {done}", hidden=entry.get("state") in _HIDDEN)
        if link.target in package:
            if link.kind == "worksheet":
                reader.fill(sheet, link.target)
            extras(package, link.target, sheet, embedded)
        sheets.append(sheet)
        work.progress(done, len(entries))
    return Workbook(sheets, properties(package), embedded.unread)


def column_of(letters: str) -> int:
    """The number of a column, "A" being 0."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return number - 1


def extras(package: Package, part: str, sheet: Sheet, embedded: Embedded) -> None:
    """Adds what lies beside the cells of the sheet in `part`: comments, text boxes, charts, pictures, files."""
    links = relations(package, part)
    for target in related(package, links, "comments"):
        if target.endswith(".xml"):
            for entry in package.xml(target).iter("{*}comment"):
                text = _THREADED.sub("", "".join(node.text or "" for node in entry.iter("{*}t"))).strip()
                if text:
                    sheet.notes.append(f"Comment on {entry.get('ref') or 'a cell'}: {text}")
    for target in related(package, links, "drawing"):
        _drawing(package, target, sheet, embedded)
    for kind in ("oleObject", "package"):
        for target in related(package, links, kind):
            embedded.hand_over(target)


def _drawing(package: Package, part: str, sheet: Sheet, embedded: Embedded) -> None:
    root, links = package.xml(part), relations(package, part)
    for picture in root.iter("{*}pic"):
        sheet.images += 1
        described = next(picture.iter("{*}cNvPr"), None)
        sheet.notes.append(picture_text(described) if described is not None else "")
    for body in root.iter("{*}txBody"):
        lines = ("".join(node.text or "" for node in line.iter("{*}t")) for line in body.iter("{*}p"))
        sheet.notes.append("\n".join(lines))
    for target in related(package, links, "chart"):
        sheet.notes.append(chart_text(package.xml(target)))
    if not sheet.rows and not any(note.strip() for note in sheet.notes) and sheet.images:
        found = [embedded.hand_over_picture(target, sheet.name) for target in related(package, links, "image")]
        sheet.gap = (
            "This sheet shows only pictures, which are attached as files of their own."
            if any(found)
            else "This sheet shows only pictures, which were not read."
        )


def _formats(package: Package, part: str) -> list[str]:
    """The format code of every cell style."""
    if part not in package:
        return []
    root = package.xml(part)
    own = {entry.get("numFmtId"): entry.get("formatCode") or GENERAL for entry in root.iter("{*}numFmt")}
    styles = next(root.iter("{*}cellXfs"), ())
    return [own.get(number := style.get("numFmtId") or "0") or built_in(_whole(number)) for style in styles]


def _strings(package: Package, part: str) -> list[str]:
    if part not in package:
        return []
    return [_text(item) for item in _elements(package, part, "si")]


def _elements(package: Package, part: str, name: str) -> Iterator[Any]:
    """The elements of this name as they are read, each dropped afterwards: the whole tree would take ten times the text."""
    from lxml import etree

    events = etree.iterparse(
        BytesIO(package.read(part)),
        tag=f"{{*}}{name}",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
    )
    try:
        for _, element in events:
            yield element
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    except etree.XMLSyntaxError:
        raise Permanent("This spreadsheet is damaged and cannot be read.") from None


def _text(item: Any) -> str:
    """The text of a string item, without the reading aids of Japanese names."""
    pieces = [
        node.text or "" for node in item.iter("{*}t") if node.getparent() is item or local(node.getparent()) == "r"
    ]
    text = "".join(pieces)
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


class _Reader:
    def __init__(self, package: Package, *, from_1904: bool) -> None:
        self.package = package
        self.from_1904 = from_1904
        self.formats: list[str] = []
        self.strings: list[str] = []
        self.count = Count()

    def fill(self, sheet: Sheet, part: str) -> None:
        number = 0
        for row in _elements(self.package, part, "row"):
            number = _whole(row.get("r") or "") or number + 1
            cells = self._cells(row, sheet)
            if cells:
                self.count.add(len(cells))
                sheet.rows.append((number, cells))
                sheet.hidden_cells = sheet.hidden_cells or row.get("hidden") in ("1", "true")

    def _cells(self, row: Any, sheet: Sheet) -> dict[int, str]:
        cells: dict[int, str] = {}
        column = -1
        for cell in row:
            if local(cell) != "c":
                continue
            place = _PLACE.match(cell.get("r") or "")
            column = column_of(place[1]) if place else column + 1
            text = self._value(cell, sheet)
            if text:
                cells[column] = text
        return cells

    def _value(self, cell: Any, sheet: Sheet) -> str:
        text, formula = "", False
        for child in cell:
            match local(child):
                case "v":
                    text = child.text or ""
                case "is":
                    return _text(child)
                case "f":
                    formula = True
        if not text:
            sheet.uncalculated += formula and cell.get("t") != "str"
            return ""
        return self._typed(text, cell.get("t") or "n", _whole(cell.get("s") or "0"))

    def _typed(self, text: str, kind: str, style: int) -> str:
        match kind:
            case "s":
                place = _whole(text)
                return self.strings[place] if place < len(self.strings) else ""
            case "str" | "e":
                return text
            case "b":
                return "TRUE" if text == "1" else "FALSE"
            case "d":
                return text.replace("T00:00:00", "").replace("T", " ").removesuffix("Z")
        try:
            number = float(text)
        except ValueError:
            return text
        return shown(number, self.formats[style] if style < len(self.formats) else GENERAL, from_1904=self.from_1904)
