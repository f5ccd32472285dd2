"""Sources that say different things of the same: "27 days of leave" here, "29 days of leave" there. Pure.

Only what a rule can show is told: two sentences whose other words are nearly all the same, with one value each that the other
lacks. A paraphrase with another value goes unseen; a false alarm would cost more.
"""

from collections.abc import Sequence

from rag.domain.quantities import Quantity, quantities
from rag.domain.sentences import sentences
from rag.domain.types import Source
from rag.domain.words import content_stems

_SAME = 0.8  # share of the words of both that both have
_WORDS_LEAST = 3


def conflicts(statements: Sequence[tuple[int, str]], sources: Sequence[Source]) -> list[tuple[int, int]]:
    """Pairs of numbers of sources from different documents: the first carries one of the statements (number of the source, text),
    the second gives another value in the same words. Each pair once."""
    documents = {source.number: source.document_id for source in sources}
    found: dict[tuple[int, int], None] = {}
    for number, statement in statements:
        said = quantities(statement)
        if not said or number not in documents:
            continue
        words = _words(statement, said)
        for source in sources:
            pair = (number, source.number)
            if source.document_id == documents[number] or pair in found or pair[::-1] in found:
                continue
            if len(words) >= _WORDS_LEAST and _otherwise(words, said, source.text):
                found[pair] = None
    return list(found)


def _otherwise(words: frozenset[str], said: Sequence[Quantity], passage: str) -> bool:
    for start, end in sentences(passage):
        text = passage[start:end]
        there = quantities(text)
        if not there:
            continue
        others = _words(text, there)
        if len(words & others) >= _SAME * len(words | others) and _differ(said, there):
            return True
    return False


def _words(text: str, values: Sequence[Quantity]) -> frozenset[str]:
    rest = text
    for value in sorted(values, key=lambda each: -each.start):
        rest = f"{rest[: value.start]} {rest[value.end :]}"
    return frozenset(content_stems(rest))


def _differ(said: Sequence[Quantity], there: Sequence[Quantity]) -> bool:
    """Whether each has exactly one value that the other lacks, and the two are of one kind."""
    here = [value for value in said if not value.stands_in(there)]
    other = [value for value in there if not value.stands_in(said)]
    return len(here) == 1 and len(other) == 1 and here[0].same_kind(other[0])
