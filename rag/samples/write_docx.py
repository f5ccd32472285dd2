"""Sets a sample as a Word document, with Word's own heading, list and table styles."""

import io
import zipfile
from pathlib import Path

from docx import Document
from docx.document import Document as WordDocument
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Mm, Pt, RGBColor
from docx.text.paragraph import Paragraph as WordParagraph

from rag.samples.blocks import Block, Heading, Items, Line, Paragraph, Quote, Rule, Source, Table
from rag.samples.houses import HOUSES, House

TEXT_WIDTH = 160  # millimetres


def write(source: Source, path: Path) -> None:
    """Writes `source` as a Word document to `path`; the same source gives the same bytes with the same python-docx."""
    house = HOUSES[source.house]
    document = Document()
    _set_up(document, source, house)
    document.add_paragraph(source.title, style="Title")
    if source.details:
        _details(document, source)
    for block in source.blocks():
        _place(document, block)
    unsettled = io.BytesIO()
    document.save(unsettled)
    path.write_bytes(_settled(unsettled, source))


def _set_up(document: WordDocument, source: Source, house: House) -> None:
    properties = document.core_properties
    properties.title, properties.author, properties.subject = source.title, house.name, source.reference
    properties.created = properties.modified = source.date.replace(tzinfo=None)
    properties.last_modified_by, properties.revision, properties.comments = house.name, 1, ""
    section = document.sections[0]
    section.page_width, section.page_height = Mm(210), Mm(297)
    section.left_margin = section.right_margin = Mm((210 - TEXT_WIDTH) / 2)
    section.header.paragraphs[0].text = f"{house.name}\t\t{source.reference}"
    _page_number(section.footer.paragraphs[0])
    accent = RGBColor.from_string(house.accent[1:])
    face = "Georgia" if house.serif else "Calibri"
    document.styles["Normal"].font.name, document.styles["Normal"].font.size = face, Pt(10.5)
    for name in ("Title", "Heading 1", "Heading 2", "Heading 3"):
        style = document.styles[name]
        style.font.name, style.font.color.rgb = face, accent
        # Word prefers the theme's face over the named one until the theme's attributes are gone.
        fonts = style.element.rPr.rFonts
        for attribute in [key for key in fonts.attrib if key.endswith("Theme")]:
            del fonts.attrib[attribute]


def _page_number(paragraph: WordParagraph) -> None:
    paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT
    paragraph.add_run("Page ")
    field = OxmlElement("w:fldSimple")
    field.set(qn("w:instr"), "PAGE")
    paragraph._p.append(field)


def _details(document: WordDocument, source: Source) -> None:
    table = document.add_table(rows=0, cols=2, style="Table Grid")
    for label, value in source.details:
        cells = table.add_row().cells
        cells[0].width, cells[1].width = Mm(TEXT_WIDTH * 0.28), Mm(TEXT_WIDTH * 0.72)
        cells[0].paragraphs[0].add_run(label).bold = True
        cells[1].paragraphs[0].add_run(value)
    document.add_paragraph()


def _place(document: WordDocument, block: Block) -> None:
    match block:
        case Heading(level, line):
            _fill(document.add_paragraph(style=f"Heading {max(1, level - 1)}"), line)
        case Paragraph(line):
            _fill(document.add_paragraph(), line)
        case Quote(lines):
            for line in lines:
                _fill(document.add_paragraph(style="Intense Quote"), line)
        case Items():
            _items(document, block)
        case Table():
            _table(document, block)
        case Rule():
            document.add_paragraph()


def _items(document: WordDocument, block: Items) -> None:
    if block.first not in (None, 1):
        raise ValueError("a numbered list of a Word sample begins at 1")
    number = None if block.first is None else _fresh_numbering(document)
    for line in block.items:
        paragraph = document.add_paragraph(style="List Bullet" if number is None else "List Number")
        if number is not None:
            properties = paragraph._p.get_or_add_pPr().get_or_add_numPr()
            properties.get_or_add_ilvl().val = 0
            properties.get_or_add_numId().val = number
        _fill(paragraph, line)


def _fresh_numbering(document: WordDocument) -> int:
    """The id of a new run of numbers: Word counts on from the list before unless a list has a `w:num` of its own."""
    numbering = document.part.numbering_part.numbering_definitions._numbering
    of_style = document.styles["List Number"].element.pPr.numPr.numId.val
    fresh = numbering.add_num(numbering.num_having_numId(of_style).abstractNumId.val)
    fresh.add_lvlOverride(ilvl=0).add_startOverride(1)
    return int(fresh.numId)


def _table(document: WordDocument, block: Table) -> None:
    table = document.add_table(rows=0, cols=len(block.header), style="Light Grid Accent 1")
    table.autofit = False
    for cells in (block.header, *block.rows):
        placed = table.add_row().cells
        for column, (cell, line, share) in enumerate(zip(placed, cells, block.shares(), strict=True)):
            cell.width = Mm(TEXT_WIDTH * share)
            _fill(cell.paragraphs[0], line)
            if column in block.right:
                cell.paragraphs[0].alignment = WD_ALIGN_PARAGRAPH.RIGHT
    document.add_paragraph()


def _fill(paragraph: WordParagraph, line: Line) -> None:
    for span in line:
        run = paragraph.add_run()
        if span.text == "\n":
            run.add_break()
            continue
        run.text = span.text
        run.bold, run.italic = span.bold or None, span.italic or None


def _settled(archive: io.BytesIO, source: Source) -> bytes:
    """The same archive with the date of the document on every member, where zipfile writes the time of the build."""
    settled = io.BytesIO()
    moment = source.date.timetuple()[:6]
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(settled, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            member = zipfile.ZipInfo(name, date_time=moment)
            member.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(member, old.read(name))
    return settled.getvalue()
