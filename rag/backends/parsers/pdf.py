"""PDF: the text layer, word by word with its place on the page.

Why: offsets and boxes come from one walk over the characters, so that `page.text[box.start:box.end]` is the word that
the picture shows there. Order is the file's own, as a screen reader would read it.
"""

import ctypes
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from rag.backends.parsers._layout import Candidate, Vocabulary, Word, lay_out
from rag.backends.parsers.base import Parser, Progress, Work
from rag.domain.errors import Permanent
from rag.domain.text import one_line, sensible_title
from rag.domain.types import Heading, Page, ParsedDocument

_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
_MOST_PAGES = 20_000
_MOST_BROKEN = 20  # pages in a row that cannot be opened: the count in the file is a lie
_MOST_CHARACTERS = 2_000_000  # of one page
_HYPHEN = 0x02  # what PDFium gives for a hyphen that parts a word at the end of a line
_HIDDEN = 3  # text render mode: neither filled nor stroked
_IMAGE_SHARE = 0.5  # of the page: invisible text over so large a picture is the text of a scan
_TINY = 2.0  # points, high and wide: what nobody can read is not the document's text
_BOLD_NAME = re.compile(r"(?i)bold|black|heavy|medi\b|cmbx|demi")
_CJK = re.compile("[\u2e80-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffee\U00020000-\U0003ffff]")


class PdfParser(Parser):
    name: ClassVar[str] = "pdf/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/pdf"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".pdf"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return b"%PDF-" in head[:1024]

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        with closing(_open(path)) as pdf:
            return _Reading(pdf, work.progress).document(self.name)


def _open(path: Path) -> Any:
    import pypdfium2

    try:
        return pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _PASSWORD_ERROR:
            raise Permanent("This PDF is protected by a password.") from None
        raise Permanent("This PDF is damaged and cannot be opened.") from None


class _Reading:
    """One pass over the pages, then the headings, which need the whole document."""

    def __init__(self, pdf: Any, progress: Progress) -> None:
        self.pdf = pdf
        self.progress = progress
        self.vocabulary = Vocabulary()
        self.candidates: list[list[Candidate]] = []
        self.invisible_on: list[int] = []
        self.tiny_on: list[int] = []
        self.broken = 0
        self.missing = 0

    def document(self, parser: str) -> ParsedDocument:
        pages = self._pages()
        if not pages:
            raise Permanent("This PDF is damaged: none of its pages can be read.")
        headings = _outline_headings(self.pdf, pages) or _headings_by_look(self.candidates, self.vocabulary)
        pages = [replace(page, headings=found) for page, found in zip(pages, headings, strict=True)]
        return ParsedDocument(_title(self.pdf, pages), tuple(pages), parser, tuple(self._warnings(pages)))

    def _pages(self) -> list[Page]:
        import pypdfium2

        claimed = min(len(self.pdf), _MOST_PAGES)
        pages: list[Page] = []
        broken_in_a_row = 0
        for index in range(claimed):
            try:
                # Both are closed here: kept open, the pages of a long document take gigabytes.
                with closing(self.pdf[index]) as page, closing(page.get_textpage()) as text:
                    pages.append(self._page(index, page, text))
                broken_in_a_row = 0
            except pypdfium2.PdfiumError:
                broken_in_a_row += 1
                if broken_in_a_row == _MOST_BROKEN:
                    break
                # It keeps its place, so that page numbers stay those of the file.
                pages.append(Page(index + 1, ""))
                self.candidates.append([])
            self.progress(index + 1, claimed)
        # PDFium opens damaged pages too: what follows the last one that opened never was there.
        there = len(pages) - min(broken_in_a_row, len(pages))
        if there < len(self.pdf) and there < _MOST_PAGES:
            self.missing = len(self.pdf) - there
        del pages[there:], self.candidates[there:]
        self.broken = sum(1 for page in pages if not page.width)
        return pages

    def _page(self, index: int, page: Any, text: Any) -> Page:
        width, height = _size(page)
        label = one_line(self.pdf.get_page_label(index))[:40]
        words = self._readable(index + 1, page, text)
        self.vocabulary.learn(words)
        laid = lay_out(words, width=width, height=height, vocabulary=self.vocabulary)
        self.candidates.append(laid.candidates)
        return Page(
            index + 1,
            laid.text,
            boxes=laid.boxes,
            label="" if label == str(index + 1) else label,
            width=width,
            height=height,
        )

    def _readable(self, number: int, page: Any, text: Any) -> list[Word]:
        """The page's words in the file's order, without those off the page or too small to read; notes what is odd."""
        width, height = _size(page)
        if not width or not height:
            return []
        found = [
            (word, visible)
            for word, visible in _Characters(page, text).words()
            # By its middle: what stands outside, no reader can see.
            if 0 <= word.x0 + word.x1 <= 2 * width and 0 <= word.y0 + word.y1 <= 2 * height
        ]
        words = [word for word, _ in found if word.y1 - word.y0 >= _TINY or word.x1 - word.x0 >= _TINY * len(word.text)]
        if len(words) < len(found):
            self.tiny_on.append(number)
        shown = sum(visible for _, visible in found)
        # A scan's own text layer is invisible too, and quite in order.
        if 0 < shown < len(words) and not _is_scan(page, width, height):
            self.invisible_on.append(number)
        return words

    def _warnings(self, pages: Sequence[Page]) -> Iterator[str]:
        empty = sum(1 for page in pages if not page.text and page.width)
        if empty:
            yield f"{empty} of {len(pages)} pages have no text layer; they were not read."
        if self.broken:
            yield f"{self.broken} of {len(pages)} pages are damaged; they were not read."
        if self.missing:
            yield f"The file announces {len(self.pdf):,} pages, but holds {len(pages):,}."
        if self.tiny_on:
            yield f"Text too small to be read was left out (page {_some(self.tiny_on)})."
        if self.invisible_on:
            yield f"Some of the text cannot be seen on the page (page {_some(self.invisible_on)})."
        if len(self.pdf) > _MOST_PAGES and len(pages) == _MOST_PAGES:
            yield f"Only the first {_MOST_PAGES:,} pages were read."


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers[:5]) + (", …" if len(numbers) > 5 else "")


# --- Characters to words


def _is_scan(page: Any, width: float, height: float) -> bool:
    import pypdfium2.raw as raw

    for item in islice(page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE,), max_depth=3), 200):
        left, bottom, right, top = item.get_bounds()
        if abs((right - left) * (top - bottom)) >= _IMAGE_SHARE * width * height:
            return True
    return False


def _size(page: Any) -> tuple[float, float]:
    """The page's width and height as shown, in points; 0 for what no page can have."""
    width, height = (side if math.isfinite(side) and 0 < side < 1e12 else 0.0 for side in page.get_size())
    return width, height


class _Place:
    """From a rectangle in the page's own space to one on the page as shown: cropped, turned, y downwards, in points."""

    def __init__(self, page: Any) -> None:
        self.left, self.bottom, self.right, self.top = page.get_bbox()
        self.rotation = page.get_rotation()

    def shown(self, left: float, bottom: float, right: float, top: float) -> tuple[float, float, float, float]:
        match self.rotation:
            case 90:
                return bottom - self.bottom, left - self.left, top - self.bottom, right - self.left
            case 180:
                return self.right - right, bottom - self.bottom, self.right - left, top - self.bottom
            case 270:
                return self.top - top, self.right - right, self.top - bottom, self.right - left
        return left - self.left, self.top - top, right - self.left, self.top - bottom


class _Run:
    """The characters of a word so far and the rectangle around them."""

    def __init__(self, *, first: int, glued: bool, new_line: bool) -> None:
        self.first = first
        self.glued = glued
        self.new_line = new_line
        self.letters: list[str] = []
        self.left = self.bottom = math.inf
        self.right = self.top = -math.inf

    def add(self, letter: str, left: float, bottom: float, right: float, top: float) -> None:
        self.letters.append(letter)
        self.left, self.bottom = min(self.left, left), min(self.bottom, bottom)
        self.right, self.top = max(self.right, right), max(self.top, top)


class _Characters:
    """Walks over the characters of a page, as PDFium gives them, and makes words of them."""

    def __init__(self, page: Any, text: Any) -> None:
        import pypdfium2.raw as raw

        self.raw = raw
        self.text = text
        self.place = _Place(page)
        self.box = raw.FS_RECTF()
        self.matrix = raw.FS_MATRIX()
        self.bold_fonts: dict[int, bool] = {}

    def words(self) -> Iterator[tuple[Word, bool]]:
        """Each word with whether it is visible."""
        run: _Run | None = None
        glued, new_line = False, True
        previous = 0
        for index in range(min(self.text.count_chars(), _MOST_CHARACTERS)):
            code = self.raw.FPDFText_GetUnicode(self.text.raw, index)
            letter = "-" if code == _HYPHEN else _letter(previous, code)
            previous = code
            single = bool(_CJK.match(letter))
            if run is not None and (single or not letter or letter.isspace()):
                yield from self._finished(run, hyphened=False)
                run, glued = None, single
            if not letter or letter.isspace():
                glued = False
                new_line = new_line or letter in ("\r", "\n")
                continue
            if run is None:
                run = _Run(first=index, glued=glued and not new_line, new_line=new_line)
                glued = new_line = False
            run.add(letter, *self._edges(index))
            if single or code == _HYPHEN:
                yield from self._finished(run, hyphened=code == _HYPHEN)
                run, glued, new_line = None, single, code == _HYPHEN
        if run is not None:
            yield from self._finished(run, hyphened=False)

    def _edges(self, index: int) -> tuple[float, float, float, float]:
        """The character's left, bottom, right and top: of its line, else around its ink."""
        import pypdfium2

        box = self.box
        if (
            self.raw.FPDFText_GetLooseCharBox(self.text.raw, index, box)
            and math.isfinite(box.left + box.right + box.top + box.bottom)
            and box.right > box.left
            and box.top > box.bottom
        ):
            return box.left, box.bottom, box.right, box.top
        try:
            left, bottom, right, top = self.text.get_charbox(index)
        except pypdfium2.PdfiumError:
            return math.inf, math.inf, -math.inf, -math.inf
        return left, bottom, max(right, left + 0.1), max(top, bottom + 0.1)

    def _finished(self, run: "_Run", *, hyphened: bool) -> Iterator[tuple[Word, bool]]:
        text = one_line("".join(run.letters))
        if not text or run.left > run.right:
            return
        x0, y0, x1, y1 = self.place.shown(run.left, run.bottom, run.right, run.top)
        item = self.raw.FPDFText_GetTextObject(self.text.raw, run.first)
        visible = not item or self.raw.FPDFTextObj_GetTextRenderMode(item) != _HIDDEN
        size = self._size(run.first) or y1 - y0
        yield Word(text, x0, y0, x1, y1, size, self._bold(item, run.first), run.glued, run.new_line, hyphened), visible

    def _size(self, index: int) -> float:
        """The font's size as drawn, in points; 0 where unknown."""
        size = self.raw.FPDFText_GetFontSize(self.text.raw, index)
        if not self.raw.FPDFText_GetMatrix(self.text.raw, index, self.matrix):
            return 0.0
        scale = math.hypot(self.matrix.c, self.matrix.d)
        drawn = float(size * scale)
        return drawn if math.isfinite(drawn) and drawn > 0 else 0.0

    def _bold(self, item: Any, index: int) -> bool:
        if self.raw.FPDFText_GetFontWeight(self.text.raw, index) >= 600:
            return True
        font = self.raw.FPDFTextObj_GetFont(item) if item else None
        if not font:
            return False
        address = ctypes.addressof(font.contents)
        if address not in self.bold_fonts:
            name = ctypes.create_string_buffer(256)
            self.raw.FPDFFont_GetBaseFontName(font, name, 256)
            self.bold_fonts[address] = _BOLD_NAME.search(name.value.decode("latin-1")) is not None
        return self.bold_fonts[address]


def _letter(previous: int, code: int) -> str:
    """The character of a code, "" for none; the second half of a surrogate pair gives the whole character."""
    if 0xD800 <= code < 0xDC00 or not 0 < code < 0x110000:
        return ""
    if 0xDC00 <= code < 0xE000:
        if 0xD800 <= previous < 0xDC00:
            return chr(0x10000 + ((previous - 0xD800) << 10) + (code - 0xDC00))
        return "\ufffd"
    return chr(code)


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
