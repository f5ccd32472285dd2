"""A page of a document with the cited words marked."""

from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from core.http import SignedIn
from rag.access import revision_for
from rag.domain.errors import RagError
from rag.domain.places import parse_stretch
from rag.services import kept_answers, page_view


@require_GET
def page(request: SignedIn, document_id: UUID, number: int, page: int) -> HttpResponse:
    """Page `page` (from 1) of a revision; `passage` in the address says which words are meant."""
    revision = revision_for(request.user, document_id, number)
    stretch = parse_stretch(request.GET.get("passage", ""))
    context = page_view.page(revision, page=page, stretch=stretch, passage=request.GET.get("passage", ""))
    if context is None:
        raise Http404("There is nothing here.")
    answer = page_view.answer_of(request.user, request.GET.get("answer", ""))
    if answer is not None:
        context["back_url"] = page_view.back_url(answer)
        context["consent"] = kept_answers.offer(answer, revision, request.GET.get("passage", "")) if stretch else None
    return render(request, "rag/viewer.html", context)


@require_GET
def picture(request: SignedIn, document_id: UUID, number: int, page: int) -> HttpResponse:
    """The page of a PDF as a picture, drawn in a limited child process."""
    revision = revision_for(request.user, document_id, number)
    try:
        image = page_view.picture(revision, page=page)
    except RagError as error:
        return HttpResponse(error.message, status=503, content_type="text/plain; charset=utf-8")
    if image is None:
        raise Http404("There is nothing here.")
    response = HttpResponse(image, content_type="image/png")
    # The same for ever under this address, but only in this person's browser, and not once they may no longer see it.
    response["Cache-Control"] = "private, no-cache"
    return response
