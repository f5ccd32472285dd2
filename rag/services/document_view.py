"""Documents as the table and their own page show them."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _

from rag.models import Collection, Document, Extraction, IngestRun, Revision
from rag.models.content import Chunk
from rag.models.index import RunState
from rag.models.library import DocumentQuerySet

_SORTS = {"title": "title", "size": "latest__size", "uploaded": "latest__created"}


def table(collection: Collection, *, query: str, sort: str) -> DocumentQuerySet:
    """The collection's live documents, filtered by words of the title or path, sorted as asked (newest first otherwise)."""
    found = Document.objects.live().filter(collection=collection).select_related("latest__run")
    for word in query.split():
        found = found.filter(Q(title__icontains=word) | Q(path__icontains=word))
    descending = sort.startswith("-")
    order = _SORTS.get(sort.lstrip("-"), "latest__created")
    return found.order_by(f"{'-' if descending or sort.lstrip('-') not in _SORTS else ''}{order}", "id")


def rows(documents: Iterable[Document]) -> list[dict[str, Any]]:
    """What the table shows of each document, for one page of it."""
    documents = list(documents)
    revisions = {document.latest_id for document in documents if document.latest_id}
    pages: dict[int, int] = {
        revision: count
        for revision, count in Extraction.objects.filter(revision__in=revisions).values_list(
            "revision_id", "pages_with_text"
        )
    }
    return [_row(document, pages) for document in documents]


def _row(document: Document, pages: dict[int, int]) -> dict[str, Any]:
    latest = document.latest
    run = _run(latest)
    state = run.state if run is not None else RunState.QUEUED
    return {
        "id": document.pk,
        "title": document.title,
        "path": document.path,
        "state": state,
        "state_label": _label(run),
        "done": run.done if run else 0,
        "total": run.total if run else 0,
        "message": run.message if run else "",
        "in_work": state not in {RunState.READY, RunState.FAILED},
        "size_bytes": latest.size if latest else 0,
        "media_type": latest.media_type if latest else "",
        "uploaded": latest.created if latest else document.created,
        "pages": pages.get(latest.pk) if latest else None,
        "url": _read_url(document),
    }


def _run(revision: Revision | None) -> IngestRun | None:
    return getattr(revision, "run", None) if revision is not None else None


def _label(run: IngestRun | None) -> str:
    if run is None or run.state == RunState.QUEUED:
        return _("waiting")
    if run.state == RunState.READING:
        if run.total:
            return _("reading page %(done)d of %(total)d") % {"done": run.done, "total": run.total}
        return _("reading")
    if run.state == RunState.EMBEDDING:
        return _("embedding: found by words already")
    return str(RunState(run.state).label)


def _read_url(document: Document) -> str:
    """Where the newest revision that was read opens, or "" when none was yet."""
    if document.current_id is None or document.current is None:
        return ""
    return reverse("page", args=[document.pk, document.current.number, 1])


def page(document: Document) -> dict[str, Any]:
    """What a document's page shows: itself, its revisions, and what of the current one was read."""
    revisions = list(document.revisions.select_related("run", "uploader").order_by("-number"))
    read = {extraction.revision_id: extraction for extraction in _extractions(document)}
    row = _row(document, {}) | {"collection": document.collection}
    return {
        "document": row,
        "revisions": [
            {
                "number": revision.number,
                "created": revision.created,
                "size_bytes": revision.size,
                "uploader": revision.uploader,
                "state_label": _label(_run(revision)),
                "url": reverse("page", args=[document.pk, revision.number, 1]) if revision.pk in read else "",
                "current": revision.pk == document.current_id,
            }
            for revision in revisions
        ],
        "coverage": _coverage(read.get(document.current_id or 0)),
        "download_url": reverse("original", args=[document.pk, revisions[0].number]) if revisions else "",
    }


def _extractions(document: Document) -> Iterable[Extraction]:
    """Of each revision the newest reading: later rows win in the caller's dict."""
    return Extraction.objects.filter(revision__document=document).order_by("id")


def _coverage(extraction: Extraction | None) -> dict[str, Any] | None:
    if extraction is None:
        return None
    return {
        "pages": extraction.pages.count(),
        "pages_with_text": extraction.pages_with_text,
        "warnings": extraction.warnings,
        "characters": extraction.characters,
        "passages": Chunk.objects.for_maintenance().filter(extraction=extraction).count(),
        "parser": extraction.parser,
    }
