"""The contract of every language model backend: what a caller may rely on, whoever writes the answer."""

import asyncio
import socket
import time

import pytest

from rag.backends.llms.base import LLM
from rag.domain.errors import Retryable
from rag.domain.types import Delta, Message, Prompt, Role

SOURCES = (
    '<source number="1" title="Leave">\nStaff have 28 days of leave a year. Ask early.\n</source>\n'
    '<source number="2" title="Hours">\nThe clinic opens at 8.30. It closes at six.\n</source>'
)


def prompt(text: str = f"{SOURCES}\n\nQuestion: How much leave do staff have?") -> Prompt:
    messages = (Message(Role.SYSTEM, "Answer from the sources."), Message(Role.USER, text))
    return Prompt(messages=messages, sources=(), question="How much leave do staff have?", tokens=200)


async def collect(llm: LLM, *, max_tokens: int = 64, ask: Prompt | None = None) -> list[Delta]:
    stream = llm.stream(ask or prompt(), max_tokens=max_tokens)
    try:
        return [delta async for delta in stream]
    finally:
        await stream.aclose()


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class Contract:
    """What every backend promises. A subclass gives `llm`, and says whether the server still generates."""

    stops_within = 2.0  # seconds
    has_digests = True

    @pytest.fixture
    def llm(self) -> LLM:
        raise NotImplementedError

    async def generating(self, llm: LLM) -> bool:
        raise NotImplementedError

    async def test_it_streams_pieces_and_only_the_last_has_a_stop(self, llm: LLM) -> None:
        deltas = await collect(llm)
        assert len(deltas) > 2
        assert text_of(deltas).strip()
        assert [delta.stop is not None for delta in deltas] == [False] * (len(deltas) - 1) + [True]

    async def test_it_counts_the_prompt_and_the_answer(self, llm: LLM) -> None:
        last = (await collect(llm))[-1]
        assert last.prompt_tokens is not None and last.prompt_tokens > 10
        assert last.answer_tokens is not None and last.answer_tokens > 0

    async def test_the_same_prompt_gives_the_same_answer(self, llm: LLM) -> None:
        assert text_of(await collect(llm)) == text_of(await collect(llm))

    async def test_its_count_of_a_prompt_is_never_too_low(self, llm: LLM) -> None:
        asked = prompt()
        last = (await collect(llm, ask=asked))[-1]
        counted = sum(llm.count_tokens(message.content) + 8 for message in asked.messages) + 8
        assert last.prompt_tokens is not None
        assert last.prompt_tokens <= counted

    async def test_closing_early_stops_the_model(self, llm: LLM) -> None:
        stream = llm.stream(prompt("Count from one to a thousand, in words."), max_tokens=1000)
        await anext(stream)
        assert await self.generating(llm)
        await stream.aclose()
        end = time.monotonic() + self.stops_within
        while await self.generating(llm):
            assert time.monotonic() < end, "still generating after the stream was closed"
            await asyncio.sleep(0.02)

    async def test_a_cancelled_task_stops_the_model(self, llm: LLM) -> None:
        begun = asyncio.Event()

        async def answer() -> None:
            stream = llm.stream(prompt("Count from one to a thousand, in words."), max_tokens=1000)
            try:
                async for _ in stream:
                    begun.set()
            finally:
                await stream.aclose()

        task = asyncio.create_task(answer())
        await asyncio.wait_for(begun.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        end = time.monotonic() + self.stops_within
        while await self.generating(llm):
            assert time.monotonic() < end, "still generating after the task was cancelled"
            await asyncio.sleep(0.02)

    async def test_it_says_what_it_is(self, llm: LLM) -> None:
        assert llm.provider and llm.name
        assert len(llm.digest) == (64 if self.has_digests else 0)
        assert llm.context_tokens > 0

    async def test_a_server_that_is_not_there_is_said_so(self, llm: LLM) -> None:
        vars(llm)["url"] = nobody()
        with pytest.raises(Retryable, match="cannot be reached"):
            await collect(llm)

    def test_it_runs_in_any_event_loop(self, llm: LLM) -> None:
        for _ in range(2):
            assert text_of(asyncio.run(collect(llm))).strip()
