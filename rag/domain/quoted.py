"""Finds quoted words in a document's pages, whatever became of blanks, line ends, hyphens, case and punctuation. Pure."""

import re
from array import array
from bisect import bisect_right
from collections.abc import Sequence

from rag.domain.places import Place, Stretch
from rag.domain.text import clean

_LETTERS = re.compile(r"\w+")


class Pages:
    """A document's pages, made ready for finding many quotes in them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._offsets = array("l")  # of each letter, in the text of its page
        self._starts: list[int] = []  # of each page, in letters
        letters: list[str] = []
        for text in texts:
            self._starts.append(len(self._offsets))
            for word in _LETTERS.finditer(text):
                letters.append(_folded(word.group()))
                self._offsets.extend(range(*word.span()))
        self._letters = "".join(letters)

    def find(self, quote: str) -> list[Stretch]:
        """Every place where these words stand, across pages too; none for a quote without letters."""
        wanted = letters(quote)
        found: list[Stretch] = []
        at = self._letters.find(wanted) if wanted else -1
        while at >= 0:
            first, last = self._place(at), self._place(at + len(wanted) - 1)
            found.append(Stretch(first, Place(last.page, last.offset + 1)))
            at = self._letters.find(wanted, at + len(wanted))
        return found

    def _place(self, at: int) -> Place:
        return Place(bisect_right(self._starts, at) - 1, self._offsets[at])


def letters(text: str) -> str:
    """The letters and digits of `text`, folded: two quotes with the same are the same words."""
    return _folded("".join(_LETTERS.findall(clean(text))))


def _folded(word: str) -> str:
    """The word in one case and as long as before, so that each letter keeps its place."""
    folded = word.casefold()
    return folded if len(folded) == len(word) else "".join(_fold_letter(letter) for letter in word)


def _fold_letter(letter: str) -> str:
    folded = letter.casefold()
    return folded if len(folded) == 1 else letter


def overlap(one: Stretch, other: Stretch) -> bool:
    """Whether the two share at least one code point."""
    return _order(one.first) < _order(other.last) and _order(other.first) < _order(one.last)


def _order(place: Place) -> tuple[int, int]:
    return place.page, place.offset
