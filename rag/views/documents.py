"""Documents: upload, one document's page, its original bytes, retry and delete."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.http import FileResponse, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from core import audit
from core.http import SignedIn
from rag.access import Need, collection_for, document_for, may, revision_for
from rag.domain.errors import RagError
from rag.models import Collection
from rag.services import document_view, library
from rag.services.library import Outcome


@require_POST
def upload(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """Takes files; each is stored or refused by itself. A script posts one and gets JSON, a form posts many and gets the page."""
    found = collection_for(request.user, collection_id, need=Need.WRITE)
    files = request.FILES.getlist("files")
    paths = request.POST.getlist("path")  # of a dropped folder: names with their folders, in the order of the files
    results = [
        _add(request, found, file, paths[place] if place < len(paths) and paths[place] else file.name or "")
        for place, file in enumerate(files)
    ]
    if request.headers.get("Accept", "").startswith("application/json"):
        ok = bool(results) and all(result["ok"] for result in results)
        sentence = " ".join(str(result["message"]) for result in results) or _("Choose at least one file.")
        return JsonResponse({"ok": ok, "message": sentence, "files": results}, status=200 if ok else 422)
    if not files:
        messages.error(request, _("Choose at least one file."))
    for result in results:
        (messages.success if result["ok"] else messages.error)(request, str(result["message"]))
    return redirect("collection", found.pk)


def _add(request: SignedIn, found: Collection, file: "UploadedFile[Any]", path: str) -> dict[str, object]:
    try:
        added = library.add_document(request.user, found, file, path=path, replaces=True)
    except RagError as error:
        return {"name": path, "ok": False, "message": error.message}
    sentences = {
        Outcome.NEW: _("“%(path)s” was uploaded."),
        Outcome.REVISED: _("“%(path)s” was uploaded as a new revision."),
        Outcome.UNCHANGED: _("“%(path)s” is here already, word for word."),
    }
    sentence = sentences[added.outcome] % {"path": added.document.path}
    url = reverse("document", args=[added.document.pk])
    return {"name": path, "ok": True, "outcome": added.outcome.value, "message": sentence, "url": url}


@require_GET
def document(request: SignedIn, document_id: UUID) -> HttpResponse:
    """What is known of a document: its state, its revisions, what of it was read."""
    found = document_for(request.user, document_id, need=Need.READ)
    context = document_view.page(found) | {"may_write": may(request.user, found.collection, need=Need.WRITE)}
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
    """Reads a failed document once more."""
    found = document_for(request.user, document_id, need=Need.WRITE)
    library.retry(request.user, found)
    return redirect("collection", found.collection_id)


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
