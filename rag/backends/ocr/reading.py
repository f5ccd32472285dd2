"""From a page's picture to its `Page`: upright, in reading order, with what is doubtful kept out of the text."""

from collections.abc import Sequence

import numpy as np

from rag.backends.ocr.base import Engine, Line, Picture
from rag.backends.pictures import Pictures, fitting
from rag.domain.text import clean
from rag.domain.types import Box, Page, Reading

DPI = 200
_MOST_PIXELS = 9_000_000
_MOST_SIDE = 8_000


class Reader:
    """Reads pages with the engine that fits each; loads what it needs with the first."""

    def __init__(self, languages: Sequence[str] = ()) -> None:
        self.languages = tuple(languages)
        self.engine: Engine | None = None

    def page(self, pictures: Pictures, number: int) -> Page:
        """The page recognised: OCR, BLANK or UNREAD. Raises `Permanent` when it cannot be drawn."""
        width, height = pictures.size(number - 1)
        picture = drawn(pictures, number - 1)
        if is_blank(picture):
            return Page(number, "", width=width, height=height, reading=Reading.BLANK)
        lines = self._engine().lines(picture)
        return make_page(number, lines, picture.shape[1], picture.shape[0], width=width, height=height)

    def _engine(self) -> Engine:
        from rag.backends.ocr.rapidocr import RapidOcr

        if self.engine is None:
            self.engine = RapidOcr()
        return self.engine


def drawn(pictures: Pictures, index: int) -> Picture:
    """The page as the engines see it."""
    pixels = pictures.pixels(index, dpi=DPI)
    scale = fitting(*pixels, most_pixels=_MOST_PIXELS, most_side=_MOST_SIDE)
    return np.asarray(pictures.draw(index, width=max(1, round(pixels[0] * scale))).convert("RGB"))


def is_blank(picture: Picture) -> bool:
    """Whether nothing is on the page: every part of it has the paper's colour."""
    return int(picture.max()) - int(picture.min()) < 32


def make_page(
    number: int, lines: Sequence[Line], picture_width: int, picture_height: int, *, width: float, height: float
) -> Page:
    lines = sorted(lines, key=lambda line: (round(line.y0 / 10), line.x0))
    pieces: list[str] = []
    boxes: list[Box] = []
    length = 0
    for line in lines:
        for place, word in enumerate(line.words):
            text = clean(word.text)
            if not text:
                continue
            gap = "" if not pieces else "\n" if place == 0 else "" if word.glued else " "
            pieces += [gap, text]
            start = length + len(gap)
            length = start + len(text)
            edges = (
                word.x0 / picture_width,
                word.y0 / picture_height,
                word.x1 / picture_width,
                word.y1 / picture_height,
            )
            x0, y0, x1, y1 = (min(1.0, max(0.0, edge)) for edge in edges)
            boxes.append(Box(start, length, x0, y0, x1, y1, word.confidence))
    if not boxes:
        gap_sentence = "Nothing on this page could be recognised as text."
        return Page(number, "", width=width, height=height, reading=Reading.UNREAD, confidence=0.0, gap=gap_sentence)
    confidence = float(np.mean([box.confidence for box in boxes]))
    return Page(
        number,
        clean("".join(pieces)),
        boxes=tuple(boxes),
        width=width,
        height=height,
        reading=Reading.OCR,
        confidence=confidence,
    )
