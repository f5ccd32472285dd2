"""What happens in a collection, as server-sent events for one open page: rows of its table, a document, a receipt.

Why the stream asks the database, and no message wakes it: the rows are the truth, a page shows a hundred of them, and one indexed
query a second for an open page costs less than telling every page of everything. Between two looks it holds no connection.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import Http404, HttpResponseBase, StreamingHttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_GET

from core.db import in_db
from core.http import SSE_COMMENT, SignedIn, sse
from rag.access import Need, collection_for, may
from rag.models import Batch, Collection, Document
from rag.services import document_view, imports, progress
from rag.services.attempts import IN_WORK
from rag.services.document_view import Listing
from rag.views.collections import overview

_SOON, _LATER = 1.0, 3.0  # seconds until the next look, while something is in work and while nothing is
_CALM = 2.0  # seconds between two whole refreshments of a page

Piece = tuple[str, str]  # an event's name and its data


@require_GET
async def collection(request: SignedIn, collection_id: UUID) -> HttpResponseBase:
    """The collection's events for the page that asks: its table as the address says, or `document`, or the import `batch`."""
    watch = await sync_to_async(_watch)(request, collection_id)
    response = StreamingHttpResponse(_pieces(watch), content_type="text/event-stream; charset=utf-8")
    response["X-Accel-Buffering"] = "no"
    return response


def _watch(request: SignedIn, collection_id: UUID) -> "_Watch":
    """What this page looks at, or Http404."""
    found = collection_for(request.user, collection_id, need=Need.READ)
    watch: _Watch
    if document := request.GET.get("document"):
        watch = _DocumentWatch(request, collection_id, _one(Document.objects.live().filter(collection=found), document))
    elif batch := request.GET.get("batch"):
        collection_for(request.user, collection_id, need=Need.WRITE)
        watch = _ImportWatch(request, collection_id, _one(Batch.objects.filter(collection=found), batch))
    else:
        watch = _TableWatch(request, collection_id)
    return watch


def _one(rows: Any, text: str) -> UUID:
    try:
        found: UUID | None = rows.values_list("pk", flat=True).filter(pk=UUID(text)).first()
    except ValueError:
        found = None
    if found is None:
        raise Http404("There is nothing here.")
    return found


async def _pieces(watch: "_Watch") -> AsyncIterator[str]:
    """The stream's text. Named events: summary, filters, row, state, refresh; and gone, when the reader may see it no longer."""
    spoken = time.monotonic()
    while True:
        try:
            pieces, running = await in_db(watch.look)
        except Http404:
            yield sse("gone", "")
            return
        stamp = f"{timezone.now().timestamp():.3f}"
        for name, data in pieces:
            yield sse(name, data, event_id=stamp)
        if pieces:
            spoken = time.monotonic()
        elif time.monotonic() - spoken >= settings.STREAM_HEARTBEAT:
            spoken = time.monotonic()
            yield SSE_COMMENT
        await asyncio.sleep(_SOON if running else _LATER)


class _Watch:
    """Looks again and again, and says what is different. Each look asks anew whether its reader may (A5)."""

    need = Need.READ

    def __init__(self, request: SignedIn, collection_id: UUID) -> None:
        self.request, self._collection_id = request, collection_id
        since = request.headers.get("Last-Event-ID") or request.GET.get("since", "")
        self.since = float(since) if since.replace(".", "", 1).isdigit() and len(since) < 20 else time.time()
        self._pace, self._line = progress.Pace(), ""
        self._refreshed, self._stale = 0.0, False
        self.wave = progress.Wave(0, 0, 0, 0)

    def look(self) -> tuple[list[Piece], bool]:
        """What is new since the last look, and whether anything is in work. Raises Http404 once the reader may no longer."""
        collection = collection_for(self.request.user, self._collection_id, need=self.need)
        self.wave = progress.wave(collection)
        pieces = [*self._summary(), *self.pieces(collection)]
        if self._stale and time.monotonic() - self._refreshed >= _CALM:
            self._refreshed, self._stale = time.monotonic(), False
            self.refreshed()
            pieces.append(("refresh", ""))
        return pieces, self.wave.running

    def pieces(self, collection: Collection) -> Iterable[Piece]:
        """What the page shows beside the summary."""
        raise NotImplementedError

    def refreshed(self) -> None:
        """The page fetches all of itself now."""

    def refresh(self) -> None:
        """Lets the page fetch all of itself, soon and not too often."""
        self._stale = True

    def _summary(self) -> Iterable[Piece]:
        left = self._pace.seconds_left(time.monotonic(), self.wave.done_bytes, self.wave.left_bytes)
        line = progress.sentence(self.wave, left)
        if line != self._line:
            self._line = line
            yield "summary", self.render("summary", {"summary": line})

    def render(self, name: str, context: dict[str, Any]) -> str:
        """A part of the collection's page as this reader sees it."""
        return render_to_string(f"rag/collection.html#{name}", context, request=self.request)


_Facts = tuple[object, ...]


def _facts(documents: Iterable[Document]) -> dict[UUID, _Facts]:
    """Of each document what its row shows of its run."""
    found: dict[UUID, _Facts] = {}
    for document in documents:
        run = document_view.run_of(document.latest)
        state = (run.state, run.done, run.total, run.message, run.gaps) if run is not None else ()
        found[document.pk] = (document.title, document.latest_id, document.current_id, *state)
    return found


class _TableWatch(_Watch):
    """The rows that one page of the table shows, and the counts above them."""

    def __init__(self, request: SignedIn, collection_id: UUID) -> None:
        super().__init__(request, collection_id)
        self._listing = Listing.of(request.GET)
        self._ids: list[UUID] | None = None
        self._known: dict[UUID, _Facts] = {}
        self._total = -1
        self._counted, self._counts_at = (-1, 0, 0), 0.0

    def pieces(self, collection: Collection) -> Iterable[Piece]:
        total = Document.objects.live().filter(collection=collection).count()
        if total != self._total and self._total >= 0:
            self.refresh()
        self._total = total
        yield from self._rows(collection)
        counted = (total, self.wave.ended, self.wave.total)
        if counted != self._counted and time.monotonic() - self._counts_at >= _CALM:
            first, self._counted, self._counts_at = self._counted[0] < 0, counted, time.monotonic()
            if not first:
                yield "filters", self.render("filters", self._context(collection) | overview(collection, self._listing))

    def _rows(self, collection: Collection) -> Iterable[Piece]:
        first = self._ids is None
        if self._ids is None:
            self._ids = [document.pk for document in self._listing.one_page(collection)]
        shown = Document.objects.live().filter(pk__in=self._ids).select_related("latest__run", "current", "parent")
        documents = {document.pk: document for document in shown}
        known, self._known = self._known, _facts(documents.values())
        changed = [
            document
            for pk, document in documents.items()
            if (self._is_news(document) if first or pk not in known else known[pk] != self._known[pk])
        ]
        if self._listing.state and not first and changed:
            self.refresh()  # they may not belong here any longer
        context = self._context(collection) if changed else {}
        for row in document_view.rows(changed):
            yield "row", self.render("row", context | {"document": row})

    def _is_news(self, document: Document) -> bool:
        """Whether the page, which was made at `since`, may show it otherwise than it is."""
        run = document_view.run_of(document.latest)
        if run is None or run.state in IN_WORK:
            return True
        return run.finished is not None and run.finished.timestamp() >= self.since - 1

    def _context(self, collection: Collection) -> dict[str, Any]:
        return {
            "collection": collection,
            "listing": self._listing,
            "here": self._listing.address(page=self._listing.page),
            "may_write": may(self.request.user, collection, need=Need.WRITE),
        }

    def refreshed(self) -> None:
        self._ids, self._known, self.since = None, {}, time.time()


class _DocumentWatch(_Watch):
    """One document: how far it is, and the whole page anew when it comes to another state."""

    def __init__(self, request: SignedIn, collection_id: UUID, document_id: UUID) -> None:
        super().__init__(request, collection_id)
        self._document_id = document_id
        self._state: tuple[object, ...] = ()
        self._far: _Facts = ()

    def pieces(self, collection: Collection) -> Iterable[Piece]:
        live = Document.objects.live().filter(pk=self._document_id, collection=collection)
        document = live.select_related("latest__run", "current", "parent").first()
        if document is None:
            raise Http404("There is nothing here.")
        row = document_view.rows([document])[0]
        state = (row["state"], document.latest_id, document.current_id)
        if self._state and state != self._state:
            self.refresh()
        far = _facts([document])[document.pk]
        if far != self._far:
            yield "state", self.render("state", {"document": row})
        self._state, self._far = state, far


class _ImportWatch(_Watch):
    """A receipt: anew whenever its counts have changed."""

    need = Need.WRITE

    def __init__(self, request: SignedIn, collection_id: UUID, batch_id: UUID) -> None:
        super().__init__(request, collection_id)
        self._batch_id = batch_id
        self._receipt: imports.Receipt | None = None

    def pieces(self, collection: Collection) -> Iterable[Piece]:
        receipt = imports.receipt(Batch.objects.get(pk=self._batch_id, collection=collection))
        if self._receipt is not None and receipt != self._receipt:
            self.refresh()
        self._receipt = receipt
        return ()
