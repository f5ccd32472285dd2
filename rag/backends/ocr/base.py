"""What an engine is: a function from a picture of a page to the lines of text on it, each word with its place."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (height, width, 3), red green blue


# What is a figure in a word: the digits with what parts them, and the signs of shares and money.
FIGURE = re.compile(r"[%‰$€£¥₤₽₹]|\d+(?:[.,:/'’–-]\d+)*")


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its rectangle in pixels, origin top left, and how sure the engine is, 0 to 1: `confidence` of all its
    signs, `least` of the least sure one in its figures, where the engine tells.

    A `glued` word follows the one before it without a blank, as Chinese characters do.
    """

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    confidence: float
    glued: bool = False
    least: float = 1.0

    @property
    def weakest(self) -> float:
        """How sure it is that the figures in it are right."""
        return min(self.confidence, self.least)


@dataclass(frozen=True, slots=True)
class Line:
    """Words that stand on one line, from left to right."""

    words: tuple[Word, ...]

    @property
    def confidence(self) -> float:
        """The mean over its letters."""
        return sum(word.confidence * len(word.text) for word in self.words) / sum(len(word.text) for word in self.words)

    @property
    def x0(self) -> float:
        return min(word.x0 for word in self.words)

    @property
    def y0(self) -> float:
        return min(word.y0 for word in self.words)

    @property
    def x1(self) -> float:
        return max(word.x1 for word in self.words)

    @property
    def y1(self) -> float:
        return max(word.y1 for word in self.words)


@dataclass(frozen=True, slots=True)
class Found:
    """What stands on a picture after `turns` quarter turns anticlockwise have set it upright.

    `unread` counts the places that look like text of which too little was read to believe it.
    """

    turns: int
    lines: list[Line]
    unread: int = 0
    script: str = ""  # that of the unread places, where it is known: "Greek"

    @property
    def letters(self) -> int:
        """How much was read."""
        return sum(len(word.text) for line in self.lines for word in line.words)


class Engine(ABC):
    """Recognises text in a picture; loaded once per process, used by one thread."""

    @abstractmethod
    def read(self, picture: Picture, turns: int | None = None) -> Found:
        """The lines that were read for certain, in no particular order, none where there is no text.

        `turns` are the quarter turns anticlockwise that set the picture upright; with None the engine finds out.
        """


def certain(lines: Sequence[Line], *, least: float) -> list[Line]:
    """The lines, or none of them where on the whole they are less sure than `least`: what is in unknown letters has some
    lines that look well by chance.
    """
    letters = sum(len(word.text) for line in lines for word in line.words)
    sure = sum(word.confidence * len(word.text) for line in lines for word in line.words)
    return list(lines) if sure >= least * letters else []


def turned(picture: NDArray[np.uint8], turns: int) -> NDArray[np.uint8]:
    """The picture after that many quarter turns anticlockwise."""
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns % 4 else picture


def grey(picture: Picture) -> NDArray[np.uint8]:
    """The picture with one value for a pixel: (height, width)."""
    import cv2

    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
