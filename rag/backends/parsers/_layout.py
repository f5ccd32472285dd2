"""From the lines of a page, as a PDF draws them, to text with blocks, tables and boxes. Points, y downwards."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from operator import add
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag.domain.types import Box

CELL = " | "  # between the cells of a table's row
_SENTENCE_END = re.compile(r"[.:;?!。:;][\"'”’)\]]?$")
_MARKER = re.compile(
    r"[•●▪■◦‣·–—*-]$|\(?(\d{1,3}|[a-zA-Z]|[ivxlcIVXLC]{1,6})[.)]$|\d{1,2}(\.\d{1,3}){1,4}\.?$|(?i:article|section)$"
)


class Style(NamedTuple):
    """How letters look. `turn` is where they run: 0 to the right, 90 down, 180 left, 270 up the page, -1 aslant."""

    size: float  # of the font as drawn, in points; 0 where unknown
    bold: bool = False
    turn: int = 0
    invisible: bool = False  # neither filled nor stroked
    faded: bool = False  # wholly transparent
    colour: tuple[int, int, int] | None = None


class Word(NamedTuple):
    """What stands between two blanks. `glued` to the word before: no blank parts them (Chinese, Japanese, Korean)."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    size: float
    bold: bool = False
    glued: bool = False
    hyphened: bool = False  # ends its line in a hyphen that parts a word
    place: int = 0  # of its rectangle among those of the page


@dataclass(slots=True, eq=False)
class Line:
    """Words that follow each other on one line. `row` is the line of the file they are from: parts of one have the same."""

    words: list[Word]
    x0: float
    y0: float
    x1: float
    y1: float
    row: int = -1
    aside: bool = False  # runs in another direction than the page
    apart: bool = False  # added to the page: in a block with its like alone
    gap: float = math.inf  # the widest between two words, or more; in sizes of the letters
    plain: bool = False  # no word is glued or hyphened

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def size(self) -> float:
        return max([word.size for word in self.words])

    @property
    def text(self) -> str:
        return " ".join([word.text for word in self.words])


@dataclass(slots=True, eq=False)
class Table:
    """Rows of cells; a cell is the words in it."""

    rows: list[list[list[Word]]]
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def height(self) -> float:
        return self.y1 - self.y0


Item = Line | Table


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
    boxes: tuple[Box, ...] = ()
    candidates: list[Candidate] = field(default_factory=list)


class Vocabulary:
    """The whole words seen so far in the document: whether a word parted at a line's end keeps its hyphen."""

    _MOST = 200_000

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._words: set[str] = set()
        self._sizes: Counter[float] = Counter()  # letters by size
        self.bold_letters = 0

    def learn(self, words: set[str], letters: Mapping[tuple[float, bool], int]) -> None:
        """Takes note of a page's whole words, and of how many letters it has by size and weight."""
        for (size, bold), count in letters.items():
            self._sizes[size] += count
            self.bold_letters += count if bold else 0
        new = words - self._seen
        if len(self._seen) < self._MOST:
            self._seen |= new
            self._words.update(map(_bare, new))

    @property
    def sizes(self) -> Counter[float]:
        """Letters by size, to half a point."""
        rounded: Counter[float] = Counter()
        for size, letters in self._sizes.items():
            rounded[round(size * 2) / 2] += letters
        return rounded

    def joins(self, first: str, second: str) -> bool:
        """Whether `first` (without its hyphen) and `second` make one word, seen whole elsewhere and never hyphened."""
        whole, kept = _bare(first + second), _bare(f"{first}-{second}")
        return whole in self._words and kept not in self._words


def _bare(text: str) -> str:
    return text.casefold().strip(".,;:!?()[]{}\"'“”‘’«»")


class Writer:
    """Puts text together piece by piece and keeps where each word stands."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.pieces: list[str] = []
        self.length = 0
        self.places: list[int] = []
        self.starts: list[int] = []
        self.ends: list[int] = []

    def write(self, text: str) -> None:
        self.pieces.append(text)
        self.length += len(text)

    def lines(self, lines: Sequence[Line], separator: str = "\n") -> None:
        """Lines with `separator` between them; the halves of a word parted at a line's end are joined if it is known."""
        last = len(lines) - 1
        for number, line in enumerate(lines):
            following = lines[number + 1].words[0] if number < last else None
            joined = self._plain(line.words) if line.plain else self._line(line.words, following)
            if following is not None and not joined:
                self.write(separator)

    def _plain(self, words: Sequence[Word]) -> bool:
        texts = [word.text for word in words]
        lengths = list(map(len, texts))
        starts = list(accumulate((length + 1 for length in lengths), initial=self.length))
        self.length = starts.pop() - 1
        self.pieces.append(" ".join(texts))
        self.starts += starts
        self.ends += map(add, starts, lengths)
        self.places += [word.place for word in words]
        return False

    def _line(self, words: Sequence[Word], following: Word | None) -> bool:
        """Writes a line, and says whether the next one begins with the rest of its last word."""
        joined = False
        for index, word in enumerate(words):
            if index and not word.glued:
                self.write(" ")
            text = word.text
            if word.hyphened and following is not None and index == len(words) - 1:
                half = text.rstrip("-")
                joined = bool(half) and self.vocabulary.joins(half, following.text)
                text = half if joined else text
            self.starts.append(self.length)
            self.write(text)
            self.ends.append(self.length)
            self.places.append(word.place)
        return joined

    def text(self) -> str:
        return "".join(self.pieces)

    def boxes(self, edges: NDArray[np.float64], width: float, height: float) -> tuple[Box, ...]:
        """A box for each word written; `edges` are the words' rectangles on the page as shown."""
        if not self.places:
            return ()
        fractions = np.clip(edges[self.places] / (width, height, width, height), 0.0, 1.0)
        return tuple(map(Box, self.starts, self.ends, *fractions.T.tolist()))


def blocks(items: Sequence[Item]) -> Iterator[list[Item]]:
    """The items in their order by blocks: paragraphs of lines, and tables."""
    pitch = usual_pitch([item for item in items if isinstance(item, Line)])
    block: list[Item] = []
    for item in items:
        if block and _begins_block(block[-1], item, pitch):
            yield block
            block = []
        block.append(item)
    if block:
        yield block


def lay_out(
    items: Sequence[Item],
    *,
    width: float,
    height: float,
    edges: NDArray[np.float64],
    vocabulary: Vocabulary,
) -> Laid:
    """The items in their order as text: a line each, a blank line between blocks, a table's row on one line.

    `edges` are the rectangles of all words (n by 4) on the page as shown, which is `width` by `height` points.
    """
    writer = Writer(vocabulary)
    candidates: list[Candidate] = []
    for block in blocks(items):
        if writer.length:
            writer.write("\n\n")
        start = writer.length
        first = block[0]
        if isinstance(first, Table):
            _write_table(writer, first)
            continue
        piece = len(writer.pieces)
        writer.lines([item for item in block if isinstance(item, Line)])
        if not (isinstance(first, Line) and first.apart) and len(block) <= 3 and writer.length - start <= 150:
            inside = [word for item in block if isinstance(item, Line) for word in item.words]
            size, bold = min([word.size for word in inside]), all(word.bold for word in inside)
            candidates.append(Candidate(start, "".join(writer.pieces[piece:]), size, bold))
    return Laid(writer.text(), writer.boxes(edges, width, height), candidates)


def _write_table(writer: Writer, table: Table) -> None:
    for number, row in enumerate(table.rows):
        if number:
            writer.write("\n")
        for column, cell in enumerate(row):
            if column:
                writer.write(CELL)
            if cell:
                writer.lines(list(_cell_lines(cell)), " ")


def _cell_lines(cell: Sequence[Word]) -> Iterator[Line]:
    """A cell's words, cut after each hyphen that parts a word."""
    line: list[Word] = []
    for word in cell:
        line.append(word)
        if word.hyphened:
            yield line_of(line)
            line = []
    if line:
        yield line_of(line)


def line_of(words: list[Word], row: int = -1) -> Line:
    """A line of these words."""
    return Line(
        words,
        min([word.x0 for word in words]),
        min([word.y0 for word in words]),
        max([word.x1 for word in words]),
        max([word.y1 for word in words]),
        row,
    )


def joined(lines: Iterable[Line]) -> list[Line]:
    """The lines, those made one that follow each other on the same row of the page without a wide gap."""
    result: list[Line] = []
    for line in lines:
        above = result[-1] if result else None
        if above is None or above.apart or line.apart or above.aside != line.aside or not _continues(above, line):
            result.append(line)
            continue
        above.words = above.words + line.words
        above.x0, above.y0 = min(above.x0, line.x0), min(above.y0, line.y0)
        above.x1, above.y1 = max(above.x1, line.x1), max(above.y1, line.y1)
        above.gap, above.plain = math.inf, above.plain and line.plain
    return result


def _continues(line: Line, following: Line) -> bool:
    """Whether `following` goes on to the right on `line`: after a raised sign, PDFs often "move" to the same line."""
    last, word = line.words[-1], following.words[0]
    if last.hyphened:
        return False
    overlap = min(line.y1, word.y1) - max(line.y0, word.y0)
    return overlap >= 0.5 * min(line.height, word.y1 - word.y0) and -0.3 * word.size <= word.x0 - line.x1 <= 1.5 * max(
        word.size, last.size
    )


def usual_pitch(lines: Sequence[Line]) -> float:
    """How many line heights usually lie between the tops of two lines that follow each other."""
    steps = [
        (below.y0 - above.y0) / above.height
        for above, below in pairwise(lines)
        if above.height > 0 and 0.5 * above.height < below.y0 - above.y0 < 3 * above.height
    ]
    # The lower half: in a page of short paragraphs most steps are gaps between them.
    return median(sorted(steps)[: len(steps) // 2 + 1]) if steps else 1.2


def _begins_block(above: Item, line: Item, pitch: float) -> bool:
    if isinstance(above, Table) or isinstance(line, Table) or above.apart != line.apart or above.aside != line.aside:
        return True
    if above.apart:
        return False
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
        heading.words[0].bold
        and len(heading.words) <= 12
        and all(word.bold for word in heading.words)
        and not any(word.bold for word in text.words)
        and not heading.words[0].text[0].islower()
    )
