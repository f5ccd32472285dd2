"""The Celery application of workers that kill themselves: `celery -A tests.crash.app worker`.

A file in the folder CRASH_ORDERS, named after a step, is the order to die there. It holds who dies: "child", the process that does
the work, or "worker", with the one that started it, once; "always", the child, whenever it comes there.
"""

import os
import signal
from pathlib import Path
from typing import Any

from celery.signals import worker_init, worker_process_init

from core.celery import app

__all__ = ["app"]
ORDERS = Path(os.environ["CRASH_ORDERS"])


@worker_init.connect
def _load(**_: Any) -> None:
    """Loads what the children need: a child that is started again is at work at once."""
    from rag.services import embedding, indexing, ingest

    assert embedding and ingest
    indexing.TAIL_MOST = 20  # so that small documents reach the writing of a generation


@worker_process_init.connect
def _listen(**_: Any) -> None:
    from rag.services import steps

    steps.observe(_die_if_told)


def _die_if_told(name: str) -> None:
    order = ORDERS / name
    try:
        whom = order.read_text()
        if whom != "always":
            order.rename(ORDERS / f"{name}.carried-out")
    except FileNotFoundError:
        return
    if whom == "worker":
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
