"""Leases: who works on a row, until when, under which attempt number. Taken and kept by one UPDATE each.

Why an attempt number as well: a worker that was asleep for a minute wakes up believing that it holds the lease. Every write
names its attempt, and a newer attempt makes all writes of the older one fail (a fencing token).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import structlog
from django.db import OperationalError, models, transaction
from django.db.models import F, Q
from django.utils import timezone

from core.db import release_connections
from rag.config import rag_config

log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """Another attempt took over, or the row is gone: stop quietly and write nothing."""


def lease_end() -> Any:
    """When a lease taken or renewed now runs out."""
    return timezone.now() + timedelta(seconds=rag_config().lease_seconds)


def free() -> Q:
    """Rows that nobody works on."""
    return Q(lease_until__isnull=True) | Q(lease_until__lt=timezone.now())


class Lease:
    """A held lease on one row with `attempt` and `lease_until`; renewed by a thread while its block runs."""

    def __init__(self, model: type[models.Model], row_id: object, attempt: int) -> None:
        self.model, self.row_id, self.attempt = model, row_id, attempt
        self._over = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    @classmethod
    def take(cls, model: type[models.Model], row_id: object, where: Q, **changes: object) -> "Lease | None":
        """The lease on the row if it is free and fits `where`, with `changes` written in the same UPDATE; otherwise None."""
        with transaction.atomic():
            rows = model._default_manager.filter(Q(pk=row_id) & where & free())
            taken = rows.update(attempt=F("attempt") + 1, lease_until=lease_end(), **changes)
            if not taken:
                return None
            attempt = model._default_manager.values_list("attempt", flat=True).get(pk=row_id)
        return cls(model, row_id, attempt)

    def rows(self) -> models.QuerySet[Any]:
        """The row, as long as this attempt holds it; an UPDATE through this queryset touches nothing once it is lost."""
        return self.model._default_manager.filter(pk=self.row_id, attempt=self.attempt, lease_until__isnull=False)

    def write(self, **changes: object) -> None:
        """Writes to the row and renews the lease; raises LeaseLost when somebody else has taken over."""
        if self._lost.is_set() or not self.rows().update(lease_until=lease_end(), **changes):
            self._lost.set()
            raise LeaseLost

    def release(self, **changes: object) -> None:
        """Gives the lease back, writing `changes` in the same UPDATE; raises LeaseLost when it was lost before."""
        self._over.set()
        if not self.rows().update(lease_until=None, **changes):
            raise LeaseLost

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """A transaction that commits only while this attempt holds the lease: the row is locked first."""
        with transaction.atomic():
            if not self.rows().select_for_update().exists():
                self._lost.set()
                raise LeaseLost
            yield

    def check(self) -> None:
        """Raises LeaseLost when the keeping thread found the lease gone."""
        if self._lost.is_set():
            raise LeaseLost

    def _keep(self) -> None:
        pause = rag_config().lease_seconds / 4
        while not self._over.wait(pause):
            try:
                if not self.rows().update(lease_until=lease_end()):
                    self._lost.set()
                    return
            except OperationalError as error:  # the database is busy or away: the lease has time for another try
                log.warning("lease.not_renewed", error=type(error).__name__)
            finally:
                release_connections()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
