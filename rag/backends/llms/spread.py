"""One model on several hosts: each question goes to the one with the least work, and a conversation back to where it was.

Why back: a server keeps what it computed for the beginning of a prompt, and a follow-up begins as its conversation did. Why
least work first all the same: reading a prompt anew takes seconds, waiting behind a whole answer takes longer.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from hashlib import sha256

from rag.backends.llms.base import LLM
from rag.domain.errors import Busy, RagError, Retryable
from rag.domain.types import Delta, Prompt

ASIDE_SECONDS = 15.0  # a host that could not be reached is not asked again for so long, unless no other is left
_REMEMBERED = 4096  # conversations


class Board:
    """What this process knows of the hosts: answers being written, which could not be reached, and who asked which last."""

    def __init__(self) -> None:
        self._at_work: Counter[str] = Counter()
        self._aside: dict[str, float] = {}
        self._last: OrderedDict[str, str] = OrderedDict()

    def order(self, urls: Sequence[str], thread: str) -> list[str]:
        """The hosts for a question of the conversation `thread`, the best first."""

        def key(url: str) -> tuple[bool, int, bool, bytes]:
            # The last part spreads new conversations over idle hosts, each conversation always the same way.
            spread = sha256(f"{thread} {url}".encode()).digest()
            return self.is_aside(url), self._at_work[url], self._last.get(thread) != url, spread

        return sorted(urls, key=key)

    def is_aside(self, url: str) -> bool:
        """Whether the host could not be reached a moment ago."""
        return self._aside.get(url, 0.0) > time.monotonic()

    def put_aside(self, url: str) -> None:
        self._aside[url] = time.monotonic() + ASIDE_SECONDS

    def remember(self, thread: str, url: str) -> None:
        """The host answered a question of this conversation."""
        self._aside.pop(url, None)
        self._last[thread] = url
        self._last.move_to_end(thread)
        while len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)

    @contextmanager
    def working(self, url: str) -> Iterator[None]:
        self._at_work[url] += 1
        try:
            yield
        finally:
            self._at_work[url] -= 1


BOARD = Board()


class SpreadLLM(LLM):
    """The same model as each of `llms` has it, for one question of the conversation `thread`.

    `every` names all hosts that may have it, also those that cannot be reached now: they all have one queue.
    """

    def __init__(self, llms: Sequence[LLM], *, thread: str, every: Sequence[str] = (), board: Board = BOARD) -> None:
        self._llms = {llm.url: llm for llm in llms}
        self._thread, self._board = thread, board
        first = llms[0]
        self.provider, self.name, self.digest = first.provider, first.name, first.digest
        self.context_tokens, self.billions = first.context_tokens, first.billions
        self.counts_exactly = first.counts_exactly
        self.hosts = len(self._llms)
        self.url = " ".join(sorted({*every, *self._llms}))
        self.parallel = first.parallel

    def count_tokens(self, text: str) -> int:
        return next(iter(self._llms.values())).count_tokens(text)

    async def loaded(self) -> bool:
        return await self._llms[self._order()[0]].loaded()

    async def stream(self, prompt: Prompt, *, max_tokens: int) -> AsyncGenerator[Delta, None]:
        failed: RagError = Retryable("The language model cannot be reached.")
        for url in self._order():
            begun = False
            try:
                with self._board.working(url):
                    async with aclosing(self._llms[url].stream(prompt, max_tokens=max_tokens)) as pieces:
                        async for delta in pieces:
                            begun = begun or bool(delta.text or delta.thinking)
                            yield delta
                self._board.remember(self._thread, url)
                return
            except RagError as error:
                if begun:
                    raise  # half an answer of one host is not continued by another
                if isinstance(error, Retryable) and not isinstance(error, Busy):
                    self._board.put_aside(url)
                failed = error
        raise failed

    def _order(self) -> list[str]:
        return self._board.order(list(self._llms), self._thread)
