"""Imports: files that are sent together, and the receipt that says what became of each."""

import csv
from io import StringIO
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from core.http import SignedIn
from rag.access import Need, collection_for
from rag.models import Batch, Collection
from rag.models.imports import Origin
from rag.services import import_view, imports

ANNOUNCED_MOST = 1_000_000


@require_POST
def open_import(request: SignedIn, collection_id: UUID) -> JsonResponse:
    """A new import of `announced` files; its id for the uploads, and where its receipt is."""
    found = collection_for(request.user, collection_id, need=Need.WRITE)
    text = request.POST.get("announced", "")
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= ANNOUNCED_MOST):
        return JsonResponse({"message": _("Say how many files will come.")}, status=422)
    batch = imports.open_batch(request.user, found, Origin.BROWSER, int(text))
    return JsonResponse({"id": str(batch.pk), "url": reverse("import", args=[found.pk, batch.pk])}, status=201)


def _found(request: SignedIn, collection_id: UUID, batch_id: UUID) -> tuple[Collection, Batch]:
    """The import of a collection that one may write to, or Http404."""
    collection = collection_for(request.user, collection_id, need=Need.WRITE)
    batch = Batch.objects.filter(pk=batch_id, collection=collection).select_related("actor").first()
    if batch is None:
        raise Http404("There is nothing here.")
    return collection, batch


@require_http_methods(["GET", "POST"])
def receipt(request: SignedIn, collection_id: UUID, batch_id: UUID) -> HttpResponse:
    """What became of an import. A post says that nothing more comes (`close`), or tries what failed once more (`retry`)."""
    collection, batch = _found(request, collection_id, batch_id)
    if request.method == "GET":
        context: dict[str, Any] = {"collection": collection} | import_view.page(batch)
        return render(request, "rag/import.html", context)
    if request.POST.get("action") == "close":
        imports.close_batch(batch)
        return HttpResponse(status=204)
    count = imports.retry_failed(request.user, batch)
    messages.success(
        request, ngettext("%d document is read once more.", "%d documents are read once more.", count) % count
    )
    return redirect("import", collection.pk, batch.pk)


@require_GET
def download(request: SignedIn, collection_id: UUID, batch_id: UUID) -> HttpResponse:
    """The receipt as a table for a spreadsheet: every file, its state, and why."""
    _collection, batch = _found(request, collection_id, batch_id)
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow([_("path"), _("state"), _("unread pages"), _("message")])
    writer.writerows([neutral(str(cell)) for cell in row] for row in import_view.lines(batch))
    response = HttpResponse("\ufeff" + text.getvalue(), content_type="text/csv; charset=utf-8")
    name = f"import-{batch.created:%Y-%m-%d-%H%M}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def neutral(cell: str) -> str:
    """The cell as text, whatever it begins with: spreadsheets run what begins with = + - @, a tab or a line break (W8)."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else cell
