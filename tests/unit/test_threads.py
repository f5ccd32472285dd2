"""The threads that serve pages."""

import operator
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from core.models import User
from core.threads import Threads


@contextmanager
def threads(most: int, *, idle_seconds: float = 60) -> Iterator[Threads]:
    made = Threads(most, name="test-page", idle_seconds=idle_seconds)
    try:
        yield made
    finally:
        made.shutdown()


def alive() -> int:
    return sum(thread.name == "test-page" for thread in threading.enumerate())


def test_as_many_calls_as_there_are_threads_run_at_once_and_the_others_after_them() -> None:
    together = threading.Barrier(3)

    def call(number: int) -> int:
        together.wait(timeout=60)
        return number

    with threads(3) as made:
        asked = [made.submit(call, number) for number in range(6)]
        assert [each.result(60) for each in asked] == list(range(6))
        assert alive() == 3


def test_what_a_call_raises_reaches_whoever_asked_and_the_thread_goes_on() -> None:
    with threads(1) as made:
        with pytest.raises(ZeroDivisionError):
            made.submit(divmod, 1, 0).result(60)
        assert made.submit(divmod, 7, 2).result(60) == (3, 1)


def test_the_thread_that_was_free_last_works_next() -> None:
    with threads(2) as made:
        together = threading.Barrier(2)
        for one in [made.submit(together.wait, 60) for _ in range(2)]:
            one.result(60)
        while len(made._idle) < 2:
            time.sleep(0.001)
        last = made._idle[-1]
        for _ in range(5):
            assert made.submit(threading.current_thread).result(60) is last
            while len(made._idle) < 2:
                time.sleep(0.001)


def test_no_call_is_lost_when_threads_end_all_the_time() -> None:
    with threads(2, idle_seconds=0.0005) as made:
        for number in range(400):
            asked = [made.submit(operator.add, number, more) for more in range(3)]
            assert [each.result(60) for each in asked] == [number, number + 1, number + 2]
            time.sleep(number % 5 / 5000)


def test_a_call_that_was_given_up_before_its_turn_is_not_made() -> None:
    go = threading.Event()
    made_calls: list[int] = []
    with threads(1) as made:
        first = made.submit(go.wait, 60)
        second = made.submit(made_calls.append, 1)
        assert second.cancel()
        go.set()
        assert first.result(60)
        made.submit(made_calls.append, 2).result(60)
    assert made_calls == [2]


def test_ended_threads_take_nothing_more() -> None:
    with threads(1) as made:
        made.submit(int).result(60)
    assert alive() == 0
    with pytest.raises(RuntimeError, match="ended"):
        made.submit(int)


@pytest.mark.django_db(transaction=True)
def test_a_connection_stays_open_while_there_is_work_and_no_longer() -> None:
    def used() -> object:
        assert User.objects.count() == 0
        return connection.connection

    with threads(1, idle_seconds=0.2) as made:
        first = made.submit(used).result(60)
        assert first is not None
        assert made.submit(used).result(60) is first
        while alive():
            time.sleep(0.01)
        assert made.submit(used).result(60) is not first


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_a_call_left_half_way_is_not_used_again() -> None:
    def spoiled() -> object:
        connection.ensure_connection()
        connection.set_autocommit(False)
        return connection.connection

    def used() -> object:
        assert connection.get_autocommit()
        return connection.connection

    with threads(1) as made:
        assert made.submit(spoiled).result(60) is not made.submit(used).result(60)
