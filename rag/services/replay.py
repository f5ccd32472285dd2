"""The replay log of a running answer, in Redis: every event kept in a stream for who comes later, and told to who listens now.

Why explicit ids: an entry's id is "<attempt>-<number>", and Redis refuses an id that does not grow. A producer that was overtaken
by a newer attempt cannot write another word, and a browser's Last-Event-ID names the attempt it was following.

Nothing here is needed afterwards: a finished answer is in the database, and a log that was lost only ends the streaming early.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing, suppress
from typing import Any
from uuid import UUID

import redis.asyncio as aioredis
import structlog
from django.conf import settings
from redis.exceptions import RedisError

from core import redis_server
from rag.domain.events import Event, from_json

log = structlog.get_logger(__name__)

KEPT_SECONDS = 3600
_LAST_FEW = 4  # events of a waiting answer behind which its place stands: the quotes come once
_LIVE = "footnote:live"
_STOP = "footnote:stop"
TURNS = "footnote:turns"  # the key of a list of who waits for a model, which somebody has left
ANSWER_SECONDS = 5.0  # the longest wait for Redis, which answers in a millisecond

Entry = tuple[str, Event]


def _stream(answer_id: UUID) -> str:
    return f"footnote:answer:{answer_id}"


def connect(*, listening: bool = False) -> "aioredis.Redis":
    """A connection pool for the running event loop; a connection that listens may be silent for as long as it likes."""
    longest = None if listening else ANSWER_SECONDS
    return aioredis.Redis.from_url(
        settings.REDIS_URL, decode_responses=True, socket_timeout=longest, socket_connect_timeout=ANSWER_SECONDS
    )


class Log:
    """Writes one attempt's events."""

    def __init__(self, client: "aioredis.Redis", answer_id: UUID, attempt: int) -> None:
        self._client, self._answer_id, self._attempt = client, answer_id, attempt
        self._number = 0
        self._turn = asyncio.Lock()  # ids must arrive in their order: Redis refuses one that came too late

    async def write(self, event: Event) -> None:
        """Appends the event and tells every follower; raises RedisError when the log is out of reach or was overtaken."""
        async with self._turn:
            self._number += 1
            await self._append(f"{self._attempt}-{self._number}", event)

    async def _append(self, entry_id: str, event: Event) -> None:
        body = json.dumps(event.as_json())
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.xadd(_stream(self._answer_id), {"e": body}, id=entry_id)
            pipe.expire(_stream(self._answer_id), KEPT_SECONDS)
            pipe.publish(_LIVE, json.dumps([str(self._answer_id), entry_id, event.as_json()]))
            await pipe.execute()


def last_of(answer_id: UUID, kind: type[Event]) -> Event | None:
    """The newest event of this kind among an answer's last few; None where there is none, or Redis is away. Synchronous: for pages."""
    try:
        with closing(redis_server.client(settings.REDIS_URL)) as client:
            rows: Any = client.xrevrange(_stream(answer_id), count=_LAST_FEW)
    except RedisError as error:
        log.warning("replay.log_unreadable", error=type(error).__name__)
        return None
    found = (from_json(json.loads(fields[b"e"])) for _entry_id, fields in rows)
    return next((event for event in found if isinstance(event, kind)), None)


class Hub:
    """This process's one listener: hands events to the followers here, and stop requests to the producer here."""

    def __init__(self) -> None:
        self.client = connect()
        self.turn_listeners: set[Callable[[str], None]] = set()
        self._listening = connect(listening=True)
        self._followers: dict[str, set[asyncio.Queue[Entry | None]]] = {}
        self._stoppers: dict[str, asyncio.Event] = {}
        self._asked: dict[str, tuple[float, asyncio.Task[bool]]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to listen; calling it again does nothing."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen(), name="replay-hub")

    async def close(self) -> None:
        """Stops listening and gives the connections back."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.client.aclose()
        await self._listening.aclose()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._listening.pubsub() as pubsub:
                    await pubsub.subscribe(_LIVE, _STOP, TURNS)
                    async for message in pubsub.listen():
                        if message["type"] == "subscribe":
                            # Only now is every later event heard; what came before this is in the log.
                            self._resynchronise()
                        elif message["type"] == "message":
                            self._hand_out(message["channel"], message["data"])
            except RedisError as error:
                log.warning("replay.listening_again", error=type(error).__name__)
                await asyncio.sleep(1)

    def _hand_out(self, channel: str, data: str) -> None:
        if channel == _STOP:
            if stopper := self._stoppers.get(data):
                stopper.set()
            return
        if channel == TURNS:
            for listener in tuple(self.turn_listeners):
                listener(data)
            return
        answer_id, entry_id, event = json.loads(data)
        for queue in self._followers.get(answer_id, ()):
            queue.put_nowait((entry_id, from_json(event)))

    def _resynchronise(self) -> None:
        """Tells every follower to read the log again: while nobody listened, events may have passed."""
        for queues in self._followers.values():
            for queue in queues:
                queue.put_nowait(None)

    async def for_all(self, answer_id: UUID, ask: Callable[[], Coroutine[Any, Any, bool]], *, fresh: float) -> bool:
        """What `ask` says, asked once in `fresh` seconds for all followers of the answer."""
        now = time.monotonic()
        asked, task = self._asked.get(str(answer_id), (0.0, None))
        if task is None or now - asked > fresh:
            task = asyncio.create_task(ask())
            self._asked = {key: one for key, one in self._asked.items() if now - one[0] <= fresh}
            self._asked[str(answer_id)] = (now, task)
        return await asyncio.shield(task)  # a follower that goes does not take the answer from the others

    @asynccontextmanager
    async def stopper(self, answer_id: UUID) -> AsyncIterator[asyncio.Event]:
        """An event that is set when somebody asks this answer to stop, in whatever process."""
        event = self._stoppers[str(answer_id)] = asyncio.Event()
        try:
            yield event
        finally:
            self._stoppers.pop(str(answer_id), None)

    async def ask_to_stop(self, answer_id: UUID) -> None:
        """Tells the process that produces the answer. The database holds the wish as well, should this be lost."""
        if stopper := self._stoppers.get(str(answer_id)):
            stopper.set()
        try:
            await self.client.publish(_STOP, str(answer_id))
        except RedisError as error:
            log.warning("replay.stop_not_told", error=type(error).__name__)

    async def logged(self, answer_id: UUID, after: str) -> list[Entry]:
        """The entries after the id `after` ("" for all), as far as the log still has them."""
        start = f"({after}" if after else "-"
        try:
            rows: Any = await self.client.xrange(_stream(answer_id), min=start)
        except RedisError as error:
            log.warning("replay.log_unreadable", error=type(error).__name__)
            return []
        return [(entry_id, from_json(json.loads(fields["e"]))) for entry_id, fields in rows]

    async def follow(self, answer_id: UUID, *, after: str, pause: float) -> AsyncGenerator[Entry | None, None]:
        """Entries after `after`, first from the log, then as they happen; None whenever nothing happened for `pause` seconds.

        Never ends by itself: the caller stops at the last event, or when the database says that the answer is over.
        """
        self.start()
        queue: asyncio.Queue[Entry | None] = asyncio.Queue()
        followers = self._followers.setdefault(str(answer_id), set())
        followers.add(queue)
        try:
            seen = _order(after)
            queue.put_nowait(None)  # begins with the log
            while True:
                try:
                    entry = await asyncio.wait_for(queue.get(), pause)
                except TimeoutError:
                    yield None
                    continue
                entries = await self.logged(answer_id, _text(seen)) if entry is None else [entry]
                for entry_id, event in entries:
                    if _order(entry_id) > seen:
                        seen = _order(entry_id)
                        yield entry_id, event
        finally:
            followers.discard(queue)
            if not followers:
                self._followers.pop(str(answer_id), None)


def _order(entry_id: str) -> tuple[int, int]:
    """ "3-17" as numbers; anything that is not such an id (a browser may send any text) comes before everything."""
    attempt, _, number = entry_id.partition("-")
    if attempt.isascii() and attempt.isdigit() and number.isascii() and number.isdigit() and len(entry_id) < 30:
        return int(attempt), int(number)
    return 0, 0


def _text(order: tuple[int, int]) -> str:
    return f"{order[0]}-{order[1]}" if any(order) else ""


_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


def hub() -> Hub:
    """The hub of the running event loop."""
    loop = asyncio.get_running_loop()
    for other in [other for other in _hubs if other.is_closed()]:
        del _hubs[other]
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]
