"""Which language models are worth a try on a machine with so much memory, and how faithful they were found to be.

Why these: models whose weights are open, of which the Vectara Hallucination Leaderboard publishes a figure. The figure is the share of
summaries of a given text that say something the text does not carry, as published on 10 March 2026
(github.com/vectara/hallucination-leaderboard, README.md). Models that answered fewer than nine of ten texts are left out. Whole
models were measured; the 4-bit versions that fit into little memory may do worse.
"""

import math
from dataclasses import dataclass

GIGABYTE = 1024**3
_GB_PER_BILLION = 0.6  # 4-bit weights with their scales: 4.5 to 4.9 bits a parameter
_GB_BESIDES = 1.5  # a context of 4,096 tokens and the runtime
_GB_FOR_OTHERS = 2  # the system and Footnote


@dataclass(frozen=True, slots=True)
class Recommended:
    """A model by the name that Ollama's registry has for it. `billions` of parameters; `unfaithful` in percent."""

    name: str
    billions: float
    unfaithful: float
    maker: str
    licence: str

    @property
    def gigabytes(self) -> int:
        """About how much memory it takes with 4-bit weights, rounded up."""
        return math.ceil(self.billions * _GB_PER_BILLION + _GB_BESIDES)

    def fits(self, memory: int) -> bool:
        """Whether it fits beside everything else into `memory` bytes."""
        return (self.gigabytes + _GB_FOR_OTHERS) * GIGABYTE <= memory


RECOMMENDED = (
    Recommended("qwen3:4b", 4.0, 5.7, "Alibaba", "Apache-2.0"),
    Recommended("qwen3:8b", 8.2, 4.8, "Alibaba", "Apache-2.0"),
    Recommended("granite3.3:8b", 8.2, 10.6, "IBM", "Apache-2.0"),
    Recommended("gemma3:12b", 12.2, 4.4, "Google", "Gemma"),
    Recommended("qwen3:14b", 14.8, 5.4, "Alibaba", "Apache-2.0"),
    Recommended("mistral-small:24b", 23.6, 5.1, "Mistral AI", "Apache-2.0"),
    Recommended("gemma3:27b", 27.4, 7.4, "Google", "Gemma"),
    Recommended("qwen3:32b", 32.8, 5.9, "Alibaba", "Apache-2.0"),
    Recommended("llama3.3:70b", 70.6, 4.1, "Meta", "Llama 3.3"),
)
