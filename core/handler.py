"""Serves a page in one thread: middleware, view and template, on a database connection that is open already.

Why: Django's own ASGI handler has each piece of middleware that knows no event loop run in a thread by itself, eighteen turns of
the loop for a page, and opens a thread and a connection for each request. A view that is a coroutine still runs in the event loop.
Static files alone go the other way: they need no thread.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponseBase

from core.threads import Threads

# More than there are processors: some wait for a disk, or for another one's writing, and must not keep the others waiting.
MOST = 32


class PageHandler(ASGIHandler):
    """Django's handler with two chains of middleware: one for pages, in a thread, and one for static files, in the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = Threads(MOST, name="page")
        self._pages = BaseHandler()
        self._pages.load_middleware(is_async=False)
        self._static: str = settings.STATIC_URL
        self._signals = ThreadPoolExecutor(max_workers=1, thread_name_prefix="signals")

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        """Serves one request. What Django's signals call around it has a thread that all requests share: one of its own would stay
        for as long as the response streams, a thread for every open answer."""
        async with ThreadSensitiveContext(executor=self._signals):
            await super().__call__(scope, receive, send)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """The response to any request; what a view raises has become a page by then."""
        if request.path_info.startswith(self._static):
            response: HttpResponseBase = await super().get_response_async(request)
            return response
        return await self._page(request)

    async def _get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """What the chain of static files gives where there is no such file: the page that says so. Raised here, it would be made
        in a thread that never gives its connection back."""
        return await self._page(request)

    async def _page(self, request: HttpRequest) -> HttpResponseBase:
        # Any executor will do, whatever the annotation says: it is handed to the loop's run_in_executor.
        threads = cast("ThreadPoolExecutor", self.threads)
        return await sync_to_async(self._pages.get_response, thread_sensitive=False, executor=threads)(request)
