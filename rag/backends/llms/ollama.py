"""A model served by Ollama, over its own HTTP API: streamed NDJSON, never truncated in silence."""

import asyncio
import re
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
from rag.domain.errors import Busy, Permanent, RagError, Retryable
from rag.domain.types import Delta, Prompt, StopReason

# CVE-2026-7482: before this version anyone who reaches the port can read other people's prompts from its memory.
LEAST_VERSION = (0, 17, 1)
ASK_SECONDS = 10.0  # for what needs no model: lists and versions
IDLE_SECONDS = 60.0
KEEP_ALIVE = "30m"  # loading a model again costs more than keeping it


class OllamaLLM(LLM):
    """The model `name` at `url`, whose `digest` was pinned when it was chosen."""

    provider = "ollama"

    def __init__(
        self,
        url: str,
        name: str,
        digest: str,
        context_tokens: int,
        *,
        billions: float = 0.0,
        allowed: Collection[str] = (),
        first_token_seconds: float = 120.0,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.url = url
        self.billions = billions
        self._allowed = allowed
        self.name = name
        self.digest = digest
        self.context_tokens = context_tokens
        self.first_token_seconds = first_token_seconds
        self.idle_seconds = idle_seconds

    def count_tokens(self, text: str) -> int:
        """A bound: Ollama has no endpoint that counts."""
        return token_bound(text)

    async def loaded(self) -> bool:
        try:
            found = (await _get(self.url, "/api/ps", allowed=self._allowed)).get("models")
        except RagError:
            return True
        entries = [as_object(entry) for entry in found] if isinstance(found, list) else []
        return self.name in {as_text(entry.get(key)) for entry in entries for key in ("name", "model")}

    async def stream(self, prompt: Prompt, *, max_tokens: int) -> AsyncGenerator[Delta, None]:
        with failures():
            async with client(self.url, allowed=self._allowed) as http:
                body = self._body(prompt, max_tokens)
                # Ollama sends its headers with the first token: the budget counts from here.
                async with posted(http, "/api/chat", body, seconds=self.first_token_seconds) as response:
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
            # Without these Ollama drops the oldest messages and, in mid-answer, the oldest tokens, and says nothing.
            "truncate": False,
            "shift": False,
            # Thinking would eat the tokens allowed for the answer; models that cannot stop it ignore this.
            "think": False,
            "keep_alive": KEEP_ALIVE,
            "options": {"num_ctx": self.context_tokens, "num_predict": max_tokens, "temperature": 0, "seed": 1},
        }

    async def _refused(self, response: httpx.Response) -> RagError:
        said = await read_error(response)
        status = response.status_code
        if status == httpx.codes.NOT_FOUND:
            return Permanent(
                f"The model {self.name} is not installed any more. Install it with: ollama pull {self.name}"
            )
        if status in {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS}:
            return Busy("The language model is busy: its queue is full. Try again in a minute.")
        return refused(response, said)

    async def _deltas(self, response: httpx.Response, max_tokens: int) -> AsyncGenerator[Delta, None]:
        written = thought = pieces = 0
        apart = ThinkingFilter()  # models that Ollama has no parser for leave their thinking in the text
        wire = lines(response, first_seconds=self.first_token_seconds, idle_seconds=self.idle_seconds)
        async with aclosing(wire) as received:
            async for line in received:
                data = parse(line)
                if "error" in data:
                    raise failed_mid_stream(as_text(data["error"]))
                message = as_object(data.get("message"))
                inner, text = apart.feed(as_text(message.get("content")))
                done = data.get("done") is True
                if done:
                    inner, text = (first + last for first, last in zip((inner, text), apart.finish(), strict=True))
                thinking = as_text(message.get("thinking")) + inner
                written, thought, pieces = written + len(text), thought + len(thinking), pieces + 1
                if done:
                    if not written:
                        raise empty_answer(thought=thought)
                    yield Delta(
                        text=text,
                        thinking=thinking,
                        stop=StopReason.LENGTH if data.get("done_reason") == "length" else StopReason.END,
                        prompt_tokens=as_count(data.get("prompt_eval_count")),
                        answer_tokens=as_count(data.get("eval_count")),
                    )
                    return
                if text or thinking:
                    yield Delta(text=text, thinking=thinking)
                if beyond(max_tokens, pieces=pieces, characters=written + thought):
                    yield Delta(stop=StopReason.LENGTH)
                    return
        raise interrupted()


async def list_models(url: str, *, allowed: Collection[str] = ()) -> list[ModelInfo]:
    """The models that the Ollama at `url` has, those that run elsewhere marked `remote`."""
    found = []
    for entry in (await _get(url, "/api/tags", allowed=allowed)).get("models") or []:
        entry = as_object(entry)
        details = as_object(entry.get("details"))
        name = as_text(entry.get("model")) or as_text(entry.get("name"))
        if name:
            found.append(
                ModelInfo(
                    name=name,
                    digest=as_text(entry.get("digest")),
                    size=as_count(entry.get("size")) or 0,
                    family=as_text(details.get("family")),
                    parameters=as_text(details.get("parameter_size")),
                    quantisation=as_text(details.get("quantization_level")),
                    remote=bool(entry.get("remote_host") or entry.get("remote_model")),
                )
            )
    return found


async def version(url: str, *, allowed: Collection[str] = ()) -> str:
    """The version of the Ollama at `url`; raises `Permanent` when it has a hole that leaks prompts."""
    found = as_text((await _get(url, "/api/version", allowed=allowed)).get("version"))
    numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", found)
    if not numbers:
        raise Permanent("What answers at the language model's address is not Ollama. Correct FOOTNOTE_OLLAMA_URL.")
    # 0.0.0 is what a build from source says of itself: its version cannot be known.
    if (0, 0, 0) < tuple(int(number) for number in numbers.groups()) < LEAST_VERSION:
        least = ".".join(str(number) for number in LEAST_VERSION)
        raise Permanent(f"Ollama {found} leaks prompts to anyone who can reach it. Update it to {least} or later.")
    return found


async def check_model(url: str, name: str, digest: str, *, allowed: Collection[str] = ()) -> ModelInfo:
    """The model `name` as it is now; raises `Permanent` when it is gone, was changed since `digest`, or runs elsewhere, and
    when this Ollama has a hole that leaks prompts."""
    _version, found = await asyncio.gather(version(url, allowed=allowed), list_models(url, allowed=allowed))
    models = {model.name: model for model in found}
    model = models.get(name) or models.get(f"{name}:latest")
    if model is None:
        raise Permanent(f"The model {name} is not installed any more. Install it with: ollama pull {name}")
    if model.remote:
        raise Permanent(
            f"The model {name} runs on someone else's machines, so it would be sent your documents. Choose another."
        )
    if digest and model.digest != digest:
        raise Permanent(
            f"The model {name} is not the one that was chosen: it was changed since. Choose it again to use it."
        )
    return model


async def _get(url: str, path: str, *, allowed: Collection[str]) -> dict[str, Any]:
    with failures():
        async with client(url, allowed=allowed) as http:
            response = await http.get(path, timeout=httpx.Timeout(ASK_SECONDS, connect=2.0))
    if response.status_code != httpx.codes.OK:
        raise Retryable(
            f"The language model's server failed (HTTP {response.status_code}). Its log says why; then try again."
        )
    try:
        return as_object(response.json())
    except ValueError:
        raise Permanent(
            "What answers at the language model's address is not Ollama. Correct FOOTNOTE_OLLAMA_URL."
        ) from None
