"""Word documents (.docx): headings, numbered clauses, lists, tables, notes and comments in the order of the body.

Why: read from the XML itself, so that what Word shows is read (numbers of clauses, text boxes, inserted text) and what
it does not show is not (deleted and hidden text, field codes), and nothing outside the file is ever opened.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from rag.backends.parsers._docx_styles import Style, read_numbering, read_styles
from rag.backends.parsers._docx_text import Text, chosen
from rag.backends.parsers._numbering import BULLET
from rag.backends.parsers._office import Package
from rag.backends.parsers._ooxml import (
    Embedded,
    chart_text,
    child,
    diagram_text,
    local,
    main_part,
    number,
    on,
    properties,
    related,
    relations,
    value,
)
from rag.backends.parsers._writer import Writer
from rag.backends.parsers.base import Parser, Work
from rag.domain.errors import Permanent
from rag.domain.text import one_line, sensible_title
from rag.domain.types import Page, ParsedDocument, Reading

_KIND = "Word document"
_OLE = b"\xd0\xcf\x11\xe0"
_INSERTED = ("ins", "moveTo")
_CHANGED = (*_INSERTED, "del")
_TRANSPARENT = ("sdt", "sdtContent", "customXml", "ins", "moveTo", "smartTag", "txbxContent")
_CONTENTS = re.compile(r"(?i)^(?:toc \d|table of figures)")


class DocxParser(Parser):
    name: ClassVar[str] = "docx/2"
    media_types: ClassVar[frozenset[str]] = frozenset(
        {
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.template",
            "application/vnd.ms-word.document.macroEnabled.12",
            "application/vnd.ms-word.template.macroEnabled.12",
        }
    )
    suffixes: ClassVar[frozenset[str]] = frozenset({".docx", ".docm", ".dotx", ".dotm"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        # A protected document is an OLE container; `parse` tells it from an old .doc.
        return head.startswith((b"PK\x03\x04", _OLE))

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        with Package(path, kind=_KIND, password=work.password) as package:
            reading = _Reading(package, work)
            reading.run()
            page = reading.page()
            facts = properties(package)
        work.progress(1, 1)
        title = sensible_title(facts.get("title", "")) or sensible_title(reading.title)
        title = title or sensible_title(reading.writer.first_heading)
        return ParsedDocument(title, (page,), self.name, tuple(reading.warnings()), facts)


class _Reading:
    def __init__(self, package: Package, work: Work) -> None:
        self.main = main_part(package, "document")
        if not self.main:
            raise Permanent(f"This file is not a {_KIND}.")
        self.package = package
        self.writer = Writer()
        self.title = ""
        self.links = relations(package, self.main)
        self.styles = read_styles(self._parts("styles"))
        self.numbering = read_numbering(self._parts("numbering"))
        self.notes = {kind: self._entries(kind) for kind in ("footnote", "endnote", "comment")}
        self.embedded = Embedded(package, work)
        self.noted = 0
        self.pictures = 0
        self.changes = 0
        self.hidden = False
        self.dark = False

    def run(self) -> None:
        root = self.package.xml(self.main)
        body = child(root, "body")
        if body is None:
            raise Permanent(f"This {_KIND} is damaged and cannot be read.")
        background = child(root, "background")
        self.dark = background is not None and value(background, "color").lower() not in ("", "auto", "ffffff")
        self.changes = sum(1 for item in body.iter() if local(item) in _CHANGED)
        self._blocks(body)
        self._headers_and_footers()

    def page(self) -> Page:
        """All that was read; raises `Permanent` for a document with nothing in it."""
        page = self.writer.page()
        gap = ""
        if not page.text:
            gap = self._elsewhere()
        reading = Reading.UNREAD if gap else Reading.TEXT
        return Page(None, page.text, page.headings, reading=reading, images=self.pictures, gap=gap)

    def _elsewhere(self) -> str:
        """Where the words are of a document that has none of its own; raises `Permanent` when they are nowhere."""
        for part in related(self.package, self.links, "image"):
            self.embedded.hand_over_picture(part)
        if self.embedded.found:
            return f"This {_KIND} has no text of its own, only the files attached to it."
        if self.pictures:
            return f"This {_KIND} holds only pictures, which were not read."
        raise Permanent(f"This {_KIND} holds no text.")

    def warnings(self) -> Iterator[str]:
        if self.hidden:
            yield "Hidden text was left out."
        if self.changes:
            count = "1 unaccepted change" if self.changes == 1 else f"{self.changes:,} unaccepted changes"
            yield f"The document has {count}: it was read as if all were accepted."
        if self.embedded.unread:
            yield "Objects of other programs in this document were not read."

    # --- Parts

    def _parts(self, kind: str) -> Iterator[Any]:
        """The root elements of the related parts of this kind, each part once."""
        for target in related(self.package, self.links, kind):
            yield self.package.xml(target)

    def _entries(self, kind: str) -> dict[str, Any]:
        # Notes with a type only draw the line above the notes.
        return {
            value(entry, "id"): entry
            for root in self._parts(f"{kind}s")
            for entry in root
            if local(entry) == kind and value(entry, "type") in ("", "normal")
        }

    # --- Blocks

    def _blocks(self, parent: Any) -> None:
        for element in parent:
            match local(element):
                case "p":
                    self._paragraph(element)
                case "tbl":
                    self._table(element)
                case "AlternateContent":
                    self._blocks(chosen(element))
                case "altChunk":
                    self._hand_over(value(element, "id"))
                case "oMathPara" | "oMath":
                    self.writer.block(Text(element, Style(), self.styles, dark=self.dark).text)
                case name if name in _TRANSPARENT:
                    if not on(child(element, "sdtPr", "showingPlcHdr")):
                        self._blocks(element)

    def _paragraph(self, paragraph: Any) -> None:
        style = self.styles.get(value(child(paragraph, "pPr", "pStyle")), self.styles.get("Normal", Style()))
        if _CONTENTS.match(style.name):
            return  # a table of contents says again what the headings say, with page numbers
        text = Text(paragraph, style, self.styles, dark=self.dark)
        self._write(paragraph, style, text.text)
        self.hidden |= text.hidden
        self.pictures += text.pictures
        for box in text.boxes:
            self._blocks(box)
        for kind, link in text.drawings:
            self._drawing(kind, link)
        for kind, note in text.notes:
            if note in self.notes[kind]:
                self.noted += 1
                self.writer.block(f"[Note {self.noted}: {self._flat(self.notes[kind].pop(note))}]")
        for comment in text.comments:
            if comment in self.notes["comment"]:
                self._comment(self.notes["comment"].pop(comment))

    def _comment(self, comment: Any) -> None:
        author = one_line(value(comment, "author"))
        words = self._flat(comment)
        if words:
            self.writer.block(f"[Comment by {author}: {words}]" if author else f"[Comment: {words}]")

    def _drawing(self, kind: str, link: str) -> None:
        target = self.links[link].target if link in self.links else ""
        if kind == "embed":
            self._hand_over(link)
        elif target in self.package:
            root = self.package.xml(target)
            self.writer.block(chart_text(root) if kind == "chart" else diagram_text(root))

    def _hand_over(self, link: str) -> None:
        if link in self.links and self.links[link].target:
            self.embedded.hand_over(self.links[link].target)

    def _write(self, paragraph: Any, style: Style, text: str) -> None:
        text = text.strip()
        if not text:
            return
        label, depth = self._label(paragraph, style)
        outline = value(child(paragraph, "pPr", "outlineLvl"))
        level = number(outline) + 1 if outline else style.level
        if style.name.lower() == "title" and not self.title:
            self.title = one_line(text)
            self.writer.heading(text, 1)
        elif 0 < level < 10:
            self.writer.heading(f"{label} {text}" if label not in ("", BULLET) else text, level)
        elif label:
            indent = "  " * depth
            self.writer.item(f"{indent}{label} " + text.replace("\n", f"\n{indent}  "))
        else:
            self.writer.block(text)

    def _label(self, paragraph: Any, style: Style) -> tuple[str, int]:
        own = child(paragraph, "pPr", "numPr")
        list_id, depth = style.list_id, style.depth
        if own is not None:
            list_id = value(child(own, "numId")) or list_id
            depth = number(value(child(own, "ilvl"))) if child(own, "ilvl") is not None else depth
        return self.numbering.label(list_id, depth), depth

    def _table(self, table: Any) -> None:
        rows = [[cell for cell in _inside(row, "tc")] for row in _inside(table, "tr")]
        if len(rows) == 1 and len(rows[0]) == 1:
            self._blocks(rows[0][0])  # a frame around ordinary text
            return
        lines = []
        for row in rows:
            cells = [self._flat(cell) for cell in row]
            if any(cells):
                lines.append(" | ".join(cells))
        self.writer.block("\n".join(lines))

    def _flat(self, container: Any) -> str:
        """All text of a cell or a note on one line. A cell that continues the one above is empty."""
        merge = child(container, "tcPr", "vMerge")
        if merge is not None and value(merge) != "restart":
            return ""
        outer, self.writer = self.writer, Writer()
        try:
            self._blocks(container)
            return one_line(self.writer.page().text)
        finally:
            self.writer = outer

    def _headers_and_footers(self) -> None:
        """Each different one once, after the body: they hold addresses, dates and file numbers."""
        body_links = self.links
        for kind in ("header", "footer"):
            seen: set[str] = set()
            for part in related(self.package, body_links, kind):
                self.links = relations(self.package, part)
                text = self._flat(self.package.xml(part))
                if text not in seen and any(letter.isalpha() for letter in text):
                    seen.add(text)
                    self.writer.block(f"[{kind.capitalize()}: {text}]")
        self.links = body_links


def _inside(parent: Any, name: str) -> Iterator[Any]:
    """The rows of a table or cells of a row, those in content controls and tracked insertions too."""
    for element in parent:
        if local(element) == name:
            if name != "tr" or child(element, "trPr", "del") is None:
                yield element
        elif local(element) in ("sdt", "sdtContent", "customXml", "ins"):
            yield from _inside(element, name)
