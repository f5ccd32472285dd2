"""The verbatim sentences that best answer a question: shown at once, and the whole answer where there is no model."""

from collections.abc import Sequence

import numpy as np

from rag.domain.extracts import Quote, candidates, choose_quotes
from rag.domain.types import Source
from rag.slots import question_embedder

PASSAGES = 5  # best passages whose sentences are compared
MOST = 3  # quotes shown


def best_quotes(question: str, sources: Sequence[Source]) -> list[Quote]:
    """At most three sentences, word for word, best first; none when the passages hold none worth showing."""
    embedder = question_embedder()
    found = candidates(sources[:PASSAGES])
    if not found:
        return []
    cosines = embedder.embed_passages([quote.text for quote in found]) @ embedder.embed_question(question)
    return choose_quotes(question, sources[:PASSAGES], found, np.asarray(cosines, dtype=np.float32), most=MOST)
