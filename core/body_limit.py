"""Ends requests whose body is too large before Django has spooled them (W9).

Why outside Django: its ASGI handler writes the whole body to a temporary file before any middleware or view runs.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# The one address that takes files; everything else takes forms.
_UPLOAD = re.compile(r"^/collections/[0-9a-f-]{36}/upload/$")
_PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Too large</title>"
    "<h1>This is too large</h1><p>Nothing was stored. One upload may have at most {limit} MB.</p>"
)


class _TooLarge(Exception):
    pass


def limit_for(path: str) -> int:
    """The largest body, in bytes, that a request to `path` may have."""
    # A form wraps each file in a few hundred bytes of its own.
    return settings.UPLOAD_LIMIT + 64 * 1024 if _UPLOAD.match(path) else settings.FORM_LIMIT


def limit_bodies(application: Application) -> Application:
    """`application`, reading no more of a body than its address allows; the client gets one sentence and a closed connection."""

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        limit = limit_for(scope["path"])
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not declared.isdigit() or int(declared) > limit:
            await _refuse(send, limit)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLarge
            return message

        try:
            await application(scope, counted, send)
        except _TooLarge:
            await _refuse(send, limit)

    return limited


async def _refuse(send: Send, limit: int) -> None:
    body = _PAGE.format(limit=limit // (1024 * 1024)).encode()
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
    await send({"type": "http.response.start", "status": 413, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _directives() -> dict[str, list[str]]:
    directives: dict[str, list[str]] = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
    return directives
