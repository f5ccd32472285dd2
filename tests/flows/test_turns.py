"""One slow model and many questions: whose turn it is across processes, what the page says meanwhile, and what frees a place."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse

from core.models import User
from rag.domain import events
from rag.domain.errors import Busy, Retryable
from rag.domain.turns import WAITING_MOST, Turns
from rag.domain.types import Delta, Prompt, StopReason
from rag.models import Answer, Collection, Document
from rag.models.conversation import AnswerState
from rag.services import answering, producing, turns
from rag.services.replay import TURNS, Hub, hub
from rag.services.turns import Gate
from tests.flows.test_one_question import LEAVE, ask, use
from tests.scripted_llm import ScriptedLLM
from tests.scripted_ollama import GO_ON, ScriptedOllama

AddText = Callable[..., Document]
ENDPOINT = "test somewhere"
SECONDS = 60  # the most that anything on a busy machine may take
PROMPT = Prompt(messages=(), sources=(), tokens=0, question="")


class Asked:
    """A question that waits for its turn and keeps it until it is told to end, in a process of its own if it has its own gate."""

    def __init__(self, gate: Gate, ticket: str, asker: str, *, background: bool = False, limit: int = 1) -> None:
        self.told: list[int] = []
        self.began, self._end = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._wait(gate, ticket, asker, background=background, limit=limit))

    async def _wait(self, gate: Gate, ticket: str, asker: str, *, background: bool, limit: int) -> None:
        async with gate.turn(ticket, asker=asker, told=self._hear, background=background, limit=limit):
            self.began.set()
            await self._end.wait()

    async def _hear(self, event: events.Event) -> None:
        assert isinstance(event, events.Queued)
        self.told.append(event.position)

    async def end(self) -> None:
        self._end.set()
        await asyncio.wait_for(self.task, SECONDS)

    async def turn(self) -> None:
        """Returns when its turn has come."""
        await asyncio.wait_for(self.began.wait(), SECONDS)

    async def place(self, place: int) -> None:
        """Returns when it was told this place."""
        async with asyncio.timeout(SECONDS):
            while not self.told or self.told[-1] != place:
                await asyncio.sleep(0.01)


def run(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        try:
            await play()
        finally:
            await hub().close()

    async_to_sync(whole)()


def stored() -> Turns:
    """The list as all processes see it."""
    from django.conf import settings

    with redis.Redis.from_url(settings.REDIS_URL) as client:
        raw: Any = client.get(f"{TURNS}:{ENDPOINT}")
    return Turns.from_json(json.loads(raw or b"[]"))


@pytest.fixture(autouse=True)
def _nobody_waits(settings: LazySettings) -> None:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.delete(f"{TURNS}:{ENDPOINT}")


def test_two_processes_share_one_place_and_one_person_s_questions_do_not_hold_up_another() -> None:
    async def play() -> None:
        here, there = Gate(ENDPOINT), Gate(ENDPOINT)
        first = Asked(here, "a1", "alice")
        await first.turn()
        mine = [Asked(here, f"a{number}", "alice") for number in range(2, 5)]
        await mine[-1].place(3)
        theirs = Asked(there, "b1", "bob")
        await theirs.place(1)
        await mine[0].place(2)
        await first.end()
        await theirs.turn()
        assert first.told == [] and theirs.told == [1, 0]
        assert not any(one.began.is_set() for one in mine)
        await theirs.end()
        for one in mine:
            await one.turn()
            await one.end()
        assert not len(stored())

    run(play)


def test_as_many_are_answered_at_once_as_the_limit_says() -> None:
    async def play() -> None:
        here, there = Gate(ENDPOINT), Gate(ENDPOINT)
        asked = []
        for asker, gate in zip("ab", (here, there), strict=True):
            asked.append(Asked(gate, asker, asker, limit=2))
            await asked[-1].turn()
        asked.append(Asked(there, "c", "c", limit=2))
        await asked[2].place(1)
        await asked[0].end()
        await asked[2].turn()
        for one in asked[1:]:
            await one.end()

    run(play)


def test_whoever_is_stopped_while_waiting_frees_the_place_at_once() -> None:
    async def play() -> None:
        here, there = Gate(ENDPOINT), Gate(ENDPOINT)
        first = Asked(here, "a", "alice")
        await first.turn()
        second = Asked(here, "b", "bob")
        await second.place(1)
        third = Asked(there, "c", "carol")
        await third.place(2)
        while not second.task.done():  # as producing does: again and again
            second.task.cancel()
            await asyncio.wait({second.task}, timeout=0.01)
        await third.place(1)
        first.task.cancel()
        await third.turn()
        await third.end()

    run(play)


def test_what_a_dead_process_held_is_free_when_its_lease_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.domain.turns.LEASE_SECONDS", 1.2)
    monkeypatch.setattr("rag.services.turns.TICK_SECONDS", 0.1)

    async def play() -> None:
        dead = Gate(ENDPOINT)
        held = Asked(dead, "dead", "alice")
        await held.turn()
        task = dead._task
        assert task is not None
        task.cancel()  # nobody renews it any more
        waiting = Asked(Gate(ENDPOINT), "alive", "bob")
        await waiting.place(1)
        await waiting.turn()
        await waiting.end()
        held.task.cancel()

    run(play)


def test_an_emptied_redis_loses_nobody(settings: LazySettings) -> None:
    async def play() -> None:
        here, there = Gate(ENDPOINT), Gate(ENDPOINT)
        first = Asked(here, "a", "alice")
        await first.turn()
        second = Asked(there, "b", "bob")
        await second.place(1)
        await hub().client.delete(f"{TURNS}:{ENDPOINT}")
        async with asyncio.timeout(SECONDS):
            while stored().places() != {"a": 0, "b": 1}:
                await asyncio.sleep(0.05)
        await first.end()
        await second.turn()
        await second.end()

    run(play)


def test_without_redis_questions_take_turns_within_the_process(settings: LazySettings, tmp_path: object) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"

    async def play() -> None:
        gate = Gate(ENDPOINT)
        first, second, third = (Asked(gate, asker, asker) for asker in "abc")
        await first.turn()
        await third.place(2)
        await first.end()
        await second.turn()
        await second.end()
        await third.turn()
        await third.end()

    run(play)


def test_a_redis_that_hangs_holds_nobody_up(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.services.turns.REDIS_SECONDS", 0.2)

    async def play() -> None:
        asked = Asked(Gate(ENDPOINT), "a", "alice")
        await asked.turn()
        await asked.end()

    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections and never says a word
        settings.REDIS_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        run(play)


def test_too_many_waiting_questions_of_one_person_are_refused_in_a_sentence() -> None:
    async def play() -> None:
        gate = Gate(ENDPOINT)
        first = Asked(gate, "first", "alice")
        await first.turn()
        waiting = [Asked(gate, f"a{number}", "alice") for number in range(WAITING_MOST)]
        await waiting[-1].place(WAITING_MOST)
        more = Asked(gate, "more", "alice")
        with pytest.raises(Retryable, match="10 of your questions wait"):
            await asyncio.wait_for(more.task, SECONDS)
        assert "more" not in stored()
        for one in (first, *waiting):
            one.task.cancel()
        await asyncio.gather(first.task, *(one.task for one in waiting), return_exceptions=True)

    run(play)


class FullAtFirst(ScriptedLLM):
    """Says `full` times that it has no room, then answers."""

    def __init__(self, full: int) -> None:
        super().__init__(["A word.", Delta(stop=StopReason.END)])
        self.full = full

    async def stream(self, prompt: Prompt, *, max_tokens: int) -> Any:
        if self.full:
            self.full -= 1
            raise Busy("full")
        async with aclosing(super().stream(prompt, max_tokens=max_tokens)) as deltas:
            async for delta in deltas:
                yield delta


@pytest.mark.parametrize(("full", "answered"), [(0, True), (2, True), (10_000, False)])
async def test_a_server_that_is_full_though_it_is_our_turn_is_asked_again_and_not_for_ever(
    full: int, *, answered: bool, monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    monkeypatch.setattr("rag.services.turns._PAUSES", (0.01, 0.02))
    settings.RAG = settings.RAG | {"FIRST_TOKEN_SECONDS": 1}
    told: list[events.Event] = []

    async def tell(event: events.Event) -> None:
        told.append(event)

    async def whole() -> str:
        stream = turns.patiently(FullAtFirst(full), PROMPT, max_tokens=10, told=tell)
        return "".join([delta.text async for delta in stream])

    if answered:
        assert await whole() == "A word."
        assert told == [events.Queued(position=0, busy=True)] * full
    else:
        with pytest.raises(Busy):
            await whole()
        assert told


# --- Answers


@pytest.fixture
def leave(alice: User, policies: Collection, add_text: AddText) -> Document:
    return add_text(alice, policies, "leave.md", LEAVE)


@pytest.mark.django_db(transaction=True)
def test_a_waiting_answer_shows_its_passages_its_place_and_is_stopped_without_a_model_call(
    alice: User, bob: User, policies: Collection, leave: Document, settings: LazySettings,
    as_user: Callable[[User | None], Client],
) -> None:  # fmt: skip
    GO_ON.clear()
    with ScriptedOllama() as server:
        use(settings, server, "held")
        first, second, third = ask(alice, policies), ask(bob, policies), ask(bob, policies)
        page: list[str] = []

        def look() -> None:
            page.append(as_user(bob).get(reverse("answer", args=[third.pk])).content.decode())

        async def play() -> None:
            working = [asyncio.create_task(producing.produce(first.pk))]
            await until(first, events.Token)
            for number, answer in enumerate((second, third), start=1):
                working.append(asyncio.create_task(producing.produce(answer.pk)))
                await until(answer, events.Queued, partial(_stands_at, place=number))
                await until(answer, events.Extract)
            await sync_to_async(look)()
            await answering.stop(second.pk)
            await working[1]
            await until(third, events.Queued, lambda event: event.position == 1)
            GO_ON.set()
            await asyncio.gather(*working)

        run(play)
        asked = len(server.requests)
    for answer in (first, second, third):
        answer.refresh_from_db()
    assert [first.state, second.state, third.state] == [AnswerState.FINISHED, AnswerState.STOPPED, AnswerState.FINISHED]
    assert asked == 2
    assert third.timings["waiting"] > first.timings["waiting"]
    text = " ".join(re.sub(r"<[^>]+>", " ", page[0]).split())
    assert "Waiting for the model: 2 questions are before yours." in text
    assert "Full-time staff have 27 days of paid leave a year." in text


def _stands_at(event: events.Queued, *, place: int) -> bool:
    return event.position == place


async def until(answer: Answer, kind: type[Any], fits: Callable[[Any], bool] = lambda _event: True) -> None:
    """Returns when the answer's log holds such an event."""
    end = time.monotonic() + SECONDS
    while not any(isinstance(event, kind) and fits(event) for _id, event in await hub().logged(answer.pk, after="")):
        assert time.monotonic() < end, kind
        await asyncio.sleep(0.02)


def test_a_listener_hears_that_somebody_has_left_elsewhere() -> None:
    async def play() -> None:
        other, heard = Hub(), asyncio.Event()
        other.turn_listeners.add(lambda key: heard.set() if key == "some list" else None)
        other.start()
        async with asyncio.timeout(SECONDS):
            while not heard.is_set():
                await hub().client.publish(TURNS, "some list")
                await asyncio.sleep(0.02)
        await other.close()

    run(play)
