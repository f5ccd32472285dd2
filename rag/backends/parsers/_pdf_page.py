"""One page of a PDF: its lines in the file's order, and how well its text layer tells what is on it."""

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rag.backends.parsers._layout import Line, Word
from rag.backends.parsers._pdf_drawn import Drawn, Rectangle, read_drawn
from rag.backends.parsers._pdf_hidden import picture_share, visible
from rag.backends.parsers._pdf_notes import Note, numbered, read_notes
from rag.backends.parsers._pdf_words import Edges, Words, read_words
from rag.domain.types import Reading

_NO_LETTERS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff\U000f0000-\U0010ffff]")
_CID = re.compile(r"\(cid:\d+\)")
_LONG_WORD = re.compile("[A-Za-z]{4,}")
_VOWELS = "aeiouyAEIOUY"
_NO_VOWEL = re.compile("[^aeiouyAEIOUY]+")
_UNKNOWN_SHARE = 0.3  # of a page's characters: with so many unknown ones it is not text
_FEW_WORDS = 30  # on a page that is mostly a picture
_MOSTLY = 0.5  # of the page
_NOTABLE = 0.02  # of the page: a picture that counts
_WHOLE = 0.9  # of the page: a picture behind the text
_SPECK = 0.002  # of the page: a picture that could show something
_GARBLED = "Its text layer does not say which letters it draws."
_NO_TEXT = "It has no text layer."
_THIN = "Most of it is a picture; only the text beside the picture was read."


@dataclass(slots=True)
class RawPage:
    """A page before it is laid out. Lines are as the letters run: `turn` says where that is on the page as shown."""

    width: float
    height: float
    lines: list[Line] = field(default_factory=list)
    turn: int = 0
    edges: Edges = field(default_factory=lambda: np.empty((0, 4)))  # of the words, on the page as shown
    vocabulary: set[str] = field(default_factory=set)
    letters: Counter[tuple[float, bool]] = field(default_factory=Counter)  # by size and weight
    across: list[Rectangle] = field(default_factory=list)  # horizontal rules, on the page as shown
    down: list[Rectangle] = field(default_factory=list)  # vertical ones
    reading: Reading = Reading.TEXT
    gap: str = ""
    images: int = 0
    hidden: bool = False  # words that nobody can see were left out
    notes: list[Note] = field(default_factory=list)  # as the letters run
    files: list[tuple[str, bytes]] = field(default_factory=list)  # pinned to the page

    @property
    def laid_width(self) -> float:
        """The width of the page turned as its letters run."""
        return self.height if self.turn in (90, 270) else self.width

    @property
    def laid_height(self) -> float:
        return self.width if self.turn in (90, 270) else self.height

    def turned(self, edges: Edges) -> Edges:
        """Rectangles of the page as shown (n by 4) where its letters run to the right."""
        x0, y0, x1, y1 = edges.T
        match self.turn:
            case 90:
                return np.column_stack((y0, self.width - x1, y1, self.width - x0))
            case 180:
                return np.column_stack((self.width - x1, self.height - y1, self.width - x0, self.height - y0))
            case 270:
                return np.column_stack((self.height - y1, x0, self.height - y0, x1))
        return edges


def page_size(page: Any) -> tuple[float, float]:
    """The page's width and height as shown, in points; 0 for what no page can have."""
    width, height = (side if math.isfinite(side) and 0 < side < 1e12 else 0.0 for side in page.get_size())
    return width, height


def read_page(pdf: Any, page: Any, text: Any) -> RawPage:
    """The page as its text layer gives it. A page of no size has nothing."""
    width, height = page_size(page)
    raw = RawPage(width, height)
    if not width or not height:
        raw.reading = Reading.BLANK
        return raw
    drawn = read_drawn(page, width, height)
    raw.across, raw.down = drawn.across, drawn.down
    words = read_words(page, text)
    garbled = _is_garbled(words.letters)
    seen = visible(words, drawn, width, height)
    if not seen.all():
        raw.hidden = True
        words = words.only(seen)
    if words.texts and not garbled:
        raw.turn = words.turn()
        raw.lines = _lines(words, raw)
    notes = read_notes(pdf, page, (width, height))
    raw.notes, raw.files = notes.notes, notes.files
    raw.edges = numbered(raw.notes, raw.edges, raw.turned)
    _judge(raw, words, drawn, garbled=garbled)
    return raw


def _judge(raw: RawPage, words: Words, drawn: Drawn, *, garbled: bool) -> None:
    """Decides how the page was read."""
    page = raw.width * raw.height
    shares = [(x1 - x0) * (y1 - y0) / page for x0, y0, x1, y1 in drawn.pictures]
    pictured = picture_share(drawn, raw.width, raw.height)
    if words.texts and not garbled:
        if (
            pictured >= _MOSTLY
            and len(words.texts) < _FEW_WORDS
            and not any(style.invisible for style in words.palette)
        ):
            raw.reading, raw.gap = Reading.UNREAD, _THIN
        else:
            raw.images = sum(_NOTABLE < share < _WHOLE for share in shares)
    elif words.texts:
        raw.reading, raw.gap = Reading.UNREAD, _GARBLED
    elif any(share > _SPECK for share in shares) or drawn.shapes:
        raw.reading, raw.gap = Reading.UNREAD, _NO_TEXT
    else:
        raw.reading = Reading.TEXT if raw.notes else Reading.BLANK


def _is_garbled(letters: str) -> bool:
    """Whether the text layer is no text: letters that stand for nothing, or words that no language has."""
    if letters.isascii() and "(cid:" not in letters and _NO_LETTERS.search(letters) is None:
        return _is_scrambled(letters)
    unknown = len(_NO_LETTERS.findall(letters)) + sum(map(len, _CID.findall(letters)))
    everything = len(letters) - sum(letters.count(blank) for blank in " \r\n")
    return unknown > _UNKNOWN_SHARE * max(everything, 1) or _is_scrambled(letters)


def _is_scrambled(letters: str) -> bool:
    """Whether a page of Latin letters has words of four letters and more without a vowel, one in four at least.

    No language that is written with these letters comes near; a font whose letters are numbered from another place does.
    """
    vowels = sum(map(letters.count, _VOWELS))
    if 4 * vowels > len(letters) - letters.count(" "):
        return False
    words = _LONG_WORD.findall(letters)
    return len(words) >= 40 and 4 * sum(_NO_VOWEL.fullmatch(word) is not None for word in words) > len(words)


def _lines(words: Words, raw: RawPage) -> list[Line]:
    edges = raw.turned(words.edges)
    raw.edges = words.edges
    x0, y0, x1, y1 = edges.T
    sizes = np.array([style.size for style in words.palette])[words.looks]
    sizes = np.where(sizes > 0, sizes, y1 - y0)
    bolds = np.array([style.bold for style in words.palette])[words.looks]
    columns = (x0, y0, x1, y1, sizes, bolds, words.glued, words.hyphened)
    made = list(
        map(Word._make, zip(words.texts, *(column.tolist() for column in columns), range(len(x0)), strict=True))
    )
    starts = np.concatenate(([0], np.flatnonzero(np.diff(words.lines)) + 1))
    lefts, tops = np.minimum.reduceat(x0, starts).tolist(), np.minimum.reduceat(y0, starts).tolist()
    rights, bottoms = np.maximum.reduceat(x1, starts).tolist(), np.maximum.reduceat(y1, starts).tolist()
    gaps = np.maximum(x0[1:] - x1[:-1], x0[:-1] - x1[1:]) / np.maximum(np.maximum(sizes[1:], sizes[:-1]), 0.1)
    gaps = np.concatenate(([0.0], gaps))
    gaps[starts] = 0.0
    widest = np.maximum.reduceat(gaps, starts).tolist()
    odd = np.maximum.reduceat(words.glued | words.hyphened, starts).tolist()
    first = starts.tolist()
    sides = zip(lefts, tops, rights, bottoms, strict=True)
    lines = [
        Line(made[start:end], left, top, right, bottom, row, gap=gap, plain=not strange)
        for row, (start, end, gap, strange, (left, top, right, bottom)) in enumerate(
            zip(first, [*first[1:], len(made)], widest, odd, sides, strict=True)
        )
    ]
    if any(style.turn != raw.turn for style in words.palette):
        for line, start in zip(lines, first, strict=True):
            line.aside = words.palette[words.looks[start]].turn != raw.turn
    for style, count in zip(words.palette, words.letters_by_style(), strict=True):
        raw.letters[style.size, style.bold] += count
    raw.vocabulary = _whole_words(words)
    return lines


def _whole_words(words: Words) -> set[str]:
    """The words that are not parted at a line's end."""
    if not words.hyphened.any():
        return set(words.texts)
    parted = words.hyphened.copy()
    parted[1:] |= words.hyphened[:-1]
    return {words.texts[index] for index in np.flatnonzero(~parted).tolist()}
