"""What spreadsheets and delimited tables need of their parsers."""

import datetime
import zipfile
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from rag.backends.parsers._formats import shown
from rag.backends.parsers._xlsb import _rk
from rag.backends.parsers.base import Work
from rag.backends.parsers.delimited import DelimitedParser
from rag.backends.parsers.sheets import OdsParser, XlsbParser, XlsParser, XlsxParser
from rag.domain.chunking import chunk
from rag.domain.errors import Permanent, Protected
from rag.domain.types import Reading
from tests.contracts.test_parsers import FILES, ParserContract, check_promises, needs_files, parse, text_of


def xlsx(path: Path, rows: Iterable[Any], *, change: Callable[[Any], None] | None = None) -> Path:
    import openpyxl

    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    if change:
        change(book)
    book.save(path)
    return path


def first_text(path: Path) -> str:
    """The first sheet's text behind its name."""
    return parse(path).pages[0].text.partition("\n\n")[2]


class TestXlsx(ParserContract):
    parser, suffix = XlsxParser, ".xlsx"

    def make(self, path: Path) -> Path:
        def name(book: Any) -> None:
            book.active.title = self.named_heading

        return xlsx(path, [["Term", "Clause"], ["Notice", self.known]], change=name)


def repacked(path: Path, changes: dict[str, bytes]) -> Path:
    buffer = BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.namelist():
            new.writestr(part, changes.get(part, old.read(part)))
    path.write_bytes(buffer.getvalue())
    return path


def record(kind: int, data: bytes = b"") -> bytes:
    head = bytes((kind,)) if kind < 0x80 else bytes((kind & 0x7F | 0x80, kind >> 7))
    return head + bytes((len(data) & 0x7F | 0x80, len(data) >> 7)) + data


def wide(text: str) -> bytes:
    return len(text).to_bytes(4, "little") + text.encode("utf-16-le")


def little(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in numbers)


class TestXlsb(ParserContract):
    parser, suffix = XlsbParser, ".xlsb"

    def make(self, path: Path) -> Path:
        office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
        rels = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
        rel = '<Relationship Id="{}" Type="' + office + '/{}" Target="{}"/>'
        sheet = record(0, little(0) + bytes(21))
        sheet += (
            record(6, little(0, 0) + wide("Notice")) + record(7, little(1, 0, 0)) + record(2, little(2, 0, 90 << 2 | 2))
        )
        with zipfile.ZipFile(path, "w") as package:
            package.writestr("_rels/.rels", rels.format(rel.format("r1", "officeDocument", "xl/workbook.bin")))
            links = rel.format("s1", "worksheet", "worksheets/sheet1.bin") + rel.format("t", "sharedStrings", "s.bin")
            package.writestr("xl/_rels/workbook.bin.rels", rels.format(links))
            package.writestr("xl/workbook.bin", record(156, little(0, 1) + wide("s1") + wide(self.named_heading)))
            package.writestr("xl/s.bin", record(19, b"\0" + wide(self.known)))
            package.writestr("xl/worksheets/sheet1.bin", sheet)
        return path


def ods(path: Path, rows: str, *, name: str = "Sheet") -> Path:
    spaces = " ".join(
        f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{prefix}:1.0"' for prefix in ("office", "table", "text")
    )
    body = f'<table:table table:name="{name}">{rows}</table:table>'
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        package.writestr(
            "content.xml",
            f"<office:document-content {spaces}><office:body><office:spreadsheet>{body}</office:spreadsheet>"
            "</office:body></office:document-content>",
        )
    return path


def ods_row(*cells: str) -> str:
    inner = "".join(f"<table:table-cell><text:p>{cell}</text:p></table:table-cell>" for cell in cells)
    return f"<table:table-row>{inner}</table:table-row>"


class TestOds(ParserContract):
    parser, suffix = OdsParser, ".ods"

    def make(self, path: Path) -> Path:
        return ods(path, ods_row("Term", "Clause") + ods_row("Notice", self.known), name=self.named_heading)


@needs_files
class TestXls(ParserContract):
    """Nothing here writes the old format, so a real file is made to hold the contract's words."""

    parser, suffix = XlsParser, ".xls"
    named_heading, known = "Duck Observations", "Number of freshwater ducks per year"

    def make(self, path: Path) -> Path:
        path.write_bytes((FILES / "legacy/docling__legacy_sample.xls").read_bytes())
        return path


class TestDelimited(ParserContract):
    parser, suffix, has_headings = DelimitedParser, ".csv", False

    def make(self, path: Path) -> Path:
        path.write_text(f"Term,Clause\nNotice,{self.known}\n")
        return path


# --- Cells as they are shown


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        (0.1 + 0.2, "General", "0.3"),
        (3.0, "General", "3"),
        (-12.5, "General", "-12.5"),
        (123456789012345680.0, "General", "123456789012346000"),
        (0.125, "0.0%", "12.5%"),
        (0.07, "0%", "7%"),
        (1234567.891, "#,##0.00", "1,234,567.89"),
        (12000, '"€"#,##0', "€12,000"),
        (12000, "#,##0.00 [$€-407]", "12,000.00 €"),
        (-12000, "#,##0;(#,##0)", "(12,000)"),
        (-5, '0.0 "kg"', "-5.0 kg"),
        (0, '0;-0;"none"', "none"),
        (42, "00000", "00042"),
        (2_500_000, '0.0,,"M"', "2.5M"),
        (1.005, "0.00", "1.01"),
        (0.5, "# ?/?", "0.5"),
        (5, "[>100]0.0;0", "5"),
        (7, ";;;", ""),
        (45292, "dd/mm/yyyy", "2024-01-01"),
        (45292, "mmm-yy", "2024-01"),
        (45292.75, "yyyy-mm-dd hh:mm", "2024-01-01 18:00"),
        (0.75, "h:mm AM/PM", "18:00"),
        (1.5, "[h]:mm", "36:00"),
        (59, "yyyy-mm-dd", "1900-02-28"),
        (-3, "yyyy-mm-dd", "-3"),
        (1.5, '"Day" 0.0', "Day 1.5"),
        (float("inf"), "0", "#NUM!"),
    ],
)
def test_numbers_are_written_as_their_format_shows_them(value: float, code: str, text: str) -> None:
    assert shown(value, code) == text


def test_the_calendar_of_old_macs_counts_from_1904() -> None:
    assert shown(0, "yyyy-mm-dd", from_1904=True) == "1904-01-01"


@pytest.mark.parametrize(
    ("packed", "value"), [(90 << 2 | 2, 90), (1234 << 2 | 3, 12.34), ((-5 << 2 | 2) & 0xFFFFFFFF, -5)]
)
def test_packed_numbers_of_binary_workbooks_are_unpacked(packed: int, value: float) -> None:
    assert _rk(packed) == value


def test_cells_come_as_excel_shows_them(tmp_path: Path) -> None:
    def build(book: Any) -> None:
        sheet = book.active
        sheet["C2"].number_format = "0.0%"
        sheet["D2"].number_format = "d.m.yyyy"

    rows = [["Item", "Price", "Rise", "From", "Open"], ["Lease", 0.1 + 0.2, 0.125, datetime.date(2024, 5, 4), True]]
    assert first_text(xlsx(tmp_path / "a.xlsx", rows, change=build)) == (
        "Item | Price | Rise | From | Open\nLease | 0.3 | 12.5% | 2024-05-04 | TRUE"
    )


# --- Rows and their header


def test_the_header_stands_over_every_group_and_every_passage_of_it(tmp_path: Path) -> None:
    rows = [["Employee", "Department", "Holidays"], *([f"Person {n}", f"Unit {n % 7}", n] for n in range(200))]
    document = parse(xlsx(tmp_path / "a.xlsx", rows))
    check_promises(document)
    blocks = document.pages[0].text.split("\n\n")[1:]
    assert len(blocks) >= 10
    assert all(block.startswith("Employee | Department | Holidays\n") for block in blocks)
    assert sum(block.count("\n") for block in blocks) == 200

    def spans(text: str) -> list[tuple[int, int]]:
        import re

        return [found.span() for found in re.finditer(r"\w+|[^\w\s]", text)]

    passages = chunk(document.pages, spans)
    assert all("Employee | Department | Holidays" in passage.text for passage in passages)


def test_a_wide_table_names_every_value(tmp_path: Path) -> None:
    names = [f"A rather long name of column {n}" for n in range(20)]
    text = first_text(xlsx(tmp_path / "a.xlsx", [names, [f"value {n}" for n in range(20)]]))
    assert "A rather long name of column 7: value 7\n" in text
    # Where one row takes several groups, each begins with the cell that says whose row it is.
    assert all(block.startswith(f"{names[0]}: value 0") for block in text.split("\n\n"))


def test_captions_gaps_and_years_in_the_header_are_understood(tmp_path: Path) -> None:
    rows = [["Turnover by region"], ["Region", 2023, 2024], ["North", 10, 12], [], ["South", 7, 9], [], ["Notes", "x"]]
    assert first_text(xlsx(tmp_path / "a.xlsx", rows)) == (
        "Turnover by region\n\nRegion | 2023 | 2024\nNorth | 10 | 12\n\nRegion | 2023 | 2024\nSouth | 7 | 9\n\n"
        "Region | 2023 | 2024\nNotes | x"
    )


def test_empty_columns_are_dropped_and_line_ends_in_cells_are_blanks(tmp_path: Path) -> None:
    rows = [["Name", None, "Town"], ["Ada\nByron", None, "London"], ["Bob", None, None]]
    assert first_text(xlsx(tmp_path / "a.xlsx", rows)) == "Name | Town\nAda Byron | London\nBob"


# --- Sheets


def test_each_sheet_is_a_page_with_its_name(tmp_path: Path) -> None:
    def build(book: Any) -> None:
        hidden = book.create_sheet("Salaries")
        hidden.append(["Ada", 90])
        hidden.sheet_state = "hidden"
        book.create_sheet("Empty")
        book.active.row_dimensions[1].hidden = True

    document = parse(xlsx(tmp_path / "a.xlsx", [["a", "b"]], change=build))
    assert [(page.number, page.label, page.reading) for page in document.pages] == [
        (1, "Sheet", Reading.TEXT),
        (2, "Salaries", Reading.TEXT),
        (3, "Empty", Reading.BLANK),
    ]
    assert document.warnings == (
        "The sheet “Sheet” has hidden rows; they were read too.",
        "The sheet “Salaries” is hidden in the workbook; it was read too.",
    )


def test_formulas_that_were_never_calculated_are_said(tmp_path: Path) -> None:
    document = parse(xlsx(tmp_path / "a.xlsx", [["Sum", "=1+1"], ["More", "=2+2"]]))
    assert document.warnings == (
        "The sheet “Sheet” has 2 formulas without a stored result; save it once in a spreadsheet program.",
    )


def test_comments_merged_cells_and_properties_are_kept(tmp_path: Path) -> None:
    from openpyxl.comments import Comment

    def build(book: Any) -> None:
        book.active.merge_cells("A1:B1")
        book.active["A2"].comment = Comment("Ask the landlord.", "Ada")
        book.properties.title = "Rents of 2024"
        book.properties.creator = "Ada Byron"

    document = parse(xlsx(tmp_path / "a.xlsx", [["Rents"], ["North", 10]], change=build))
    assert document.title == "Rents of 2024"
    assert document.properties["author"] == "Ada Byron"
    assert document.pages[0].text == "Sheet\n\nRents\n\nNorth | 10\n\nComment on A2: Ask the landlord."


def test_a_chart_is_read_as_its_table(tmp_path: Path) -> None:
    from openpyxl.chart import BarChart, Reference

    def build(book: Any) -> None:
        chart = BarChart()
        chart.title = "Visitors"
        chart.add_data(Reference(book.active, min_col=2, min_row=1, max_row=3), titles_from_data=True)
        book.active.add_chart(chart, "E2")

    document = parse(xlsx(tmp_path / "a.xlsx", [["Year", "Guests"], [2023, 5], [2024, 8]], change=build))
    assert "Visitors" in text_of(document)


def test_a_stray_cell_at_the_end_of_the_sheet_costs_nothing(tmp_path: Path) -> None:
    def build(book: Any) -> None:
        book.active["XFD1048576"] = "far away"

    assert first_text(xlsx(tmp_path / "a.xlsx", [["near"]], change=build)) == "near\n\nfar away"


def test_too_many_cells_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.backends.parsers._workbook.MOST_CELLS", 100)
    with pytest.raises(Permanent, match="more than"):
        parse(xlsx(tmp_path / "a.xlsx", [[1, 2, 3]] * 34))


def test_a_workbook_with_entities_is_refused(tmp_path: Path) -> None:
    path = xlsx(tmp_path / "a.xlsx", [["x"]])
    bad = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><worksheet/>'
    with pytest.raises(Permanent, match="XML entities"):
        parse(repacked(path, {"xl/worksheets/sheet1.xml": bad}))


def test_repeated_cells_of_opendocument_do_not_fill_the_memory(tmp_path: Path) -> None:
    cell = '<table:table-cell table:number-columns-repeated="16000"><text:p>x</text:p></table:table-cell>'
    with pytest.raises(Permanent, match="2 million"):
        parse(
            ods(tmp_path / "a.ods", f'<table:table-row table:number-rows-repeated="1000000">{cell}</table:table-row>')
        )


def test_opendocument_shows_what_its_cells_show(tmp_path: Path) -> None:
    covered = "<table:covered-table-cell><text:p>covered</text:p></table:covered-table-cell>"
    row = (
        '<table:table-row><table:table-cell office:value-type="percentage" office:value="0.125"><text:p>12,5 %</text:p>'
        f"<office:annotation xmlns:office='urn:oasis:names:tc:opendocument:xmlns:office:1.0'><text:p>Check.</text:p>"
        f"</office:annotation></table:table-cell>{covered}</table:table-row>"
    )
    assert (
        first_text(ods(tmp_path / "a.ods", ods_row("Rise", "Year") + row)) == "Rise | Year\n12,5 %\n\nComment: Check."
    )


# --- Passwords


@needs_files
def test_a_protected_workbook_opens_with_its_password() -> None:
    path = FILES / "encrypted/tika__testEXCEL_protected_passtika.xlsx"
    for password in ("", "wrong"):
        with pytest.raises(Protected, match="This spreadsheet is protected by a password"):
            XlsxParser().parse(path, Work(password=password))
    check_promises(XlsxParser().parse(path, Work(password="tika")))


# --- Delimited text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a;b\n1,5;2\n", "a | b\n1,5 | 2"),
        ("a\tb\n1\t2\n", "a | b\n1 | 2"),
        ("a|b\n1|2\n", "a | b\n1 | 2"),
        ("sep=;\na;b\n1;2\n", "a | b\n1 | 2"),
        ('name,note\n"Byron, Ada","two\nlines"\n', "name | note\nByron, Ada | two lines"),
        ("a,b\n1,2,3\n4\n\n5,6\n", "a | b\n1 | 2 | 3\n4\n5 | 6"),
        ('size,what\n5" nails,12\n6" nails,13\n', 'size | what\n5" nails | 12\n6" nails | 13'),
    ],
)
def test_tables_in_text_are_cut_where_they_should_be(tmp_path: Path, source: str, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(source)
    assert text_of(parse(path)) == text


def test_a_quotation_mark_that_nobody_closed_swallows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("n,what\n" + '1,"open\n' + "".join(f"{n},row\n" for n in range(2, 1000)))
    assert "999 | row" in text_of(parse(path))


@pytest.mark.parametrize("encoding", ["cp932", "utf-16", "cp1252", "utf-8-sig"])
def test_tables_are_read_in_their_encoding(tmp_path: Path, encoding: str) -> None:
    rows = "名前,年齢,住所\n佐藤太郎,30,東京\n" if encoding == "cp932" else "Straße,Größe\nÖlmühle,12 €\n"
    path = tmp_path / "a.csv"
    path.write_bytes(rows.encode(encoding))
    assert text_of(parse(path)) == rows.strip().replace(",", " | ")
