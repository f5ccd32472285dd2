"""The verbatim sentences that best answer a question: shown at once, and the whole answer where there is no model. And how likely
the passages answer it at all, for which the same sentences are compared."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rag.domain import evidence
from rag.domain.extracts import Quote, candidates, choose_quotes, rank_sentences
from rag.domain.ranking import trust
from rag.domain.types import Source
from rag.domain.words import content_stems
from rag.slots import embedding_model, question_embedder

PASSAGES = 5  # best passages whose sentences are compared
MOST = 3  # quotes shown


@dataclass(frozen=True, slots=True)
class Quoted:
    """At most three quotes, best first, and how likely the passages answer the question, 0 to 1 (`rag.domain.evidence`)."""

    quotes: list[Quote]
    likelihood: float


def quoted(question: str, sources: Sequence[Source]) -> Quoted:
    """What to quote of the passages that were found, not of what stands around them; nothing where they hold nothing worth it."""
    passages = [_alone(source) for source in sources]
    best = passages[:PASSAGES]
    found = candidates(best)
    seen = evidence.weigh(question, passages)
    if not found:
        return Quoted([], 0.0)
    model = embedding_model()
    embedder = question_embedder(model)
    cosines = embedder.embed_passages([candidate.text for candidate in found]) @ embedder.embed_question(question)
    likeness = [model.identity.likeness(float(cosine)) for cosine in cosines]
    ranked = rank_sentences(question, best, idf=rarity(passages), cosines=likeness)
    starts = {source.number: source.found[0] if source.found else 0 for source in sources}
    return Quoted(
        [_moved(quote, starts[quote.number]) for quote in choose_quotes(ranked, best, most=MOST)],
        evidence.likelihood(seen, max(likeness), trust=trust(embedder.fluency(question))),
    )


def is_clear(question: str, sources: Sequence[Source], threshold: float) -> bool:
    """Whether the passages speak so clearly that their sentences need not be waited for."""
    fluency = question_embedder(embedding_model()).fluency(question)
    seen = evidence.weigh(question, [_alone(source) for source in sources])
    return evidence.is_clear(seen, threshold, trust=trust(fluency))


def _alone(source: Source) -> Source:
    """The passage that was found, without its surroundings."""
    return source if source.found is None else replace(source, text=source.text[slice(*source.found)], found=None)


def _moved(quote: Quote, start: int) -> Quote:
    return replace(quote, start=quote.start + start, end=quote.end + start)


def rarity(sources: Sequence[Source]) -> dict[str, float]:
    """How rare each stem is among the passages found: BM25's inverse document frequency over them (Robertson 1976).

    What all of them say tells none of them apart; a word that one alone has is what the question turns on.
    """
    counts = Counter(stem for source in sources for stem in set(content_stems(source.text)))
    total = len(sources)
    return {stem: math.log(1 + (total - count + 0.5) / (count + 0.5)) for stem, count in counts.items()}
