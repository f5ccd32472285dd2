"""What a judge of entailment is: a premise and a hypothesis, read together, to two probabilities."""

from abc import ABC, abstractmethod


class Entailment(ABC):
    """`digest` names the weights: what was decided with others says nothing of these."""

    name: str
    digest: str

    @abstractmethod
    def judge(self, premise: str, hypothesis: str) -> tuple[float, float]:
        """How likely the premise carries the hypothesis, and how likely it contradicts it; from 0 to 1, at most 1 together."""
