"""Imports: files that came together, and their receipt: what became of each of them, and what has to be looked at."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.files import File
from django.db import transaction
from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from core.models import User
from rag.domain.errors import Permanent
from rag.models import Batch, Collection, IngestRun, Upload
from rag.models.imports import Origin
from rag.models.index import RunState
from rag.services import library
from rag.services.attempts import IN_WORK
from rag.services.library import Added, Outcome

BULK_FROM = 20  # files: a larger import waits behind what people send one by one
REFUSED_NAMED = 1000  # refused files that a batch names; more are counted
_ABANDONED = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a batch. Files inside files (of a mail, an archive) count like those that were sent."""

    ready: int
    gaps: int  # read, with pages that could not be
    failed: int
    cancelled: int
    unchanged: int  # were here already, word for word
    refused: int
    in_work: int
    undecided: int  # wait for an answer: another file is at their path
    to_come: int  # announced, and not sent so far
    never_came: int  # announced a day ago, and never sent
    deleted: int  # were documents once

    @property
    def finished(self) -> bool:
        """Whether nothing is in work and nothing is to come."""
        return not (self.in_work or self.undecided or self.to_come)

    @property
    def total(self) -> int:
        return sum(getattr(self, name) for name in self.__slots__)

    @property
    def sentence(self) -> str:
        """The receipt in one line: "297 ready, 2 with gaps, 1 failed"; what is nought is left out."""
        parts = (
            (self.ready, _("%d ready")),
            (self.gaps, _("%d with gaps")),
            (self.failed, _("%d failed")),
            (self.cancelled, _("%d cancelled")),
            (self.unchanged, _("%d here already")),
            (self.refused, _("%d refused")),
            (self.in_work, _("%d in work")),
            (self.undecided, _("%d waiting for your answer")),
            (self.to_come, _("%d to come")),
            (self.never_came, _("%d never sent")),
            (self.deleted, _("%d deleted since")),
        )
        return ", ".join(words % count for count, words in parts if count) or _("nothing yet")


def open_batch(actor: User | None, collection: Collection, origin: Origin, announced: int) -> Batch:
    """A new batch of `announced` files. The caller has checked that `actor` may write to `collection`."""
    return Batch.objects.create(collection=collection, actor=actor, origin=origin, announced=announced)


@transaction.atomic
def close_batch(batch: Batch) -> None:
    """Notes that nothing more is sent: files that were announced and cancelled are not counted any longer."""
    held = Batch.objects.select_for_update().get(pk=batch.pk)
    if held.finished is None:
        came = runs_of(held).filter(_SENT_ITSELF).count()
        held.announced = came + held.unchanged + refused_count(held) + _undecided(held)
        held.finished = timezone.now()
        held.save(update_fields=["announced", "finished"])


def withdraw(batch: Batch | None) -> None:
    """Counts one file less: it was sent, and then nobody wanted it. An open batch learns that when it is closed."""
    if batch is not None:
        sent = Batch.objects.filter(pk=batch.pk, finished__isnull=False, announced__gt=0)
        sent.update(announced=F("announced") - 1)


def _undecided(batch: Batch) -> int:
    return Upload.objects.filter(batch=batch, offset=F("size")).count()


@transaction.atomic
def note_refused(batch: Batch | None, path: str, sentence: str) -> None:
    """Notes a file that did not become a document, and why. Without a batch there is nothing to note."""
    held = Batch.objects.select_for_update().filter(pk=batch.pk).first() if batch is not None else None
    if held is None:
        return
    if len(held.refused) < REFUSED_NAMED:
        held.refused.append([path[:500], sentence])
    else:  # a folder of thirty thousand pictures of another kind: the last entry counts the rest
        rest = held.refused[REFUSED_NAMED][1] if len(held.refused) > REFUSED_NAMED else 0
        held.refused = [*held.refused[:REFUSED_NAMED], ["", int(rest) + 1]]
    held.save(update_fields=["refused"])


def note_unchanged(batch: Batch | None) -> None:
    """Notes a file that was here already, word for word."""
    if batch is not None:
        Batch.objects.filter(pk=batch.pk).update(unchanged=F("unchanged") + 1)


def take(
    actor: User,
    collection: Collection,
    file: File,  # type: ignore[type-arg]  # File[bytes] at run time is not subscriptable
    *,
    path: str,
    replaces: bool,
    batch: Batch | None,
) -> Added:
    """`library.add_document` with the batch kept up to date. Raises what that raises; library.Exists is not a refusal yet."""
    bulk = batch is not None and batch.announced > BULK_FROM
    try:
        added = library.add_document(actor, collection, file, path=path, replaces=replaces, batch=batch, bulk=bulk)
    except library.Exists:
        raise
    except Permanent as error:
        note_refused(batch, path, error.message)
        raise
    if added.outcome is Outcome.UNCHANGED:
        note_unchanged(batch)
    return added


_SENT_ITSELF = Q(revision__document__parent__isnull=True)  # not inside a mail or an archive


def runs_of(batch: Batch) -> "QuerySet[IngestRun]":
    """The runs of the batch's files whose documents are still here."""
    return IngestRun.objects.filter(
        batch=batch, revision__document__deleted__isnull=True, revision__document__collection=batch.collection_id
    )


def receipt(batch: Batch) -> Receipt:
    """What became of the batch so far."""
    ready = Q(state=RunState.READY)
    counts: dict[str, int] = runs_of(batch).aggregate(
        ready=Count("pk", filter=ready & Q(gaps=0)),
        gaps=Count("pk", filter=ready & Q(gaps__gt=0)),
        failed=Count("pk", filter=Q(state=RunState.FAILED)),
        cancelled=Count("pk", filter=Q(state=RunState.CANCELLED)),
        in_work=Count("pk", filter=Q(state__in=IN_WORK)),
        came=Count("pk", filter=_SENT_ITSELF),
    )
    refused, undecided = refused_count(batch), _undecided(batch)
    missing = max(0, batch.announced - counts.pop("came") - batch.unchanged - refused - undecided)
    closed, fresh = batch.finished is not None, batch.created > timezone.now() - _ABANDONED
    return Receipt(
        **counts,
        unchanged=batch.unchanged,
        refused=refused,
        undecided=undecided,
        to_come=missing if fresh and not closed else 0,
        never_came=missing if not fresh and not closed else 0,
        deleted=missing if closed else 0,
    )


def refused_count(batch: Batch) -> int:
    """How many files of the batch were refused."""
    named = sum(1 for path, _sentence in batch.refused if path)
    return named + sum(int(count) for path, count in batch.refused if not path)


def recent(collection: Collection, *, limit: int = 5) -> list[dict[str, Any]]:
    """The newest imports of the collection with their receipts."""
    batches = Batch.objects.filter(collection=collection).select_related("actor").order_by("-created")[:limit]
    return [{"batch": batch, "receipt": receipt(batch)} for batch in batches]


def retry_failed(actor: User, batch: Batch) -> int:
    """Queues again what failed, except what waits for a password; how many."""
    failed = runs_of(batch).filter(
        state=RunState.FAILED, needs_password=False, revision=F("revision__document__latest")
    )
    found = failed.select_related("revision__document__latest")
    return sum(library.retry(actor, run.revision.document) for run in found)
