"""The words of a PDF's page with their places and looks, those that nobody can see told apart.

A word's rectangle is that of its first and its last character where one text object holds both, else of all of them.
"""

import ctypes
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rag.backends.parsers._layout import Style
from rag.backends.parsers._pdf_native import TextPage, bare
from rag.domain.text import clean

_MOST_CHARACTERS = 2_000_000  # of one page
_INVISIBLE = (3, 7)  # text render modes: neither filled nor stroked
_BOLD_NAME = re.compile(r"(?i)bold|black|heavy|medi\b|cmbx|demi")
_CJK = "\u2e80-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffee\U00020000-\U0003ffff"
_HAS_CJK = re.compile(f"[{_CJK}]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_LINE = re.compile("[^\r\n\ufffe]+\ufffe?|\ufffe")
_WORD = re.compile(r"[^\s\x00]+")
_CJK_WORD = re.compile(rf"[{_CJK}]|[^\s\x00{_CJK}]+")
_HYPHEN = "\ufffe"

Edges = NDArray[np.float64]
_T = TypeVar("_T", float, NDArray[np.float64])


@dataclass(slots=True)
class Words:
    """The words of a page in the file's order. `edges` is n by 4: x0, y0, x1, y1 on the page as shown, y downwards, in points.

    `lines` holds the number of the line that each word stands in, as PDFium sees lines. `letters` is the page's text as
    the file gives it, unmapped and hidden characters included.
    """

    texts: list[str]
    edges: Edges
    palette: list[Style]
    looks: NDArray[np.int64]  # of each word, its style's place in the palette
    objects: list[int | None]
    lines: NDArray[np.int64]
    glued: NDArray[np.bool_]
    hyphened: NDArray[np.bool_]
    letters: str

    def only(self, keep: NDArray[np.bool_]) -> "Words":
        """Those words alone for which `keep` is true."""
        places = np.flatnonzero(keep).tolist()
        return Words(
            [self.texts[i] for i in places],
            self.edges[keep],
            self.palette,
            self.looks[keep],
            [self.objects[i] for i in places],
            self.lines[keep],
            self.glued[keep],
            self.hyphened[keep],
            self.letters,
        )

    def letters_by_style(self) -> list[int]:
        """How many letters the words of each style in the palette have."""
        lengths = np.fromiter(map(len, self.texts), np.float64, len(self.texts))
        counts: list[float] = np.bincount(self.looks, lengths, len(self.palette)).tolist()
        return [int(count) for count in counts]

    def turn(self) -> int:
        """The direction in which most letters run: 0 to the right, 90 down, 180 to the left, 270 up the page."""
        letters: Counter[int] = Counter()
        for style, count in zip(self.palette, self.letters_by_style(), strict=True):
            letters[style.turn] += count
        return max((turn for turn in letters if turn >= 0), key=lambda turn: letters[turn], default=0)


class Place:
    """From the page's own space to the page as shown: cropped, turned, y downwards, in points."""

    def __init__(self, page: Any) -> None:
        self.left, self.bottom, self.right, self.top = page.get_bbox()
        self.rotation = page.get_rotation()

    def shown(self, edges: Edges) -> Edges:
        """Rectangles (left, top, right, bottom; n by 4) as (x0, y0, x1, y1)."""
        return np.column_stack(self.turned(*edges.T))

    def turned(self, left: _T, top: _T, right: _T, bottom: _T) -> tuple[_T, _T, _T, _T]:
        """The same for one rectangle, or for four arrays."""
        match self.rotation:
            case 90:
                return bottom - self.bottom, left - self.left, top - self.bottom, right - self.left
            case 180:
                return self.right - right, bottom - self.bottom, self.right - left, top - self.bottom
            case 270:
                return self.top - top, self.right - right, self.top - bottom, self.right - left
        return left - self.left, self.top - top, right - self.left, self.top - bottom

    def direction(self, a: float, b: float) -> int:
        """Where letters run whose matrix begins with `a` and `b`: 0, 90, 180 or 270 as in `Words.turn`, -1 aslant."""
        x, y = {90: (b, a), 180: (-a, b), 270: (-b, -a)}.get(self.rotation, (a, -b))
        angle = math.degrees(math.atan2(y, x)) % 360
        nearest = round(angle / 90) * 90
        return nearest % 360 if abs(angle - nearest) <= 5 else -1


def read_words(page: Any, text: Any) -> Words:
    """Every word of the page, seen or not."""
    native = TextPage(text)
    letters = native.characters(_MOST_CHARACTERS)
    cjk = not letters.isascii() and _HAS_CJK.search(letters) is not None
    pattern = _CJK_WORD if cjk else _WORD
    spans: list[tuple[int, int]] = []
    counts: list[int] = []
    for line in _LINE.finditer(letters):
        before = len(spans)
        spans += [word.span() for word in pattern.finditer(letters, *line.span())]
        counts.append(len(spans) - before)
    number = len(spans)
    if not number:
        none = np.empty(0, np.int64)
        return Words([], np.empty((0, 4)), [], none, [], none, none.astype(bool), none.astype(bool), letters)
    starts = [start for start, _ in spans]
    ends = [end for _, end in spans]
    objects = native.objects(starts)
    place = Place(page)
    palette, looks = _Styles(native, place).of(starts, objects)
    words = Words(
        texts=[letters[start:end] for start, end in spans],
        edges=place.shown(_edges(native, starts, ends, objects)),
        palette=palette,
        looks=looks,
        objects=objects,
        lines=np.repeat(np.arange(len(counts)), counts),
        glued=np.zeros(number, bool),
        hyphened=np.zeros(number, bool),
        letters=letters,
    )
    if cjk:
        words.glued[1:] = (np.array(starts[1:]) == np.array(ends[:-1])) & (words.lines[1:] == words.lines[:-1])
    return _cleaned(words)


def _cleaned(words: Words) -> Words:
    """With clean texts, a hyphen for PDFium's sign for one, and without what cleaning leaves nothing of."""
    emptied = False
    if not words.letters.isascii() or _CONTROL.search(words.letters):
        for index, text in enumerate(words.texts):
            if not text.isascii() or not text.isprintable():
                words.hyphened[index] = text[-1] == _HYPHEN
                cleaned = "".join(clean(text.replace(_HYPHEN, "-")).split())
                words.texts[index] = cleaned
                emptied = emptied or not cleaned
    places = np.isfinite(words.edges).all(axis=1)
    if emptied or not places.all():
        words = words.only(places & np.array([bool(text) for text in words.texts]))
    return words


def _edges(native: TextPage, starts: Sequence[int], ends: Sequence[int], objects: Sequence[int | None]) -> Edges:
    """The rectangle of each word (left, top, right, bottom) in the page's own space."""
    lasts = [end - 1 for end in ends]
    # Words that begin in the same object as the next one lie in it whole; of the others the last letter tells.
    doubtful = [
        index
        for index, (mine, following) in enumerate(zip(objects, [*objects[1:], -1], strict=True))
        if mine != following
    ]
    others = native.objects([lasts[index] for index in doubtful])
    mixed = [index for index, other in zip(doubtful, others, strict=True) if other != objects[index]]
    both = native.edges([*starts, *lasts])
    first, last = both[: len(starts)], both[len(starts) :]
    edges = _around(first, last)
    unknown = np.flatnonzero(~np.isfinite(edges).all(axis=1)).tolist()
    whole = sorted({*mixed, *unknown})
    if whole:
        counts = [ends[index] - starts[index] for index in whole]
        every = native.edges([place for index in whole for place in range(starts[index], ends[index])])
        # A letter without a place takes no part.
        blank = ~np.isfinite(every).all(axis=1)
        every[blank] = (np.inf, -np.inf, -np.inf, np.inf)
        at = [0, *accumulate(counts)][:-1]
        low, high = np.minimum.reduceat(every, at), np.maximum.reduceat(every, at)
        edges[whole] = np.column_stack((low[:, 0], high[:, 1], high[:, 2], low[:, 3]))
    return edges


def _around(first: Edges, last: Edges) -> Edges:
    low, high = np.minimum(first, last), np.maximum(first, last)
    return np.column_stack((low[:, 0], high[:, 1], high[:, 2], low[:, 3]))


class _Styles:
    """How the letters of each text object look, asked once for each."""

    def __init__(self, native: TextPage, place: Place) -> None:
        import pypdfium2.raw as raw

        self.native = native
        self.place = place
        self.matrix = raw.FS_MATRIX()
        self.colour = [ctypes.c_uint() for _ in range(4)]
        self.references = [ctypes.byref(part) for part in self.colour]
        self.bold_fonts: dict[int, bool] = {}

    def of(self, starts: Sequence[int], objects: Sequence[int | None]) -> tuple[list[Style], NDArray[np.int64]]:
        """The styles that there are, and the place of each word's among them."""
        places: dict[int | None, int] = {}
        palette: dict[Style, int] = {}
        for start, item in zip(starts, objects, strict=True):
            if item not in places:
                places[item] = palette.setdefault(self._style(start, item), len(palette))
        return list(palette), np.fromiter(map(places.__getitem__, objects), np.int64, len(objects))

    def _style(self, index: int, address: int | None) -> Style:
        text = self.native.text
        size = bare("FPDFText_GetFontSize", ctypes.c_double)(text, index)
        turn = 0
        if bare("FPDFText_GetMatrix")(text, index, ctypes.byref(self.matrix)):
            matrix = self.matrix
            size *= math.hypot(matrix.c, matrix.d)
            turn = self.place.direction(matrix.a, matrix.b)
        if address is None:
            return Style(size=_sane(size), turn=turn)
        item = ctypes.c_void_p(address)
        mode = bare("FPDFTextObj_GetTextRenderMode")(item)
        filled = mode in (0, 2, 4, 6) and bare("FPDFPageObj_GetFillColor")(item, *self.references)
        red, green, blue, alpha = (part.value for part in self.colour) if filled else (0, 0, 0, 255)
        return Style(
            size=_sane(size),
            bold=self._bold(item, index),
            turn=turn,
            invisible=mode in _INVISIBLE,
            faded=alpha < 10,
            colour=(red, green, blue) if filled else None,
        )

    def _bold(self, item: ctypes.c_void_p, index: int) -> bool:
        font = bare("FPDFTextObj_GetFont", ctypes.c_void_p)(item)
        if not font:
            return False
        if font not in self.bold_fonts:
            name = ctypes.create_string_buffer(256)
            bare("FPDFFont_GetBaseFontName", ctypes.c_size_t)(ctypes.c_void_p(font), name, ctypes.c_size_t(256))
            heavy = bare("FPDFText_GetFontWeight")(self.native.text, index) >= 600
            self.bold_fonts[font] = heavy or _BOLD_NAME.search(name.value.decode("latin-1")) is not None
        return self.bold_fonts[font]


def _sane(size: float) -> float:
    """The font's size as drawn, in points; 0 where unknown."""
    return round(size, 3) if math.isfinite(size) and 0 < size < 1e6 else 0.0
