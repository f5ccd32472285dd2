"""Cutting a long document without pages into readable stretches."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from rag.domain.types import Page

_LONG = 20_000  # characters: what a browser shows at once and a reader can scroll through


def split_long(pages: Iterable[Page], *, limit: int = _LONG) -> tuple[Page, ...]:
    """The same text in order, with every page-less page of more than `limit` characters cut into several.

    Cuts fall before a heading where one stands in the second half of the stretch, else at a blank line, a line end or
    a blank, else after exactly `limit` characters; blanks at a cut are dropped. Offsets of headings count in their new
    page. Pages with a number are never split.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    return tuple(part for page in pages for part in _parts(page, limit))


def _parts(page: Page, limit: int) -> Iterator[Page]:
    if page.number is not None or len(page.text) <= limit:
        yield page
        return
    start = 0
    while start < len(page.text):
        end = _cut(page, start, limit)
        text = page.text[start:end].rstrip()
        # Blanks after the cut belong to no part: a part begins with a word, as its headings expect.
        following = end + len(page.text[end:]) - len(page.text[end:].lstrip()) if end < len(page.text) else end
        if text:
            yield replace(
                page,
                text=text,
                headings=tuple(
                    replace(heading, start=heading.start - start)
                    for heading in page.headings
                    if start <= heading.start < start + len(text)
                ),
                boxes=tuple(
                    replace(box, start=box.start - start, end=box.end - start)
                    for box in page.boxes
                    if start <= box.start and box.end <= start + len(text)
                ),
            )
        start = following


def _cut(page: Page, start: int, limit: int) -> int:
    """Where the stretch that begins at `start` ends."""
    if len(page.text) - start <= limit:
        return len(page.text)
    most, least = start + limit, start + max(1, limit // 2)
    headings = [heading.start for heading in page.headings if least <= heading.start <= most]
    if headings:
        return headings[-1]
    for mark in ("\n\n", "\n", " "):
        place = page.text.rfind(mark, least, most)
        if place > start:
            return place
    return most
