"""How the web server's own handler serves: pages beside each other, static files, and views that are coroutines."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import httpx
import pytest
from asgiref.sync import async_to_sync
from django.conf import LazySettings
from django.test import Client

from core.handler import PageHandler
from core.models import User
from rag.backends.embedders.hashing import HashingEmbedder
from rag.domain.types import Vectors
from rag.models import Collection, Document

AddText = Callable[..., Document]
AsUser = Callable[[User], Client]
Use = Callable[[httpx.AsyncClient], Awaitable[Any]]
_together = threading.Barrier(2)


class WaitsForAnother(HashingEmbedder):
    """Embeds a question when two are asked at the same time, and not before."""

    def embed_question(self, text: str) -> Vectors:
        if text.startswith("together"):
            _together.wait(timeout=60)
        return super().embed_question(text)


@pytest.fixture
def handler() -> Iterator[PageHandler]:
    made = PageHandler()
    yield made
    made.threads.shutdown()


def used(handler: PageHandler, client: Client, use: Use) -> Any:
    """What `use` gives, with a browser that asks the handler and is signed in as the client is."""

    async def run() -> Any:
        transport = httpx.ASGITransport(app=cast("Any", handler))
        cookies = {name: morsel.value for name, morsel in client.cookies.items()}
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver", cookies=cookies) as browser:
            return await use(browser)

    return async_to_sync(run)()


async def search(browser: httpx.AsyncClient, question: str) -> httpx.Response:
    page = await browser.get("/search/")
    token = page.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    return await browser.post("/search/json/", json={"question": question}, headers={"X-CSRFToken": token})


@pytest.mark.django_db(transaction=True)
def test_two_searches_are_answered_at_once(
    alice: User,
    bob: User,
    as_user: AsUser,
    policies: Collection,
    add_text: AddText,
    handler: PageHandler,
    settings: LazySettings,
) -> None:
    add_text(alice, policies, "leave.txt", "Parents may take ten weeks of leave.")
    settings.RAG = settings.RAG | {"QUESTION_EMBEDDER": f"{__name__}.WaitsForAnother"}

    async def both(browser: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        return await asyncio.gather(search(browser, "together: leave?"), search(browser, "together: weeks?"))

    for found in used(handler, as_user(bob), both):
        assert found.status_code == 200, found.text
        assert "ten weeks" in json.dumps(found.json())


@pytest.mark.django_db(transaction=True)
def test_a_thread_keeps_nothing_of_who_asked_before(
    alice: User,
    bob: User,
    charlie: User,
    as_user: AsUser,
    policies: Collection,
    add_text: AddText,
    handler: PageHandler,
) -> None:
    """One thread serves bob, then charlie: nothing of bob's request is left in it."""
    add_text(alice, policies, "leave.txt", "Parents may take ten weeks of leave.")

    async def ask(browser: httpx.AsyncClient) -> httpx.Response:
        return await search(browser, "leave")

    assert used(handler, as_user(bob), ask).json()["passages"]
    assert used(handler, as_user(charlie), ask).json()["passages"] == []
    assert used(handler, Client(), lambda browser: browser.get("/search/")).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_static_files_and_coroutine_views_are_served_too(bob: User, as_user: AsUser, handler: PageHandler) -> None:
    async def look(browser: httpx.AsyncClient) -> list[httpx.Response]:
        return [await browser.get("/"), await browser.get("/static/nothing.css"), await browser.get("/nowhere/")]

    asked, missing, nowhere = used(handler, as_user(bob), look)
    assert asked.status_code == 200
    assert "question" in asked.text
    assert missing.status_code == nowhere.status_code == 404
    for response in (asked, missing, nowhere):
        assert (
            response.headers["Cache-Control"] == "no-store, private" or "no-store" in response.headers["Cache-Control"]
        )
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
