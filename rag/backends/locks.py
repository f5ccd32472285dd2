"""Many readers or one writer, within a process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteLock:
    """`reading()` may be held by many threads, `writing()` by one alone. Not reentrant.

    A waiting writer goes before new readers, so that steady searching cannot keep a change out.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._writer = False
        self._waiting = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._writer and not self._waiting)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                if not self._readers:
                    self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._writer and not self._readers)
                self._writer = True
            finally:
                self._waiting -= 1
        try:
            yield
        finally:
            with self._changed:
                self._writer = False
                self._changed.notify_all()
