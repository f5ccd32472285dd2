"""A model behind `/v1/chat/completions`, as llama.cpp's server and others offer it: server-sent events."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx

from rag.backends.llms.base import LLM
from rag.backends.llms.wire import (
    as_count,
    as_object,
    as_text,
    beyond,
    client,
    empty_answer,
    failed_mid_stream,
    failures,
    interrupted,
    lines,
    parse,
    posted,
    read_error,
    refused,
    token_bound,
)
from rag.domain.errors import Permanent, RagError, Retryable
from rag.domain.types import Delta, Prompt, StopReason

IDLE_SECONDS = 60.0


class OpenAICompatibleLLM(LLM):
    """The model `name` of the server at `url`, with `key` where the server asks for one."""

    provider = "openai_compatible"
    parallel = 4  # such servers have slots or batches

    def __init__(
        self,
        url: str,
        key: str,
        *,
        name: str,
        digest: str,
        context_tokens: int,
        first_token_seconds: float = 120.0,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.url = url
        self.name = name
        self.digest = digest
        self.context_tokens = context_tokens
        self.first_token_seconds = first_token_seconds
        self.idle_seconds = idle_seconds
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def count_tokens(self, text: str) -> int:
        """A bound: the protocol has no way to count."""
        return token_bound(text)

    async def stream(self, prompt: Prompt, *, max_tokens: int) -> AsyncGenerator[Delta, None]:
        with failures():
            async with client(self.url, self._headers) as http:
                body = self._body(prompt, max_tokens)
                async with posted(http, "/v1/chat/completions", body, seconds=self.first_token_seconds) as response:
                    if response.status_code != httpx.codes.OK:
                        raise await self._refused(response)
                    async with aclosing(self._deltas(response, max_tokens)) as deltas:
                        async for delta in deltas:
                            yield delta

    def _body(self, prompt: Prompt, max_tokens: int) -> dict[str, Any]:
        return {
            "model": self.name,
            "messages": [{"role": str(message.role), "content": message.content} for message in prompt.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": max_tokens,
            "temperature": 0,
            "seed": 1,
        }

    async def _refused(self, response: httpx.Response) -> RagError:
        said = await read_error(response)
        if response.status_code == httpx.codes.NOT_FOUND:
            return Permanent(f"The language model's server does not have the model {self.name}. Choose another.")
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE and "loading" in said.lower():
            return Retryable("The language model is still loading. Try again in a minute.")
        return refused(response, said)

    async def _deltas(self, response: httpx.Response, max_tokens: int) -> AsyncGenerator[Delta, None]:
        written = thought = pieces = 0
        stop: StopReason | None = None
        usage: dict[str, Any] = {}
        wire = lines(response, first_seconds=self.first_token_seconds, idle_seconds=self.idle_seconds)
        async with aclosing(_events(wire)) as received:
            async for data in received:
                usage = as_object(data.get("usage")) or usage
                delta, reason = _read(data)
                written, thought, pieces = written + len(delta.text), thought + len(delta.thinking), pieces + 1
                stop = reason or stop
                if delta.text or delta.thinking:
                    yield delta
                if beyond(max_tokens, pieces=pieces, characters=written + thought):
                    stop = StopReason.LENGTH
                    break
        if stop is None:
            raise interrupted()
        if not written:
            raise empty_answer(thought=thought)
        yield Delta(
            stop=stop,
            prompt_tokens=as_count(usage.get("prompt_tokens")),
            answer_tokens=as_count(usage.get("completion_tokens")),
        )


async def _events(wire: AsyncGenerator[bytes, None]) -> AsyncGenerator[dict[str, Any], None]:
    """The JSON objects of a stream of server-sent events, up to its end mark; raises where one is an error."""
    async with aclosing(wire) as received:
        async for line in received:
            field, _, value = line.partition(b":")
            if field == b"error":
                raise failed_mid_stream(value.decode("utf-8", "replace"))
            if field != b"data":  # a comment that keeps the connection alive, or a field of no meaning here
                continue
            if value.strip() == b"[DONE]":
                return
            data = parse(value)
            if "error" in data:
                raise failed_mid_stream(as_text(as_object(data["error"]).get("message")) or as_text(data["error"]))
            yield data


def _read(data: dict[str, Any]) -> tuple[Delta, StopReason | None]:
    """What one event says, and why the model stopped, once it did."""
    choices = data.get("choices")
    choice = as_object(choices[0]) if isinstance(choices, list) and choices else {}
    said = as_object(choice.get("delta"))
    thinking = as_text(said.get("reasoning_content")) or as_text(said.get("reasoning"))
    reason = as_text(choice.get("finish_reason"))
    stop = (StopReason.LENGTH if reason == "length" else StopReason.END) if reason else None
    return Delta(text=as_text(said.get("content")), thinking=thinking), stop
