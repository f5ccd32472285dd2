"""Spreadsheets: every sheet is a page, rows with their header, cells as they are shown."""

import struct
from abc import abstractmethod
from io import BytesIO
from pathlib import Path
from typing import IO, Any, ClassVar

from rag.backends.parsers import _ods, _xlsb, _xlsx
from rag.backends.parsers._formats import moment, plain
from rag.backends.parsers._odf_package import OdfPackage
from rag.backends.parsers._office import Package
from rag.backends.parsers._table import write_table
from rag.backends.parsers._workbook import Count, Sheet, Workbook
from rag.backends.parsers._writer import Writer
from rag.backends.parsers.base import Parser, Work
from rag.domain.errors import Permanent, Protected
from rag.domain.text import one_line, sensible_title
from rag.domain.types import Page, ParsedDocument, Reading

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = b"PK\x03\x04"
_KIND = "spreadsheet"
_DAMAGED = "This spreadsheet is damaged and cannot be read."
_PROTECTED = "This spreadsheet is protected by a password."
_OPENS_ITSELF = "VelvetSweatshop"  # Excel's own password for files that are protected and yet open without one


class _SheetParser(Parser):
    def parse(self, path: Path, work: Work) -> ParsedDocument:
        book = self._read(path, work)
        pages = tuple(_page(number, sheet) for number, sheet in enumerate(book.sheets, 1))
        if not any(page.text or page.gap for page in pages):
            raise Permanent("This spreadsheet holds no text.")
        work.progress(len(pages), len(pages))
        title = sensible_title(book.properties.get("title", ""))
        return ParsedDocument(title, pages, self.name, tuple(_warnings(book)), book.properties)

    @abstractmethod
    def _read(self, path: Path, work: Work) -> Workbook:
        """Everything that the workbook shows."""


class XlsxParser(_SheetParser):
    name: ClassVar[str] = "xlsx/1"
    media_types: ClassVar[frozenset[str]] = frozenset(
        {"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
    )
    suffixes: ClassVar[frozenset[str]] = frozenset({".xlsx", ".xlsm", ".xltx", ".xltm"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith((_ZIP, _OLE))  # the second where it is encrypted

    def _read(self, path: Path, work: Work) -> Workbook:
        with Package(path, kind=_KIND, password=work.password) as package:
            return _xlsx.read(package, work)


class XlsbParser(_SheetParser):
    name: ClassVar[str] = "xlsb/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/vnd.ms-excel.sheet.binary.macroEnabled.12"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".xlsb"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith((_ZIP, _OLE))

    def _read(self, path: Path, work: Work) -> Workbook:
        with Package(path, kind=_KIND, password=work.password) as package:
            return _xlsb.read(package, work)


class OdsParser(_SheetParser):
    name: ClassVar[str] = "ods/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/vnd.oasis.opendocument.spreadsheet"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".ods", ".ots", ".fods"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        plain = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        return head.startswith(_ZIP) or (plain.startswith(b"<") and b"office:document" in head)

    def _read(self, path: Path, work: Work) -> Workbook:
        with OdfPackage(path, kind=_KIND, password=work.password) as package:
            return _ods.read(package, work)


class XlsParser(_SheetParser):
    name: ClassVar[str] = "xls/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/vnd.ms-excel"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".xls", ".xlt"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith(_OLE)

    def _read(self, path: Path, work: Work) -> Workbook:
        import python_calamine

        try:
            return _calamine_book(_opened(path, work.password), work)
        except python_calamine.PasswordError:
            raise Protected(_PROTECTED) from None
        except (python_calamine.CalamineError, OSError, ValueError):
            raise Permanent(_DAMAGED) from None
        except BaseException as error:
            # The library's own crashes come as an exception that is no Exception.
            if type(error).__name__ == "PanicException":
                raise Permanent(_DAMAGED) from None
            raise


def _calamine_book(file: IO[bytes], work: Work) -> Workbook:
    import python_calamine

    source = python_calamine.CalamineWorkbook.from_filelike(file)
    sheets, count = [], Count()
    for done, entry in enumerate(source.sheets_metadata, 1):
        sheet = Sheet(entry.name, hidden=entry.visible != python_calamine.SheetVisibleEnum.Visible)
        if entry.typ == python_calamine.SheetTypeEnum.WorkSheet:
            _fill_from_range(sheet, source.get_sheet_by_name(entry.name), count)
        sheet.images += entry.typ == python_calamine.SheetTypeEnum.ChartSheet
        sheets.append(sheet)
        work.progress(done, len(source.sheets_metadata))
    return Workbook(sheets)


def _fill_from_range(sheet: Sheet, source: Any, count: Count) -> None:
    if source.start is None:
        return
    for number, row in enumerate(source.iter_rows(), 1):
        cells = {column: text for column, value in enumerate(row) if (text := _shown(value))}
        if cells:
            count.add(len(cells))
            sheet.rows.append((number, cells))


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return plain(value) if isinstance(value, int | float) else moment(value)


def _opened(path: Path, password: str) -> IO[bytes]:
    """The workbook's bytes, decrypted where they are encrypted."""
    import msoffcrypto
    from msoffcrypto.exceptions import DecryptionError, FileFormatError, InvalidKeyError, ParseError

    plain_file = BytesIO()
    try:
        with path.open("rb") as file:
            office = msoffcrypto.OfficeFile(file)
            if not office.is_encrypted():
                return BytesIO(path.read_bytes())
            office.load_key(password=password or _OPENS_ITSELF, verify_password=True)
            office.decrypt(plain_file)
    except (InvalidKeyError, DecryptionError):
        raise Protected(_PROTECTED) from None
    except (FileFormatError, ParseError, OSError, ValueError, KeyError, IndexError, AssertionError, struct.error):
        # Older than any encryption, or damaged: the reader will say which.
        return BytesIO(path.read_bytes())
    plain_file.seek(0)
    return plain_file


def _page(number: int, sheet: Sheet) -> Page:
    writer = Writer()
    if sheet.rows or any(note.strip() for note in sheet.notes):
        writer.heading(sheet.name, 1)
    write_table(writer, sheet.rows)
    for note in sheet.notes:
        writer.block(note)
    page = writer.page()
    return Page(
        number,
        page.text,
        page.headings,
        label=one_line(sheet.name)[:100],
        reading=Reading.TEXT if page.text or sheet.images else Reading.BLANK,
        images=sheet.images,
        gap=sheet.gap,
    )


def _warnings(book: Workbook) -> list[str]:
    said = []
    for sheet in book.sheets:
        name = one_line(sheet.name)[:60]
        if sheet.hidden and sheet.rows:
            said.append(f"The sheet “{name}” is hidden in the workbook; it was read too.")
        elif sheet.hidden_cells:
            said.append(f"The sheet “{name}” has hidden rows; they were read too.")
        if sheet.uncalculated:
            count = "a formula" if sheet.uncalculated == 1 else f"{sheet.uncalculated:,} formulas"
            said.append(
                f"The sheet “{name}” has {count} without a stored result; save it once in a spreadsheet program."
            )
    if book.unread:
        said.append("Objects of other programs in this spreadsheet were not read.")
    return said
