"""Documents: the form that uploads, one document's page, its original bytes, read again, stop, delete."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.http import FileResponse, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from core import audit
from core.http import SignedIn
from rag.access import Need, collection_for, document_for, may, revision_for
from rag.domain.errors import RagError
from rag.models import Batch, Document
from rag.models.imports import Origin
from rag.services import document_view, exhaustive_view, fields, imports, ingest, library, uploads, validity
from rag.services.document_view import Listing
from rag.services.library import Outcome
from rag.services.uploads import Announced

TOLD_ONE_BY_ONE = 6  # files of a form that get a sentence each; more get a receipt
PASSWORD_MOST = 1000  # characters


@require_POST
def upload(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """Takes the files of a form; each is stored or refused by itself. Those whose place is taken wait for an answer."""
    found = collection_for(request.user, collection_id, need=Need.WRITE)
    files = request.FILES.getlist("files")
    paths = request.POST.getlist("path")  # names with their folders, in the order of the files
    if not files:
        messages.error(request, _("Choose at least one file."))
        return redirect("collection", found.pk)
    batch = imports.open_batch(request.user, found, Origin.BROWSER, len(files))
    results = []
    for place, file in enumerate(files):
        path = paths[place] if place < len(paths) and paths[place] else file.name or ""
        results.append(_take(request, file, path=path, batch=batch))
    imports.close_batch(batch)
    if len(files) > TOLD_ONE_BY_ONE:
        return redirect("import", found.pk, batch.pk)
    for level, sentence in filter(None, results):
        messages.add_message(request, level, sentence)
    return redirect("uploads_waiting" if None in results else "collection", found.pk)


def _take(request: SignedIn, file: "UploadedFile[Any]", *, path: str, batch: Batch) -> tuple[int, str] | None:
    """What to tell of one file of a form; None when it waits for an answer."""
    announced = Announced(path=path, size=file.size or 0)
    try:
        kept = uploads.keep_whole(request.user, batch.collection, file, announced, batch=batch)
        added = uploads.finish(kept)
    except library.Exists:
        return None
    except RagError as error:
        return messages.ERROR, error.message
    sentences = {
        Outcome.NEW: _("“%(path)s” was uploaded."),
        Outcome.REVISED: _("“%(path)s” was uploaded as a new revision."),
        Outcome.UNCHANGED: _("“%(path)s” is here already, word for word."),
    }
    return messages.SUCCESS, sentences[added.outcome] % {"path": added.document.path}


@require_GET
def document(request: SignedIn, document_id: UUID) -> HttpResponse:
    """What is known of a document: its state, its revisions, what of it was read."""
    found = document_for(request.user, document_id, need=Need.READ)
    events = reverse("collection_events", args=[found.collection_id])
    context = document_view.page(found) | {
        "may_write": may(request.user, found.collection, need=Need.WRITE),
        "standing": validity.standing_panel(found),
        "own_fields": fields.of_document(found),
        "events_url": f"{events}?document={found.pk}",
        **exhaustive_view.form(request.user, [found]),
    }
    return render(request, "rag/document.html", context)


@require_http_methods(["GET", "POST"])
def delete(request: SignedIn, document_id: UUID) -> HttpResponse:
    """Asks once, then takes the document out: the next answer no longer uses it."""
    found = document_for(request.user, document_id, need=Need.WRITE)
    if request.method == "POST":
        library.delete_document(request.user, found)
        messages.success(request, _("“%(title)s” was deleted.") % {"title": found.title})
        return redirect("collection", found.collection_id)
    context = {
        "title": _("Delete “%(title)s”?") % {"title": found.title},
        "sentence": _("All its revisions are removed for good. Answers that cite it will say that it is gone."),
        "action_label": _("Delete the document"),
        "cancel_url": reverse("collection", args=[found.collection_id]),
    }
    return render(request, "rag/confirm.html", context)


@require_POST
def retry(request: SignedIn, document_id: UUID) -> HttpResponse:
    """Reads a failed or cancelled document once more; `password` opens a protected one."""
    found = document_for(request.user, document_id, need=Need.WRITE)
    library.retry(request.user, found, password=request.POST.get("password", "")[:PASSWORD_MOST])
    return _back(request, found)


@require_POST
def cancel(request: SignedIn, document_id: UUID) -> HttpResponse:
    """Stops reading a document; what was read of it stays."""
    found = document_for(request.user, document_id, need=Need.WRITE)
    ingest.cancel(request.user, found)
    return _back(request, found)


def _back(request: SignedIn, found: Document) -> HttpResponse:
    """To the page that the button was on: the document's own, or its collection's table as it was."""
    if request.POST.get("from") == "document":
        return redirect("document", found.pk)
    return redirect(reverse("collection", args=[found.collection_id]) + Listing.of(request.POST).address())


@require_GET
def original(request: SignedIn, document_id: UUID, number: int) -> FileResponse:
    """The bytes as they were uploaded, always as a download that runs nothing (W5)."""
    revision = revision_for(request.user, document_id, number)
    audit.record("document.downloaded", actor=request.user, subject=revision.document, revision=number)
    response = FileResponse(
        default_storage.open(revision.file.name or ""),
        as_attachment=True,
        filename=revision.document.path.rpartition("/")[2],
        content_type="application/octet-stream",
    )
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response
