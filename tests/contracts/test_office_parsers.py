"""What Word, PowerPoint, OpenDocument and rich text files keep of what they show, and how old Office files are converted."""

import base64
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

from rag.backends.convert import convert, libreoffice, readable, socket_name
from rag.backends.parsers import parser_for
from rag.backends.parsers.base import Work
from rag.backends.parsers.odf import OdpParser, OdtParser
from rag.backends.parsers.pptx import PptxParser
from rag.backends.parsers.rtf import RtfParser, rtf_text
from rag.domain.errors import Permanent, Protected
from rag.domain.types import ParsedDocument, Reading
from tests.contracts.test_parsers import (
    FILES,
    MEMORY,
    ParserContract,
    check_promises,
    letters,
    needs_files,
    parse,
    real_files,
    repacked,
    text_of,
)

needs_libreoffice = pytest.mark.skipif(not libreoffice(), reason="LibreOffice is not installed")
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
MATH = "http://schemas.openxmlformats.org/officeDocument/2006/math"
EMU = 914_400  # of PowerPoint's units to an inch


def read(path: Path, *, password: str = "") -> tuple[ParsedDocument, dict[str, bytes]]:
    """The document, and the files that it handed over."""
    taken: dict[str, bytes] = {}

    def take(name: str, content: IO[bytes]) -> None:
        taken[name] = content.read()

    with path.open("rb") as file:
        parser = parser_for(path.name, file.read(4096))
    document = parser().parse(path, Work(attach=take, password=password))
    check_promises(document)
    return document, taken


# --- Word


def word(path: Path, body: str, *, extra: str = "") -> Path:
    """A Word document with this XML in its body."""
    from docx import Document

    document = Document()
    document.save(str(path))
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="{WORD}" xmlns:m="{MATH}" '
        'xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml">'
        f"{extra}<w:body>{body}</w:body></w:document>"
    ).encode()
    return repacked(path, lambda name, data: content if name == "word/document.xml" else data)


def p(*runs: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr>{''.join(runs)}</w:p>"


def r(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def test_word_comments_stand_behind_the_paragraph_that_they_are_on(tmp_path: Path) -> None:
    from docx import Document

    document = Document()
    paragraph = document.add_paragraph("The rent is 900 euros.")
    document.add_comment(paragraph.runs, text="Was 850 before.", author="Eve", initials="E")
    document.add_paragraph("It is due monthly.")
    document.save(str(tmp_path / "a.docx"))
    text = text_of(parse(tmp_path / "a.docx"))
    assert text == "The rent is 900 euros.\n\n[Comment by Eve: Was 850 before.]\n\nIt is due monthly."


def test_word_footnotes_stand_behind_their_paragraph(tmp_path: Path) -> None:
    path = word(tmp_path / "a.docx", p(r("Claim"), '<w:r><w:footnoteReference w:id="2"/></w:r>') + p(r("Next")))
    note = f'<w:footnotes xmlns:w="{WORD}"><w:footnote w:id="2">{p(r("See page 4."))}</w:footnote></w:footnotes>'
    link = (
        b'<Relationship Id="rId99" Target="footnotes.xml" '
        b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"/></Relationships>'
    )
    repacked(
        path,
        lambda name, data: data.replace(b"</Relationships>", link) if name.endswith("document.xml.rels") else data,
        [("word/footnotes.xml", note.encode())],
    )
    assert text_of(parse(path)) == "Claim\n\n[Note 1: See page 4.]\n\nNext"


def test_word_changes_are_read_as_accepted_and_said(tmp_path: Path) -> None:
    body = p(
        r("The fee is "),
        f'<w:del w:author="a">{r("40").replace("w:t", "w:delText")}</w:del>',
        f'<w:ins w:author="a">{r("50")}</w:ins>',
        r(" euros."),
    )
    document = parse(word(tmp_path / "a.docx", body))
    assert text_of(document) == "The fee is 50 euros."
    assert document.warnings == ("The document has 2 unaccepted changes: it was read as if all were accepted.",)


def test_word_cells_that_are_merged_are_read_once(tmp_path: Path) -> None:
    from docx import Document

    document = Document()
    table = document.add_table(3, 3)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "Both"
    table.cell(1, 2).merge(table.cell(2, 2)).text = "Tall"
    table.cell(2, 0).text = "Last"
    document.save(str(tmp_path / "a.docx"))
    assert text_of(parse(tmp_path / "a.docx")) == "Both |\n |  | Tall\nLast |  |"


def test_word_boxes_and_choices_of_forms_are_read(tmp_path: Path) -> None:
    control = "<w:sdt><w:sdtPr><w14:checkbox/></w:sdtPr><w:sdtContent>{}</w:sdtContent></w:sdt>".format(r("☒"))
    ticked = '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:checkBox><w:checked/></w:checkBox></w:ffData></w:fldChar></w:r>'
    chosen = (
        '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:ddList><w:result w:val="1"/><w:listEntry w:val="Red"/>'
        '<w:listEntry w:val="Blue"/></w:ddList></w:ffData></w:fldChar></w:r>'
    )
    empty = "<w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent>{}</w:sdtContent></w:sdt>".format(
        r("Click here to enter text.")
    )
    symbol = '<w:r><w:sym w:font="Wingdings" w:char="F0FE"/></w:r>'
    body = (
        p(control, r(" new "))
        + p(ticked, r(" old "))
        + p(r("Colour: "), chosen)
        + p(symbol, r(" drawn"))
        + p(r("Name: "), empty)
    )
    assert text_of(parse(word(tmp_path / "a.docx", body))) == "☒ new\n\n☒ old\n\nColour: Blue\n\n☑ drawn\n\nName:"


def test_word_formulas_are_read_on_one_line(tmp_path: Path) -> None:
    def m(text: str) -> str:
        return f"<m:r><m:t>{text}</m:t></m:r>"

    power = f"<m:sSup><m:e>{m('x')}</m:e><m:sup>{m('2')}</m:sup></m:sSup>"
    fraction = f"<m:f><m:num>{m('a+b')}</m:num><m:den>{m('2')}</m:den></m:f>"
    root = f"<m:rad><m:deg/><m:e>{m('y')}</m:e></m:rad>"
    body = p(r("So "), f"<m:oMath>{power}{m('=')}{fraction}{m('+')}{root}</m:oMath>", r(" holds."))
    assert text_of(parse(word(tmp_path / "a.docx", body))) == "So x^2=(a+b)/2+√(y) holds."


WHITE, BLUE_CELL = '<w:color w:val="FFFFFF"/>', '<w:tcPr><w:shd w:val="clear" w:fill="1F3864"/></w:tcPr>'


def cell(content: str, properties: str = "") -> str:
    return f"<w:tc>{properties}{content}</w:tc>"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (p(r("Seen "), r("white", WHITE)), "Seen"),
        (p(r("Seen "), r("nearly white", '<w:color w:val="FEFEFE"/>')), "Seen"),
        (p(r("Seen "), r("on black", WHITE + '<w:shd w:val="clear" w:fill="000000"/>')), "Seen on black"),
        (p(r("Seen "), r("two points", '<w:sz w:val="4"/>')), "Seen"),
        (p(r("Seen "), r("hidden", "<w:vanish/>")), "Seen"),
        (p(r("Seen "), r("shown again", '<w:vanish w:val="0"/>')), "Seen shown again"),
        (
            f"<w:tbl><w:tr>{cell(p(r('Head', WHITE)), BLUE_CELL)}{cell(p(r('x')))}</w:tr>"
            f"<w:tr>{cell(p(r('white', WHITE)))}{cell(p(r('Seen')))}</w:tr></w:tbl>",
            "Head | x\n | Seen",
        ),
    ],
)
def test_word_text_that_nobody_sees_is_left_out(tmp_path: Path, body: str, shown: str) -> None:
    document = parse(word(tmp_path / "a.docx", body))
    assert text_of(document) == shown
    assert document.warnings == (() if "again" in shown or "black" in shown else ("Hidden text was left out.",))


def test_word_styles_can_hide_text_too(tmp_path: Path) -> None:
    from docx import Document
    from docx.enum.style import WD_STYLE_TYPE
    from docx.shared import Pt, RGBColor

    document = Document()
    document.styles.add_style("Faint", WD_STYLE_TYPE.CHARACTER).font.color.rgb = RGBColor(255, 255, 255)
    document.styles.add_style("Small", WD_STYLE_TYPE.PARAGRAPH).font.size = Pt(1)
    document.add_paragraph("Seen").add_run(" faint", style="Faint")
    document.add_paragraph("small", style="Small")
    document.save(str(tmp_path / "a.docx"))
    assert text_of(parse(tmp_path / "a.docx")) == "Seen"


def test_word_files_say_what_they_are(tmp_path: Path) -> None:
    from docx import Document

    document = Document()
    document.add_paragraph("words")
    core = document.core_properties
    core.title, core.author, core.subject, core.keywords = "Lease", "A. Smith", "Flat 3", "rent, flat"
    document.save(str(tmp_path / "a.docx"))
    properties = parse(tmp_path / "a.docx").properties
    wanted = {"title": "Lease", "author": "A. Smith", "subject": "Flat 3", "keywords": "rent, flat"}
    assert wanted.items() <= properties.items()
    assert properties["created"].startswith("20")


@pytest.mark.parametrize("suffix", [".docm", ".dotx", ".dotm"])
def test_word_files_of_other_names_are_read(tmp_path: Path, suffix: str) -> None:
    word(tmp_path / "a.docx", p(r("Words"))).rename(tmp_path / f"a{suffix}")
    assert text_of(parse(tmp_path / f"a{suffix}")) == "Words"


def test_a_word_file_of_pictures_alone_hands_them_over_and_says_so(tmp_path: Path) -> None:
    from docx import Document

    (tmp_path / "scan.png").write_bytes(PIXEL)
    document = Document()
    document.add_picture(str(tmp_path / "scan.png"))
    document.save(str(tmp_path / "a.docx"))
    found, taken = read(tmp_path / "a.docx")
    (page,) = found.pages
    assert (page.reading, page.images, page.text) == (Reading.UNREAD, 1, "")
    assert page.gap.endswith("only the files attached to it.")
    assert taken == {"image1.png": PIXEL}


@needs_files
def test_files_inside_word_files_are_handed_over() -> None:
    document, taken = read(FILES / "docx" / "tika__testWORD_2006ml.docx")
    assert set(taken) == {
        "testJPEG_EXIF.jpg",
        "oleObject2.pdf",
        "Microsoft_PowerPoint_97-2003_Presentation.ppt",
    }
    assert taken["oleObject2.pdf"].startswith(b"%PDF-")
    assert "[Note 1: And this is the footnote]" in text_of(document)
    _, taken = read(FILES / "docx" / "tika__test_recursive_embedded.docx")
    assert list(taken) == ["embed1.zip"]


PROTECTED = (
    "tika__testWORD_protected_passtika.docx",
    "tika__testPPT_protected_passtika.pptx",
    "tika__testODTEncrypted.odt",
)


@needs_files
@pytest.mark.parametrize("name", PROTECTED)
def test_protected_office_files_open_with_their_password_alone(name: str) -> None:
    path = FILES / "encrypted" / name
    document, _ = read(path, password="tika")
    assert "encrypted" in text_of(document)
    for password in ("", "Tika"):
        with pytest.raises(Protected, match="protected by a password"):
            read(path, password=password)


# --- PowerPoint


class TestPptx(ParserContract):
    parser, suffix = PptxParser, ".pptx"

    def make(self, path: Path) -> Path:
        return slides(path, lambda deck: titled(deck, self.named_heading, self.known))


def slides(path: Path, build: Callable[[Any], None]) -> Path:
    from pptx import Presentation

    deck = Presentation()
    build(deck)
    deck.save(str(path))
    return path


def titled(deck: Any, title: str, *paragraphs: str) -> Any:
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = title
    slide.placeholders[1].text = "\n".join(paragraphs)
    return slide


def box(slide: Any, text: str, x: float, y: float) -> Any:
    shape = slide.shapes.add_textbox(int(x * EMU), int(y * EMU), 2 * EMU, EMU // 2)
    shape.text_frame.text = text
    return shape


def test_slides_are_read_from_top_to_bottom_and_left_to_right(tmp_path: Path) -> None:
    def build(deck: Any) -> None:
        slide = deck.slides.add_slide(deck.slide_layouts[5])
        for text, x, y in (("four", 5, 5), ("two", 5, 3.02), ("one", 1, 3.05), ("three", 1, 4)):
            box(slide, text, x, y)
        slide.shapes.title.text = "Title"

    page = parse(slides(tmp_path / "a.pptx", build)).pages[0]
    assert page.text == "Title\n\none\n\ntwo\n\nthree\n\nfour"
    assert [heading.text for heading in page.headings] == ["Title"]


def test_slides_keep_lists_tables_charts_groups_and_notes(tmp_path: Path) -> None:
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    def build(deck: Any) -> None:
        slide = titled(deck, "First", "Point", "Other")
        slide.placeholders[1].text_frame.paragraphs[1].level = 1
        slide.notes_slide.notes_text_frame.text = "Say hello.\nThen begin."
        slide = deck.slides.add_slide(deck.slide_layouts[6])
        table = slide.shapes.add_table(2, 2, 0, 0, 4 * EMU, EMU).table
        for place, text in enumerate(("Item", "Price", "Visit", "40")):
            table.cell(place // 2, place % 2).text = text
        data = CategoryChartData()
        data.categories = ["Q1", "Q2"]
        data.add_series("Sales", (10.5, 20))
        slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 2 * EMU, 4 * EMU, 2 * EMU, data)
        group = slide.shapes.add_group_shape()
        group.shapes.add_textbox(0, 5 * EMU, EMU, EMU).text_frame.text = "Grouped"

    document = parse(slides(tmp_path / "a.pptx", build))
    assert [page.number for page in document.pages] == [1, 2]
    assert document.pages[0].text == "First\n\n• Point\n  • Other\n\nNotes:\nSay hello.\nThen begin."
    # PowerPoint's chart has its series' name as title too.
    assert document.pages[1].text == "Item | Price\nVisit | 40\n\n| Sales\nQ1 | 10.5\nQ2 | 20\n\nGrouped"
    assert document.title == "First"


def test_hidden_slides_are_read_and_said_and_hidden_shapes_are_not_read(tmp_path: Path) -> None:
    def build(deck: Any) -> None:
        slide = titled(deck, "Shown", "Words")
        hidden = box(slide, "hidden shape", 1, 1)
        hidden._element.nvSpPr.cNvPr.set("hidden", "1")
        box(slide, "beside the slide", -4, 1)
        tiny = box(slide, "tiny", 1, 6)
        tiny.text_frame.paragraphs[0].runs[0].font.size = 12_700
        titled(deck, "Secret", "More words")._element.set("show", "0")

    document = parse(slides(tmp_path / "a.pptx", build))
    assert [page.text for page in document.pages] == ["Shown\n\nWords", "Secret\n\nMore words"]
    assert document.warnings == ("Slide 2: hidden in the presentation, and read too.", "Hidden text was left out.")


def test_pictures_on_slides_are_counted_and_described(tmp_path: Path) -> None:
    (tmp_path / "pixel.png").write_bytes(PIXEL)

    def build(deck: Any) -> None:
        slide = titled(deck, "With words", "x")
        picture = slide.shapes.add_picture(str(tmp_path / "pixel.png"), EMU, 5 * EMU, EMU, EMU)
        picture._element.nvPicPr.cNvPr.set("descr", "A map of the site")
        slide = deck.slides.add_slide(deck.slide_layouts[6])
        slide.shapes.add_picture(str(tmp_path / "pixel.png"), 0, 0, EMU, EMU)
        deck.slides.add_slide(deck.slide_layouts[6])

    document, taken = read(slides(tmp_path / "a.pptx", build))
    assert document.pages[0].text.endswith("[Picture: A map of the site]")
    assert [page.images for page in document.pages] == [1, 1, 0]
    assert [page.reading for page in document.pages] == [Reading.TEXT, Reading.TEXT, Reading.BLANK]
    assert [bool(page.gap) for page in document.pages] == [False, True, False]
    assert taken == {"slide 2.png": PIXEL}


@needs_files
def test_comments_on_slides_are_read() -> None:
    text = text_of(parse(FILES / "pptx" / "docling__powerpoint_comments.pptx"))
    assert "[Comment by John Reviewer: This is a sample reviewer comment]" in text
    assert "[Comment by Jane Smith: This is a sample response]" in text


# --- OpenDocument

NAMES = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in {
        "office": "office",
        "text": "text",
        "table": "table",
        "style": "style",
        "draw": "drawing",
        "presentation": "presentation",
        "fo": "xsl-fo-compatible",
        "svg": "svg-compatible",
        "meta": "meta",
    }.items()
)
NAMES += ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xlink="http://www.w3.org/1999/xlink"'


def odf(
    path: Path,
    content: str,
    *,
    kind: str = "text",
    automatic: str = "",
    styles: str = "",
    parts: Mapping[str, bytes] | None = None,
) -> Path:
    body = (
        f"<office:automatic-styles>{automatic}</office:automatic-styles>"
        f"<office:body><office:{kind}>{content}</office:{kind}></office:body>"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("mimetype", f"application/vnd.oasis.opendocument.{kind}", zipfile.ZIP_STORED)
        package.writestr("content.xml", f"<office:document-content {NAMES}>{body}</office:document-content>")
        package.writestr("styles.xml", f"<office:document-styles {NAMES}>{styles}</office:document-styles>")
        for name, data in (parts or {}).items():
            package.writestr(name, data)
    return path


class TestOdt(ParserContract):
    parser, suffix = OdtParser, ".odt"

    def make(self, path: Path) -> Path:
        heading = f'<text:h text:outline-level="1">{self.named_heading}</text:h>'
        return odf(path, f"{heading}<text:p>{self.known}</text:p>")


class TestOdp(ParserContract):
    parser, suffix = OdpParser, ".odp"

    def make(self, path: Path) -> Path:
        frames = (
            f'<draw:frame presentation:class="title" svg:y="1cm"><draw:text-box><text:p>{self.named_heading}</text:p>'
            f'</draw:text-box></draw:frame><draw:frame svg:y="4cm"><draw:text-box><text:p>{self.known}</text:p>'
            "</draw:text-box></draw:frame>"
        )
        return odf(path, f"<draw:page>{frames}</draw:page>", kind="presentation")


LIST = (
    '<text:list-style style:name="L1"><text:list-level-style-number text:level="1" style:num-format="1" style:num-suffix="."/>'
    '<text:list-level-style-number text:level="2" style:num-format="a" style:num-suffix=")"/></text:list-style>'
    '<style:style style:name="T1"><style:text-properties text:display="none"/></style:style>'
    '<style:style style:name="T2"><style:text-properties fo:color="#ffffff"/></style:style>'
    '<style:style style:name="T3"><style:text-properties fo:font-size="1pt"/></style:style>'
)
OUTLINE = (
    '<office:styles><text:outline-style><text:outline-level-style text:level="1" style:num-format="1"/>'
    '<text:outline-level-style text:level="2" style:num-format="1" text:display-levels="2"/></text:outline-style>'
    "</office:styles>"
)


def test_opendocument_texts_keep_numbers_lists_and_tables(tmp_path: Path) -> None:
    content = (
        '<text:h text:outline-level="1">Fees</text:h><text:h text:outline-level="2">Rent</text:h>'
        '<text:list text:style-name="L1"><text:list-item><text:p>First</text:p><text:list><text:list-item><text:p>Inner</text:p>'
        "</text:list-item></text:list></text:list-item><text:list-item><text:p>Second</text:p></text:list-item></text:list>"
        '<table:table><table:table-header-rows><table:table-row><table:table-cell table:number-columns-spanned="2">'
        "<text:p>Both</text:p></table:table-cell><table:covered-table-cell/></table:table-row></table:table-header-rows>"
        "<table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell><text:p>b<text:s text:c='2'/>"
        "c</text:p></table:table-cell></table:table-row></table:table>"
    )
    (page,) = parse(odf(tmp_path / "a.odt", content, automatic=LIST, styles=OUTLINE)).pages
    assert page.text == "1 Fees\n\n1.1 Rent\n\n1. First\n  a) Inner\n2. Second\n\nBoth\na | b c"
    assert [(heading.level, heading.text) for heading in page.headings] == [(1, "1 Fees"), (2, "1.1 Rent")]


def test_opendocument_notes_comments_changes_and_margins_are_read(tmp_path: Path) -> None:
    content = (
        "<text:tracked-changes><text:changed-region><text:deletion><text:p>deleted words</text:p></text:deletion>"
        "</text:changed-region></text:tracked-changes>"
        "<text:p>Claim<text:note><text:note-citation>7</text:note-citation><text:note-body><text:p>See page 4.</text:p>"
        "</text:note-body></text:note><office:annotation><dc:creator>Eve</dc:creator><dc:date>2024-01-01</dc:date>"
        "<text:p>Really?</text:p></office:annotation> stands.</text:p>"
    )
    styles = (
        "<office:master-styles><style:master-page><style:header><text:p>File 12</text:p></style:header>"
        "<style:footer><text:p>Page <text:page-number>1</text:page-number></text:p></style:footer></style:master-page>"
        "<style:master-page><style:header><text:p>File 12</text:p></style:header></style:master-page></office:master-styles>"
    )
    document = parse(odf(tmp_path / "a.odt", content, styles=styles))
    assert text_of(document) == (
        "Claim stands.\n\n[Note 1: See page 4.]\n\n[Comment by Eve: Really?]\n\n[Header: File 12]\n\n[Footer: Page]"
    )
    assert document.warnings == ("The document has 1 unaccepted change: it was read as if all were accepted.",)


def test_opendocument_text_that_nobody_sees_is_left_out(tmp_path: Path) -> None:
    spans = "".join(f'<text:span text:style-name="T{number}"> hidden{number}</text:span>' for number in (1, 2, 3))
    content = f"<text:p>Seen{spans}</text:p><text:section text:display='none'><text:p>section</text:p></text:section>"
    document = parse(odf(tmp_path / "a.odt", content, automatic=LIST))
    assert text_of(document) == "Seen"
    assert document.warnings == ("Hidden text was left out.",)


def test_formulas_of_openoffice_are_read_and_entities_refused(tmp_path: Path) -> None:
    content = '<text:p>So<draw:frame><draw:object xlink:href="./Object 1"/></draw:frame></text:p>'
    formula = b"<math><semantics><annotation>a^2 + b^2</annotation></semantics></math>"
    named = b'<?xml version="1.0"?><!DOCTYPE math PUBLIC "-//OpenOffice.org//DTD MathML 1.01//EN" "math.dtd">' + formula
    path = odf(tmp_path / "a.odt", content, parts={"Object 1/content.xml": named})
    assert text_of(parse(path)) == "So\n\na^2 + b^2"
    declared = b'<!DOCTYPE math [<!ENTITY x SYSTEM "file:///etc/hostname">]>' + formula
    with pytest.raises(Permanent, match="XML entities"):
        parse(odf(tmp_path / "b.odt", content, parts={"Object 1/content.xml": declared}))


def test_flat_opendocument_files_are_read_without_their_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.fodt"
    picture = "<draw:frame><draw:image><office:binary-data>AAAA</office:binary-data></draw:image></draw:frame>"
    path.write_text(
        f'<?xml version="1.0"?>\n<office:document {NAMES} office:mimetype="application/vnd.oasis.opendocument.text">'
        "<office:meta><dc:title>Flat lease</dc:title></office:meta>"
        f"<office:body><office:text><text:p>Words{picture}</text:p></office:text></office:body></office:document>"
    )
    document = parse(path)
    assert (text_of(document), document.title, document.pages[0].images) == ("Words", "Flat lease", 1)
    path.write_text('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e "x">]><office:document/>')
    with pytest.raises(Permanent, match="XML entities"):
        parse(path)


def test_opendocument_slides_keep_notes_and_say_what_is_hidden(tmp_path: Path) -> None:
    automatic = (
        '<style:style style:name="dp2"><style:drawing-page-properties presentation:visibility="hidden"/></style:style>'
    )
    frame = '<draw:frame svg:x="{}cm" svg:y="{}cm"><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>'
    notes = (
        '<presentation:notes><draw:frame presentation:class="notes"><draw:text-box><text:p>Say so.</text:p>'
        "</draw:text-box></draw:frame></presentation:notes>"
    )
    content = (
        f"<draw:page>{frame.format(9, 5, 'right')}{frame.format(1, 5.1, 'left')}{frame.format(1, 1, 'top')}{notes}</draw:page>"
        f'<draw:page draw:style-name="dp2">{frame.format(1, 1, "secret")}</draw:page>'
    )
    document = parse(odf(tmp_path / "a.odp", content, kind="presentation", automatic=automatic))
    assert [page.text for page in document.pages] == ["top\n\nleft\n\nright\n\nNotes:\nSay so.", "secret"]
    assert document.warnings == ("Slide 2: hidden in the presentation, and read too.",)


def test_a_text_named_as_a_presentation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="not an OpenDocument presentation"):
        parse(odf(tmp_path / "a.odp", "<text:p>Words</text:p>"))


# --- Rich text


class TestRtf(ParserContract):
    parser, suffix = RtfParser, ".rtf"

    def make(self, path: Path) -> Path:
        heading = self.named_heading.encode("cp1252").replace(b"\xe9", rb"\'e9").decode()
        return rtf(path, rf"\pard\outlinelevel0 {heading}\par\pard {self.known}\par")


def rtf(path: Path, body: str) -> Path:
    path.write_text(
        r"{\rtf1\ansi\ansicpg1252\uc1{\fonttbl{\f0\fcharset0 Times;}{\f1\fcharset204 Arial;}{\f2\fcharset128 Mincho;}}"
        r"{\colortbl;\red0\green0\blue0;\red255\green255\blue255;}{\stylesheet{\s0 Normal;}{\s1 heading 1;}{\*\cs9 x;}}"
        rf"{body}}}",
        encoding="ascii",
    )
    return path


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (r"caf\'e9 {\f1\'cf\'f0\'e8\'e2\'e5\'f2} {\f2\'83]\'83\'8b} na\'efve", "café Привет ゾル naïve"),
        (r"\u8364?5 {\uc2\u1055\'3f\'3f}\u-10179?\u-8704? end", "€5 П😀 end"),
        (r"\pard\s1 Head\par\pard Body\line next\emdash end\~x\_y\par", "Head\n\nBody\nnext—end x-y"),
        (r"\trowd\intbl A\cell B\cell\row\trowd\intbl C\cell D\cell\row\pard After\par", "A | B\nC | D\n\nAfter"),
        (r"{\listtext 1.\tab}One\par{\listtext a)\tab}\ilvl1 Two\par", "1. One\n  a) Two"),
        (r"Claim{\footnote \pard See page 4.} stands.\par Next", "Claim stands.\n\n[Note 1: See page 4.]\n\nNext"),
        (r"Odd{\*\atnauthor Eve}{\*\annotation Why?}\par", "Odd\n\n[Comment by Eve: Why?]"),
        (r"{\header File 12\par}{\headerf File 12\par}Body\par", "Body\n\n[Header: File 12]"),
        (r'{\field{\*\fldinst INCLUDETEXT "/etc/hostname"}{\fldrslt shown}}', "shown"),
        (r"{\pict\pngblip 89504e47}Text{\object{\*\objdata 0102}{\result seen}}", "Textseen"),
        (r"a{\*\unknown gone}{\bin3 }}}b", "ab"),
    ],
)
def test_rich_text_is_read_as_it_is_shown(tmp_path: Path, body: str, text: str) -> None:
    document = parse(rtf(tmp_path / "a.rtf", body))
    check_promises(document)
    assert text_of(document) == text


@pytest.mark.parametrize("hidden", [r"{\v secret}", r"{\fs2 secret}", r"{\cf2 secret}", r"{\deleted secret}"])
def test_rich_text_that_nobody_sees_is_left_out(tmp_path: Path, hidden: str) -> None:
    document = parse(rtf(tmp_path / "a.rtf", f"Seen {hidden}words"))
    assert text_of(document) == "Seen words"
    assert len(document.warnings) == 1


def test_rich_text_says_what_it_is(tmp_path: Path) -> None:
    info = r"{\info{\title {\upr{Vertr?ge}{\*\ud{Vertr\u228?ge}}}}{\author A. Smith}{\creatim\yr2020\mo2\dy3}}"
    document = parse(rtf(tmp_path / "a.rtf", info + "words"))
    assert document.title == "Verträge"
    assert document.properties == {"title": "Verträge", "author": "A. Smith", "created": "2020-02-03"}


def test_a_hundred_thousand_groups_inside_each_other_are_refused() -> None:
    with pytest.raises(Permanent, match="damaged"):
        rtf_text(rb"{\rtf1 " + b"{" * 100_000)


# --- Old Office files


def ole_with_bit(path: Path, stream: str, place: int, bit: int) -> None:
    """Sets a bit at a place of a stream inside an OLE container."""
    import olefile

    with olefile.OleFileIO(path) as container:
        entry = container.direntries[container._find(stream)]
        assert entry.size >= 4096, "the stream lies in whole sectors"
        offset = (entry.isectStart + 1) * container.sectorsize + place
    data = bytearray(path.read_bytes())
    data[offset] |= bit
    path.write_bytes(data)


def converted(path: Path, folder: Path, *, password: str = "") -> tuple[Path, str]:
    return readable(path, name=path.name, seconds=60, memory=MEMORY, folder=folder, password=password)


@needs_files
@needs_libreoffice
def test_old_office_files_are_read_after_a_conversion(tmp_path: Path) -> None:
    rows = [row for row in real_files("legacy", "parity") if Path(row["file"]).suffix in (".doc", ".ppt")]
    read_ones = 0
    for number, row in enumerate(rows):
        folder = tmp_path / str(number)
        folder.mkdir()
        if "WordPerfect" in row["file"]:
            with pytest.raises(Permanent, match="WordPerfect"):
                converted(FILES / row["file"], folder)
            continue
        path, name = converted(FILES / row["file"], folder)
        named = path.rename(path.with_name(name))
        text = letters(text_of(read(named)[0]))
        assert all(letters(snippet) in text for snippet in row["must_contain"]), row["file"]
        read_ones += 1
    assert read_ones >= 7


@needs_files
@needs_libreoffice
def test_a_conversion_leaves_nothing_behind_and_keeps_its_time(tmp_path: Path) -> None:
    source = FILES / "legacy" / "docling__legacy_sample.doc"
    before = sorted(source.parent.iterdir())
    with pytest.raises(Permanent, match=r"took longer than 0\.2 seconds"):
        convert(source, name="a.doc", seconds=0.2, memory=MEMORY, folder=tmp_path)
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in running
    (tmp_path / "new").mkdir()
    convert(source, name="a.doc", seconds=60, memory=MEMORY, folder=tmp_path / "new")
    assert sorted(source.parent.iterdir()) == before
    for folder in (tmp_path, tmp_path / "new"):
        assert not list(Path(tempfile.gettempdir()).glob(f"OSL_PIPE_*{socket_name(folder / 'document.docx')}"))


@needs_files
@needs_libreoffice
def test_protected_old_files_are_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "a.doc"
    path.write_bytes((FILES / "legacy" / "docling__legacy_sample.doc").read_bytes())
    ole_with_bit(path, "WordDocument", 11, 1)
    for password in ("", "wrong"):
        with pytest.raises(Protected, match="This Word document is protected by a password"):
            converted(path, tmp_path, password=password)


@needs_files
@needs_libreoffice
def test_an_old_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.doc"
    path.write_bytes((FILES / "legacy" / "docling__legacy_sample.xls").read_bytes())
    with pytest.raises(Permanent, match="it holds something else"):
        converted(path, tmp_path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(Permanent, match="damaged"):
        converted(path, tmp_path)


@needs_files
def test_without_libreoffice_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Permanent) as caught:
        converted(FILES / "legacy" / "docling__legacy_sample.doc", tmp_path)
    assert caught.value.message == (
        "Reading old Word files needs LibreOffice on the server; save the file as .docx, or ask whoever runs Footnote "
        "to install it."
    )


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda path: rtf(path, "words"), "letter.rtf"),
        (lambda path: word(path, p(r("words"))), "letter.docx"),
    ],
)
def test_newer_files_under_an_old_name_are_read_as_what_they_are(
    tmp_path: Path, make: Callable[[Path], Path], name: str
) -> None:
    made = make(tmp_path / "made").rename(tmp_path / "letter.doc")
    assert converted(made, tmp_path) == (made, name)


def test_other_files_are_left_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "stored"
    path.write_text("words")
    assert readable(path, name="in/a.txt", seconds=1, memory=MEMORY, folder=tmp_path) == (path, "in/a.txt")


ESCAPE = """
import socket, sys
from pathlib import Path
from rag.backends.sandbox_limits import confine_program
folder = Path(sys.argv[1])
readable = [Path(place) for place in ("/usr", "/lib", "/lib64", sys.prefix, sys.base_prefix)]
confine_program(seconds=20, memory=1024**3, readable=readable, writable=folder)
def tried(what, attempt):
    try:
        attempt()
    except OSError:
        print(what, "refused")
    else:
        print(what, "allowed")
tried("read", lambda: Path("/etc/hostname").read_text())
tried("write", lambda: (folder.parent / "outside").write_text("x"))
tried("inside", lambda: (folder / "inside").write_text("x"))
tried("internet", lambda: socket.socket(socket.AF_INET))
tried("connect", lambda: socket.socket(socket.AF_UNIX).connect("/nowhere"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has none of these limits")
def test_a_converting_program_reaches_nothing_but_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", ESCAPE, str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    said = dict(line.split() for line in done.stdout.splitlines())
    assert said == {
        "read": "refused",
        "write": "refused",
        "inside": "allowed",
        "internet": "refused",
        "connect": "refused",
    }


# --- Real files


@needs_files
def test_real_office_files_hold_the_text_that_they_show() -> None:
    missed: list[Any] = []
    found = 0
    for row in real_files("docx", "pptx", "odf", "rtf", "parity", "malformed", "big"):
        path = FILES / row["file"]
        if path.suffix not in (".docx", ".pptx", ".odt", ".odp", ".rtf"):
            continue
        try:
            document, _ = read(path)
        except Permanent as error:
            assert not row["must_contain"], (row["file"], error.message)
            continue
        text = letters(text_of(document))
        missed += [(row["file"], snippet) for snippet in row["must_contain"] if letters(snippet) not in text]
        found += len(row["must_contain"])
    assert not missed
    assert found > 35
