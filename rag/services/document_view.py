"""Documents as the table and their own page show them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.core.paginator import Page as Page_
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.models import User
from rag.access import Need, principal_of
from rag.domain.types import Reading
from rag.models import Collection, Document, Extraction, IngestRun, Page, Revision
from rag.models.content import Chunk
from rag.models.index import RunState
from rag.models.library import DocumentQuerySet
from rag.services import fields, validity
from rag.services.attempts import IN_WORK
from rag.services.page_view import PDF

_SORTS = {"title": "title", "size": "latest__size", "uploaded": "latest_id"}  # later is larger
_READY = Q(latest__run__state=RunState.READY)
# What the table can be narrowed to, by the word in its address.
STATES: Mapping[str, Q] = {
    "work": Q(latest__run__state__in=IN_WORK),
    "ready": _READY & Q(latest__run__gaps=0),
    "gaps": _READY & Q(latest__run__gaps__gt=0),
    "failed": Q(latest__run__state=RunState.FAILED),
    "cancelled": Q(latest__run__state=RunState.CANCELLED),
}
_INCOMPLETE = Q(reading=Reading.UNREAD) | ~Q(gap="")
ROWS = 100  # documents on one page of the table
UNREAD_SHOWN = 60  # pictures of unread pages on one page; more are counted


@dataclass(frozen=True, slots=True)
class Listing:
    """How the table was asked for: words to find, a state of STATES or "", an order, a page from 1."""

    query: str = ""
    state: str = ""
    sort: str = "-uploaded"
    page: int = 1

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> "Listing":
        """From an address; what makes no sense there is left out."""
        state, sort, page = asked.get("state", ""), asked.get("sort", ""), asked.get("page", "")
        return cls(
            query=asked.get("q", "").strip()[:200],
            state=state if state in STATES else "",
            sort=sort if sort.removeprefix("-") in _SORTS else "-uploaded",
            page=int(page) if page.isascii() and page.isdigit() and len(page) < 9 else 1,
        )

    def address(self, **changes: object) -> str:
        """The query part of the address of this listing with some of it changed; a change begins at its first page."""
        wanted = replace(self, **{"page": 1, **changes})  # type: ignore[arg-type]  # the callers' names are its fields
        given = {"q": wanted.query, "state": wanted.state, "sort": wanted.sort, "page": wanted.page}
        default = Listing()
        usual = {"sort": default.sort, "page": default.page}
        return "?" + urlencode({name: value for name, value in given.items() if value and value != usual.get(name)})

    def sorted_by(self, name: str) -> str:
        """The address that sorts by this column, or the other way round where it does already."""
        ascending = name == "title"
        now = {name: True, f"-{name}": False}.get(self.sort)
        upwards = ascending if now is None else not now
        return self.address(sort=name if upwards else f"-{name}")

    def documents(self, collection: Collection) -> DocumentQuerySet:
        """The collection's live documents, narrowed and sorted so; all pages of them."""
        found = Document.objects.live().filter(collection=collection)
        if self.state:
            found = found.filter(STATES[self.state])
        for word in self.query.split():
            found = found.filter(Q(title__icontains=word) | Q(path__icontains=word))
        order = _SORTS[self.sort.removeprefix("-")]
        return found.order_by(f"{'-' if self.sort.startswith('-') else ''}{order}", "id")

    def one_page(self, collection: Collection) -> "Page_[Document]":
        """The documents of its page; a page that does not exist is the last one.

        Numbers alone are sorted and skipped: among 50,000 documents whole rows take four times as long.
        """
        page: Any = Paginator(self.documents(collection).values_list("pk", flat=True), ROWS).get_page(self.page)
        places = {key: place for place, key in enumerate(page.object_list)}
        rows = Document.objects.live().filter(pk__in=places).select_related("latest__run", "current", "parent")
        page.object_list = sorted(rows.order_by(), key=lambda document: places[document.pk])
        found: Page_[Document] = page
        return found


def filters(listing: Listing, found: Mapping[str, int]) -> list[dict[str, Any]]:
    """What the table can be narrowed to, with how many documents that leaves: `found` is from counts()."""
    labels = {
        "": _("All"),
        "work": _("In work"),
        "ready": _("Ready"),
        "gaps": _("With gaps"),
        "failed": _("Failed"),
        "cancelled": _("Cancelled"),
    }
    return [
        {
            "label": label,
            "count": found[state or "all"],
            "url": listing.address(state=state),
            "chosen": listing.state == state,
        }
        for state, label in labels.items()
        if not state or found[state] or listing.state == state
    ]


def counts(collection: Collection) -> dict[str, int]:
    """How many documents the collection has in each of STATES, and in "all"."""
    live = Document.objects.live().filter(collection=collection)
    found: dict[str, int] = live.aggregate(
        all=Count("pk"), **{state: Count("pk", filter=where) for state, where in STATES.items()}
    )
    return found


def rows(documents: Iterable[Document]) -> list[dict[str, Any]]:
    """What the table shows of each document of one collection, for one page of it."""
    documents = list(documents)
    revisions = {document.latest_id for document in documents if document.latest_id}
    # Of each revision the newest reading: later rows win.
    read = Extraction.objects.filter(revision__in=revisions).order_by("id").values_list("revision_id", "pages_in_all")
    pages: dict[int, int] = dict(read)
    standings = validity.standings(documents)
    columns = fields.for_rows(documents[0].collection_id, standings) if documents else None
    return [
        _row(document, pages)
        | {
            "tags": validity.tags(standings[document.pk]),
            "cells": columns.cells[document.pk] if columns is not None else (),
        }
        for document in documents
    ]


def _row(document: Document, pages: dict[int, int]) -> dict[str, Any]:
    latest = document.latest
    run = run_of(latest)
    return {
        "id": document.pk,
        "title": document.title,
        "path": document.path,
        "inside": document.parent.path if document.parent is not None else "",
        **state_of(run),
        "size_bytes": latest.size if latest else 0,
        "media_type": latest.media_type if latest else "",
        "uploaded": latest.created if latest else document.created,
        "pages": pages.get(latest.pk) if latest else None,
        "url": _read_url(document),
    }


def run_of(revision: Revision | None) -> IngestRun | None:
    """The revision's run, or None where there is none (yet)."""
    return getattr(revision, "run", None) if revision is not None else None


def state_of(run: IngestRun | None) -> dict[str, Any]:
    """A run's state as pages show it: a key, words, how far it is, what may be done about it.

    `state` is one of "ready", "gaps", "failed", "password", "cancelled" and "work".
    """
    if run is None:
        return {"state": "work", "state_label": _("waiting"), "in_work": True, "done": 0, "total": 0, "message": ""}
    in_work = run.state in IN_WORK
    state = "work" if in_work else run.state
    if run.state == RunState.READY and run.gaps:
        state = "gaps"
    elif run.state == RunState.FAILED and run.needs_password:
        state = "password"
    return {
        "state": state,
        "state_label": _label(run, state),
        "in_work": in_work,
        "done": run.done,
        "total": run.total,
        "gaps": run.gaps,
        "searchable": run.searchable,
        "message": run.message,
    }


def _label(run: IngestRun, state: str) -> str:
    far = {"done": run.done, "total": run.total}
    percent = {"percent": 100 * run.done // run.total if run.total else 0}
    words = {
        "gaps": _("ready with gaps"),
        "password": _("needs a password"),
        "ready": _("ready"),
        "failed": _("failed"),
        "cancelled": _("cancelled"),
    }
    if state in words:
        return words[state]
    match run.state:
        case RunState.READING:
            return _("reading page %(done)d of %(total)d") % far if run.total else _("reading")
        case RunState.RECOGNISING:
            return _("recognising page %(done)d of %(total)d") % far if run.total else _("recognising")
        case RunState.EMBEDDING if run.searchable:
            return _("searchable by words, embedding %(percent)d %%") % percent
        case RunState.EMBEDDING:
            return _("embedding %(percent)d %%") % percent
    return _("waiting")


def _read_url(document: Document) -> str:
    """Where the newest revision that was read opens, or "" when none was yet."""
    if document.current_id is None or document.current is None:
        return ""
    return reverse("page", args=[document.pk, document.current.number, 1])


def page(document: Document) -> dict[str, Any]:
    """What a document's page shows: itself, its revisions, what of the current one was read, and what belongs to it."""
    revisions = list(document.revisions.select_related("run", "uploader").order_by("-number"))
    read = {
        extraction.revision_id: extraction
        for extraction in Extraction.objects.filter(revision__document=document).order_by("id")
    }
    current = read.get(document.current_id or 0)
    return {
        "document": _row(document, {}) | {"collection": document.collection},
        "revisions": [_revision(document, revision, read) for revision in revisions],
        "coverage": coverage(current) if current is not None else None,
        "unread": unread([current]) if current is not None else None,
        "children": rows(_children(document)),
        "children_total": Document.objects.live().filter(parent=document).count(),
        "parent": document.parent,
        "download_url": reverse("original", args=[document.pk, revisions[0].number]) if revisions else "",
    }


def _revision(document: Document, revision: Revision, read: Mapping[int, Extraction]) -> dict[str, Any]:
    return {
        "number": revision.number,
        "created": revision.created,
        "size_bytes": revision.size,
        "uploader": revision.uploader,
        "state_label": state_of(run_of(revision))["state_label"],
        "url": reverse("page", args=[document.pk, revision.number, 1]) if revision.pk in read else "",
        "current": revision.pk == document.current_id,
    }


def _children(document: Document) -> Iterable[Document]:
    inside = Document.objects.live().filter(parent=document)
    return inside.select_related("latest__run", "current", "parent").order_by("path")[:200]


def coverage(extraction: Extraction) -> dict[str, Any]:
    """What was read of a revision, and what was not: pages by how they were read, passages, warnings."""
    kinds = (
        ("text", _("with text"), extraction.pages_with_text),
        ("ocr", _("recognised from pictures"), extraction.pages_by_ocr),
        ("blank", _("blank"), extraction.pages_blank),
        ("unread", _("not read"), extraction.pages_unread),
    )
    return {
        "pages": extraction.pages_in_all,
        "kinds": _stretches(kinds, extraction.pages_in_all),
        "confidence": round(100 * extraction.confidence) if extraction.pages_by_ocr else None,
        "images": extraction.images,
        "attachments": extraction.attachments,
        "left_out": [{"path": path, "sentence": sentence} for path, sentence in extraction.left_out],
        "warnings": extraction.warnings,
        "characters": extraction.characters,
        "passages": Chunk.objects.for_maintenance().filter(extraction=extraction).count(),
        "language": extraction.language,
        "parser": extraction.parser,
        "properties": sorted(extraction.properties.items()),
    }


def _stretches(kinds: Iterable[tuple[str, str, int]], total: int) -> list[dict[str, Any]]:
    """Each kind that occurs, with where its part of a bar of 1000 begins and how long it is."""
    found, start = [], 0
    for name, label, count in kinds:
        if count and total:
            width = 1000 * count // total
            found.append({"name": name, "label": label, "count": count, "x": start, "width": width})
            start += width
    return found


def unread(extractions: Sequence[Extraction], *, limit: int = UNREAD_SHOWN) -> dict[str, Any]:
    """The pages of these readings that could not be read, or only in part: the first of them, and how many there are."""
    missing = Page.objects.filter(_INCOMPLETE, extraction__in=extractions)
    shown = missing.select_related("extraction__revision__document").order_by("extraction", "place")[:limit]
    return {"pages": [_unread_page(found) for found in shown], "total": missing.count()}


def _unread_page(found: Page) -> dict[str, Any]:
    revision = found.extraction.revision
    place = [revision.document_id, revision.number, found.place + 1]
    return {
        "title": revision.document.title,
        "document_url": reverse("document", args=[revision.document_id]),
        "label": found.label or str(found.number or found.place + 1),
        "sentence": found.gap or _("Something is on this page that could not be read."),
        "url": reverse("page", args=place),
        "picture_url": reverse("page_picture", args=place) if found.width and _is_picture(revision) else "",
        "width": found.width,
        "height": found.height,
    }


def _is_picture(revision: Revision) -> bool:
    """Whether the viewer draws pages of this revision's kind."""
    return revision.media_type == PDF or revision.media_type.startswith("image/")


def newest_readings(revisions: Iterable[int]) -> list[Extraction]:
    """The newest reading of each of these revisions."""
    found = Extraction.objects.filter(revision__in=list(revisions)).order_by("id")
    return list({extraction.revision_id: extraction for extraction in found}.values())


def incomplete(reader: User, collections: Iterable[UUID]) -> dict[UUID, int]:
    """How many documents with unread pages this person may read in each of these collections; none where all was read."""
    readable = Document.objects.usable_by(principal_of(reader), role=Need.READ)
    gaps = readable.filter(collection__in=list(collections), current__run__gaps__gt=0)
    return dict(gaps.order_by().values_list("collection").annotate(count=Count("pk")))


def unread_note(count: int) -> str:
    """ "2 documents here have unread pages."; "" when all was read."""
    sentence = ngettext("%d document here has unread pages.", "%d documents here have unread pages.", count)
    return sentence % count if count else ""
