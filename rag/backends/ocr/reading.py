"""From a page's picture to its `Page`: upright, in reading order, with what is doubtful kept out of the text.

Why RapidOCR first: its models read every language in Latin letters, Chinese and Japanese, need not be told which it is,
and say well how sure they are. Tesseract, where it is installed, reads the other scripts.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from rag.backends.ocr import tesseract
from rag.backends.ocr.base import FIGURE, Found, Picture, Word, grey
from rag.backends.ocr.layout import CELL, Row, in_order
from rag.backends.ocr.rapidocr import RapidOcr
from rag.backends.ocr.scripts import languages_for
from rag.backends.pictures import Pictures, fitting
from rag.domain.text import clean
from rag.domain.types import Box, Page, Reading

DPI = 200
ILLEGIBLE = "[illegible]"
_MOST_PIXELS = 9_000_000
_MOST_SIDE = 8_000
# Of every sign of a figure. Of 201 figures on a clean scan one stays below, of 65 read wrongly on a badly blurred one 42.
_SURE = 0.85
_MUCH_MORE = 1.2  # letters that Tesseract must find for each that RapidOCR did, to be believed instead
_SURE_OF_SCRIPT = 2.0  # as Tesseract counts it: below, it takes Georgian for Malayalam
_FEW = 0.002  # of the page: less ink than that, and no text, is dust
_EDGE = 0.03  # of the page: what a scanner leaves at its borders
_SIGNS_ALONE = re.compile(r"[%‰]{2,}")
# Those that were told apart without a mistake on pages of fourteen languages.
_KNOWN_SCRIPTS = frozenset({"Arabic", "Cyrillic", "Devanagari", "Greek", "Hebrew", "Korean", "Vietnamese"})


class Reader:
    """Reads pages in one process; loads what it needs with the first.

    `languages` (ISO 639-1) are those that the text may be in.
    """

    def __init__(self, languages: Sequence[str] = (), *, threads: int = 1) -> None:
        self.languages = tuple(languages)
        self.threads = threads

    def page(self, pictures: Pictures, number: int) -> Page:
        """The page recognised: OCR, BLANK or UNREAD with a gap. Raises `Permanent` when it cannot be drawn."""
        width, height = pictures.size(number - 1)
        picture = _drawn(pictures, number - 1)
        found = Found(0, []) if _is_plain(picture) else self._found(picture)
        return make_page(number, found, picture, width=width, height=height)

    @cached_property
    def _rapidocr(self) -> RapidOcr:
        return RapidOcr(self.threads)

    def _found(self, picture: Picture) -> Found:
        found = self._rapidocr.read(picture)
        if found.unread <= len(found.lines) / 3:
            return found
        other = self._by_tesseract(picture, found.script)
        if other.letters > _MUCH_MORE * found.letters:
            return other
        return replace(found, script=found.script or other.script)

    def _by_tesseract(self, picture: Picture, script: str) -> Found:
        """What Tesseract reads with its languages for the page's script, which it finds out: nothing where it has none."""
        look = tesseract.look_at(picture, dpi=DPI)
        script = script or (look.script if look is not None else "")
        named = script if look is None or look.sure_of_script >= _SURE_OF_SCRIPT else ""
        languages = languages_for(script, self.languages, tesseract.installed())
        if not languages:
            return Found(0, [], script=named)
        found = tesseract.Tesseract(languages, dpi=DPI).read(picture, look.turns if look is not None else None)
        return replace(found, script=named)


def _drawn(pictures: Pictures, index: int) -> Picture:
    pixels = pictures.pixels(index, dpi=DPI)
    scale = fitting(*pixels, most_pixels=_MOST_PIXELS, most_side=_MOST_SIDE)
    return np.asarray(pictures.draw(index, width=max(1, round(pixels[0] * scale))).convert("RGB"))


def make_page(number: int, found: Found, picture: Picture, *, width: float, height: float) -> Page:
    """The page `number` of `width` by `height` points, with what was found on its picture."""
    page = Page(number, "", width=width, height=height, reading=Reading.UNREAD, confidence=0.0)
    if not found.lines or found.unread > 2 * len(found.lines):
        if not found.unread and _ink(picture) < _FEW:
            return replace(page, reading=Reading.BLANK, confidence=1.0)
        return replace(page, gap=_nothing_read(found))
    writer = _Writer()
    for row in in_order(found.lines):
        writer.row(row)
    boxes = tuple(_on_page(box, picture.shape, found.turns) for box in writer.boxes)
    confidence = float(np.mean([box.confidence for box in boxes]))
    gap = _not_certain(writer.doubtful, found.unread)
    return replace(page, text=writer.text(), boxes=boxes, reading=Reading.OCR, confidence=confidence, gap=gap)


class _Writer:
    """Puts the text together and keeps where each word stands; boxes are in pixels of the upright picture."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.boxes: list[Box] = []
        self.length = 0
        self.doubtful = 0  # figures that were left out

    def row(self, row: Row) -> None:
        parted = "" if not self.pieces else "\n\n" if row.new_block else "\n"
        for cell in row.cells:
            for place, word in enumerate(cell.words):
                text = self._certain(word)
                if text:
                    parted = parted or ("" if word.glued and place else " ")
                    self._write(parted if self.pieces else "", text, word)
                    parted = ""
            parted = parted or CELL

    def text(self) -> str:
        return "".join(self.pieces)

    def _certain(self, word: Word) -> str:
        """The word, or what stands for it where it holds a figure that is not certain."""
        text = clean(word.text).strip()
        # A mark that would melt into the letter before it moves every place behind.
        text = text.lstrip("".join(sign for sign in text if unicodedata.combining(sign)))
        if FIGURE.search(text) and (word.weakest < _SURE or _SIGNS_ALONE.fullmatch(text)):
            self.doubtful += 1
            return ILLEGIBLE
        return text

    def _write(self, parted: str, text: str, word: Word) -> None:
        self.pieces += [parted, text]
        start = self.length + len(parted)
        self.length = start + len(text)
        sure = word.weakest if FIGURE.search(word.text) else word.confidence
        self.boxes.append(Box(start, self.length, word.x0, word.y0, word.x1, word.y1, sure))


def _on_page(box: Box, shape: Sequence[int], turns: int) -> Box:
    """The box as fractions of the page as it lies in the file, of which `shape` is the picture's."""
    height, width = shape[:2] if turns % 2 == 0 else (shape[1], shape[0])
    x0, y0, x1, y1 = (
        min(1.0, max(0.0, edge)) for edge in (box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height)
    )
    for _ in range(turns % 4):
        x0, y0, x1, y1 = 1 - y1, x0, 1 - y0, x1
    return replace(box, x0=x0, y0=y0, x1=x1, y1=y1)


def _is_plain(picture: Picture) -> bool:
    """Whether the page is one colour, as a page that was never printed on."""
    return int(picture.max()) - int(picture.min()) < 32


def _ink(picture: Picture) -> float:
    """The share of the page, without its borders, that is much darker or lighter than the paper."""
    import cv2

    shades = cv2.medianBlur(grey(picture), 3)
    height, width = shades.shape
    y, x = round(height * _EDGE), round(width * _EDGE)
    inner = shades[y : height - y, x : width - x].astype(np.int16)
    return float(np.mean(np.abs(inner - np.median(inner)) > 64)) if inner.size else 0.0


def _nothing_read(found: Found) -> str:
    if not found.unread:
        return "Nothing on this page could be recognised as text."
    if found.script in _KNOWN_SCRIPTS:
        language = "Vietnamese" if found.script == "Vietnamese" else f"{found.script} script"
        return f"The text on this page seems to be in {language}, which cannot be recognised here."
    return "There is text on this page that could not be recognised."


def _not_certain(figures: int, lines: int) -> str:
    counts = [
        f"{count} {name}{'' if count == 1 else 's'}" for count, name in ((figures, "figure"), (lines, "line")) if count
    ]
    return f"{' and '.join(counts)} could not be read for certain." if counts else ""
