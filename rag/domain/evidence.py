"""How strongly passages speak to a question, before any model is asked. Pure.

Two looks: a first one at the passages, as soon as they are found, and a closer one once their sentences were compared with the
question, which alone may refuse an answer.

Why so few signs: some forty were tried (BM25, gaps to the rest, agreement of the lists, rarest words, the kind of answer asked for,
likeness without each single word). Fitted on one set of questions and tried on another, none of them told answerable from
unanswerable questions better than these three together: what passages look like says where an answer might stand, and only
reading says whether it does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rag.domain.types import Source
from rag.domain.words import content_stems

TOP = 5  # passages looked at

# The first look: a passage answers by likeness of meaning, or by carrying the question's words, or by some of both.
COSINE_WEIGHT = 0.6
COVERAGE_WEIGHT = 0.4
ENOUGH = 0.41

# The closer look. The proportions are those at which the areas under the ROC curve of nq_clapnq and mtragun are both near their
# highest: a regression on both at once mistakes one set's higher cosines for answers. On either set, proportions that were chosen on
# the other come within .001 of these (docs/refusing.md). The scale is that of the regression on mtragun.
COSINE, SENTENCE, COVERAGE, CONSTANT = 7.0, 3.0, 1.0, -6.0
VERSION = "e2"  # raise with the weights: a threshold that was measured with others means nothing
# What the cosines of a question come to that passages answer, where the model cannot read it: no reason to refuse.
_USUAL = COSINE * 0.65 + SENTENCE * 0.6

# Refused is what lies below: at most 5 % of the answerable questions of each of six sets.
THRESHOLD = 0.14
# The sentences need not be waited for where the answer would not be refused if the best were so much less like the question than
# the best passage: for 94 of 100 questions it is not.
_LESS_LIKE = 0.2


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
        """Whether the passages are worth a closer look."""
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


def likelihood(seen: Evidence, sentence: float, *, trust: float = 1.0) -> float:
    """How likely an answer stands in the passages, 0 to 1, for comparing with a threshold; the scale is that of the questions
    it was fitted on, of which half were answerable.

    `sentence` is the likeness of the best sentence to the question, and `trust` how far cosines count (`rag.domain.ranking.trust`):
    as far as they do not, nothing is held against the passages.
    """
    cosines = trust * (COSINE * seen.cosine + SENTENCE * sentence) + (1 - trust) * _USUAL
    return 1 / (1 + math.exp(-(cosines + COVERAGE * seen.coverage + CONSTANT)))


def is_clear(seen: Evidence, threshold: float, *, trust: float = 1.0) -> bool:
    """Whether the answer would not be refused even if no sentence were nearly as like the question as the best passage."""
    return likelihood(seen, seen.cosine - _LESS_LIKE, trust=trust) >= threshold
