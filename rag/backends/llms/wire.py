"""What the HTTP model servers have in common: lines of a stream with bounded waits, and true sentences for what goes wrong.

Why a client per call and none kept: answers are produced in several event loops (the web process, commands, tests), and a
pooled connection dies with the loop that opened it. Connecting on a local network takes about a millisecond, an answer
takes seconds, and closing the call's own client is what tells the server to stop generating.
"""

import asyncio
import json
import logging
import math
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import cache
from typing import Any, cast

import httpx

from rag.backends.llms.addresses import NOT_AN_ADDRESS, UNREACHABLE, refuse_outside
from rag.domain.errors import Busy, Permanent, RagError, Retryable

log = logging.getLogger(__name__)

CONNECT_SECONDS = 2.0
LONGEST_LINE = 1024 * 1024  # bytes of one line of a stream; a token takes some two hundred
LONGEST_ERROR = 64 * 1024


@cache
def _trusted() -> ssl.SSLContext:
    """The machine's certificates, read once: a client that reads them by itself holds up everybody for 30 ms."""
    return ssl.create_default_context()


@asynccontextmanager
async def client(
    url: str, headers: dict[str, str] | None = None, *, allowed: Collection[str] = ()
) -> AsyncIterator[httpx.AsyncClient]:
    """A client for one call: no proxy or credentials from the environment, no redirects, two seconds to connect.

    It connects to this machine and to private networks, and beyond them to the hosts in `allowed` alone; raises `Permanent`
    otherwise. Reading has no timeout of its own: `lines` bounds every wait.
    """
    await refuse_outside(url, allowed)
    timeout = httpx.Timeout(None, connect=CONNECT_SECONDS, write=30.0)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=timeout, trust_env=False, follow_redirects=False, verify=_trusted()
    ) as opened:
        yield opened


@contextmanager
def failures() -> Iterator[None]:
    """Turns what the network did into the sentence that is true of it."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise Retryable(UNREACHABLE) from error
    except httpx.TimeoutException as error:
        raise Retryable("The language model did not answer in time. Try again.") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Permanent(NOT_AN_ADDRESS) from error
    except httpx.TransportError as error:
        raise Retryable("The connection to the language model broke off. What was written so far is kept.") from error


@asynccontextmanager
async def posted(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], *, seconds: float
) -> AsyncIterator[httpx.Response]:
    """What `begun` gives, for a POST of `body`."""
    async with begun(http, http.build_request("POST", path, json=body), seconds=seconds) as response:
        yield response


@asynccontextmanager
async def begun(http: httpx.AsyncClient, request: httpx.Request, *, seconds: float) -> AsyncIterator[httpx.Response]:
    """The response to a request, its body still to be read; raises `Retryable` when it does not begin within `seconds`.

    Leaving the block closes the response, which tells the server to stop.
    """
    try:
        async with asyncio.timeout(seconds):
            response = await http.send(request, stream=True)
    except TimeoutError:
        raise slow_start(seconds) from None
    try:
        yield response
    finally:
        await response.aclose()


async def lines(response: httpx.Response, *, first_seconds: float, idle_seconds: float) -> AsyncGenerator[bytes, None]:
    """The response's lines without the blanks around them, empty ones left out; waits and raises as `every_line` does."""
    async with aclosing(every_line(response, first_seconds=first_seconds, idle_seconds=idle_seconds)) as found:
        async for line in found:
            if line := line.strip():
                yield line


async def every_line(
    response: httpx.Response, *, first_seconds: float, idle_seconds: float
) -> AsyncGenerator[bytes, None]:
    """The response's lines without their ends, empty ones too.

    Waits `first_seconds` for the first bytes and `idle_seconds` for any later ones; raises `Retryable` beyond that, and
    `Permanent` for a line that no model writes.
    """
    held = bytearray()
    started = False
    async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_bytes())) as chunks:
        while True:
            try:
                async with asyncio.timeout(idle_seconds if started else first_seconds):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise _fell_silent(idle_seconds) if started else slow_start(first_seconds) from None
            started = True
            *whole, rest = (held + chunk).split(b"\n")
            for line in whole:
                yield bytes(line.removesuffix(b"\r"))
            held = bytearray(rest)
            if len(held) > LONGEST_LINE:
                raise Permanent(
                    "The language model sent a line that is too long to be an answer. Is it the right server?"
                )
    if held:
        yield bytes(held)


async def server_events(wire: AsyncGenerator[bytes, None]) -> AsyncGenerator[tuple[str, str], None]:
    """Name and data of each server-sent event in the lines of a stream, as the standard frames them; comments are left out."""
    name, data = "message", list[str]()
    async with aclosing(wire) as received:
        async for line in received:
            field, _, value = line.decode("utf-8", "replace").partition(":")
            value = value.removeprefix(" ")
            if not line:
                if data:
                    yield name, "\n".join(data)
                name, data = "message", []
            elif field == "event":
                name = value
            elif field == "data":
                data.append(value)


def _fell_silent(seconds: float) -> Retryable:
    return Retryable(
        f"The language model fell silent for {seconds:.0f} seconds in mid-answer. What was written so far is kept."
    )


def slow_start(seconds: float) -> Retryable:
    """What to say when no first word came in time."""
    return Retryable(
        f"The language model did not begin to answer within {seconds:.0f} seconds. "
        "It may still be loading: try again, or choose a smaller model."
    )


async def read_error(response: httpx.Response) -> str:
    """What the server says went wrong, for deciding and for the log; never shown, since it may hold paths."""
    body = bytearray()
    with failures():
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > LONGEST_ERROR:
                break
    said = re.sub(r"[^\x20-\x7e]+", " ", body[:300].decode("utf-8", "replace"))
    log.warning("model server answered %s: %s", response.status_code, said)
    return body.decode("utf-8", "replace")


_TOO_LONG = re.compile(
    r"context (?:length|size|window)|exceeds? .{0,40}context|prompt (?:is )?too long|n_ctx"
    r"|`inputs` (?:must have less than|tokens)",  # TGI
    re.IGNORECASE,
)
_NO_MEMORY = re.compile(r"system memory|out of memory|not enough memory|cudaMalloc|insufficient memory", re.IGNORECASE)


def known_error(said: str) -> Permanent | None:
    """The sentence for an error text whose meaning is known."""
    if _TOO_LONG.search(said):
        return Permanent(
            "The question and its passages are longer than the model's context. Shorten the question, or give the model a "
            "larger context."
        )
    if _NO_MEMORY.search(said):
        return Permanent("The machine has too little free memory for this model. Choose a smaller one.")
    return None


def refused(response: httpx.Response, said: str) -> RagError:
    """What to raise for an answer that is not a stream, by its status and its error text `said`."""
    status = response.status_code
    if status in {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS}:
        return Busy("The language model is busy: its queue is full. Try again in a minute.")
    if known := known_error(said):
        return known
    if response.is_redirect:
        return Permanent("The language model's address leads elsewhere, which is not followed. Correct the address.")
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return Permanent("The language model's server does not let Footnote in. Check its access settings.")
    if response.is_client_error:
        return Permanent(f"The language model's server refused the request (HTTP {status}). Its log says why.")
    return Retryable(f"The language model's server failed (HTTP {status}). Its log says why; then try again.")


def failed_mid_stream(said: str) -> RagError:
    """What to raise for an error that arrived after the answer had begun."""
    log.warning("model server failed in mid-answer: %s", re.sub(r"[^\x20-\x7e]+", " ", said[:300]))
    return known_error(said) or Retryable(
        "The language model failed in the middle of its answer. What was written so far is kept; its log says why."
    )


def interrupted() -> Retryable:
    """What to raise for a stream that ends without saying that it is done."""
    return Retryable("The language model's answer was interrupted before its end. What was written so far is kept.")


def empty_answer(*, thought: int) -> RagError:
    """What to raise for an answer without text, after `thought` characters of thinking."""
    if thought:
        return Permanent(
            "The model spent its whole answer on thinking and wrote nothing. Choose another model, or allow longer "
            "answers."
        )
    return Retryable("The language model answered with nothing at all. Ask again.")


_PIECES_PER_TOKEN = 2
_CHARACTERS_PER_TOKEN = 64


def beyond(max_tokens: int, *, pieces: int, characters: int) -> bool:
    """Whether a server went so far beyond `max_tokens` that it must be ignoring the limit."""
    return pieces > max_tokens * _PIECES_PER_TOKEN + 8 or characters > max_tokens * _CHARACTERS_PER_TOKEN


def parse(line: bytes) -> dict[str, Any]:
    """The JSON object in `line`."""
    try:
        return as_object(json.loads(line))
    except (ValueError, RecursionError):
        raise Retryable(
            "The language model's answer arrived damaged and was stopped. What was written so far is kept."
        ) from None


def as_object(value: Any) -> dict[str, Any]:
    """`value` where it is a JSON object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def as_count(value: Any) -> int | None:
    """`value` where it is a count."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def as_text(value: Any) -> str:
    """`value` where it is text."""
    return value if isinstance(value, str) else ""


_RUN = re.compile(r"[A-Za-z]+|[0-9]|[^\S\n]+|\n|[^\x00-\x7f]+|.", re.DOTALL)


def token_bound(text: str) -> int:
    """A number of tokens that ordinary text does not exceed under the tokenizers of current models.

    Why not bytes, which no tokenizer exceeds: that is four times too many for prose, and would leave most of a small
    context empty. So by kind of run: a word takes one token, two beyond three letters, and one more for every two beyond
    six; a digit, a mark and a line break one each; blanks one only beyond the first, which belongs to the word behind it;
    three for four bytes beyond ASCII; and a twentieth of it all.

    Measured against an English vocabulary of 49,152, which splits other languages far more than the larger vocabularies
    of the models in use: English prose and contracts are over-counted by three quarters; German, Spanish, Romanian,
    Turkish, Vietnamese, Thai and Chinese by a seventh to a quarter; Arabic, Greek, Hindi and Russian by a half to three
    quarters. Of some 3,800 passages in twelve languages none was under-counted.
    """
    total = 0
    for match in _RUN.finditer(text):
        run = match.group()
        first = run[0]
        if not first.isascii():
            total += math.ceil(len(run.encode("utf-8", "surrogatepass")) * 0.75)
        elif first.isalpha():
            total += 1 + (len(run) > 3) + max(0, math.ceil((len(run) - 6) / 2))
        elif first.isspace() and first != "\n":
            total += len(run) > 1
        else:
            total += 1
    return math.ceil(total * 1.05)
