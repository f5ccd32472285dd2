"""A model behind `/v1/chat/completions`, as llama.cpp, vLLM, LM Studio, TGI and others offer it: server-sent events."""

import asyncio
import time
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import Any

import httpx

from rag.backends.llms.base import LLM, ModelInfo
from rag.backends.llms.thinking import ThinkingFilter
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
ASK_SECONDS = 10.0  # for what needs no model
LOADING_SECONDS = 1.0  # between two looks at a server that reads its model from disk


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
        billions: float = 0.0,
        allowed: Collection[str] = (),
        first_token_seconds: float = 120.0,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.url = root(url)
        self.billions = billions
        self._allowed = allowed
        self.name = name
        self.digest = digest
        self.context_tokens = context_tokens
        self.first_token_seconds = first_token_seconds
        self.idle_seconds = idle_seconds
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def count_tokens(self, text: str) -> int:
        """A bound: the protocol has no way to count."""
        return token_bound(text)

    async def loaded(self) -> bool:
        try:
            with failures():
                async with client(self.url, self._headers, allowed=self._allowed) as http:
                    response = await http.get("/health", timeout=httpx.Timeout(ASK_SECONDS, connect=2.0))
        except RagError:
            return True
        return not _is_loading(response.status_code, response.text)

    async def stream(self, prompt: Prompt, *, max_tokens: int) -> AsyncGenerator[Delta, None]:
        end = time.monotonic() + self.first_token_seconds
        with failures():
            async with client(self.url, self._headers, allowed=self._allowed) as http:
                body = self._body(prompt, max_tokens)
                while True:
                    left = end - time.monotonic()
                    async with posted(http, "/v1/chat/completions", body, seconds=left) as response:
                        if response.status_code == httpx.codes.OK:
                            async with aclosing(self._deltas(response, max_tokens)) as deltas:
                                async for delta in deltas:
                                    yield delta
                            return
                        refusal = await self._refused(response)
                    if not isinstance(refusal, _Loading) or left < LOADING_SECONDS:
                        raise refusal
                    await asyncio.sleep(LOADING_SECONDS)

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
        if _is_loading(response.status_code, said):
            return _Loading("The language model is still loading. Try again in a minute.")
        return refused(response, said)

    async def _deltas(self, response: httpx.Response, max_tokens: int) -> AsyncGenerator[Delta, None]:
        written = thought = pieces = 0
        apart = ThinkingFilter()  # servers without a parser for their model leave its thinking in the text
        stop: StopReason | None = None
        usage: dict[str, Any] = {}
        wire = lines(response, first_seconds=self.first_token_seconds, idle_seconds=self.idle_seconds)
        async with aclosing(_events(wire)) as received:
            async for data in received:
                usage = as_object(data.get("usage")) or usage
                said, reason = _read(data)
                inner, text = apart.feed(said.text)
                delta = Delta(text=text, thinking=said.thinking + inner)
                written, thought, pieces = written + len(delta.text), thought + len(delta.thinking), pieces + 1
                stop = reason or stop
                if delta.text or delta.thinking:
                    yield delta
                if beyond(max_tokens, pieces=pieces, characters=written + thought):
                    stop = StopReason.LENGTH
                    break
        inner, text = apart.finish()
        if text or inner:
            written, thought = written + len(text), thought + len(inner)
            yield Delta(text=text, thinking=inner)
        if stop is None:
            raise interrupted()
        if not written:
            raise empty_answer(thought=thought)
        yield Delta(
            stop=stop,
            prompt_tokens=as_count(usage.get("prompt_tokens")),
            answer_tokens=as_count(usage.get("completion_tokens")),
        )


class _Loading(Retryable):
    """The server reads its model from disk: what is asked of it a little later, it answers."""


def _is_loading(status: int, said: str) -> bool:
    return status == httpx.codes.SERVICE_UNAVAILABLE and "loading" in said.lower()


def root(url: str) -> str:
    """The server's address without the `/v1` that is often written behind it."""
    return url.rstrip("/").removesuffix("/v1")


async def list_models(url: str, key: str, *, allowed: Collection[str] = ()) -> list[ModelInfo]:
    """The models that the server at `url` lists, without digests: the protocol has none.

    Raises RagError where it cannot be reached, lets nobody in, or speaks another protocol.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with failures():
        async with client(root(url), headers, allowed=allowed) as http:
            response = await http.get("/v1/models", timeout=httpx.Timeout(ASK_SECONDS, connect=2.0))
    if response.status_code != httpx.codes.OK:
        raise refused(response, response.text)
    try:
        answer = response.json()
    except ValueError:
        answer = None
    entries = answer if isinstance(answer, list) else as_object(answer).get("data")  # Together leaves the frame out
    if not isinstance(entries, list):
        raise Permanent("What answers at FOOTNOTE_OPENAI_URL is no server of the OpenAI kind. Correct the address.")
    return [_info(as_object(entry)) for entry in entries if as_text(as_object(entry).get("id"))]


def _info(entry: dict[str, Any]) -> ModelInfo:
    meta = as_object(entry.get("meta"))  # llama.cpp's own
    parameters = as_count(meta.get("n_params")) or 0
    context = as_count(entry.get("max_model_len")) or as_count(entry.get("context_length"))  # vLLM; Together
    return ModelInfo(
        name=as_text(entry["id"]),
        digest="",
        size=as_count(meta.get("size")) or 0,
        parameters=f"{parameters / 1e9:.2f}B" if parameters else "",
        context=context or as_count(meta.get("n_ctx_train")) or 0,
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
