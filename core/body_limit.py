"""Ends requests whose body is too large before Django has spooled them (W9), and says so when the disk has no room for one.

Why outside Django: its ASGI handler writes the whole body to a temporary file before any middleware or view runs.
"""

import errno
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_ID = "[0-9a-f-]{36}"
# What takes files: a form of a browser without scripts, and the pieces of an upload. Everything else takes forms.
_FILES = re.compile(f"^/(collections/{_ID}/upload|conversations/({_ID}/)?files)/$")
_PIECE = re.compile(f"^/(collections/{_ID}/uploads|uploads/{_ID})/$")
_PAGE = "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><h1>{title}</h1><p>{sentence}</p>"


class _TooLarge(Exception):
    pass


def limit_for(path: str) -> int:
    """The largest body, in bytes, that a request to `path` may have."""
    if _PIECE.match(path):
        limit: int = settings.PIECE_LIMIT
        return limit
    # A form wraps each file in a few hundred bytes of its own.
    return settings.UPLOAD_FORM_LIMIT + 64 * 1024 if _FILES.match(path) else settings.FORM_LIMIT


def limit_bodies(application: Application) -> Application:
    """`application`, reading no more of a body than its address allows; the client gets one sentence and a closed connection."""

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        limit = limit_for(scope["path"])
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not declared.isdigit() or int(declared) > limit:
            await _too_large(send, limit)
            return
        received, answered = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await application(scope, counted, noted)
        except _TooLarge:
            await _too_large(send, limit)
        except OSError as error:
            if answered or error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            sentence = "Nothing of this request was stored. What was sent before is kept; try again once there is room."
            await _refuse(send, 507, "The server's disk is full", sentence)

    return limited


async def _too_large(send: Send, limit: int) -> None:
    sentence = f"Nothing was stored. One request may have at most {limit // (1024 * 1024)} MB here."
    await _refuse(send, 413, "This is too large", sentence)


async def _refuse(send: Send, status: int, title: str, sentence: str) -> None:
    body = _PAGE.format(title=title, sentence=sentence).encode()
    policy = "; ".join(f"{name} {' '.join(values)}" for name, values in _directives().items())
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-length": str(len(body)),
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cache-control": "no-store, private",
        "connection": "close",
    }
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _directives() -> dict[str, list[str]]:
    directives: dict[str, list[str]] = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
    return directives
