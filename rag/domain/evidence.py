"""How strongly passages speak to a question, before any model is asked. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from rag.domain.types import Source
from rag.domain.words import content_stems

TOP = 5  # passages looked at

# A passage answers by likeness of meaning, or by carrying the question's words, or by some of both.
COSINE_WEIGHT = 0.6
COVERAGE_WEIGHT = 0.4
ENOUGH = 0.41


@dataclass(frozen=True, slots=True)
class Evidence:
    """`cosine` of the best passage, `coverage`: the largest share of the question's words that one passage carries, in [0, 1]."""

    cosine: float
    coverage: float

    @property
    def score(self) -> float:
        return COSINE_WEIGHT * self.cosine + COVERAGE_WEIGHT * self.coverage

    @property
    def enough(self) -> bool:
        """Whether an answer should be tried at all."""
        return self.score >= ENOUGH


def weigh(question: str, sources: Sequence[Source]) -> Evidence:
    """The evidence in the best passages; none at all weighs nothing."""
    wanted = set(content_stems(question))
    cosine = coverage = 0.0
    for source in sources[:TOP]:
        cosine = max(cosine, source.cosine or 0.0)
        if wanted:
            carried = wanted.intersection(content_stems(" ".join([source.title, *source.heading, source.text])))
            coverage = max(coverage, len(carried) / len(wanted))
    return Evidence(cosine=cosine, coverage=coverage)
