"""Fair use of a slow model: whose question it answers now, over all processes, and how many are before each of the others.

The list of who waits is one value in Redis, changed under WATCH; domain/turns.py decides the order. Each process brings its own
questions up to date in it once a second, all in one exchange, and at once when somebody leaves. That renews them: what a dead process
held is free after LEASE_SECONDS.

Why a process keeps its own questions as well: when Redis is emptied, they are in the list again with the next exchange, and while
it is away they take turns within the process alone. An answer never waits for Redis.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from redis.exceptions import RedisError, WatchError

from rag.backends.llms.base import LLM
from rag.config import rag_config
from rag.domain import events
from rag.domain.errors import Busy, RagError, Retryable
from rag.domain.turns import WAITING_MOST, Turns
from rag.domain.types import Delta, Prompt
from rag.services.replay import TURNS, hub

log = structlog.get_logger(__name__)

TICK_SECONDS = 1.0
REDIS_SECONDS = 2.0  # the longest wait for Redis
AWAY_SECONDS = 5.0  # how long it is left alone after that
KEPT_SECONDS = 60
_PAUSES = (
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
)  # between two questions to a server that says that it is full; the last one again and again

Told = Callable[[events.Event], Awaitable[None]]


@asynccontextmanager
async def turn(model: LLM, ticket: str, *, asker: str, told: Told, background: bool = False) -> AsyncIterator[None]:
    """Waits until the model may be asked and keeps its place for the length of the block. Leaving it, also by being cancelled while
    waiting, gives the place to the next at once.

    `ticket` names the question, `asker` the person among whom turns are taken. `told` hears Queued when it has to wait, whenever
    its position changes, and with position 0 when the wait is over. Raises Retryable when the asker has too many waiting.
    """
    limit = (rag_config().parallel_answers or model.parallel) * model.hosts
    async with _gate(model).turn(ticket, asker=asker, told=told, background=background, limit=limit):
        yield


async def patiently(model: LLM, prompt: Prompt, *, max_tokens: int, told: Told) -> AsyncGenerator[Delta, None]:
    """What the model streams. Where its server says that it is full it is asked again, for as long as a model may be silent;
    `told` hears Queued with `busy` meanwhile. Raises what the model raises, Busy when the server stays full."""
    end = time.monotonic() + rag_config().first_token_seconds
    tries = 0
    while True:
        try:
            async with aclosing(model.stream(prompt, max_tokens=max_tokens)) as deltas:
                async for delta in deltas:
                    yield delta
            return
        except Busy:
            pause = _PAUSES[min(tries, len(_PAUSES) - 1)]
            if time.monotonic() + pause > end:
                raise
        tries += 1
        await told(events.Queued(position=0, busy=True))
        await asyncio.sleep(pause)


def in_words(event: events.Queued) -> str:
    """What the page says of a question in the queue."""
    if event.busy:
        return _("The model's server is busy with other work; asking it again …")
    if not event.position:
        return _("The model is reading the passages …")
    before = ngettext("%(count)d question is before yours.", "%(count)d questions are before yours.", event.position)
    return _("Waiting for the model: %(before)s") % {"before": before % {"count": event.position}}


def _key(endpoint: str) -> str:
    return f"{TURNS}:{endpoint}"


def _parsed(raw: str | bytes | None) -> Turns:
    """The list as it was stored; what another version stored in another form is as good as lost."""
    try:
        return Turns.from_json(json.loads(raw or "[]"))
    except (ValueError, TypeError):
        return Turns()


@dataclass(slots=True)
class _Here:
    """A question of this process."""

    asker: str
    background: bool
    holds: bool = False
    place: int = -1
    heard: "asyncio.Queue[int | RagError]" = field(default_factory=asyncio.Queue)


class Gate:
    """This process's questions to one endpoint, brought up to date with those of the others by a task of its own."""

    def __init__(self, endpoint: str) -> None:
        self._key = _key(endpoint)
        self._limit = 1
        self._here: dict[str, _Here] = {}
        self._gone: set[str] = set()
        self._last = Turns()
        self._wake = asyncio.Event()
        self._ticked = asyncio.Condition()
        self._away_until = self._none_until = 0.0
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def turn(
        self, ticket: str, *, asker: str, told: Told, background: bool = False, limit: int = 1
    ) -> AsyncIterator[None]:
        """See the module's `turn`."""
        self._limit = limit
        here = self._here[ticket] = _Here(asker, background)
        self._bring_up_to_date()
        try:
            await self._granted(here, told)
            yield
        finally:
            # Nothing here needs waiting for: whoever is cancelled again and again still gives the place back.
            self._here.pop(ticket, None)
            self._gone.add(ticket)
            self._bring_up_to_date()
            await self._given_back(ticket)

    async def _granted(self, here: _Here, told: Told) -> None:
        waited = False
        while True:
            place = await here.heard.get()
            while not here.heard.empty():  # only the newest counts
                place = here.heard.get_nowait()
            if isinstance(place, RagError):
                raise place
            if place or waited:
                await told(events.Queued(place))
            if not place:
                return
            waited = True

    async def _given_back(self, ticket: str) -> None:
        """Returns when others know it, or after a moment: the task goes on by itself."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REDIS_SECONDS), self._ticked:
                await self._ticked.wait_for(lambda: ticket not in self._gone)

    def _bring_up_to_date(self, key: str = "") -> None:
        """Soon, without waiting for the next second. `key`: what another process has changed."""
        if key and key != self._key:
            return
        self._wake.set()
        if not key and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name=f"turns {self._key}")

    async def _run(self) -> None:
        listeners = hub().turn_listeners
        listeners.add(self._bring_up_to_date)
        hub().start()
        try:
            while True:
                self._wake.clear()
                gone = frozenset(self._gone)
                shared = await self._shared(gone)
                self._last = self._alone(gone) if shared is None else shared
                async with self._ticked:
                    self._gone -= gone
                    self._ticked.notify_all()
                if not self._here and not self._gone:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK_SECONDS):
                        await self._wake.wait()
        finally:
            listeners.discard(self._bring_up_to_date)

    async def _shared(self, gone: frozenset[str]) -> Turns | None:
        """The list after an exchange with the other processes; None while Redis is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                turns, refused = await self._exchanged(gone)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("turns.alone", error=type(error).__name__)
            self._away_until = time.monotonic() + AWAY_SECONDS
            return None
        self._hear(turns, refused)
        return turns

    async def _exchanged(self, gone: frozenset[str]) -> tuple[Turns, set[str]]:
        async with hub().client.pipeline(transaction=True) as pipe:
            while True:
                try:
                    await pipe.watch(self._key)
                    # Redis's clock: those of several machines differ.
                    seconds, microseconds = await pipe.time()
                    turns = _parsed(await pipe.get(self._key))
                    if any(here.place >= 0 and ticket not in turns for ticket, here in self._here.items()):
                        # The list was lost. Who holds the places will say so within a second.
                        self._none_until = time.monotonic() + 2 * TICK_SECONDS
                    refused = self._settle(turns, gone, seconds + microseconds / 1e6)
                    pipe.multi()  # type: ignore[no-untyped-call]
                    pipe.set(self._key, json.dumps(turns.as_json()), ex=KEPT_SECONDS)
                    if gone and len(turns) > len(self._here):
                        pipe.publish(TURNS, self._key)
                    await pipe.execute()
                except WatchError:
                    continue
                return turns, refused

    def _alone(self, gone: frozenset[str]) -> Turns:
        """The list of this process's questions alone, in the order that they had among all."""
        turns = self._last.only(self._here.keys() | gone)
        refused = self._settle(turns, gone, time.time())
        self._hear(turns, refused)
        return turns

    def _settle(self, turns: Turns, gone: frozenset[str], now: float) -> set[str]:
        """Takes out who has gone, takes in and renews who is here, and deals out what is free; those who may not wait."""
        for ticket in gone:
            turns.leave(ticket)
        refused = {
            ticket
            for ticket, here in self._here.items()
            if not turns.join(ticket, asker=here.asker, background=here.background, holds=here.holds, now=now)
        }
        turns.expire(now)
        if time.monotonic() >= self._none_until:
            turns.grant(self._limit)
        return refused

    def _hear(self, turns: Turns, refused: set[str]) -> None:
        for ticket in refused:
            if here := self._here.pop(ticket, None):
                here.heard.put_nowait(_too_many())
        places = turns.places()
        for ticket, here in self._here.items():
            place = places.get(ticket, here.place)
            if place != here.place:
                here.place, here.holds = place, place == 0
                here.heard.put_nowait(place)


def _too_many() -> Retryable:
    return Retryable(
        _("%(count)d of your questions wait for the language model already. Stop one of them, or ask again later.")
        % {"count": WAITING_MOST}
    )


_gates: dict[tuple[asyncio.AbstractEventLoop, str], Gate] = {}


def _gate(model: LLM) -> Gate:
    """The gate of the running event loop for the model's endpoint."""
    loop = asyncio.get_running_loop()
    for other, endpoint in [key for key in _gates if key[0].is_closed()]:
        del _gates[other, endpoint]
    return _gates.setdefault((loop, model.endpoint), Gate(model.endpoint))
