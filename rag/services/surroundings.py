"""What is read around each passage that a search found: more of its section, under the same rights, exact to the code point."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

from django.db.models import Q
from django.db.models.functions import Length

from rag.domain import surroundings
from rag.domain.places import Place, words_between
from rag.domain.surroundings import Neighbour
from rag.domain.types import Scope, Source
from rag.models import Chunk, Page

NEAR = 12  # passages looked at on either side: more than fit, unless a document is all headings


@dataclass(frozen=True, slots=True)
class _Passage(Neighbour):
    """A passage with its own bounds."""

    first: Place
    last: Place


_Document = dict[int, _Passage]  # by ordinal
_Stretch = tuple[Place, Place]


def widened(sources: Sequence[Source], scope: Scope, *, room: int) -> list[Source]:
    """The sources with what stands around them in their sections, the best first, until all have about `room` tokens together.

    No two overlap. `Source.found` is where in its text the passage stands that the search found. A source that the asker may not
    read any more stays as it is, and so does one whose pages do not hold its words.
    """
    spent = sum(surroundings.tokens(source.text) for source in sources)
    if spent >= room:
        return list(sources)
    ordinals, documents = _near(sources, scope)
    taken: defaultdict[int, set[int]] = defaultdict(set)
    for source in sources:
        if source.chunk_id in ordinals:
            taken[source.extraction_id].add(ordinals[source.chunk_id])
    stretches: dict[int, _Stretch] = {}
    for source in sources:
        size = surroundings.tokens(source.text)
        free = min(surroundings.EACH - size, room - spent)
        if source.chunk_id not in ordinals or free <= 0:
            continue
        own, passages = ordinals[source.chunk_id], documents[source.extraction_id]
        weight = size / len(
            source.text
        )  # tokens of a character: what stands around it is taken to be of the same language
        first, last = surroundings.reach(own, passages, taken=taken[source.extraction_id], extra=int(free / weight))
        if first < last:
            reached = range(first, last + 1)
            taken[source.extraction_id].update(reached)
            spent += int(weight * sum(passages[number].length for number in reached if number != own))
            stretches[source.number] = passages[first].first, passages[last].last
    pages = _pages(sources, stretches, scope)
    return [
        _widened(source, stretches[source.number], pages) if source.number in stretches else source
        for source in sources
    ]


def _near(sources: Sequence[Source], scope: Scope) -> tuple[dict[int, int], dict[int, _Document]]:
    """The found passages' ordinals by chunk, and what the asker may read around them, by extraction."""
    visible = Chunk.objects.visible_to(scope).order_by()
    found = visible.filter(id__in=[source.chunk_id for source in sources])
    ordinals: dict[int, int] = {}
    ranges = []
    for chunk, extraction, ordinal in found.values_list("id", "extraction_id", "ordinal"):
        ordinals[chunk] = ordinal
        ranges.append(Q(extraction=extraction, ordinal__range=(ordinal - NEAR, ordinal + NEAR)))
    documents: defaultdict[int, _Document] = defaultdict(dict)
    if ranges:
        columns = ("extraction_id", "ordinal", "heading", "page_from", "start", "page_to", "end", "length")
        rows = visible.filter(_any(ranges)).annotate(length=Length("text"))
        for extraction, ordinal, heading, page_from, start, page_to, end, length in rows.values_list(*columns):
            documents[extraction][ordinal] = _Passage(
                tuple(heading), length, Place(page_from, start), Place(page_to, end)
            )
    return ordinals, documents


def _pages(sources: Sequence[Source], stretches: Mapping[int, _Stretch], scope: Scope) -> Mapping[tuple[int, int], str]:
    """The texts of the pages on which the stretches stand, by extraction and place, of those that the asker may read."""
    ranges = [
        Q(extraction=source.extraction_id, place__range=(first.page, last.page))
        for source in sources
        if source.number in stretches
        for first, last in [stretches[source.number]]
    ]
    if not ranges:
        return {}
    rows = Page.objects.readable_by(scope.principal).filter(_any(ranges)).order_by()
    return {(extraction, place): text for extraction, place, text in rows.values_list("extraction_id", "place", "text")}


def _any(conditions: Iterable[Q]) -> Q:
    return reduce(or_, conditions)


def _widened(source: Source, stretch: _Stretch, pages: Mapping[tuple[int, int], str]) -> Source:
    first, last = stretch
    texts = [pages.get((source.extraction_id, place)) for place in range(first.page, last.page + 1)]
    read = [text for text in texts if text is not None]
    if len(read) < len(texts):
        return source
    text = words_between(read, first.offset, last.offset)
    begins = len(words_between(read[: source.page_from - first.page + 1], first.offset, source.start))
    found = begins, begins + len(source.text)
    if text[slice(*found)] != source.text:
        return source
    return replace(
        source,
        page_from=first.page,
        start=first.offset,
        page_to=last.page,
        end=last.offset,
        text=text,
        found=found,
    )
