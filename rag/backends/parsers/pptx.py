"""Presentations (.pptx): a page for each slide with its title, texts in reading order, tables, charts, notes, comments."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from rag.backends.parsers._office import Package
from rag.backends.parsers._ooxml import Embedded, local, main_part, number, properties, related, relations, value
from rag.backends.parsers._slide import Slide
from rag.backends.parsers._writer import Writer
from rag.backends.parsers.base import Parser, Work
from rag.domain.errors import Permanent
from rag.domain.text import one_line, sensible_title
from rag.domain.types import Page, ParsedDocument, Reading

_KIND = "PowerPoint presentation"
_OLE = b"\xd0\xcf\x11\xe0"
_SPOKEN_OF = 10  # hidden slides whose numbers are said


class PptxParser(Parser):
    name: ClassVar[str] = "pptx/1"
    media_types: ClassVar[frozenset[str]] = frozenset(
        {
            "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            "application/vnd.openxmlformats-officedocument.presentationml.slideshow",
            "application/vnd.openxmlformats-officedocument.presentationml.template",
            "application/vnd.ms-powerpoint.presentation.macroEnabled.12",
            "application/vnd.ms-powerpoint.slideshow.macroEnabled.12",
            "application/vnd.ms-powerpoint.template.macroEnabled.12",
        }
    )
    suffixes: ClassVar[frozenset[str]] = frozenset({".pptx", ".pptm", ".ppsx", ".ppsm", ".potx", ".potm"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith((b"PK\x03\x04", _OLE))  # the second where it is encrypted

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        with Package(path, kind=_KIND, password=work.password) as package:
            reading = _Reading(package, work)
            pages = tuple(reading.pages())
            facts = properties(package)
        if not any(page.text or page.gap for page in pages):
            raise Permanent(f"This {_KIND} holds no text.")
        title = sensible_title(facts.get("title", "")) or sensible_title(reading.title)
        return ParsedDocument(title, pages, self.name, tuple(reading.warnings()), facts)


class _Reading:
    def __init__(self, package: Package, work: Work) -> None:
        self.main = main_part(package, "presentation")
        if not self.main:
            raise Permanent(f"This file is not a {_KIND}.")
        self.package = package
        self.work = work
        self.embedded = Embedded(package, work)
        self.links = relations(package, self.main)
        self.authors = self._authors()
        self.title = ""
        self.hidden: list[int] = []
        self.left_out = False
        self.footers: set[str] = set()
        self.missing = 0

    def pages(self) -> Iterator[Page]:
        """The slides in their order, hidden ones included."""
        root = self.package.xml(self.main)
        size = next(root.iter("{*}sldSz"), None)
        extent = (number(value(size, "cx")), number(value(size, "cy")))
        entries = [item for item in root.iter("{*}sldId") if local(item.getparent()) == "sldIdLst"]
        # Slides are counted on from a number of the author's, as one sees it on them.
        first = number(value(root, "firstSlideNum") or "1")
        for place, entry in enumerate(entries, 1):
            link = next((found for key, found in entry.attrib.items() if key.endswith("}id")), "")
            part = self.links[link].target if link in self.links else ""
            if part in self.package:
                page = self._page(place, part, extent)
                yield replace(page, label=str(place - 1 + first)) if first != 1 else page
            else:
                self.missing += 1
            self.work.progress(place, len(entries))

    def warnings(self) -> Iterator[str]:
        if self.hidden:
            numbers = ", ".join(str(place) for place in self.hidden[:_SPOKEN_OF])
            more = f" and {len(self.hidden) - _SPOKEN_OF} more" if len(self.hidden) > _SPOKEN_OF else ""
            slides = "Slide" if len(self.hidden) == 1 else "Slides"
            yield f"{slides} {numbers}{more}: hidden in the presentation, and read too."
        if self.left_out:
            yield "Hidden text was left out."
        if self.missing:
            yield (
                "Slides that are missing in the file were not read."
                if self.missing > 1
                else ("A slide that is missing in the file was not read.")
            )
        if self.embedded.unread:
            yield "Objects of other programs in this presentation were not read."

    def _page(self, place: int, part: str, extent: tuple[int, int]) -> Page:
        root = self.package.xml(part)
        if value(root, "show") in ("0", "false"):
            self.hidden.append(place)
        links = relations(self.package, part)
        writer = Writer()
        slide = Slide(self.package, writer, links, self.embedded, extent)
        slide.read(root)
        self.left_out |= slide.left_out
        self.title = self.title or slide.title
        for footer in slide.footers:
            if footer not in self.footers:
                self.footers.add(footer)
                writer.block(f"[Footer: {footer}]")
        seen = writer.page().text
        for notes in related(self.package, links, "notesSlide"):
            if text := Slide.notes(self.package.xml(notes)):
                writer.block(f"Notes:\n{text}")
        for comments in related(self.package, links, "comments"):
            self._comments(self.package.xml(comments), writer)
        page = writer.page()
        gap = "" if seen or not slide.pictures else self._pictures(place, slide.picture_links, links)
        reading = Reading.TEXT if page.text or slide.pictures else Reading.BLANK
        return Page(place, page.text, page.headings, reading=reading, images=slide.pictures, gap=gap)

    def _pictures(self, place: int, wanted: list[str], links: Any) -> str:
        """What is said of a slide that shows nothing but pictures, which are handed over to be read by themselves."""
        parts = [links[link].target for link in wanted if link in links]
        if any([self.embedded.hand_over_picture(part, f"slide {place}") for part in parts]):
            return "This slide shows only pictures, which are attached as files of their own."
        return "This slide shows only pictures, which were not read."

    def _authors(self) -> dict[str, str]:
        """The names of who commented, by the ids that the comments have."""
        return {
            value(author, "id"): one_line(value(author, "name"))
            for kind in ("commentAuthors", "authors")
            for part in related(self.package, self.links, kind)
            for author in self.package.xml(part)
            if local(author) in ("cmAuthor", "author")
        }

    def _comments(self, root: Any, writer: Writer) -> None:
        for comment in root.iter("{*}cm", "{*}reply"):
            author = self.authors.get(value(comment, "authorId"), "")
            own = (item for item in comment if local(item) in ("text", "txBody"))
            words = one_line(" ".join(" ".join(item.itertext()) for item in own))
            if words:
                writer.block(f"[Comment by {author}: {words}]" if author else f"[Comment: {words}]")
