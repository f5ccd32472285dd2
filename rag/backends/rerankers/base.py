"""What a reranker is: question and passage, read together, to a score."""

from abc import ABC, abstractmethod
from collections.abc import Sequence


class Reranker(ABC):
    """Scores passages for a question. `digest` names the weights: what was measured with others says nothing of these."""

    name: str
    digest: str

    @abstractmethod
    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """A score for each passage, in their order, larger is better; comparable within one question only."""
