"""What an Ollama has on its disk: the details of a model, fetching one from its registry, taking in a GGUF file, deleting one.

Its answers to questions are in ollama.py. Everything here may only be called for an administrator.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, BinaryIO

import httpx

from rag.backends.llms.wire import (
    as_count,
    as_object,
    as_text,
    client,
    failures,
    interrupted,
    lines,
    parse,
    posted,
    read_error,
    refused,
)
from rag.domain.errors import Permanent, RagError, Retryable

ASK_SECONDS = 10.0
SILENT_SECONDS = 300.0  # Ollama says nothing while it checks a digest of many gigabytes
_PIECE = 1024 * 1024  # bytes read and sent at a time
_HTTP_CREATED = 201


@dataclass(frozen=True, slots=True)
class Details:
    """What a model says of itself; 0 and "" where it does not. `context` in tokens; `licence` is the whole text."""

    family: str = ""
    parameters: str = ""
    quantisation: str = ""
    context: int = 0
    licence: str = ""
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """How far something long has come: what is being done, in Ollama's words, and bytes done of a total (0: not known)."""

    stage: str
    done: int = 0
    total: int = 0


async def details(url: str, name: str, *, allowed: Collection[str] = ()) -> Details:
    """The details of the model `name`. Raises Permanent when it is not installed, Retryable when Ollama does not answer."""
    with failures():
        async with (
            client(url, allowed=allowed) as http,
            posted(http, "/api/show", {"model": name}, seconds=ASK_SECONDS) as response,
        ):
            if response.status_code == httpx.codes.NOT_FOUND:
                raise _missing(name)
            if response.status_code != httpx.codes.OK:
                raise refused(response, await read_error(response))
            data = parse(await response.aread())
    said, info = as_object(data.get("details")), as_object(data.get("model_info"))
    licence = data.get("license")
    capabilities = data.get("capabilities")
    return Details(
        family=as_text(said.get("family")) or as_text(info.get("general.architecture")),
        parameters=as_text(said.get("parameter_size")),
        quantisation=as_text(said.get("quantization_level")),
        context=as_count(info.get(f"{as_text(info.get('general.architecture'))}.context_length")) or 0,
        licence="\n\n".join(map(as_text, licence)) if isinstance(licence, list) else as_text(licence),
        capabilities=tuple(map(as_text, capabilities)) if isinstance(capabilities, list) else (),
    )


async def pull(url: str, name: str, *, allowed: Collection[str] = ()) -> AsyncGenerator[Step, None]:
    """Has Ollama fetch the model from its registry, or go on where a broken fetch stopped; closing the iterator stops it.

    Bytes count the layers that have been spoken of so far. Raises Permanent when there is no such model, Retryable otherwise.
    """
    layers: dict[str, tuple[int, int]] = {}
    body = {"model": name, "stream": True}
    async with aclosing(_streamed(url, "/api/pull", body, _pull_error, allowed)) as said:
        async for data in said:
            if digest := as_text(data.get("digest")):
                total = as_count(data.get("total")) or 0
                layers[digest] = (as_count(data.get("completed")) or 0, total)
            done, total = (sum(column) for column in zip(*layers.values(), strict=True)) if layers else (0, 0)
            yield Step(as_text(data.get("status")), done, total)


async def has_blob(url: str, sha256: str, *, allowed: Collection[str] = ()) -> bool:
    """Whether Ollama has a file with this digest already."""
    with failures():
        async with client(url, allowed=allowed) as http:
            response = await http.head(f"/api/blobs/sha256:{sha256}", timeout=ASK_SECONDS)
    return response.status_code == httpx.codes.OK


async def send_blob(
    url: str, sha256: str, file: BinaryIO, size: int, sent: Callable[[int], None], *, allowed: Collection[str] = ()
) -> None:
    """Sends `size` bytes of the open file to Ollama, which checks their digest; `sent` hears how many have gone. Raises RagError."""
    timeout = httpx.Timeout(SILENT_SECONDS, connect=2.0)
    with failures():
        async with client(url, allowed=allowed) as http:
            response = await http.post(
                f"/api/blobs/sha256:{sha256}",
                content=_pieces(file, sent),
                headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
                timeout=timeout,
            )
            if response.status_code not in {httpx.codes.OK, _HTTP_CREATED}:
                raise _create_error(response.text)


async def _pieces(file: BinaryIO, sent: Callable[[int], None]) -> AsyncIterator[bytes]:
    done = 0
    while piece := await asyncio.to_thread(file.read, _PIECE):
        yield piece
        done += len(piece)
        sent(done)


async def create(
    url: str, name: str, file_name: str, sha256: str, *, allowed: Collection[str] = ()
) -> AsyncGenerator[Step, None]:
    """Makes a model of the file that was sent, under this name. Raises Permanent when Ollama cannot read it as a model."""
    body = {"model": name, "files": {file_name: f"sha256:{sha256}"}, "stream": True}
    async with aclosing(_streamed(url, "/api/create", body, _create_error, allowed)) as said:
        async for data in said:
            yield Step(as_text(data.get("status")))


async def delete(url: str, name: str, *, allowed: Collection[str] = ()) -> None:
    """Deletes the model. Raises Permanent when there is none of this name."""
    with failures():
        async with client(url, allowed=allowed) as http:
            response = await http.request("DELETE", "/api/delete", json={"model": name}, timeout=ASK_SECONDS)
            if response.status_code == httpx.codes.NOT_FOUND:
                raise _missing(name)
            if response.status_code != httpx.codes.OK:
                raise refused(response, response.text)


async def _streamed(
    url: str, path: str, body: dict[str, Any], error: Callable[[str], RagError], allowed: Collection[str]
) -> AsyncGenerator[dict[str, Any], None]:
    """The lines of something long, up to "success". Raises what `error` makes of Ollama's words, Retryable when it breaks off."""
    with failures():
        async with client(url, allowed=allowed) as http, posted(http, path, body, seconds=SILENT_SECONDS) as response:
            if response.status_code != httpx.codes.OK:
                raise error(await read_error(response))
            wire = lines(response, first_seconds=SILENT_SECONDS, idle_seconds=SILENT_SECONDS)
            async with aclosing(wire) as received:
                async for line in received:
                    data = parse(line)
                    if "error" in data:
                        raise error(as_text(data["error"]))
                    yield data
                    if data.get("status") == "success":
                        return
    raise interrupted()


_UNREACHABLE = re.compile(
    r"no such host|dial tcp|lookup |connection refused|network is unreachable|i/o timeout|tls:|x509|EOF|max retries",
    re.I,
)


def _pull_error(said: str) -> RagError:
    if re.search(r"file does not exist|not found|manifest unknown", said, re.I):
        return Permanent(
            "The registry has no model of this name. Look at its spelling, and at what stands behind the colon."
        )
    if re.search(r"newer version|requires a new", said, re.I):
        return Permanent("This model needs a newer Ollama. Update Ollama, then fetch it again.")
    if known := _disk(said):
        return known
    if _UNREACHABLE.search(said):
        return Retryable(
            "Ollama cannot reach its registry from where it runs. What was fetched is kept; without a connection, import a file."
        )
    return Retryable("Ollama could not fetch the model; its log says why. What was fetched is kept: try again.")


def _create_error(said: str) -> RagError:
    if known := _disk(said):
        return known
    if re.search(r"digest", said, re.I):
        return Retryable("The file arrived at Ollama damaged, or was changed while it was sent. Try again.")
    if re.search(r"architecture|unsupported|unknown type", said, re.I):
        return Permanent("Ollama does not know this kind of model. A newer Ollama may; or take another file.")
    return Permanent("Ollama cannot read this file as a model. Is it a whole GGUF file of a language model?")


def _disk(said: str) -> RagError | None:
    if re.search(r"no space left|disk quota|not enough space", said, re.I):
        return Retryable("The disk of the machine that Ollama runs on is full. Make room there, then try again.")
    return None


def _missing(name: str) -> Permanent:
    return Permanent(f"Ollama has no model {name} any more.")
