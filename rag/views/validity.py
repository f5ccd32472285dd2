"""Which documents are in force: the form of one document, what looks like a version, what is due for review."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from core.http import SignedIn
from rag.access import Need, collection_for, document_for, may
from rag.domain.errors import Permanent
from rag.forms import ValidityForm
from rag.services import validity


@require_http_methods(["GET", "POST"])
def document(request: SignedIn, document_id: UUID) -> HttpResponse:
    """Who answers for the document, from when it holds, when it is looked at again, and what has its place."""
    found = document_for(request.user, document_id, need=Need.WRITE)
    form = ValidityForm(found, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            if validity.change(request.user, found, **form.cleaned_data):
                messages.success(request, _("“%(title)s” was changed.") % {"title": found.title})
            return redirect("document", found.pk)
        except Permanent as error:
            form.add_error(None, error.message)
    context = {"document": found, "form": form}
    return render(request, "rag/validity.html", context, status=422 if form.errors else 200)


@require_POST
def replaces(request: SignedIn, document_id: UUID, older_id: UUID) -> HttpResponse:
    """The answer to "does this replace …?"."""
    newer = document_for(request.user, document_id, need=Need.WRITE)
    older = document_for(request.user, older_id, need=Need.WRITE)
    try:
        if request.POST.get("verdict") == "yes":
            validity.accept(request.user, newer=newer, older=older)
            messages.success(
                request,
                _("Answers now rest on “%(newer)s” instead of “%(older)s”.")
                % {"newer": newer.title, "older": older.title},
            )
        else:
            validity.dismiss(request.user, newer=newer, older=older)
    except Permanent as error:
        messages.error(request, error.message)
    return _back(request, newer.pk)


def _back(request: SignedIn, document_id: UUID) -> HttpResponse:
    """To the page that the question stood on, or to the document."""
    came_from = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(came_from, allowed_hosts=None):
        return redirect(came_from)
    return redirect("document", document_id)


@require_GET
def reviews(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """What of a collection should be looked at."""
    found = collection_for(request.user, collection_id, need=Need.READ)
    context: dict[str, Any] = {
        "collection": found,
        "due": validity.due(found)[:500],
        "suggestions": validity.suggestions(found),
        "may_write": may(request.user, found, need=Need.WRITE),
    }
    return render(request, "rag/reviews.html", context)
