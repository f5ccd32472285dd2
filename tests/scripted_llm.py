"""A language model that says what it is told, without a server: for tests of what stands above the slot."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from rag.backends.llms.base import LLM
from rag.domain.errors import RagError
from rag.domain.types import Delta, Prompt, StopReason

Step = Delta | str | float | RagError  # a piece, its text alone, seconds to wait, an error to end with


class ScriptedLLM(LLM):
    """Streams `script`; `prompts` holds what it was asked, `closed` counts streams that were closed before their end."""

    provider = "scripted"

    def __init__(self, script: Sequence[Step], *, name: str = "scripted", context_tokens: int = 4096) -> None:
        self.script = list(script)
        self.name = name
        self.digest = "0" * 64
        self.context_tokens = context_tokens
        self.prompts: list[Prompt] = []
        self.closed = 0

    def count_tokens(self, text: str) -> int:
        """One token a word: enough to count with."""
        return len(text.split())

    async def stream(self, prompt: Prompt, *, max_tokens: int) -> AsyncGenerator[Delta, None]:
        self.prompts.append(prompt)
        try:
            for step in self.script:
                match step:
                    case RagError():
                        raise step
                    case str():
                        yield Delta(text=step)
                    case Delta():
                        yield step
                        if step.stop is not None:
                            return
                    case _:
                        await asyncio.sleep(step)
            yield Delta(stop=StopReason.END, prompt_tokens=prompt.tokens, answer_tokens=len(self.script))
        except (GeneratorExit, asyncio.CancelledError):
            self.closed += 1
            raise
