"""Running heads, running feet and page numbers: lines that stand at the same place on page after page.

Why: in the passages they cut sentences in two and make every page alike. Of each the first stays, since a contract's
number may stand nowhere else; plain page numbers all go.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from rag.backends.parsers._layout import Line
from rag.backends.parsers._pdf_page import RawPage

_MARGIN = 0.15  # of the page's height, at the top and at the bottom
_MOST_ROWS = 4  # of a head or a foot
_LEAST_PAGES = 3
_STEP = 6.0  # points: two lines so near count as at the same place
_GAP = 0.4  # of a line's height, at least, between a head and the text
_LARGER = 1.15  # than the body: a heading, not a running head
_DIGITS = re.compile(r"\d+")
_ROMAN = re.compile(r"[ivxlc]+")
_NUMBER_ALONE = re.compile(
    r"[\W_]*(?:(?:page|p|seite|s|página|pagina|pág|str)?\.?\W*#(?:\W*(?:of|von|de|di|/)?\W*#)?)[\W_]*"
)

_Key = tuple[str, bool, int]  # what it says, whether at the top, and where


class Furniture:
    """What is known of the running heads of a document, more with each page."""

    def __init__(self) -> None:
        self._pages: Counter[_Key] = Counter()
        self._kept: set[str] = set()

    def learn(self, page: RawPage) -> None:
        """Takes note of what stands in the page's margins."""
        self._pages.update({key for line in page.lines if (key := _key(line, page))})

    def remove(self, page: RawPage, body: float) -> None:
        """Takes the running heads and feet out of the page; `body` is the size of the document's letters."""
        repeated = [line for line in page.lines if self._repeats(line, page, body)]
        if not repeated:
            return
        middle = page.laid_height / 2
        gone: set[int] = set()
        for top in (True, False):
            here = [line for line in repeated if (line.y1 < middle) == top]
            for line in _outermost(page.lines, here, top=top):
                text = _words_of(line)
                alone = _NUMBER_ALONE.fullmatch(text) is not None
                if alone or text in self._kept:
                    gone.add(id(line))
                self._kept.add(text)
        if len(gone) < len(page.lines):  # a page of which nothing would be left says that and no more
            page.lines = [line for line in page.lines if id(line) not in gone]

    def _repeats(self, line: Line, page: RawPage, body: float) -> bool:
        key = _key(line, page)
        if key is None or (body and line.size >= _LARGER * body and any(letter.isalpha() for letter in key[0])):
            return False
        text, top, place = key
        return sum(self._pages[text, top, place + step] for step in (-1, 0, 1)) >= _LEAST_PAGES


def _words_of(line: Line) -> str:
    """What the line says, whatever its numbers."""
    text = _DIGITS.sub("#", line.text.casefold())
    return "#" if _ROMAN.fullmatch(text) else text


def _key(line: Line, page: RawPage) -> _Key | None:
    height = page.laid_height
    if line.y1 <= _MARGIN * height:
        return _words_of(line), True, round(line.y0 / _STEP)
    if line.y0 >= (1 - _MARGIN) * height:
        return _words_of(line), False, round((height - line.y1) / _STEP)
    return None


def _outermost(lines: Iterable[Line], repeated: Sequence[Line], *, top: bool) -> list[Line]:
    """Those of `repeated` with nothing else between them and the page's edge, and a gap between them and the text."""
    chosen = {id(line) for line in repeated}
    rows = _rows(lines, top=top)
    found: list[list[Line]] = []
    safe = 0
    for row, following in zip(rows, [*rows[1:], []], strict=True):
        if len(found) == _MOST_ROWS or any(id(line) not in chosen for line in row):
            break
        found.append(row)
        if not following or _distance(row, following, top=top) >= _GAP * max(line.height for line in row):
            safe = len(found)
    return [line for row in found[:safe] for line in row]


def _distance(row: Sequence[Line], following: Sequence[Line], *, top: bool) -> float:
    if top:
        return min(line.y0 for line in following) - max(line.y1 for line in row)
    return min(line.y0 for line in row) - max(line.y1 for line in following)


def _rows(lines: Iterable[Line], *, top: bool) -> list[list[Line]]:
    """The lines beside each other, from the page's edge inwards; enough of them."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.y0 if top else -line.y1):
        middle = (line.y0 + line.y1) / 2
        if rows and rows[-1][0].y0 <= middle <= rows[-1][0].y1:
            rows[-1].append(line)
        else:
            rows.append([line])
            if len(rows) > _MOST_ROWS + 1:
                break
    return rows
