"""How a question becomes a query: which words are asked for, in which fields, and what each is worth."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tantivy import Occur, Query, Schema

from rag.backends.keywords.words import clean, pieces, telling, words
from rag.domain.identifiers import identifiers
from rag.domain.pooling import Statistics, Term
from rag.domain.quotations import quotations

TEXT, CONTEXT, PIECES, WHOLE = "text", "context", "pieces", "whole"  # the fields of an index
# Stands in every passage's context, and followed by its language in its text; no word holds this sign.
MARK = "="
MOST_TERMS = 200  # a whole document pasted as a question must not cost more than a long question
# A piece in more passages than this says little and costs most: without those, German and Turkish measured the same.
_COMMON, _FEW = 0.1, 50  # share of all passages; passages under which nothing is common
_LONGEST_QUOTE = 50  # words


@dataclass(frozen=True, slots=True)
class Weights:
    """What a match is worth in each field, relative to a word of the text."""

    context: float = 0.7
    pieces: float = 0.3
    whole: float = 1.0


WEIGHTS = Weights()


@dataclass(frozen=True, slots=True)
class Asked:
    """The words of a question, each once: as the passages of each language hold them."""

    stems: tuple[str, ...]
    pieces: tuple[str, ...]
    whole: tuple[str, ...]

    @property
    def terms(self) -> tuple[Term, ...]:
        """Every term that may be asked for."""
        found = [(field, word) for field in (TEXT, CONTEXT) for word in self.stems]
        return (*found, *((PIECES, word) for word in self.pieces), *((WHOLE, word) for word in self.whole))

    def weights(self, statistics: Statistics) -> Mapping[Term, float]:
        """What each term that some passage holds is worth, but for its rarity. Common pieces are not asked for beside words."""
        words_held = any(statistics.holding.get((TEXT, stem)) for stem in self.stems)
        common = max(_FEW, _COMMON * statistics.passages) if words_held else statistics.passages
        worth = {TEXT: 1.0, CONTEXT: WEIGHTS.context, PIECES: WEIGHTS.pieces, WHOLE: WEIGHTS.whole}
        return {
            term: worth[term[0]]
            for term in self.terms
            if (holding := statistics.holding.get(term, 0)) and (term[0] != PIECES or holding <= common)
        }


def asked(question: str, languages: frozenset[str]) -> Asked:
    """What `question` asks of passages in these languages. Nothing in it is syntax."""
    text = clean(question)
    said = telling(text, languages)
    stems = {language: words(said, language) for language in sorted(languages)}
    return Asked(
        stems=_distinct(stem for found in stems.values() for stem in found),
        pieces=_distinct(piece for language, found in stems.items() for piece in pieces(found, language)),
        whole=_distinct(identifiers(text)),
    )


def query_for(wanted: Asked, schema: Schema, *, own: Statistics, pool: Statistics) -> Query | None:
    """The query whose scores count words as rare as they are in `pool`, for an index with the statistics `own`; None when the
    index holds none of the words."""
    parts = [
        _clause(schema, term, weight, own=own, pool=pool)
        for term, weight in wanted.weights(pool).items()
        if term in own.holding
    ]
    return Query.boolean_query([(Occur.Should, part) for part in parts]) if parts else None


def query_of_lengths(wanted: Asked, schema: Schema, *, own: Statistics, pool: Statistics) -> Query:
    """The part of `query_for` in which the length of a passage counts against the mean; every passage fulfils it."""
    parts = [
        _clause(schema, term, weight, own=own, pool=pool)
        for term, weight in wanted.weights(pool).items()
        if term in own.holding and term[0] in (TEXT, CONTEXT)
    ]
    # What holds none of the words is explained all the same.
    parts.append(Query.const_score_query(Query.term_query(schema, CONTEXT, MARK), 0.0))
    return Query.boolean_query([(Occur.Should, part) for part in parts])


def query_of_quotations(question: str, schema: Schema, languages: frozenset[str]) -> Query | None:
    """What finds the passages that hold every quotation of `question`, in their text or in their context; None where nothing
    is quoted."""
    parts: list[Query] = []
    for quoted in quotations(clean(question)):
        ways = {tuple(words(quoted, language)[:_LONGEST_QUOTE]) for language in languages}
        held = [_together(schema, field, way) for way in sorted(ways) if way for field in (TEXT, CONTEXT)]
        if held:
            parts.append(Query.boolean_query([(Occur.Should, query) for query in held]))
    return Query.const_score_query(Query.boolean_query([(Occur.Must, part) for part in parts]), 1.0) if parts else None


def _clause(schema: Schema, term: Term, weight: float, *, own: Statistics, pool: Statistics) -> Query:
    field, word = term
    query = Query.term_query(schema, field, word)
    if field == WHOLE:
        # How often an identifier stands in a passage, and among how many others, says nothing.
        return Query.const_score_query(query, weight * pool.rarity(term))
    return Query.boost_query(query, weight * pool.rarity(term) / own.rarity(term) if pool is not own else weight)


def _together(schema: Schema, field: str, held: tuple[str, ...]) -> Query:
    return Query.phrase_query(schema, field, list(held)) if len(held) > 1 else Query.term_query(schema, field, held[0])


def _distinct(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found))[:MOST_TERMS]
