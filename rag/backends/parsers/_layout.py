"""From the words of a page, as a PDF draws them, to text with lines, blocks and boxes. Points, y downwards."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from rag.domain.types import Box

_SENTENCE_END = re.compile(r"[.:;?!。:;][\"'”’)\]]?$")
_MARKER = re.compile(
    r"[•●▪■◦‣·–—*-]$|\(?(\d{1,3}|[a-zA-Z]|[ivxlcIVXLC]{1,6})[.)]$|\d{1,2}(\.\d{1,3}){1,4}\.?$|(?i:article|section)$"
)


@dataclass(slots=True)
class Word:
    """What stands between two blanks. `glued` to the word before: no blank parts them (Chinese, Japanese, Korean)."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    size: float
    bold: bool = False
    glued: bool = False
    new_line: bool = False  # the PDF moves to another line before it
    hyphened: bool = False  # ends its line in a hyphen that parts a word


@dataclass(slots=True)
class Line:
    words: list[Word]
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def size(self) -> float:
        return max(word.size for word in self.words)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A short block that may be a heading."""

    start: int
    text: str
    size: float
    bold: bool


@dataclass(slots=True)
class Laid:
    """The page's text with its boxes (fractions of the page) and the blocks that look like headings."""

    text: str
    boxes: tuple[Box, ...]
    candidates: list[Candidate] = field(default_factory=list)


class Vocabulary:
    """The whole words seen so far in the document: whether a word parted at a line's end keeps its hyphen."""

    _MOST = 200_000

    def __init__(self) -> None:
        self._words: set[str] = set()
        self.sizes: Counter[float] = Counter()  # letters by size, for finding the size of the body
        self.bold_letters = 0

    def learn(self, words: Iterable[Word]) -> None:
        parted = False
        for word in words:
            self.sizes[round(word.size * 2) / 2] += len(word.text)
            self.bold_letters += len(word.text) if word.bold else 0
            if not (parted or word.hyphened) and len(self._words) < self._MOST:
                self._words.add(_bare(word.text))
            parted = word.hyphened

    def joins(self, first: str, second: str) -> bool:
        """Whether `first` (without its hyphen) and `second` make one word, seen whole elsewhere and never hyphened."""
        whole, kept = _bare(first + second), _bare(f"{first}-{second}")
        return whole in self._words and kept not in self._words


def _bare(text: str) -> str:
    return text.casefold().strip(".,;:!?()[]{}\"'“”‘’«»")


def lay_out(words: Sequence[Word], *, width: float, height: float, vocabulary: Vocabulary) -> Laid:
    """The words in their order as text: a line each, a blank line between blocks, halves of a parted word joined."""
    texts: list[str] = []
    boxes: list[Box] = []
    candidates: list[Candidate] = []
    start = 0
    for block in _blocks(list(_lines(words))):
        text, places = _block_text(block, vocabulary)
        inside = [word for line in block for word in line.words]
        boxes += (
            Box(
                start + place,
                start + place + length,
                _fraction(word.x0, width),
                _fraction(word.y0, height),
                _fraction(word.x1, width),
                _fraction(word.y1, height),
            )
            for word, (place, length) in zip(inside, places, strict=True)
        )
        if len(block) <= 3 and len(text) <= 150:
            size, bold = min(word.size for word in inside), all(word.bold for word in inside)
            candidates.append(Candidate(start, text, size, bold))
        texts.append(text)
        start += len(text) + 2
    return Laid("\n\n".join(texts), tuple(boxes), candidates)


def _block_text(block: Sequence[Line], vocabulary: Vocabulary) -> tuple[str, list[tuple[int, int]]]:
    """The block's text, and where in it each word stands: (place, length)."""
    pieces: list[str] = []
    places: list[tuple[int, int]] = []
    length = 0
    between = ""
    following = [line.words[0].text for line in block[1:]] + [""]
    for line, next_word in zip(block, following, strict=True):
        for index, word in enumerate(line.words):
            if index:
                between = "" if word.glued else " "
            half = word.text.rstrip("-") if word.hyphened and index + 1 == len(line.words) else ""
            joined = bool(half and next_word) and vocabulary.joins(half, next_word)
            text = half if joined else word.text
            pieces += (between, text)
            places.append((length + len(between), len(text)))
            length += len(between) + len(text)
            between = "" if joined else "\n"
    return "".join(pieces), places


def _fraction(value: float, whole: float) -> float:
    return min(1.0, max(0.0, value / whole))


def _lines(words: Sequence[Word]) -> Iterator[Line]:
    line: Line | None = None
    for word in words:
        if line is not None and (not word.new_line or _continues(line, word)):
            line.words.append(word)
            line.x0, line.y0 = min(line.x0, word.x0), min(line.y0, word.y0)
            line.x1, line.y1 = max(line.x1, word.x1), max(line.y1, word.y1)
            continue
        if line is not None:
            yield line
        line = Line([word], word.x0, word.y0, word.x1, word.y1)
    if line is not None:
        yield line


def _continues(line: Line, word: Word) -> bool:
    """Whether `word` goes on to the right on `line`: after a raised sign, PDFs often "move" to the same line."""
    if line.words[-1].hyphened:
        return False
    last = line.words[-1]
    overlap = min(line.y1, word.y1) - max(line.y0, word.y0)
    return overlap >= 0.5 * min(line.height, word.y1 - word.y0) and -0.3 * word.size <= word.x0 - line.x1 <= 1.5 * max(
        word.size, last.size
    )


def _blocks(lines: Sequence[Line]) -> Iterator[list[Line]]:
    pitch = _usual_pitch(lines)
    block: list[Line] = []
    for line in lines:
        if block and _begins_block(block[-1], line, pitch):
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _usual_pitch(lines: Sequence[Line]) -> float:
    """How many line heights usually lie between the tops of two lines that follow each other."""
    steps = [
        (below.y0 - above.y0) / above.height
        for above, below in pairwise(lines)
        if above.height > 0 and 0.5 * above.height < below.y0 - above.y0 < 3 * above.height
    ]
    # The lower half: in a page of short paragraphs most steps are gaps between them.
    return median(sorted(steps)[: len(steps) // 2 + 1]) if steps else 1.2


def _begins_block(above: Line, line: Line, pitch: float) -> bool:
    step = line.y0 - above.y0
    usual = pitch * max(above.height, line.height)
    if step < -0.5 * line.height or step > 1.3 * usual + 0.5:
        return True  # another column or table cell, or a gap
    if line.x0 > above.x1 or line.x1 < above.x0:
        return True
    if above.words[-1].hyphened:
        return False
    if not 0.8 < line.size / above.size < 1.25 or _heading_above(above, line) or _heading_above(line, above):
        return True
    if not _SENTENCE_END.search(above.words[-1].text):
        return False
    return line.x0 - above.x0 > 0.8 * line.size or bool(_MARKER.match(line.words[0].text))


def _heading_above(heading: Line, text: Line) -> bool:
    """Whether `heading` is short and all bold while `text` is not bold: two blocks, though no gap parts them."""
    return (
        all(word.bold for word in heading.words)
        and len(heading.words) <= 12
        and not any(word.bold for word in text.words)
        and not heading.words[0].text[0].islower()
    )
