"""Questions put to whole documents: asked, watched while they are read, stopped, gone on with, opened again."""

from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from core.http import SignedIn
from rag.access import documents_for, reading_for
from rag.domain.errors import Permanent
from rag.services import exhaustive, exhaustive_view
from rag.views.asked import uuids


@require_http_methods(["GET", "POST"])
def readings(request: SignedIn) -> HttpResponse:
    """One's own readings; a POST puts a question to the chosen documents, or asks for the question first."""
    if request.method == "GET":
        return render(request, "rag/readings.html", {"readings": exhaustive_view.recent(request.user)})
    ids = request.POST.getlist("document")
    chosen = documents_for(request.user, uuids(ids)) if ids else []
    if len(uuids(ids)) != len(ids):
        raise Http404("There is nothing here.")
    if "question" not in request.POST:
        return render(request, "rag/readings.html", exhaustive_view.form(request.user, chosen))
    question = request.POST["question"]
    try:
        opened = exhaustive.open_reading(
            request.user, question=question, documents=chosen, with_model="with_model" in request.POST
        )
    except Permanent as error:
        context = exhaustive_view.form(request.user, chosen, question=question, error=error.message)
        return render(request, "rag/readings.html", context, status=422)
    return redirect("reading", opened.pk)


@require_GET
def reading(request: SignedIn, reading_id: UUID) -> HttpResponse:
    """A reading as far as it is; htmx asks for it anew until it is over."""
    found = reading_for(request.user, reading_id)
    return render(request, "rag/reading.html", {"reading": exhaustive_view.view_of(found, request.user)})


@require_POST
def stop(request: SignedIn, reading_id: UUID) -> HttpResponse:
    """Stops it; what was found stays."""
    exhaustive.cancel(request.user, reading_for(request.user, reading_id))
    return redirect("reading", reading_id)


@require_POST
def resume(request: SignedIn, reading_id: UUID) -> HttpResponse:
    """Goes on with one that was stopped or failed; with `scores` without its model, from the beginning."""
    found = reading_for(request.user, reading_id)
    exhaustive.resume(request.user, found, with_model=found.with_model and "scores" not in request.POST)
    return redirect("reading", reading_id)


@require_POST
def delete(request: SignedIn, reading_id: UUID) -> HttpResponse:
    """Removes it with what it found."""
    exhaustive.delete(request.user, reading_for(request.user, reading_id))
    return redirect("readings")
