"""How asynchronous code talks to the database: in a thread that gives its connection back, never while a model thinks."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

P = ParamSpec("P")
T = TypeVar("T")

# Few threads: SQLite writes one at a time, and each thread may hold one connection for the length of a call.
# None: the thread that serves the request, whose open transaction a test wants seen.
_pool: ThreadPoolExecutor | None = ThreadPoolExecutor(max_workers=8, thread_name_prefix="db")
# Taking and renewing a lease does not queue behind searches: fifty of them at once on a busy machine took longer than a lease lasts,
# and answers that were being made were given up for dead.
_lease_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="leases")


def release_connections() -> None:
    """Gives every database connection of this thread back; the next query opens a fresh one."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


async def in_db(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `function`, called in a thread whose database connection is given back afterwards."""
    return await _called(partial(function, *args, **kwargs), _pool)


async def in_db_for_lease(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As in_db, without waiting for what others do there. For one quick statement: everybody's leases share a thread."""
    return await _called(partial(function, *args, **kwargs), _lease_pool)


async def _called(function: Callable[[], T], pool: ThreadPoolExecutor | None) -> T:
    def call() -> T:
        try:
            return function()
        finally:
            release_connections()

    if _pool is None or pool is None:
        return await sync_to_async(call, thread_sensitive=True)()
    return await sync_to_async(call, thread_sensitive=False, executor=pool)()
