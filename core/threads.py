"""Threads that serve pages, each with a database connection that stays open while there is work.

Why not ThreadPoolExecutor: its threads take turns and never end, so each of them would hold a connection for good. Here the thread
that became free last is the next to work, and one that had nothing to do for a while closes its connection and ends.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

from django.db import connections

P = ParamSpec("P")
T = TypeVar("T")

IDLE_SECONDS = (
    3.0  # a page brings others within these; opening a connection costs 1.5 ms with SQLite, 5 with PostgreSQL
)


class Threads(Executor):
    """Runs up to `most` calls at a time, the others after them in their order."""

    def __init__(self, most: int, *, name: str, idle_seconds: float = IDLE_SECONDS) -> None:
        self._most, self._name, self._idle_seconds = most, name, idle_seconds
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._idle: list[_Thread] = []
        self._alive: set[_Thread] = set()
        self._ended = False

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Has a thread call `function`. Raises RuntimeError after `shutdown`."""
        found: Future[T] = Future()

        def call() -> None:
            if not found.set_running_or_notify_cancel():
                return
            try:
                _usable_connections()
                found.set_result(function(*args, **kwargs))
            except BaseException as error:  # whoever asked is told, as by every executor
                found.set_exception(error)

        with self._lock:
            if self._ended:
                raise RuntimeError("these threads have ended")
            if self._idle:
                self._idle.pop().calls.put(call)
            elif len(self._alive) < self._most:
                thread = _Thread(self, call, self._name)
                self._alive.add(thread)
                thread.start()
            else:
                self._waiting.append(call)
        return found

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  (Executor's own)
        """Ends every thread once it has nothing to do."""
        with self._lock:
            self._ended = True
            if cancel_futures:
                self._waiting.clear()
            threads, idle = list(self._alive), list(self._idle)
            self._idle.clear()
        for thread in idle:
            thread.calls.put(None)
        for thread in threads if wait else ():
            thread.join()

    def next_for(self, thread: "_Thread") -> "_Call | None":
        """What the thread does next, once there is something; None when it should end."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._ended:
                return None
            self._idle.append(thread)
        try:
            return thread.calls.get(timeout=self._idle_seconds)
        except queue.Empty:
            connections.close_all()
        with self._lock:
            if thread in self._idle:
                self._idle.remove(thread)
                self._alive.remove(thread)
                return None
        return thread.calls.get()  # it was given something in this very moment


_Call = Callable[[], None]


class _Thread(threading.Thread):
    def __init__(self, threads: Threads, first: _Call, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads, self._first = threads, first

    def run(self) -> None:
        call: _Call | None = self._first
        while call is not None:
            call()
            call = self._threads.next_for(self)
        connections.close_all()


def _usable_connections() -> None:
    """Closes what the last call left unusable; anything else stays open, and is tried before its first query where the
    database asks for that (CONN_HEALTH_CHECKS)."""
    for connection in connections.all(initialized_only=True):
        connection.close_at = None  # this thread decides how long it is kept
        connection.close_if_unusable_or_obsolete()
