"""Word documents (.docx): headings, numbered clauses, lists, tables and notes in the order of the body.

Why: read from the XML itself, so that what Word shows is read (numbers of clauses, text boxes, inserted text) and what
it does not show is not (deleted and hidden text, field codes, comments), and nothing outside the file is ever opened.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rag.backends.parsers._numbering import BULLET, Level, Numbering
from rag.backends.parsers._office import Package
from rag.backends.parsers._writer import Writer
from rag.backends.parsers.base import Parser, Work
from rag.domain.errors import Permanent
from rag.domain.text import one_line, sensible_title
from rag.domain.types import ParsedDocument

_KIND = "Word document"
_OLE = b"\xd0\xcf\x11\xe0"
_TINY = 4  # half points: nobody reads letters of 2 points
_HEADING_NAME = re.compile(r"(?i)^(?:heading|überschrift|titre|título|titolo|kop) ?([1-9])$")
# Kept out: deleted and moved-away text, field codes, what only guides the layout.
_SKIPPED_NAMES = (
    "del moveFrom delText instrText delInstrText pPr rPr tblPr tblGrid trPr tcPr sectPr sdtPr sdtEndPr proofErr "
    "bookmarkStart bookmarkEnd commentRangeStart commentRangeEnd commentReference annotationRef footnoteRef "
    "endnoteRef separator continuationSeparator altChunk rt posOffset"
)
_SKIPPED = frozenset(_SKIPPED_NAMES.split())


class DocxParser(Parser):
    name: ClassVar[str] = "docx/1"
    media_types: ClassVar[frozenset[str]] = frozenset(
        {"application/vnd.openxmlformats-officedocument.wordprocessingml.document"}
    )
    suffixes: ClassVar[frozenset[str]] = frozenset({".docx"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        # A protected document is an OLE container; `parse` tells it from an old .doc.
        return head.startswith((b"PK\x03\x04", _OLE))

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        with Package(path, kind=_KIND) as package:
            reading = _Reading(package)
            reading.run()
        page = reading.writer.page()
        if not page.text:
            raise Permanent("This Word document holds no text.")
        work.progress(1, 1)
        title = reading.given_title or sensible_title(reading.title) or sensible_title(reading.writer.first_heading)
        return ParsedDocument(title, (page,), self.name, tuple(reading.warnings()))


def _local(element: Any) -> str:
    """The element's name without its namespace: transitional and strict files differ in it only. "" for comments."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _child(element: Any, *names: str) -> Any:
    """The descendant reached by first children of these names, or None."""
    for name in names:
        element = next((child for child in element if _local(child) == name), None)
        if element is None:
            return None
    return element


def _value(element: Any, name: str = "val") -> str:
    """The attribute of this local name, or ""."""
    if element is None:
        return ""
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def _on(element: Any) -> bool:
    """Whether a switch such as <w:vanish/> is there and not turned off."""
    return element is not None and _value(element).lower() not in ("0", "false", "off")


@dataclass(frozen=True, slots=True)
class _Style:
    """What counts of a style, inherited values included."""

    name: str = ""
    level: int = 0  # of a heading, from 1; 0 for body text
    list_id: str = ""
    depth: int = 0
    hidden: bool = False


class _Reading:
    def __init__(self, package: Package) -> None:
        self.package = package
        self.writer = Writer()
        self.title = ""
        self.given_title = ""
        self.left_out: set[str] = set()
        self.main = self._main_part()
        self.related = self._relations(self.main)
        self.styles = self._read_styles()
        self.numbering = self._read_numbering()
        self.notes = {kind: self._read_notes(kind) for kind in ("footnote", "endnote")}
        self.noted = 0
        self.dark = False

    def run(self) -> None:
        root = self.package.xml(self.main)
        body = _child(root, "body")
        if body is None:
            raise Permanent(f"This {_KIND} is damaged and cannot be read.")
        background = _child(root, "background")
        self.dark = background is not None and _value(background, "color").lower() not in ("", "auto", "ffffff")
        self.given_title = self._core_title()
        self._blocks(body)
        self._headers_and_footers()

    def warnings(self) -> Iterator[str]:
        if "hidden" in self.left_out:
            yield "Hidden text was left out."
        if "altChunk" in self.left_out:
            yield "Another document embedded in this one was not read."

    # --- Parts

    def _main_part(self) -> str:
        if "[Content_Types].xml" in self.package and "_rels/.rels" in self.package:
            for target in self._relations("").get("officeDocument", ()):
                root = self.package.xml(target) if target in self.package else None
                if root is not None and _local(root) == "document":
                    return target
        raise Permanent("This file is not a Word document.")

    def _relations(self, part: str) -> dict[str, list[str]]:
        """The parts in the package that `part` refers to, by the last word of their type. Outside ones are dropped."""
        folder, name = posixpath.split(part)
        rels = posixpath.join(folder, "_rels", f"{name}.rels")
        found: dict[str, list[str]] = {}
        if rels in self.package:
            for relation in self.package.xml(rels):
                if _value(relation, "TargetMode") != "External":
                    target = _value(relation, "Target")
                    path = (
                        target.lstrip("/")
                        if target.startswith("/")
                        else posixpath.normpath(posixpath.join(folder, target))
                    )
                    found.setdefault(_value(relation, "Type").rpartition("/")[2], []).append(path)
        return found

    def _parts(self, kind: str) -> Iterator[Any]:
        """The root elements of the related parts of this kind, each part once."""
        for target in dict.fromkeys(self.related.get(kind, ())):
            if target in self.package:
                yield self.package.xml(target)

    def _core_title(self) -> str:
        for target in self._relations("").get("core-properties", ()):
            if target in self.package:
                title = _child(self.package.xml(target), "title")
                return sensible_title("".join(title.itertext())) if title is not None else ""
        return ""

    def _read_styles(self) -> dict[str, _Style]:
        raw = {
            _value(style, "styleId"): style
            for root in self._parts("styles")
            for style in root
            if _local(style) == "style"
        }
        known: dict[str, _Style] = {}
        for name in raw:
            chain: list[str] = []
            while name in raw and name not in known and name not in chain:
                chain.append(name)
                name = _value(_child(raw[name], "basedOn"))
            base = known.get(name, _Style())
            for style_id in reversed(chain):
                base = known[style_id] = _style(raw[style_id], base)
        return known

    def _read_numbering(self) -> Numbering:
        definitions: dict[str, dict[int, Level]] = {}
        lists: dict[str, tuple[str, dict[int, Level]]] = {}
        restarts: dict[str, dict[int, int]] = {}
        for root in self._parts("numbering"):
            for item in root:
                if _local(item) == "abstractNum":
                    levels = (level for level in item if _local(level) == "lvl")
                    definitions[_value(item, "abstractNumId")] = {
                        _number(_value(lvl, "ilvl")): _level(lvl) for lvl in levels
                    }
                elif _local(item) == "num":
                    definition = _value(_child(item, "abstractNumId"))
                    levels_of = dict(definitions.get(definition, {}))
                    list_id = _value(item, "numId")
                    for change in item:
                        if _local(change) == "lvlOverride":
                            depth = _number(_value(change, "ilvl"))
                            if (own := _child(change, "lvl")) is not None:
                                levels_of[depth] = _level(own)
                            if (first := _child(change, "startOverride")) is not None:
                                restarts.setdefault(list_id, {})[depth] = _number(_value(first))
                    lists[list_id] = (definition, levels_of)
        return Numbering(lists, restarts=restarts)

    def _read_notes(self, kind: str) -> dict[str, Any]:
        # Notes with a type only draw the line above the notes.
        return {
            _value(note, "id"): note
            for root in self._parts(f"{kind}s")
            for note in root
            if _local(note) == kind and _value(note, "type") in ("", "normal")
        }

    # --- Blocks

    def _blocks(self, parent: Any) -> None:
        for element in parent:
            match _local(element):
                case "p":
                    self._paragraph(element)
                case "tbl":
                    self._table(element)
                case "AlternateContent":
                    self._blocks(_chosen(element))
                case "altChunk":
                    self.left_out.add("altChunk")
                case "sdt" | "sdtContent" | "customXml" | "ins" | "moveTo" | "smartTag" | "txbxContent":
                    self._blocks(element)

    def _paragraph(self, paragraph: Any) -> None:
        style = self._style_of(paragraph)
        if style.name.lower().startswith(("toc ", "table of figures")):
            return  # a table of contents says again what the headings say, with page numbers
        text = _Text(self, paragraph, style).read()
        self._write(paragraph, style, text.text)
        for box in text.boxes:
            self._blocks(box)
        for note in text.notes:
            self.noted += 1
            self.writer.block(f"Note {self.noted}: {self._flat(note)}")

    def _style_of(self, paragraph: Any) -> _Style:
        return self.styles.get(_value(_child(paragraph, "pPr", "pStyle")), self.styles.get("Normal", _Style()))

    def _write(self, paragraph: Any, style: _Style, text: str) -> None:
        if not text.strip():
            return
        label, depth = self._label(paragraph, style)
        outline = _value(_child(paragraph, "pPr", "outlineLvl"))
        level = _number(outline) + 1 if outline else style.level
        if style.name.lower() == "title" and not self.title:
            self.title = one_line(text)
            self.writer.heading(text, 1)
        elif 0 < level < 10:
            self.writer.heading(f"{label} {text}" if label not in ("", BULLET) else text, level)
        elif label:
            indent = "  " * depth
            self.writer.item(f"{indent}{label} " + text.strip("\n").replace("\n", f"\n{indent}  "))
        else:
            self.writer.block(text)

    def _label(self, paragraph: Any, style: _Style) -> tuple[str, int]:
        own = _child(paragraph, "pPr", "numPr")
        list_id, depth = style.list_id, style.depth
        if own is not None:
            list_id = _value(_child(own, "numId")) or list_id
            depth = _number(_value(_child(own, "ilvl"))) if _child(own, "ilvl") is not None else depth
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
        merge = _child(container, "tcPr", "vMerge")
        if merge is not None and _value(merge) != "restart":
            return ""
        outer, self.writer = self.writer, Writer()
        try:
            self._blocks(container)
            return one_line(self.writer.page().text)
        finally:
            self.writer = outer

    def _headers_and_footers(self) -> None:
        """Each different one once, after the body: they hold addresses, dates and file numbers."""
        seen: set[str] = set()
        for kind in ("header", "footer"):
            for root in self._parts(kind):
                text = self._flat(root)
                if text not in seen and any(letter.isalpha() for letter in text):
                    seen.add(text)
                    self.writer.block(text)


def _inside(parent: Any, name: str) -> Iterator[Any]:
    """The rows of a table or cells of a row, those in content controls and tracked insertions too."""
    for element in parent:
        if _local(element) == name:
            if name != "tr" or _child(element, "trPr", "del") is None:
                yield element
        elif _local(element) in ("sdt", "sdtContent", "customXml", "ins"):
            yield from _inside(element, name)


def _chosen(alternatives: Any) -> Any:
    """Of two drawings of the same thing the first, or the fallback where the first holds no text."""
    options = [option for option in alternatives if _local(option) in ("Choice", "Fallback")]
    return next((option for option in options if any(_local(item) == "t" for item in option.iter())), [])


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"-?\d{1,6}", text) else 0


def _level(element: Any) -> Level:
    start = _child(element, "start")
    return Level(
        _number(_value(start)) if start is not None else 1,
        _value(_child(element, "numFmt")) or "decimal",
        _value(_child(element, "lvlText")),
        _on(_child(element, "isLgl")),
    )


def _style(element: Any, base: _Style) -> _Style:
    name = _value(_child(element, "name"))
    named = _HEADING_NAME.match(name)
    outline = _value(_child(element, "pPr", "outlineLvl"))
    level = int(named.group(1)) if named else _number(outline) + 1 if outline else base.level
    list_id = _value(_child(element, "pPr", "numPr", "numId"))
    depth = _child(element, "pPr", "numPr", "ilvl")
    vanish = _child(element, "rPr", "vanish")
    return _Style(
        name,
        level if level < 10 else 0,
        list_id or base.list_id,
        _number(_value(depth)) if depth is not None else base.depth,
        _on(vanish) if vanish is not None else base.hidden,
    )


class _Text:
    """The visible text of one paragraph, and what hangs on it: text boxes and notes, read after it."""

    def __init__(self, reading: _Reading, paragraph: Any, style: _Style) -> None:
        self.reading = reading
        self.paragraph = paragraph
        self.style = style
        self.pieces: list[str] = []
        self.boxes: list[Any] = []
        self.notes: list[Any] = []

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def read(self) -> "_Text":
        self._inline(self.paragraph)
        return self

    def _inline(self, parent: Any) -> None:
        for element in parent:
            name = _local(element)
            if name == "r" and self._unseen(element):
                self.reading.left_out.add("hidden")
            elif name == "txbxContent":
                self.boxes.append(element)
            elif name == "AlternateContent":
                self._inline(_chosen(element))
            elif name in ("footnoteReference", "endnoteReference"):
                note = self.reading.notes[name.removesuffix("Reference")].get(_value(element, "id"))
                if note is not None:
                    self.notes.append(note)
            elif name not in _SKIPPED:
                self.pieces.append(_own_text(element, name))
                self._inline(element)

    def _unseen(self, run: Any) -> bool:
        """Whether Word shows nothing of the run: hidden, or too small or too white to be read."""
        properties = _child(run, "rPr")
        if not _has_text(run):
            return False
        if properties is None:
            return self.style.hidden
        vanish = _child(properties, "vanish")
        if _on(vanish):
            return True
        if vanish is None:
            character = self.reading.styles.get(_value(_child(properties, "rStyle")))
            if self.style.hidden or (character is not None and character.hidden):
                return True
        size = _value(_child(properties, "sz"))
        if size and 0 < _number(size) <= _TINY:
            return True
        return _value(_child(properties, "color")).lower() == "ffffff" and self._on_white(properties)

    def _on_white(self, properties: Any) -> bool:
        """Whether nothing dark can lie under the run: no shading, no table, no drawing, no coloured page."""
        if self.reading.dark or _child(properties, "highlight") is not None:
            return False
        shadings = (_child(properties, "shd"), _child(self.paragraph, "pPr", "shd"))
        if any(_value(shading, "fill").lower() not in ("", "auto", "ffffff") for shading in shadings):
            return False
        return not any(_local(above) in ("tc", "txbxContent") for above in self.paragraph.iterancestors())


def _has_text(run: Any) -> bool:
    return any(_local(child) == "t" and child.text for child in run)


def _own_text(element: Any, name: str) -> str:
    match name:
        case "t":
            return element.text or ""
        case "tab" | "ptab":
            return " "
        case "br" | "cr":
            return "\n"
        case "noBreakHyphen":
            return "-"
    return ""
