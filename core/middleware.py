"""What every request and every response gets."""

import secrets
from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import patch_cache_control
from django.utils.decorators import sync_and_async_middleware
from servestatic.middleware import ServeStaticMiddleware

from core.context import RequestContext, enter_request

Respond = Callable[[HttpRequest], HttpResponseBase]
RespondAsync = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


def _around(
    get_response: Respond | RespondAsync,
    before: Callable[[HttpRequest], None],
    after: Callable[[HttpResponseBase], None],
) -> Respond | RespondAsync:
    """A middleware of two plain functions, in the sync or async form that its neighbour has."""
    if iscoroutinefunction(get_response):
        respond_async = cast("RespondAsync", get_response)

        async def middleware_async(request: HttpRequest) -> HttpResponseBase:
            before(request)
            response = await respond_async(request)
            after(response)
            return response

        return middleware_async
    respond = cast("Respond", get_response)

    def middleware(request: HttpRequest) -> HttpResponseBase:
        before(request)
        response = respond(request)
        after(response)
        return response

    return middleware


def _name_request(request: HttpRequest) -> None:
    # The address is the peer's: behind a proxy, uvicorn has put the forwarded one there (its --proxy-headers).
    enter_request(RequestContext(id=secrets.token_hex(8), address=request.META.get("REMOTE_ADDR", "")))


def _no_store(response: HttpResponseBase) -> None:
    """Pages hold private text: no cache keeps them (W7). Static files set their own header before this runs."""
    if not response.has_header("Cache-Control"):
        patch_cache_control(response, private=True, no_store=True)
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")


@sync_and_async_middleware
def request_context(get_response: Respond | RespondAsync) -> Respond | RespondAsync:
    """Gives the request a name and remembers the client's address for the audit log."""
    return _around(get_response, _name_request, lambda response: None)


@sync_and_async_middleware
def response_headers(get_response: Respond | RespondAsync) -> Respond | RespondAsync:
    """Sets the headers that Django's own middleware leaves out."""
    return _around(get_response, lambda request: None, _no_store)


@sync_and_async_middleware
def static_files(get_response: Respond | RespondAsync) -> Respond | RespondAsync:
    """Static files, in the one of the two chains that serves them: see core/handler.py."""
    if iscoroutinefunction(get_response):
        return cast("RespondAsync", ServeStaticMiddleware(get_response))
    return get_response
