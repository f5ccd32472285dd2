"""What a language model is: a prompt in, pieces of text out. The one asynchronous seam of the product."""

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from rag.domain.types import Delta, Prompt


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that an endpoint offers. `size` in bytes; `remote` models send prompts elsewhere and are refused."""

    name: str
    digest: str
    size: int = 0
    family: str = ""
    parameters: str = ""
    quantisation: str = ""
    remote: bool = False
    context: int = 0  # tokens it was trained for, or is served with; 0: not said

    @property
    def billions(self) -> float:
        """Of parameters, as it says itself or as its name does; 0 where neither says."""
        return billions_of(self.parameters) or billions_of(self.name)


class LLM(ABC):
    """A chosen model behind an endpoint."""

    provider: str  # "ollama", "llamacpp": which file of this folder
    name: str
    digest: str
    context_tokens: int
    url: str = ""
    # Answers that it writes at the same time, unless FOOTNOTE_PARALLEL_ANSWERS says otherwise. Ollama and llama.cpp write one unless
    # they are told to, and let others wait unseen.
    parallel: int = 1
    hosts: int = 1  # that share the work
    billions: float = 0.0  # of parameters; 0: not known
    counts_exactly: bool = False  # `count_tokens` asks the model's own tokenizer

    @property
    def endpoint(self) -> str:
        """Names what does the work: questions for the same one take turns."""
        return f"{self.provider} {self.url}".strip()

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """How many tokens `text` takes: exact where the tokenizer is known, otherwise a bound that is never too low."""

    async def loaded(self) -> bool:
        """Whether the model is in memory; False where the next question waits for it to be read from disk. True if unknown."""
        return True

    @abstractmethod
    def stream(self, prompt: Prompt, *, max_tokens: int) -> AsyncGenerator[Delta, None]:
        """The answer piece by piece; the last piece has `stop`. Closing the iterator stops the model.

        Raises `Retryable` (busy, unreachable, slow, broken off) or `Permanent` (model missing, prompt too long), each with a
        sentence of its own; what came before stays valid.
        """


_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)\s?([bm])(?![a-z0-9])", re.IGNORECASE)


def billions_of(text: str) -> float:
    """The parameters, in billions, that a size ("3.2B", "135M") or a name ("qwen2.5:7b", "mixtral-8x7b-instruct") tells of;
    0.0 where it tells of none."""
    found = _SIZE.search(text)
    if found is None:
        return 0.0
    experts, number, unit = found.groups()
    return int(experts or 1) * float(number) / (1000 if unit in "mM" else 1)
