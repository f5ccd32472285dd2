"""Word with real footnotes, and properties that programs read. python-docx has no footnotes: their part is written here."""

from io import BytesIO

from django.utils.translation import gettext as _
from docx import Document
from docx.document import Document as WordDocument
from docx.enum.style import WD_STYLE_TYPE
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Pt, RGBColor
from docx.text.paragraph import Paragraph
from lxml import etree

from rag.services.export.pages import GENERATOR, Note, Pages, Said, Turn

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_FOOTNOTES = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"
_CUSTOM = "application/vnd.openxmlformats-officedocument.custom-properties+xml"
_CUSTOM_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/custom-properties"
_CUSTOM_NS = "http://schemas.openxmlformats.org/officeDocument/2006/custom-properties"
_TYPES_NS = "http://schemas.openxmlformats.org/officeDocument/2006/docPropsVTypes"
_FORMAT = "{D5CDD505-2E9C-101B-9397-08002B2CF9AE}"  # the one that Office gives to properties of the user's own
_QUIET = RGBColor(0x65, 0x63, 0x5D)


def write(pages: Pages) -> bytes:
    """The pages as a Word document."""
    document = Document()
    _styles(document)
    _properties(document, pages)
    document.add_heading(pages.title, 0)
    document.add_paragraph(pages.note, style="Intense Quote")
    for turn in pages.turns:
        _turn(document, turn)
    _footnotes(document, [note for turn in pages.turns for note in turn.notes])
    _mark(document, pages)
    buffer = BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def _styles(document: WordDocument) -> None:
    document.styles["Normal"].font.size = Pt(11)
    text = document.styles.add_style("Footnote Text", WD_STYLE_TYPE.PARAGRAPH)
    text.base_style, text.font.size = document.styles["Normal"], Pt(9)
    reference = document.styles.add_style("Footnote Reference", WD_STYLE_TYPE.CHARACTER)
    reference.font.superscript = True


def _properties(document: WordDocument, pages: Pages) -> None:
    properties = document.core_properties
    properties.title, properties.author, properties.comments = pages.title[:255], GENERATOR, pages.note[:255]
    properties.keywords = pages.source_type
    properties.created = properties.modified = pages.exported.replace(tzinfo=None)
    properties.last_modified_by = GENERATOR


def _turn(document: WordDocument, turn: Turn) -> None:
    document.add_heading(turn.question, 1)
    for quote in turn.quotes:
        _said(document, document.add_paragraph(style="Quote"), quote)
    for sentences in turn.paragraphs:
        paragraph = document.add_paragraph()
        for place, said in enumerate(sentences):
            if place:
                paragraph.add_run(" ")
            _said(document, paragraph, said)
    for remark in turn.remarks:
        document.add_paragraph().add_run(remark).italic = True
    quiet = document.add_paragraph()
    lines = [*(f"{name}: {value}" for name, value in turn.facts), turn.notice]
    for place, line in enumerate(lines):
        run = quiet.add_run(line)
        run.font.size, run.font.color.rgb = Pt(9), _QUIET
        if place < len(lines) - 1:
            run.add_break()


def _said(document: WordDocument, paragraph: Paragraph, said: Said) -> None:
    paragraph.add_run(said.text)
    for note in said.notes:
        run = paragraph.add_run(style=document.styles["Footnote Reference"])
        reference = OxmlElement("w:footnoteReference")
        reference.set(qn("w:id"), str(note.number))
        run._r.append(reference)
    if said.remark:
        paragraph.add_run(f" ({said.remark})").italic = True


def _footnotes(document: WordDocument, notes: list[Note]) -> None:
    """The part that holds the footnotes; -1 and 0 are the lines above them, which Word wants to be there."""
    text_style = document.styles["Footnote Text"].style_id
    mark_style = document.styles["Footnote Reference"].style_id
    root = etree.Element(f"{{{_W}}}footnotes", nsmap={"w": _W})
    for number, kind in ((-1, "separator"), (0, "continuationSeparator")):
        footnote = _child(root, "footnote", type=kind, id=str(number))
        _child(_child(_child(footnote, "p"), "r"), kind)
    for note in notes:
        paragraph = _child(_child(root, "footnote", id=str(note.number)), "p")
        _child(_child(paragraph, "pPr"), "pStyle", val=text_style)
        mark = _child(paragraph, "r")
        _child(_child(mark, "rPr"), "rStyle", val=mark_style)
        _child(mark, "footnoteRef")
        text = _child(_child(paragraph, "r"), "t")
        text.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
        where = ", ".join(part for part in (note.title, note.version, note.page) if part)
        text.text = " " + _("%(where)s: “%(quote)s”") % {"where": where, "quote": note.quote}
    _part(document, "/word/footnotes.xml", _FOOTNOTES, root, RELATIONSHIP_TYPE.FOOTNOTES)


def _child(parent: etree._Element, name: str, **attributes: str) -> etree._Element:
    found = etree.SubElement(parent, f"{{{_W}}}{name}")
    for key, value in attributes.items():
        found.set(f"{{{_W}}}{key}", value)
    return found


def _mark(document: WordDocument, pages: Pages) -> None:
    """What the text is, as properties of the file that programs read."""
    root = etree.Element(f"{{{_CUSTOM_NS}}}Properties", nsmap={"p": _CUSTOM_NS, "vt": _TYPES_NS})
    named = {"DigitalSourceType": pages.source_type, "Generator": GENERATOR, "Note": pages.note}
    for place, (name, value) in enumerate(named.items(), start=2):  # 0 and 1 are reserved
        entry = etree.SubElement(root, f"{{{_CUSTOM_NS}}}property", fmtid=_FORMAT, pid=str(place), name=name)
        etree.SubElement(entry, f"{{{_TYPES_NS}}}lpwstr").text = value
    package = document.part.package
    part = Part(
        PackURI("/docProps/custom.xml"),
        _CUSTOM,
        etree.tostring(root, xml_declaration=True, encoding="UTF-8", standalone=True),
        package,
    )
    package.relate_to(part, _CUSTOM_RELATION)


def _part(document: WordDocument, name: str, kind: str, root: etree._Element, relation: str) -> None:
    data = etree.tostring(root, xml_declaration=True, encoding="UTF-8", standalone=True)
    document.part.relate_to(Part(PackURI(name), kind, data, document.part.package), relation)
