"""PDF, set by reportlab: each answer with its notes below it, links between both, and metadata that programs read."""

from dataclasses import replace
from io import BytesIO
from xml.sax.saxutils import escape

from django.utils.translation import gettext as _
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfdoc import PDFDictionary, PDFName, PDFStream
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, HRFlowable, PageTemplate, Paragraph

from rag.services.export import faces
from rag.services.export.pages import GENERATOR, Note, Pages, Said, Turn

_MARGIN = 24 * mm
_INK, _QUIET, _RULE, _ACCENT = HexColor("#1b1a19"), HexColor("#5f5d58"), HexColor("#d9d7d0"), HexColor("#3446c4")
_BODY = ParagraphStyle("body", fontName=faces.BASE, fontSize=10, leading=15.5, spaceAfter=7, textColor=_INK)
_TITLE = ParagraphStyle("title", _BODY, fontName=faces.BOLD, fontSize=18, leading=23, spaceAfter=8)
_QUESTION = ParagraphStyle(
    "question", _BODY, fontName=faces.BOLD, fontSize=12.5, leading=17, spaceBefore=14, keepWithNext=1
)
_QUOTE = ParagraphStyle("quote", _BODY, leftIndent=12, borderColor=_RULE)
_SMALL = ParagraphStyle("small", _BODY, fontSize=8, leading=11.5, spaceAfter=3, textColor=_QUIET)
_REMARK = ParagraphStyle("remark", _BODY, fontName=faces.ITALIC)
_NOTE = ParagraphStyle("note", _SMALL, leftIndent=16, firstLineIndent=-16)


def write(pages: Pages) -> bytes:
    """The pages as a PDF on A4."""
    buffer = BytesIO()
    document = BaseDocTemplate(
        buffer,
        pagesize=A4,
        title=pages.title,
        author=GENERATOR,
        subject=pages.note,
        keywords=[pages.source_type],
        creator=GENERATOR,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
    )
    frame = Frame(_MARGIN, _MARGIN, A4[0] - 2 * _MARGIN, A4[1] - 2 * _MARGIN, 0, 0, 0, 0)

    def footer(canvas: Canvas, _document: BaseDocTemplate) -> None:
        canvas.setFont(faces.BASE, 7.5)
        canvas.setFillColor(_QUIET)
        canvas.drawString(_MARGIN, 13 * mm, GENERATOR)
        canvas.drawRightString(A4[0] - _MARGIN, 13 * mm, str(canvas.getPageNumber()))
        if canvas.getPageNumber() == 1:
            _describe(canvas, pages)

    document.addPageTemplates([PageTemplate(frames=[frame], onPage=footer)])
    document.build(_story(pages))
    return buffer.getvalue()


def _story(pages: Pages) -> list[Flowable]:
    story: list[Flowable] = [
        _paragraph(pages.title, _TITLE),
        _paragraph(pages.note, _REMARK),
        HRFlowable(width="100%", thickness=0.6, color=_RULE, spaceAfter=4),
    ]
    for turn in pages.turns:
        story += _turn(turn)
    return story


def _turn(turn: Turn) -> list[Flowable]:
    story: list[Flowable] = [_paragraph(turn.question, _QUESTION)]
    story += [Paragraph(_said(replace(quote, text=f"“{quote.text}”")), _QUOTE) for quote in turn.quotes]
    story += [Paragraph(" ".join(_said(said) for said in paragraph), _BODY) for paragraph in turn.paragraphs]
    story += [_paragraph(remark, _REMARK) for remark in turn.remarks]
    story += [Paragraph(_note(note), _NOTE) for note in turn.notes]
    facts = " · ".join(f"{name}: {value}" for name, value in turn.facts)
    return [*story, _paragraph(facts, _SMALL), _paragraph(turn.notice, _SMALL)]


def _paragraph(text: str, style: ParagraphStyle) -> Paragraph:
    return Paragraph(faces.markup(text, style.fontName), style)


def _said(said: Said) -> str:
    marks = "".join(
        f'<super size="7"><a name="mark-{note.number}"/><a href="#note-{note.number}" color="{_ACCENT.hexval()}">'
        f"{note.number}</a></super> "
        for note in said.notes
    )
    remark = f"<i>({faces.markup(said.remark, faces.ITALIC)})</i>" if said.remark else ""
    return f"{faces.markup(said.text)}{marks.rstrip()} {remark}".rstrip()


def _note(note: Note) -> str:
    where = ", ".join(part for part in (note.title, note.version, note.page) if part)
    words = _("%(where)s: “%(quote)s”") % {"where": where, "quote": note.quote}
    back = f'<a name="note-{note.number}"/><a href="#mark-{note.number}" color="{_ACCENT.hexval()}">{note.number}</a>'
    return f"{back} {faces.markup(words)}"


def _describe(canvas: Canvas, pages: Pages) -> None:
    """XMP: what the text is, in the place where programs look for it."""
    words = {
        "title": f'<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{escape(pages.title)}</rdf:li></rdf:Alt></dc:title>',
        "note": f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(pages.note)}</rdf:li></rdf:Alt>'
        "</dc:description>",
        "tool": f"<xmp:CreatorTool>{GENERATOR}</xmp:CreatorTool>",
        "mark": f"<Iptc4xmpExt:DigitalSourceType>{escape(pages.source_type)}</Iptc4xmpExt:DigitalSourceType>",
    }
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f'{"".join(words.values())}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )
    kind = PDFDictionary({"Type": PDFName("Metadata"), "Subtype": PDFName("XML")})
    canvas._doc.Catalog.Metadata = PDFStream(dictionary=kind, content=packet.encode(), filters=[])
