"""Cuts pages into passages along headings, paragraphs and sentences, sized in the embedder's own tokens. Pure.

Why these sizes: MiniLM cuts its input at 256 word pieces without a word, so MOST leaves room for the context header. AIM is
smaller because a passage about one thing is found by its own words; the model is shown its surroundings anyway.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rag.domain.places import words_between
from rag.domain.sentences import sentences
from rag.domain.types import Heading, Page, Passage

Span = tuple[int, int]
TokenSpans = Callable[[str], Sequence[Span]]

AIM = 160  # tokens at which a passage is closed at the next paragraph or sentence
MOST = 200  # tokens that no passage exceeds
LEAST = 40  # tokens under which a passage takes in the next paragraph, even if that makes it longer than AIM
HEADER_MOST = 50  # tokens of the context header
INPUT_MOST = 254  # tokens of a passage with its header; two special ones more are all that MiniLM reads


@dataclass(frozen=True, slots=True)
class Sizes:
    """In tokens: where a passage is closed, what none exceeds, and what none falls short of while its paragraph or the next goes on."""

    aim: int = AIM
    most: int = MOST
    least: int = LEAST

    @property
    def header(self) -> int:
        """The tokens that a context header may have: the longest passage is read whole behind it."""
        return max(0, min(HEADER_MOST, INPUT_MOST - self.most))


SIZES = Sizes()


@dataclass(frozen=True, slots=True)
class _Unit:
    """A sentence, table row or list item: what is never cut unless it alone exceeds the most."""

    page: int
    start: int
    end: int
    tokens: int
    heading: tuple[str, ...]
    opens_section: bool  # a heading stands right here
    opens_paragraph: bool


def chunk(pages: Sequence[Page], token_spans: TokenSpans, sizes: Sizes = SIZES) -> list[Passage]:
    """The passages in reading order; every word of every page is in exactly one, blank stretches aside."""
    passages: list[Passage] = []
    for group in _grouped(list(_units(pages, token_spans, sizes)), sizes):
        first, last = group[0], group[-1]
        passages.append(
            Passage(
                ordinal=len(passages),
                text=text_between(pages, first.page, first.start, last.page, last.end),
                page_from=first.page,
                page_to=last.page,
                start=first.start,
                end=last.end,
                heading=last.heading,  # of a passage that opens with several headings, the last one's path
            )
        )
    return passages


def text_between(pages: Sequence[Page], page_from: int, start: int, page_to: int, end: int) -> str:
    """The words of a passage: exact slices, pages joined by a line break."""
    return words_between([page.text for page in pages[page_from : page_to + 1]], start, end)


def context_header(title: str, heading: Sequence[str], token_spans: TokenSpans, *, most: int = SIZES.header) -> str:
    """What is embedded in front of a passage and is not part of its text: the title and the path of headings, in `most` tokens."""
    header = " › ".join(part for part in (title, *heading) if part)
    spans = token_spans(header)
    return header if len(spans) <= most else header[: spans[most - 1][1]] if most else ""


def _grouped(units: list[_Unit], sizes: Sizes) -> Iterator[list[_Unit]]:
    group: list[_Unit] = []
    size = 0
    for index, unit in enumerate(units):
        if group and _starts_new(group, size, unit, _paragraph_tokens(units, index, sizes.most), sizes):
            yield group
            group, size = [], 0
        group.append(unit)
        size += unit.tokens
    if group:
        yield group


def _paragraph_tokens(units: list[_Unit], index: int, most: int) -> int:
    """Tokens from this unit to the end of its paragraph, counted no further than `most`."""
    tokens = units[index].tokens
    for unit in units[index + 1 :]:
        if unit.opens_paragraph or tokens > most:
            break
        tokens += unit.tokens
    return tokens


def _starts_new(group: list[_Unit], size: int, unit: _Unit, paragraph: int, sizes: Sizes) -> bool:
    if size + unit.tokens > sizes.most:
        return True
    if unit.opens_section and not all(member.opens_section for member in group):
        return True
    if unit.page > group[0].page + 1:
        return True
    if size < sizes.least:
        return False
    if unit.opens_paragraph:
        return size + min(paragraph, sizes.most) > sizes.aim
    return size >= sizes.aim


def _units(pages: Sequence[Page], token_spans: TokenSpans, sizes: Sizes) -> Iterator[_Unit]:
    path: list[Heading] = []
    for number, page in enumerate(pages):
        spans = token_spans(page.text)
        starts = [start for start, _ in spans]
        headings = sorted(page.headings, key=lambda heading: heading.start)
        upcoming = 0
        previous_end = 0
        for start, end in sentences(page.text):
            opens_section = False
            while upcoming < len(headings) and headings[upcoming].start < end:
                heading = headings[upcoming]
                path = [*(above for above in path if above.level < heading.level), heading]
                opens_section = True
                upcoming += 1
            opens_paragraph = opens_section or "\n\n" in page.text[previous_end:start] or previous_end == 0
            previous_end = end
            titles = tuple(heading.text for heading in path)
            for place, (piece_start, piece_end) in enumerate(_cut(start, end, spans, starts, sizes.most)):
                tokens = bisect_left(starts, piece_end) - bisect_left(starts, piece_start)
                yield _Unit(
                    page=number,
                    start=piece_start,
                    end=piece_end,
                    tokens=tokens,
                    heading=titles,
                    opens_section=opens_section and place == 0,
                    opens_paragraph=opens_paragraph and place == 0,
                )


def _cut(start: int, end: int, spans: Sequence[Span], starts: Sequence[int], most: int) -> list[Span]:
    """[start, end) whole, or cut at token borders where it alone exceeds `most` (a 3 MB word, a table without sentences)."""
    first, last = bisect_left(starts, start), bisect_left(starts, end)
    if last - first <= most:
        return [(start, end)]
    borders = [start, *(starts[place] for place in range(first + most, last, most)), end]
    return list(pairwise(borders))
