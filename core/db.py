"""How asynchronous code talks to the database: in a thread that gives its connection back, never while a model thinks."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import connections

P = ParamSpec("P")
T = TypeVar("T")

# Few threads: SQLite writes one at a time, and each thread may hold one connection for the length of a call.
_pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="db")


def release_connections() -> None:
    """Gives every database connection of this thread back; the next query opens a fresh one."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


async def in_db(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `function`, called in a thread whose database connection is given back afterwards."""

    def call() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            release_connections()

    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_pool, context.run, call)
