"""What an engine is: a function from a picture of a page to the lines of text on it, each word with its place."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (height, width, 3), red green blue


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its rectangle in pixels, origin top left, and how sure the engine is, 0 to 1.

    A `glued` word follows the one before it without a blank, as Chinese characters do.
    """

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    confidence: float
    glued: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """Words that stand on one line, from left to right."""

    words: tuple[Word, ...]

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


class Engine(ABC):
    """Recognises text in an upright picture; loaded once per process, used by one thread."""

    name: ClassVar[str]  # provenance: "rapidocr/1"

    @abstractmethod
    def lines(self, picture: Picture) -> list[Line]:
        """The lines found, in no particular order; [] when there is no text."""
