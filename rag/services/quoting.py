"""The verbatim sentences that best answer a question: shown at once, and the whole answer where there is no model."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rag.domain.extracts import Quote, candidates, choose_quotes, rank_sentences
from rag.domain.surroundings import as_found
from rag.domain.types import Source
from rag.domain.words import content_stems
from rag.slots import embedding_model, question_embedder

PASSAGES = 5  # best passages whose sentences are compared
MOST = 3  # quotes shown


def best_quotes(question: str, sources: Sequence[Source]) -> list[Quote]:
    """At most three sentences, word for word, best first; none when the passages hold none worth showing.

    They are looked for in what was found: what is read around it was not what the question was likened to, and would have to be
    embedded now.
    """
    alone = [as_found(source) for source in sources]
    best = alone[:PASSAGES]
    found = candidates(best)
    if not found:
        return []
    model = embedding_model()
    embedder = question_embedder(model)
    cosines = embedder.embed_passages([candidate.text for candidate in found]) @ embedder.embed_question(question)
    likeness = [model.identity.likeness(float(cosine)) for cosine in cosines]
    ranked = rank_sentences(question, best, idf=rarity(alone), cosines=likeness)
    begins = {source.number: source.found[0] for source in sources if source.found is not None}
    return [_moved(quote, begins.get(quote.number, 0)) for quote in choose_quotes(ranked, best, most=MOST)]


def _moved(quote: Quote, by: int) -> Quote:
    return replace(quote, start=quote.start + by, end=quote.end + by)


def rarity(sources: Sequence[Source]) -> dict[str, float]:
    """How rare each stem is among the passages found: BM25's inverse document frequency over them (Robertson 1976).

    What all of them say tells none of them apart; a word that one alone has is what the question turns on.
    """
    counts = Counter(stem for source in sources for stem in set(content_stems(source.text)))
    total = len(sources)
    return {stem: math.log(1 + (total - count + 0.5) / (count + 0.5)) for stem, count in counts.items()}
