"""OpenDocument texts and presentations (.odt, .odp and the flat .fodt, .fodp), as LibreOffice writes them."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from rag.backends.parsers._odf_body import Body, sorted_shapes
from rag.backends.parsers._odf_package import OdfPackage
from rag.backends.parsers._ooxml import Embedded, child, local, value
from rag.backends.parsers._writer import Writer
from rag.backends.parsers.base import Parser, Work
from rag.domain.errors import Permanent
from rag.domain.text import one_line, sensible_title
from rag.domain.types import Page, ParsedDocument, Reading

_MEDIA = "application/vnd.oasis.opendocument."
_ATTACHED = "which are attached as files of their own."
_SPOKEN_OF = 10  # hidden slides whose numbers are said
_HEADERS = ("header", "header-first", "header-left", "footer", "footer-first", "footer-left")


def _starts(head: bytes) -> bool:
    plain = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return head.startswith(b"PK\x03\x04") or (plain.startswith(b"<") and b"office:document" in head)


class _OdfParser(Parser):
    kind: ClassVar[str]
    bodies: ClassVar[tuple[str, ...]]  # names of the element that holds the content

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return _starts(head)

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        with OdfPackage(path, kind=self.kind, password=work.password) as package:
            if "content.xml" not in package and "encrypted-package" in package:
                raise Permanent(
                    f"This {self.kind} is encrypted in a way that is not read here; save it without a password."
                )
            if "content.xml" not in package:
                raise Permanent(f"This file is not an {self.kind}.")
            root = package.xml("content.xml")
            found = (child(root, "body", name) for name in self.bodies)
            content = next((element for element in found if element is not None), None)
            if content is None:
                raise Permanent(f"This file is not an {self.kind}.")
            embedded = Embedded(package.parts, work) if package.parts is not None else None
            body = Body(package, embedded)
            pages = self._pages(package, content, body, work)
            facts = package.properties()
            changes = len(list(root.iter("{*}changed-region")))
        if not any(page.text or page.gap for page in pages):
            raise Permanent(f"This {self.kind} holds no text.")
        title = sensible_title(facts.get("title", "")) or sensible_title(body.title)
        title = title or next((sensible_title(found.text) for page in pages for found in page.headings), "")
        unread = embedded.unread if embedded is not None else 0
        warnings = tuple(self._warnings(body, changes=changes, unread=unread))
        return ParsedDocument(title, pages, self.name, warnings, facts)

    @abstractmethod
    def _pages(self, package: OdfPackage, content: Any, body: Body, work: Work) -> tuple[Page, ...]:
        """The pages of the element `content`, read with `body`."""

    @staticmethod
    def _warnings(body: Body, *, changes: int, unread: int) -> Iterator[str]:
        if body.hidden_slides:
            slides = "Slide" if len(body.hidden_slides) == 1 else "Slides"
            numbers = ", ".join(str(place) for place in body.hidden_slides[:_SPOKEN_OF])
            more = f" and {len(body.hidden_slides) - _SPOKEN_OF} more" if len(body.hidden_slides) > _SPOKEN_OF else ""
            yield f"{slides} {numbers}{more}: hidden in the presentation, and read too."
        if body.hidden:
            yield "Hidden text was left out."
        if changes:
            count = "1 unaccepted change" if changes == 1 else f"{changes:,} unaccepted changes"
            yield f"The document has {count}: it was read as if all were accepted."
        if unread:
            yield "Objects of other programs in this document were not read."


class OdtParser(_OdfParser):
    name: ClassVar[str] = "odt/1"
    media_types: ClassVar[frozenset[str]] = frozenset(
        {f"{_MEDIA}text", f"{_MEDIA}text-template", f"{_MEDIA}text-flat-xml", f"{_MEDIA}text-master"}
    )
    suffixes: ClassVar[frozenset[str]] = frozenset({".odt", ".ott", ".fodt", ".odm"})
    kind: ClassVar[str] = "OpenDocument text"
    bodies: ClassVar[tuple[str, ...]] = ("text",)

    def _pages(self, package: OdfPackage, content: Any, body: Body, work: Work) -> tuple[Page, ...]:
        body.blocks(content)
        if "styles.xml" in package:
            self._headers_and_footers(package.xml("styles.xml"), body)
        page = body.writer.page()
        work.progress(1, 1)
        gap = ""
        if body.pictures and not page.text:
            attached = body.pictures_handed_over(0)
            gap = f"This {self.kind} holds only pictures, " + (_ATTACHED if attached else "which were not read.")
        reading = Reading.UNREAD if gap else Reading.TEXT
        return (Page(None, page.text, page.headings, reading=reading, images=body.pictures, gap=gap),)

    @staticmethod
    def _headers_and_footers(root: Any, body: Body) -> None:
        """Each different one once, after the text: they hold addresses, dates and file numbers."""
        seen: set[str] = set()
        for kind in ("header", "footer"):
            for item in root.iter(*(f"{{*}}{name}" for name in _HEADERS)):
                text = body.flat(item) if local(item).startswith(kind) and value(item, "display") != "false" else ""
                if text not in seen and any(letter.isalpha() for letter in text):
                    seen.add(text)
                    body.writer.block(f"[{kind.capitalize()}: {text}]")


class OdpParser(_OdfParser):
    name: ClassVar[str] = "odp/1"
    media_types: ClassVar[frozenset[str]] = frozenset(
        {
            f"{_MEDIA}presentation",
            f"{_MEDIA}presentation-template",
            f"{_MEDIA}presentation-flat-xml",
            f"{_MEDIA}graphics",
            f"{_MEDIA}graphics-template",
            f"{_MEDIA}graphics-flat-xml",
        }
    )
    suffixes: ClassVar[frozenset[str]] = frozenset({".odp", ".otp", ".fodp", ".odg", ".otg", ".fodg"})
    kind: ClassVar[str] = "OpenDocument presentation"
    bodies: ClassVar[tuple[str, ...]] = ("presentation", "drawing")

    def _pages(self, package: OdfPackage, content: Any, body: Body, work: Work) -> tuple[Page, ...]:
        slides = [item for item in content if local(item) == "page"]
        pages = []
        for place, slide in enumerate(slides, 1):
            pages.append(self._page(place, slide, body))
            work.progress(place, len(slides))
        return tuple(pages)

    def _page(self, place: int, slide: Any, body: Body) -> Page:
        if (
            body.styles.get(value(slide, "style-name"), None) is not None
            and body.styles[value(slide, "style-name")].unseen
        ):
            body.hidden_slides.append(place)
        body.writer, before = Writer(), body.pictures
        shapes = sorted_shapes(slide)
        titles = [shape for shape in shapes if value(shape, "class") == "title"]
        for shape in titles:
            title = one_line(body.flat(shape))
            body.writer.heading(title, 1)
            body.title = body.title or title
        for shape in shapes:
            if not any(shape is title for title in titles):
                body.shape(shape)
        seen, pictures = body.writer.page().text, body.pictures - before
        for notes in (item for item in slide if local(item) == "notes"):
            frames = (shape for shape in notes if value(shape, "class") == "notes")
            words = "\n".join(filter(None, (body.lines(frame) for frame in frames)))
            if words:
                body.writer.block(f"Notes:\n{words}")
        body.blocks([item for item in slide if local(item) == "annotation"])
        page = body.writer.page()
        gap = ""
        if pictures and not seen:
            attached = body.pictures_handed_over(before, f"slide {place}")
            gap = "This slide shows only pictures, " + (_ATTACHED if attached else "which were not read.")
        reading = Reading.TEXT if page.text or pictures else Reading.BLANK
        return Page(place, page.text, page.headings, reading=reading, images=pictures, gap=gap)
