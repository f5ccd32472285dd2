"""PDF: the text layer, word by word with its place on the page, in reading order, with a verdict on each page.

Why: offsets and boxes come from one walk over the words, so that `page.text[box.start:box.end]` is the word that the
picture shows there. Nothing in a file is run or fetched: no script, no action, no link.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from rag.backends.parsers._layout import Candidate, Vocabulary, lay_out
from rag.backends.parsers._pdf_extras import attachments, properties
from rag.backends.parsers._pdf_furniture import Furniture
from rag.backends.parsers._pdf_order import arranged
from rag.backends.parsers._pdf_page import RawPage, read_page
from rag.backends.parsers.base import Parser, Work
from rag.domain.errors import Permanent, Protected
from rag.domain.text import one_line, sensible_title
from rag.domain.types import Heading, Page, ParsedDocument, Reading

_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
_MOST_PAGES = 20_000
_MOST_BROKEN = 20  # pages in a row that cannot be opened: the count in the file is a lie
_AT_ONCE = 64  # pages that are read before they are laid out, so that they know of each other
_DAMAGED = "This page is damaged."


class PdfParser(Parser):
    name: ClassVar[str] = "pdf/2"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/pdf"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".pdf"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return b"%PDF-" in head[:1024]

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        with closing(_open(path, work.password)) as pdf:
            return _Reading(pdf, work).document(self.name)


def _open(path: Path, password: str) -> Any:
    import pypdfium2

    try:
        return pypdfium2.PdfDocument(path, password=password or None)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) != _PASSWORD_ERROR:
            raise Permanent("This PDF is damaged and cannot be opened.") from None
    if password:
        raise Protected("The password does not open this PDF.")
    raise Protected("This PDF is protected by a password.")


class _Reading:
    """One pass over the pages, some at once, then the headings, which need the whole document."""

    def __init__(self, pdf: Any, work: Work) -> None:
        self.pdf = pdf
        self.work = work
        self.vocabulary = Vocabulary()
        self.furniture = Furniture()
        self.pages: list[Page] = []
        self.candidates: list[list[Candidate]] = []
        self.hidden_on: list[int] = []
        self.attached: set[tuple[str, bytes]] = set()
        self.missing = 0

    def document(self, parser: str) -> ParsedDocument:
        self._read()
        if not self.pages:
            raise Permanent("This PDF is damaged: none of its pages can be read.")
        headings = _outline_headings(self.pdf, self.pages) or _headings_by_look(self.candidates, self.vocabulary)
        pages = tuple(replace(page, headings=found) for page, found in zip(self.pages, headings, strict=True))
        for name, content in attachments(self.pdf):
            self._attach(name, content)
        return ParsedDocument(
            _title(self.pdf, pages), pages, parser, tuple(self._warnings(pages)), properties(self.pdf)
        )

    def _read(self) -> None:
        import pypdfium2

        self.pdf.init_forms()
        claimed = min(len(self.pdf), _MOST_PAGES)
        waiting: list[RawPage] = []
        broken_in_a_row = 0
        for index in range(claimed):
            try:
                # Both are closed here: kept open, the pages of a long document take gigabytes.
                with closing(self.pdf[index]) as page, closing(page.get_textpage()) as text:
                    waiting.append(read_page(self.pdf, page, text))
                broken_in_a_row = 0
            except pypdfium2.PdfiumError:
                broken_in_a_row += 1
                if broken_in_a_row == _MOST_BROKEN:
                    break
                # It keeps its place, so that page numbers stay those of the file.
                waiting.append(RawPage(0.0, 0.0, reading=Reading.UNREAD, gap=_DAMAGED))
            if len(waiting) == _AT_ONCE:
                self._lay_out(waiting)
                waiting = []
            self.work.progress(index + 1, claimed)
        self._lay_out(waiting)
        # PDFium opens damaged pages too: what follows the last one that opened never was there.
        there = len(self.pages) - min(broken_in_a_row, len(self.pages))
        if there < len(self.pdf) and there < _MOST_PAGES:
            self.missing = len(self.pdf) - there
        del self.pages[there:], self.candidates[there:]

    def _attach(self, name: str, content: bytes) -> None:
        """Hands over a file inside the file, once: one that is pinned to a page may be in the file's list too."""
        key = (name, hashlib.sha256(content).digest())
        if key not in self.attached:
            self.attached.add(key)
            self.work.attach(name, BytesIO(content))

    def _lay_out(self, waiting: Sequence[RawPage]) -> None:
        """Makes pages of what was read; each batch knows the words and running heads of those before it."""
        for raw in waiting:
            self.vocabulary.learn(raw.vocabulary, raw.letters)
            self.furniture.learn(raw)
        sizes = self.vocabulary.sizes
        body = sizes.most_common(1)[0][0] if sizes else 0.0
        for raw in waiting:
            self.furniture.remove(raw, body)
            number = len(self.pages) + 1
            for name, content in raw.files:
                self._attach(name, content)
            raw.files.clear()
            if raw.hidden:
                self.hidden_on.append(number)
            laid = lay_out(
                arranged(raw), width=raw.width, height=raw.height, edges=raw.edges, vocabulary=self.vocabulary
            )
            label = one_line(self.pdf.get_page_label(number - 1))[:40]
            self.candidates.append(laid.candidates)
            self.pages.append(
                Page(
                    number,
                    laid.text,
                    boxes=laid.boxes,
                    label="" if label == str(number) else label,
                    width=raw.width,
                    height=raw.height,
                    reading=raw.reading,
                    images=raw.images,
                    gap=raw.gap,
                )
            )

    def _warnings(self, pages: Sequence[Page]) -> Iterator[str]:
        broken = sum(page.gap == _DAMAGED for page in pages)
        if broken:
            yield f"{broken} of {len(pages)} pages are damaged; they were not read."
        if self.missing:
            yield f"The file announces {len(self.pdf):,} pages, but holds {len(pages):,}."
        if self.hidden_on:
            number = len(self.hidden_on)
            yield f"Hidden text was left out on {number} {'page' if number == 1 else 'pages'} ({_some(self.hidden_on)})."
        if len(self.pdf) > _MOST_PAGES and len(pages) == _MOST_PAGES:
            yield f"Only the first {_MOST_PAGES:,} pages were read."


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers[:5]) + (", …" if len(numbers) > 5 else "")


# --- Headings and title


def _outline_headings(pdf: Any, pages: Sequence[Page]) -> list[tuple[Heading, ...]]:
    """Headings where the bookmarks' titles stand on their pages; [] when fewer than half of them do."""
    found: list[list[Heading]] = [[] for _ in pages]
    count = 0
    for bookmark in islice(pdf.get_toc(max_depth=6), 2000):
        count += 1
        destination = bookmark.get_dest()
        index = destination.get_index() if destination else None
        title = one_line(bookmark.get_title() or "")[:200]
        if index is None or not 0 <= index < len(pages) or not title:
            continue
        pattern = r"(?im)^[\W\d]*(" + r"\s+".join(re.escape(word) for word in title.split()) + ")"
        match = re.search(pattern, pages[index].text)
        if match:
            found[index].append(Heading(match.start(1), bookmark.level + 1, title))
    if sum(map(len, found)) * 2 < max(count, 1):
        return []
    return [_in_order(headings) for headings in found]


def _in_order(headings: Sequence[Heading]) -> tuple[Heading, ...]:
    """By place, one for a place."""
    return tuple({heading.start: heading for heading in sorted(headings, key=lambda heading: heading.start)}.values())


def _headings_by_look(candidates: Sequence[Sequence[Candidate]], vocabulary: Vocabulary) -> list[tuple[Heading, ...]]:
    """Short blocks in larger or bolder letters than the body, levels by size; running heads left out."""
    if not vocabulary.sizes:
        return [() for _ in candidates]
    body = vocabulary.sizes.most_common(1)[0][0]
    bold_tells = vocabulary.bold_letters < 0.3 * vocabulary.sizes.total()
    seen = Counter(one_line(candidate.text) for page in candidates for candidate in set(page))

    def rank(candidate: Candidate) -> float:
        """How far the letters stand out, 0 for not at all."""
        text = one_line(candidate.text)
        if not 3 <= len(text) <= 120 or sum(letter.isalpha() for letter in text) < 0.5 * len(text) or seen[text] >= 3:
            return 0
        if candidate.size >= 1.15 * body:
            return round(candidate.size * 2) / 2
        bold = candidate.bold and bold_tells and candidate.size > 0.9 * body and text[-1] not in ".,;"
        return body if bold else 0

    ranks = sorted({rank(candidate) for page in candidates for candidate in page} - {0}, reverse=True)
    level = {value: min(place + 1, 4) for place, value in enumerate(ranks)}
    return [
        tuple(
            Heading(candidate.start, level[rank(candidate)], one_line(candidate.text))
            for candidate in page
            if rank(candidate)
        )
        for page in candidates
    ]


def _title(pdf: Any, pages: Sequence[Page]) -> str:
    given = sensible_title(pdf.get_metadata_value("Title") or "")
    if given:
        return given
    first = (heading.text for page in pages[:2] for heading in page.headings if heading.level == 1)
    return sensible_title(next(first, ""))
