"""What a language model is: a prompt in, pieces of text out. The one asynchronous seam of the product."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import ClassVar

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


class LLM(ABC):
    """A chosen model behind an endpoint."""

    provider: str  # "ollama", "llamacpp": which file of this folder
    name: str
    digest: str
    context_tokens: int
    url: str = ""
    # Answers that it writes at the same time, unless FOOTNOTE_PARALLEL_ANSWERS says otherwise. Ollama and llama.cpp write one unless
    # they are told to, and let others wait unseen.
    parallel: ClassVar[int] = 1

    @property
    def endpoint(self) -> str:
        """Names what does the work: questions for the same one take turns."""
        return f"{self.provider} {self.url}".strip()

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """How many tokens `text` takes: exact where the tokenizer is known, otherwise a bound that is never too low."""

    @abstractmethod
    def stream(self, prompt: Prompt, *, max_tokens: int) -> AsyncGenerator[Delta, None]:
        """The answer piece by piece; the last piece has `stop`. Closing the iterator stops the model.

        Raises `Retryable` (busy, unreachable, slow, broken off) or `Permanent` (model missing, prompt too long), each with a
        sentence of its own; what came before stays valid.
        """
