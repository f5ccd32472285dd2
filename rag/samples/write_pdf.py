"""Sets a sample as a PDF: letterhead, headings with bookmarks, ruled tables, page numbers.

Only the fonts that every PDF reader has are used, so that no machine's own fonts change the result. Lines are ragged:
readers put fonts of their own in place of these, and the widths of some signs (the euro) differ enough to show in
justified lines.
"""

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    HRFlowable,
    ListFlowable,
    ListItem,
    NextPageTemplate,
    PageTemplate,
    Spacer,
)
from reportlab.platypus import Paragraph as Text
from reportlab.platypus import Table as Grid

from rag.samples.blocks import Block, Heading, Items, Line, Paragraph, Quote, Rule, Source, Table
from rag.samples.houses import HOUSES, House

WIDTH, HEIGHT = A4
MARGIN = 25 * mm
INK = HexColor("#20242a")
MUTED = HexColor("#5d666f")
HAIR = HexColor("#c9d0d4")


def write(source: Source, path: Path) -> None:
    """Writes `source` as a PDF to `path`; the same source gives the same bytes with the same reportlab and zlib."""
    setter = _Setter(source, HOUSES[source.house])
    document = _Document(
        str(path),
        pagesize=A4,
        title=source.title,
        author=setter.house.name,
        subject=source.reference,
        lang="en-GB",
        invariant=1,
    )
    body = {"leftPadding": 0, "rightPadding": 0, "topPadding": 0, "bottomPadding": 0}
    first = Frame(MARGIN, 24 * mm, WIDTH - 2 * MARGIN, HEIGHT - 71 * mm, id="first", **body)
    later = Frame(MARGIN, 24 * mm, WIDTH - 2 * MARGIN, HEIGHT - 54 * mm, id="later", **body)
    document.addPageTemplates(
        [
            PageTemplate(id="first", frames=[first], onPage=setter.letterhead),
            PageTemplate(id="later", frames=[later], onPage=setter.running_head),
        ]
    )
    document.build(setter.story(), canvasmaker=_numbered(source, setter))


class _Document(BaseDocTemplate):  # type: ignore[misc]  # reportlab ships no types
    """A document that makes a bookmark of each heading as it is placed."""

    _marks = 0

    def afterFlowable(self, flowable: Flowable) -> None:  # reportlab's name
        level = getattr(flowable, "outline_level", None)
        if level is None:
            return
        self._marks += 1
        key = f"heading-{self._marks}"
        self.canv.bookmarkPage(key)
        self.canv.addOutlineEntry(flowable.getPlainText(), key, level=level, closed=False)


def _numbered(source: Source, setter: "_Setter") -> type[Canvas]:
    """A canvas that can say "page 3 of 12": pages are kept until their number is known."""

    class Numbered(Canvas):  # type: ignore[misc]
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)
            self._kept: list[dict[str, object]] = []

        def showPage(self) -> None:
            self._kept.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for state in self._kept:
                self.__dict__.update(state)
                setter.footer(self, len(self._kept))
                super().showPage()
            super().save()

    return Numbered


@dataclass(frozen=True, slots=True)
class _Setter:
    """Turns blocks into what reportlab places, in the type and colour of one house."""

    source: Source
    house: House

    @property
    def accent(self) -> Color:
        return HexColor(self.house.accent)

    @property
    def faces(self) -> tuple[str, str]:
        return ("Times-Roman", "Times-Bold") if self.house.serif else ("Helvetica", "Helvetica-Bold")

    def style(self, name: str, **more: object) -> ParagraphStyle:
        regular, bold = self.faces
        size = 11.4 if self.house.serif else 10.4
        looks: dict[str, dict[str, object]] = {
            "body": {"fontName": regular, "fontSize": size, "leading": size * 1.48, "spaceAfter": 6.5},
            "title": {"fontName": bold, "fontSize": 21, "leading": 25, "spaceAfter": 9, "textColor": self.accent},
            "h2": {"fontName": bold, "fontSize": 14, "leading": 18, "spaceBefore": 13, "spaceAfter": 5},
            "h3": {"fontName": bold, "fontSize": size + 0.9, "leading": 15, "spaceBefore": 8, "spaceAfter": 3},
            "cell": {"fontName": regular, "fontSize": size - 0.7, "leading": (size - 0.7) * 1.32},
            "head": {"fontName": bold, "fontSize": size - 1.2, "leading": (size - 0.7) * 1.3},
        }
        look: dict[str, object] = {"textColor": self.accent if name in ("h2", "head") else INK, "allowWidows": 0}
        return ParagraphStyle(name, **(look | looks[name] | more))

    def story(self) -> list[Flowable]:
        story: list[Flowable] = [NextPageTemplate("later")]
        if self.source.details:
            story += [_outlined(Text(escape(self.source.title), self.style("title")), 0), self.details(), Spacer(1, 10)]
        for block in self.source.blocks():
            story += self.placed(block)
        return story

    def details(self) -> Flowable:
        rows = [
            [Text(escape(label), self.style("head")), Text(escape(value), self.style("cell"))]
            for label, value in self.source.details
        ]
        width = WIDTH - 2 * MARGIN
        rules = [
            ("LINEABOVE", (0, 0), (-1, 0), 0.9, self.accent),
            ("LINEBELOW", (0, -1), (-1, -1), 0.9, self.accent),
            ("LINEBELOW", (0, 0), (-1, -2), 0.35, HAIR),
        ]
        return Grid(rows, colWidths=[width * 0.26, width * 0.74], style=[*rules, *_padding(3.2)])

    def placed(self, block: Block) -> list[Flowable]:
        match block:
            case Heading(level, line):
                style = self.style("h2" if level <= 2 else "h3", keepWithNext=1)
                return [_outlined(Text(_markup(line), style), max(0, level - (1 if self.source.details else 2)))]
            case Paragraph(line):
                return [Text(_markup(line), self.style("body"))]
            case Quote(lines):
                inset = self.style("body", leftIndent=12, borderPadding=(5, 8, 6, 8), backColor=HexColor("#f1f5f4"))
                look = {"spaceBefore": 8, "spaceAfter": 12, "rightIndent": 12}
                text = "<br/>".join(_markup(line) for line in lines)
                return [Text(text, ParagraphStyle("quote", parent=inset, **look))]
            case Items():
                return [self.items(block)]
            case Table():
                return [self.table(block)]
            case Rule():
                return [HRFlowable(width="100%", thickness=0.5, color=HAIR, spaceBefore=6, spaceAfter=8)]

    def items(self, block: Items) -> Flowable:
        style = self.style("body", spaceAfter=3)
        numbered = block.first is not None
        return ListFlowable(
            [ListItem(Text(_markup(line), style), leftIndent=18) for line in block.items],
            bulletType="1" if numbered else "bullet",
            start=block.first if numbered else "•",
            bulletFormat="%s." if numbered else None,
            bulletFontName=self.faces[0],
            bulletFontSize=style.fontSize,
            bulletColor=self.accent,
            leftIndent=18,
            spaceAfter=6,
        )

    def table(self, block: Table) -> Flowable:
        def row(cells: tuple[Line, ...], name: str) -> list[Flowable]:
            return [
                Text(_markup(cell), self.style(name, alignment=TA_RIGHT if i in block.right else 0))
                for i, cell in enumerate(cells)
            ]

        width = WIDTH - 2 * MARGIN
        rules = [
            ("LINEABOVE", (0, 0), (-1, 0), 0.9, self.accent),
            ("LINEBELOW", (0, 0), (-1, 0), 0.9, self.accent),
            ("LINEBELOW", (0, 1), (-1, -1), 0.35, HAIR),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("BACKGROUND", (0, 0), (-1, 0), HexColor("#f1f4f4")),
            *([("NOSPLIT", (0, 0), (-1, -1))] if len(block.rows) <= 10 else []),
        ]
        return Grid(
            [row(block.header, "head"), *(row(cells, "cell") for cells in block.rows)],
            colWidths=[share * width for share in block.shares()],
            style=[*rules, *_padding(4)],
            repeatRows=1,
            spaceBefore=4,
            spaceAfter=12,
        )

    def letterhead(self, canvas: Canvas, _: BaseDocTemplate) -> None:
        top = HEIGHT - 21 * mm
        regular, bold = self.faces
        canvas.saveState()
        canvas.setFillColor(self.accent)
        left = MARGIN
        if not self.house.serif:
            canvas.roundRect(MARGIN, top - 9.5 * mm, 12 * mm, 12 * mm, 2.4 * mm, stroke=0, fill=1)
            canvas.setFillColor(HexColor("#ffffff"))
            canvas.rect(MARGIN + 5 * mm, top - 7.2 * mm, 2 * mm, 7.4 * mm, stroke=0, fill=1)
            canvas.rect(MARGIN + 2.3 * mm, top - 4.5 * mm, 7.4 * mm, 2 * mm, stroke=0, fill=1)
            canvas.setFillColor(self.accent)
            left = MARGIN + 16 * mm
        canvas.setFont(bold, 17 if self.house.serif else 15)
        canvas.drawString(left, top - 3 * mm, self.house.name)
        canvas.setFillColor(MUTED)
        canvas.setFont(regular, 9)
        canvas.drawString(left, top - 8 * mm, self.house.line)
        canvas.drawRightString(WIDTH - MARGIN, top - 3 * mm, self.house.address)
        canvas.drawRightString(WIDTH - MARGIN, top - 8 * mm, self.house.contact)
        canvas.setStrokeColor(self.accent)
        canvas.setLineWidth(1.1)
        canvas.line(MARGIN, top - 14 * mm, WIDTH - MARGIN, top - 14 * mm)
        if self.house.serif:
            canvas.setLineWidth(0.4)
            canvas.line(MARGIN, top - 15 * mm, WIDTH - MARGIN, top - 15 * mm)
        canvas.restoreState()

    def running_head(self, canvas: Canvas, _: BaseDocTemplate) -> None:
        canvas.saveState()
        canvas.setFont(self.faces[0], 8.5)
        canvas.setFillColor(MUTED)
        canvas.drawString(MARGIN, HEIGHT - 17 * mm, self.house.name)
        canvas.drawRightString(WIDTH - MARGIN, HEIGHT - 17 * mm, self.source.title)
        canvas.setStrokeColor(HAIR)
        canvas.setLineWidth(0.5)
        canvas.line(MARGIN, HEIGHT - 19.5 * mm, WIDTH - MARGIN, HEIGHT - 19.5 * mm)
        canvas.restoreState()

    def footer(self, canvas: Canvas, pages: int) -> None:
        canvas.saveState()
        canvas.setFont(self.faces[0], 8.5)
        canvas.setFillColor(MUTED)
        canvas.drawString(MARGIN, 13 * mm, self.source.reference)
        canvas.drawRightString(WIDTH - MARGIN, 13 * mm, f"Page {canvas.getPageNumber()} of {pages}")
        canvas.restoreState()


def _outlined(text: Flowable, level: int) -> Flowable:
    text.outline_level = level
    return text


def _padding(points: float) -> list[tuple[object, ...]]:
    sides = (("TOPPADDING", points), ("BOTTOMPADDING", points), ("LEFTPADDING", 4), ("RIGHTPADDING", 4))
    return [(side, (0, 0), (-1, -1), value) for side, value in sides]


def _markup(line: Line) -> str:
    parts = []
    for span in line:
        text = "<br/>" if span.text == "\n" else escape(span.text)
        text = f"<b>{text}</b>" if span.bold else text
        parts.append(f"<i>{text}</i>" if span.italic else text)
    return "".join(parts)
