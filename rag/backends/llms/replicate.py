"""A model of the Replicate service, through its predictions API: created, followed as server-sent events, cancelled on Stop.

Why some of it is looked up again: the stream says neither how long the prompt was nor whether the limit was reached; the
prediction does, once it is over. Where its stream lies on a host that nobody allowed, the prediction itself is read again and again.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import Any

import httpx

from rag.backends.llms.addresses import host_of
from rag.backends.llms.base import LLM, ModelInfo
from rag.backends.llms.thinking import ThinkingFilter
from rag.backends.llms.wire import (
    as_count,
    as_object,
    as_text,
    begun,
    beyond,
    client,
    empty_answer,
    every_line,
    failed_mid_stream,
    failures,
    interrupted,
    known_error,
    parse,
    posted,
    read_error,
    refused,
    server_events,
    slow_start,
    token_bound,
)
from rag.domain.errors import Permanent, RagError, Retryable
from rag.domain.types import Delta, Message, Prompt, Role, StopReason

IDLE_SECONDS = 60.0
ASK_SECONDS = 10.0
POLL_SECONDS = 0.5
_VERSION = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9]{1,64}")
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_cancelling: set[asyncio.Task[None]] = set()


class ReplicateLLM(LLM):
    """The model `name` ("owner/name") in the version that its `digest` names, or the one that its owner serves where that is ""."""

    provider = "replicate"
    parallel = 4

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
        self.url = url
        self.name = name
        self.digest = digest
        self.context_tokens = context_tokens
        self.billions = billions
        self.first_token_seconds = first_token_seconds
        self.idle_seconds = idle_seconds
        self._allowed = allowed
        self._headers = {"Authorization": f"Bearer {key}"}

    def count_tokens(self, text: str) -> int:
        """A bound: the service has no way to count."""
        return token_bound(text)

    async def stream(self, prompt: Prompt, *, max_tokens: int) -> AsyncGenerator[Delta, None]:
        end = time.monotonic() + self.first_token_seconds
        with failures():
            async with client(self.url, self._headers, allowed=self._allowed) as http:
                made = await self._create(http, prompt, max_tokens)
                path = f"/v1/predictions/{made['id']}"
                over = False
                try:
                    apart = ThinkingFilter()
                    written = thought = pieces = 0
                    async with aclosing(self._pieces(http, path, made, end)) as found:
                        async for piece in found:
                            thinking, text = apart.feed(piece)
                            written, thought, pieces = written + len(text), thought + len(thinking), pieces + 1
                            if text or thinking:
                                yield Delta(text=text, thinking=thinking)
                            if beyond(max_tokens, pieces=pieces, characters=written + thought):
                                yield Delta(stop=StopReason.LENGTH)
                                return
                    over = True
                    thinking, text = apart.finish()
                    if not written + len(text):
                        raise empty_answer(thought=thought + len(thinking))
                    yield _last(await self._read(http, path), text, thinking, max_tokens)
                finally:
                    if not over:
                        await self._cancel(path)

    async def _create(self, http: httpx.AsyncClient, prompt: Prompt, max_tokens: int) -> dict[str, Any]:
        body: dict[str, Any] = {"input": as_input(prompt.messages, max_tokens), "stream": True}
        path = f"/v1/models/{self.name}/predictions"
        if self.digest:
            path, body["version"] = "/v1/predictions", self.digest
        async with posted(http, path, body, seconds=self.first_token_seconds) as response:
            if response.status_code not in {httpx.codes.OK, httpx.codes.CREATED, httpx.codes.ACCEPTED}:
                raise self._refused(response, await read_error(response))
            made = parse(await response.aread())
        if not _ID.fullmatch(as_text(made.get("id"))):
            raise Permanent("What answers in the place of Replicate is something else. Nothing was asked of it.")
        return made

    def _refused(self, response: httpx.Response, said: str) -> RagError:
        match response.status_code:
            case httpx.codes.NOT_FOUND:
                return Permanent(f"Replicate does not have the model {self.name} in the version that was chosen.")
            case httpx.codes.PAYMENT_REQUIRED:
                return Permanent("The account at Replicate has no credit left.")
        return refused(response, said)

    async def _pieces(
        self, http: httpx.AsyncClient, path: str, made: dict[str, Any], end: float
    ) -> AsyncGenerator[str, None]:
        """The answer's text as it comes, from the prediction's stream or, where that may not be reached, from itself."""
        stream = as_text(as_object(made.get("urls")).get("stream"))
        if stream and host_of(stream) in {*self._allowed, host_of(self.url)}:
            source = self._streamed(stream, end)
        else:
            source = self._polled(http, path, end)
        async with aclosing(source) as found:
            async for piece in found:
                yield piece

    async def _streamed(self, stream: str, end: float) -> AsyncGenerator[str, None]:
        headers = {**self._headers, "Accept": "text/event-stream", "Cache-Control": "no-store"}
        left = max(0.0, end - time.monotonic())
        async with (
            client(stream, headers, allowed=self._allowed) as http,
            begun(http, http.build_request("GET", stream), seconds=left) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise self._refused(response, await read_error(response))
            left = max(0.0, end - time.monotonic())
            wire = every_line(response, first_seconds=left, idle_seconds=self.idle_seconds)
            async with aclosing(server_events(wire)) as found:
                async for name, data in found:
                    if name == "output":
                        yield data
                    elif name == "error":
                        raise failed_mid_stream(data)
                    elif name == "done":
                        _whole(as_text(parse(data.encode() or b"{}").get("reason")))
                        return
        raise interrupted()

    async def _polled(self, http: httpx.AsyncClient, path: str, end: float) -> AsyncGenerator[str, None]:
        seen, limit, heard = 0, self.first_token_seconds, end
        while True:
            state = await self._read(http, path)
            text = _output(state)
            if len(text) > seen:
                yield text[seen:]
                seen, limit, heard = len(text), self.idle_seconds, time.monotonic() + self.idle_seconds
            status = as_text(state.get("status"))
            if status == "succeeded":
                return
            if status in {"failed", "canceled", "aborted"}:
                said = as_text(state.get("error"))
                raise known_error(said) or (failed_mid_stream(said) if seen else _failed())
            if time.monotonic() > heard:
                raise slow_start(limit) if not seen else interrupted()
            await asyncio.sleep(POLL_SECONDS)

    async def _read(self, http: httpx.AsyncClient, path: str) -> dict[str, Any]:
        response = await http.get(path, timeout=httpx.Timeout(ASK_SECONDS, connect=2.0))
        if response.status_code != httpx.codes.OK:
            raise self._refused(response, response.text)
        return parse(response.content)

    async def _cancel(self, path: str) -> None:
        """Tells the service to stop, even where this very task is being cancelled again and again."""
        task = asyncio.create_task(self._cancel_now(path))
        _cancelling.add(task)
        task.add_done_callback(_cancelling.discard)
        await asyncio.shield(task)

    async def _cancel_now(self, path: str) -> None:
        try:
            async with client(self.url, self._headers, allowed=self._allowed) as http:
                await http.post(f"{path}/cancel", timeout=httpx.Timeout(ASK_SECONDS, connect=2.0))
        except (RagError, httpx.HTTPError):
            return  # the service ends it by its own limits


def as_input(messages: tuple[Message, ...], max_tokens: int) -> dict[str, Any]:
    """The conversation as the input of a language model there: system text and prompt, each one text.

    Models there name the limit in two ways, and what a model does not know it ignores. Some take no temperature of 0.
    """
    system = "\n".join(message.content for message in messages if message.role is Role.SYSTEM)
    said = [message for message in messages if message.role is not Role.SYSTEM]
    if len(said) == 1:
        prompt = said[0].content
    else:
        names = {Role.USER: "User", Role.ASSISTANT: "Assistant"}
        prompt = "\n\n".join(f"{names[message.role]}: {message.content}" for message in said) + "\n\nAssistant:"
    return {
        "system_prompt": system,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "max_new_tokens": max_tokens,
        "temperature": 0.01,
    }


def _output(state: dict[str, Any]) -> str:
    output = state.get("output")
    return "".join(as_text(piece) for piece in output) if isinstance(output, list) else as_text(output)


def _whole(reason: str) -> None:
    """Raises unless the stream ended because the model did."""
    if reason:
        raise interrupted() if reason == "canceled" else _failed()


def _failed() -> Retryable:
    return Retryable("The model at Replicate failed. Its page there says why; then try again.")


def _last(state: dict[str, Any], text: str, thinking: str, max_tokens: int) -> Delta:
    metrics = as_object(state.get("metrics"))
    answer_tokens = as_count(metrics.get("output_token_count"))
    reached = answer_tokens is not None and answer_tokens >= max_tokens
    return Delta(
        text=text,
        thinking=thinking,
        stop=StopReason.LENGTH if reached else StopReason.END,
        prompt_tokens=as_count(metrics.get("input_token_count")),
        answer_tokens=answer_tokens,
    )


async def describe(url: str, key: str, name: str, *, allowed: Collection[str]) -> ModelInfo:
    """The model `name` with the version that it has now as its digest; raises RagError when there is none, or nobody may ask."""
    if not _NAME.fullmatch(name):
        raise Permanent(f"FOOTNOTE_REPLICATE_MODELS takes names like owner/name, not {name}.")
    with failures():
        async with client(url, {"Authorization": f"Bearer {key}"}, allowed=allowed) as http:
            response = await http.get(f"/v1/models/{name}", timeout=httpx.Timeout(ASK_SECONDS, connect=2.0))
    if response.status_code == httpx.codes.NOT_FOUND:
        raise Permanent(f"Replicate does not have the model {name}.")
    if response.status_code != httpx.codes.OK:
        raise refused(response, response.text)
    version = as_text(as_object(parse(response.content).get("latest_version")).get("id"))
    return ModelInfo(name=name, digest=version if _VERSION.fullmatch(version) else "")
