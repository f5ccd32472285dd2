"""Open answer streams cost the web process neither a thread nor a database connection each."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from core.handler import PageHandler
from core.models import User
from rag.models import Answer, Collection
from rag.models.conversation import AnswerState
from rag.services import answering
from rag.services.replay import hub

STREAMS = 24  # more than all threads that serve pages or ask the database, the test's own included
FEW = 16


@pytest.mark.django_db(transaction=True)
def test_open_streams_take_no_thread_each(
    alice: User, policies: Collection, as_user: Callable[[User | None], Client]
) -> None:
    answer = answering.open_answer(alice, question="How long?", conversation=None, collections=[policies])
    Answer.objects.filter(pk=answer.pk).update(
        state=AnswerState.ANSWERING, lease_until=timezone.now() + timedelta(hours=1)
    )
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in as_user(alice).cookies.items())
    handler = PageHandler()
    begun, closed = asyncio.Semaphore(0), asyncio.Event()

    async def receive_first(seen: list[bool]) -> dict[str, Any]:
        if not seen:
            seen.append(True)
            return {"type": "http.request", "body": b"", "more_body": False}
        await closed.wait()
        return {"type": "http.disconnect"}

    async def follow() -> None:
        seen: list[bool] = []
        told: list[bool] = []

        async def send(message: dict[str, Any]) -> None:
            if b"event: evidence" in message.get("body", b"") and not told:
                told.append(True)
                begun.release()

        path = reverse("answer_stream", args=[answer.pk])
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"testserver"), (b"cookie", cookies.encode())],
            "server": ("testserver", 80),
            "client": ("127.0.0.1", 1),
        }
        await handler(scope, lambda: receive_first(seen), send)

    async def play() -> int:
        before = threading.active_count()
        streams = [asyncio.create_task(follow()) for _ in range(STREAMS)]
        async with asyncio.timeout(120):
            for _ in range(STREAMS):
                await begun.acquire()
        await asyncio.sleep(4)  # threads that serve pages end after three seconds without one
        more = threading.active_count() - before
        closed.set()
        await asyncio.wait_for(asyncio.gather(*streams, return_exceptions=True), 60)
        await hub().close()
        return more

    try:
        # In a thread of its own, as the server's loop has one: below async_to_sync everything would run in the test's.
        with ThreadPoolExecutor(max_workers=1) as server:
            assert server.submit(lambda: asyncio.run(play())).result() <= FEW
    finally:
        handler.threads.shutdown()
