"""Which words of a PDF's page nobody can see: a model must not read what a reader cannot."""

import numpy as np
from numpy.typing import NDArray

from rag.backends.parsers._pdf_drawn import Drawn, Fill, Rectangle
from rag.backends.parsers._pdf_words import Edges, Words

_TINY = 2.0  # points, high and wide: too small to be read
_SAME_COLOUR = 24  # of 765: text on a ground of this difference cannot be made out
_PICTURE = 0.05  # of the page: invisible text over so large a picture is what the picture shows
_SCAN = 0.5  # of the page: with so much of pictures it is a scan, and invisible text is its text layer
_MOST_PAIRS = 1_000_000  # of words and fills that are compared at once
_WHITE = (255, 255, 255)

Mask = NDArray[np.bool_]


def visible(words: Words, drawn: Drawn, width: float, height: float) -> Mask:
    """True for each word that a reader of the page can see."""
    if not words.texts:
        return np.ones(0, bool)
    edges = words.edges
    x0, y0, x1, y1 = edges.T
    # By its middle: what stands outside, no reader can see.
    seen: Mask = (x0 + x1 >= 0) & (x0 + x1 <= 2 * width) & (y0 + y1 >= 0) & (y0 + y1 <= 2 * height)
    low = y1 - y0 < _TINY
    if low.any():
        seen &= ~low | (x1 - x0 >= _TINY * np.array([len(text) for text in words.texts]))
    if any(style.faded for style in words.palette):
        seen &= ~_each(words, [style.faded for style in words.palette])
    if any(style.invisible for style in words.palette):
        seen &= ~_each(words, [style.invisible for style in words.palette]) | _over_picture(edges, drawn, width, height)
    if drawn.fills or any(style.colour and min(style.colour) > 240 for style in words.palette):
        seen &= ~_lost(words, drawn)
    return seen


def picture_share(drawn: Drawn, width: float, height: float) -> float:
    """How much of the page is covered with pictures, 0 to 1."""
    return min(1.0, sum(_area(edges) for edges in drawn.pictures) / max(width * height, 1.0))


def _each(words: Words, flags: list[bool]) -> Mask:
    """For each word the flag of its style; `flags` go with the palette."""
    return np.array(flags, bool)[words.looks]


def _area(edges: Rectangle) -> float:
    x0, y0, x1, y1 = edges
    return (x1 - x0) * (y1 - y0)


def _inside(edges: Edges, rectangle: Rectangle) -> Mask:
    """Which words have their middle in the rectangle."""
    x0, y0, x1, y1 = rectangle
    across, down = (edges[:, 0] + edges[:, 2]) / 2, (edges[:, 1] + edges[:, 3]) / 2
    return (across >= x0) & (across <= x1) & (down >= y0) & (down <= y1)


def _over_picture(edges: Edges, drawn: Drawn, width: float, height: float) -> Mask:
    if picture_share(drawn, width, height) >= _SCAN:
        return np.ones(len(edges), bool)
    over = np.zeros(len(edges), bool)
    for picture in drawn.pictures:
        if _area(picture) >= _PICTURE * width * height:
            over |= _inside(edges, picture)
    return over


def _orders(words: Words, drawn: Drawn) -> NDArray[np.int64]:
    """The place of each word among all that is drawn; after everything where it is not known."""
    return np.array([drawn.order.get(item, 1 << 60) if item else 1 << 60 for item in words.objects])


def _lost(words: Words, drawn: Drawn) -> Mask:
    """Which words have the colour of what is drawn beneath them (white paper at the bottom), or lie beneath something.

    PDFium drops a word that is drawn again at the same place: then the first one counts as seen as far as the second is.
    """
    fills = drawn.fills
    beneath, cover = _around(words, drawn)
    lost = ~_stands_out(words, [None, *fills], beneath) | (cover > 0)
    for number in {*beneath[lost].tolist(), *cover[lost].tolist()} - {0}:
        if drawn.is_pattern(fills[number - 1]):
            lost &= (beneath != number) | (cover > 0)
            cover[cover == number] = 0
            lost &= (cover > 0) | ~_stands_out(words, [None, *fills], np.where(beneath == number, -1, beneath))
    if lost.any():
        lost &= ~_drawn_again(words, drawn, cover)
    return lost


def _around(words: Words, drawn: Drawn) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each word the number, from 1, of the last fill beneath it and of the last that covers it; 0 for none."""
    orders = _orders(words, drawn)
    across, down = (words.edges[:, 0] + words.edges[:, 2]) / 2, (words.edges[:, 1] + words.edges[:, 3]) / 2
    beneath, cover = np.zeros(len(orders), np.int64), np.zeros(len(orders), np.int64)
    at_once = max(1, _MOST_PAIRS // max(len(orders), 1))
    for start in range(0, len(drawn.fills), at_once):
        part = drawn.fills[start : start + at_once]
        x0, y0, x1, y1 = np.array([fill.edges for fill in part]).T[:, :, None]
        inside = (across >= x0) & (across <= x1) & (down >= y0) & (down <= y1)
        numbers = np.arange(start + 1, start + 1 + len(part))[:, None]
        later = orders > np.array([fill.order for fill in part])[:, None]
        covers = np.array([fill.covers for fill in part])[:, None]
        beneath = np.maximum(beneath, np.where(inside & later, numbers, 0).max(axis=0))
        cover = np.maximum(cover, np.where(inside & ~later & covers, numbers, 0).max(axis=0))
    return beneath, cover


def _stands_out(words: Words, grounds: list[Fill | None], beneath: NDArray[np.int64]) -> Mask:
    """Which words have another colour than the fill beneath them, by its number in `grounds`; -1 for a pattern."""
    known: dict[tuple[int, int], bool] = {}
    out = []
    for key in zip(words.looks.tolist(), beneath.tolist(), strict=True):
        if key not in known:
            look, number = key
            ground = grounds[number] if number > 0 else None
            colour = _WHITE if ground is None else ground.colour
            known[key] = number < 0 or _differ(words.palette[look].colour, colour)
        out.append(known[key])
    return np.array(out, bool)


def _differ(one: tuple[int, int, int] | None, other: tuple[int, int, int] | None) -> bool:
    if one is None or other is None:
        return True  # of several colours, or not known
    return sum(abs(mine - its) for mine, its in zip(one, other, strict=True)) >= _SAME_COLOUR


def _drawn_again(words: Words, drawn: Drawn, cover: NDArray[np.int64]) -> Mask:
    """Which words lie under a later text object that has no words of its own: PDFium took them for doubles."""
    again = np.zeros(len(words.texts), bool)
    orders = _orders(words, drawn)
    covered_at = np.array([0, *(fill.order for fill in drawn.fills)])[cover]
    used = set(words.objects)
    for address, order in drawn.order.items():
        if address not in used and (edges := drawn.text_edges(address)):
            again |= _inside(words.edges, edges) & (orders < order) & (covered_at < order)
    return again
