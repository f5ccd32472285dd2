"""Reads Excel's binary workbooks (XLSB), as `_xlsx` reads the XML ones: the same package, with records in place of elements."""

import struct
from collections.abc import Iterator

from rag.backends.parsers._formats import GENERAL, built_in, shown
from rag.backends.parsers._office import Package
from rag.backends.parsers._ooxml import Embedded, Relation, properties, related, relations
from rag.backends.parsers._workbook import Count, Sheet, Workbook
from rag.backends.parsers._xlsx import extras
from rag.backends.parsers.base import Work
from rag.domain.errors import Permanent

_ERRORS = {
    0: "#NULL!",
    7: "#DIV/0!",
    15: "#VALUE!",
    23: "#REF!",
    29: "#NAME?",
    36: "#NUM!",
    42: "#N/A",
    43: "#GETTING_DATA",
}
# Kinds of records, by the names of [MS-XLSB].
_ROW, _RK, _ERROR, _BOOL, _REAL, _TEXT, _SHARED = 0, 2, 3, 4, 5, 6, 7
_FORMULA_TEXT, _FORMULA_REAL, _FORMULA_BOOL, _FORMULA_ERROR = 8, 9, 10, 11
_SHARED_ITEM, _FORMAT, _STYLE, _WORKBOOK, _SHEET, _STYLES_BEGIN, _STYLES_END = 19, 44, 47, 153, 156, 617, 618


def read(package: Package, work: Work) -> Workbook:
    """Every sheet with its cells as they are shown; raises `Permanent` when this is no such workbook."""
    main = next(related(package, relations(package, ""), "officeDocument"), "")
    if not main.endswith(".bin"):
        raise Permanent("This file is not an Excel workbook.")
    try:
        return _read(package, main, work)
    except (struct.error, IndexError):
        raise Permanent("This spreadsheet is damaged and cannot be read.") from None


def _read(package: Package, main: str, work: Work) -> Workbook:
    links = relations(package, main)
    entries: list[tuple[int, str, str]] = []
    from_1904 = False
    for kind, data in _records(package.read(main)):
        if kind == _WORKBOOK:
            from_1904 = bool(data[0] & 1)
        elif kind == _SHEET:
            # Before its release Excel 2007 wrote four bytes more in front.
            identity, after = next(
                (found for offset in (8, 12) if (found := _string(data, offset))[0] in links), ("", len(data))
            )
            entries.append((data[0], identity, _string(data, after)[0] if identity else ""))
    reader = _Reader(
        _formats(package, next(related(package, links, "styles"), "")),
        _strings(package, next(related(package, links, "sharedStrings"), "")),
        from_1904=from_1904,
    )
    embedded = Embedded(package, work)
    sheets = []
    for done, (state, identity, name) in enumerate(entries, 1):
        link = links.get(identity, Relation("", ""))
        sheet = Sheet(name or f"Sheet {done}", hidden=state != 0)
        if link.target in package:
            if link.kind == "worksheet":
                reader.fill(sheet, package.read(link.target))
            extras(package, link.target, sheet, embedded)
        sheets.append(sheet)
        work.progress(done, len(entries))
    return Workbook(sheets, properties(package), embedded.unread)


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind and content of each record: both the kind and the length are seven bits a byte."""
    place = 0
    while place < len(data):
        kind = data[place]
        place += 1
        if kind & 0x80:
            kind = (kind & 0x7F) | (data[place] & 0x7F) << 7
            place += 1
        length = 0
        for shift in range(0, 28, 7):
            byte = data[place]
            place += 1
            length |= (byte & 0x7F) << shift
            if not byte & 0x80:
                break
        yield kind, data[place : place + length]
        place += length


def _string(data: bytes, place: int) -> tuple[str, int]:
    """The string at `place`, and where it ends."""
    (count,) = struct.unpack_from("<I", data, place)
    if count == 0xFFFFFFFF:
        return "", place + 4
    end = place + 4 + 2 * count
    return data[place + 4 : end].decode("utf-16-le", "replace"), end


def _formats(package: Package, part: str) -> list[str]:
    if part not in package:
        return []
    own: dict[int, str] = {}
    numbers: list[int] = []
    in_styles = False
    for kind, data in _records(package.read(part)):
        if kind == _FORMAT:
            own[struct.unpack_from("<H", data)[0]] = _string(data, 2)[0]
        elif kind in (_STYLES_BEGIN, _STYLES_END):
            in_styles = kind == _STYLES_BEGIN
        elif kind == _STYLE and in_styles:
            numbers.append(struct.unpack_from("<H", data, 2)[0])
    return [own.get(number) or built_in(number) for number in numbers]


def _strings(package: Package, part: str) -> list[str]:
    if part not in package:
        return []
    return [_string(data, 1)[0] for kind, data in _records(package.read(part)) if kind == _SHARED_ITEM]


class _Reader:
    def __init__(self, formats: list[str], strings: list[str], *, from_1904: bool) -> None:
        self.formats = formats
        self.strings = strings
        self.from_1904 = from_1904
        self.count = Count()

    def fill(self, sheet: Sheet, data: bytes) -> None:
        number, cells, hidden = 0, dict[int, str](), False
        for kind, record in _records(data):
            if kind == _ROW:
                self._close(sheet, number, cells, hidden=hidden)
                number, cells = struct.unpack_from("<I", record)[0] + 1, {}
                hidden = len(record) > 11 and bool(record[11] & 0x10)
            elif _RK <= kind <= _FORMULA_ERROR:
                column, style = struct.unpack_from("<II", record)
                text = self._value(kind, record, style & 0xFFFFFF)
                if text:
                    cells[column] = text
        self._close(sheet, number, cells, hidden=hidden)

    def _close(self, sheet: Sheet, number: int, cells: dict[int, str], *, hidden: bool) -> None:
        if cells:
            self.count.add(len(cells))
            sheet.rows.append((number, cells))
            sheet.hidden_cells = sheet.hidden_cells or hidden

    def _value(self, kind: int, record: bytes, style: int) -> str:
        match kind:
            case 2:
                return self._number(_rk(struct.unpack_from("<I", record, 8)[0]), style)
            case 5 | 9:
                return self._number(struct.unpack_from("<d", record, 8)[0], style)
            case 3 | 11:
                return _ERRORS.get(record[8], "#VALUE!")
            case 4 | 10:
                return "TRUE" if record[8] else "FALSE"
            case 6 | 8:
                return _string(record, 8)[0]
        place = struct.unpack_from("<I", record, 8)[0]
        return self.strings[place] if place < len(self.strings) else ""

    def _number(self, value: float, style: int) -> str:
        return shown(value, self.formats[style] if style < len(self.formats) else GENERAL, from_1904=self.from_1904)


def _rk(packed: int) -> float:
    """A number in 30 bits: an integer or the upper half of a float, either of them maybe times 100."""
    if packed & 2:
        value = float((packed >> 2) - (1 << 30) if packed & 0x80000000 else packed >> 2)
    else:
        value = struct.unpack("<d", struct.pack("<Q", (packed & 0xFFFFFFFC) << 32))[0]
    return value / 100 if packed & 1 else value
