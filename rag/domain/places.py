"""Translates between a passage's own offsets and places on pages. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Code point `offset` in the text of page `page` (both from 0)."""

    page: int
    offset: int


def locate(lengths: Sequence[int], page_from: int, start: int, offset: int) -> Place:
    """Where code point `offset` of a passage stands. `lengths` are those of its pages' whole texts, from `page_from` on.

    A passage's text is its pages' slices joined by one line break; an offset on that break is the end of the page before it.
    """
    page, left = page_from, start + offset
    for length in lengths[:-1]:
        if left <= length:
            break
        left -= length + 1
        page += 1
    return Place(page, left)


def words_between(texts: Sequence[str], start: int, end: int) -> str:
    """The words from `start` in the first of the pages' whole texts up to `end` in the last, pages joined by a line break."""
    if len(texts) == 1:
        return texts[0][start:end]
    return "\n".join([texts[0][start:], *texts[1:-1], texts[-1][:end]])


@dataclass(frozen=True, slots=True)
class Stretch:
    """From one place up to another, both included in the same extraction."""

    first: Place
    last: Place

    def __str__(self) -> str:
        """As it stands in a link, which `parse_stretch` reads: "3.120-3.480", pages from 1."""
        return f"{self.first.page + 1}.{self.first.offset}-{self.last.page + 1}.{self.last.offset}"

    def on(self, page: int, length: int) -> tuple[int, int] | None:
        """The part of the stretch on page `page`, whose text has `length` code points; None when there is none."""
        if not self.first.page <= page <= self.last.page:
            return None
        start = self.first.offset if page == self.first.page else 0
        end = self.last.offset if page == self.last.page else length
        start, end = max(0, min(start, length)), max(0, min(end, length))
        return (start, end) if start < end else None


def parse_stretch(text: str) -> Stretch | None:
    """ "3.120-3.480" (pages from 1, as in a link) as a stretch; None for anything else."""
    first, _, last = text.partition("-")
    places = [_parse_place(first), _parse_place(last)]
    if places[0] is None or places[1] is None:
        return None
    return Stretch(places[0], places[1])


def _parse_place(text: str) -> Place | None:
    page, _, offset = text.partition(".")
    if len(text) > 20 or not (page.isascii() and page.isdigit() and offset.isascii() and offset.isdigit()):
        return None
    return Place(int(page) - 1, int(offset)) if int(page) > 0 else None
