"""How far a collection's documents have come, in one line: "Reading 13 of 300, about 4 minutes left"."""

from collections import deque
from dataclasses import dataclass

from django.db.models import Count, F, Sum
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from rag.models import Batch, Collection, IngestRun
from rag.models.index import RunState
from rag.services.attempts import IN_WORK

# How much of a document's work is behind it when a stage begins, and when it ends. Embedding is most of it.
_STAGES = {
    RunState.QUEUED: (0.0, 0.0),
    RunState.READING: (0.0, 0.2),
    RunState.RECOGNISING: (0.2, 0.6),
    RunState.EMBEDDING: (0.6, 1.0),
}
_WINDOW = 90.0  # seconds of the past that the pace is taken from
_LEAST = 8.0  # seconds before anything is said about the rest


@dataclass(frozen=True, slots=True)
class Wave:
    """What is in work now, and what came with it: documents, and their bytes as a measure of the work."""

    ended: int
    total: int
    done_bytes: float
    left_bytes: float

    @property
    def running(self) -> bool:
        return self.total > self.ended


def wave(collection: Collection) -> Wave:
    """The collection's work at this moment. Costs nothing to speak of while nothing is in work."""
    live = IngestRun.objects.filter(
        revision__document__deleted__isnull=True, revision=F("revision__document__latest")
    ).order_by()
    # Of all collections, and then this one's: a condition on the collection makes SQLite walk through all of its documents
    # instead of the few runs that are in work (130 ms against less than 1 with 50,000 documents).
    place = "revision__document__collection"
    running = live.filter(state__in=IN_WORK)
    queued = running.filter(state=RunState.QUEUED).values(place).annotate(count=Count("pk"), size=Sum("revision__size"))
    waiting = {row[place]: row for row in queued}.get(collection.pk, {"count": 0, "size": 0})
    rows = running.exclude(state=RunState.QUEUED).values_list(place, "state", "done", "total", "revision__size")
    active = [row[1:] for row in rows if row[0] == collection.pk]
    count = waiting["count"] + len(active)
    if not count:
        return Wave(0, 0, 0, 0)
    batches = list(
        Batch.objects.filter(collection=collection, runs__state__in=IN_WORK).distinct().values_list("pk", flat=True)
    )
    over = (
        live.filter(batch__in=batches)
        .exclude(state__in=IN_WORK)
        .aggregate(count=Count("pk"), size=Sum("revision__size"))
    )
    behind = sum(size * _share(state, done, total) for state, done, total, size in active)
    size = waiting["size"] + sum(row[3] for row in active)
    return Wave(
        ended=over["count"],
        total=over["count"] + count,
        done_bytes=(over["size"] or 0) + behind,
        left_bytes=size - behind,
    )


def _share(state: str, done: int, total: int) -> float:
    """How much of a document's work is behind it, 0 to 1."""
    start, end = _STAGES[RunState(state)]
    return start + (end - start) * (min(done, total) / total if total else 0)


class Pace:
    """Says how long the rest will take, from how far it came in the last minute and a half."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def seconds_left(self, now: float, done: float, left: float) -> float | None:
        """The estimate at `now` (in seconds, of any clock), with so much behind and ahead; None as long as it would be a guess."""
        if self._seen and done < self._seen[-1][1]:  # other work than before
            self._seen.clear()
        self._seen.append((now, done))
        while self._seen[0][0] < now - _WINDOW:
            self._seen.popleft()
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        if last - first < _LEAST or after <= before:
            return None
        return left * (last - first) / (after - before)


def sentence(found: Wave, seconds_left: float | None = None) -> str:
    """The line, or "" when nothing is in work."""
    if not found.running:
        return ""
    at = {"at": min(found.ended + 1, found.total), "total": found.total}
    parts = [_("Reading %(at)d of %(total)d") % at if found.total > 1 else _("Reading one document")]
    if seconds_left is not None:
        parts.append(_left(seconds_left))
    return " · ".join(parts)


def _left(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 45:
        return _("less than a minute left")
    if minutes < 90:
        minutes = max(1, minutes)
        return ngettext("about %d minute left", "about %d minutes left", minutes) % minutes
    hours = round(minutes / 60)
    return ngettext("about %d hour left", "about %d hours left", hours) % hours
