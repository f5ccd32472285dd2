"""The asker's consent: whether collections may keep the question of an answer and learn from it."""

from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from core.http import SignedIn
from rag.access import answer_for
from rag.domain.errors import Permanent
from rag.domain.places import Stretch, parse_stretch
from rag.models import Answer
from rag.services import answer_view, kept_answers


@require_POST
def keep(request: SignedIn, answer_id: UUID) -> HttpResponse:
    """Keeps the question of an answer with what it cites, or takes it back."""
    found = answer_for(request.user, answer_id)
    _changed(request, found)
    if not request.htmx:
        return redirect(f"{reverse('conversation', args=[found.conversation_id])}#answer-{found.pk}")
    found = answer_for(request.user, answer_id)
    return render(request, "rag/actions.html#feedback", {"answer": answer_view.view_of(found, request.user)})


@require_POST
def keep_passage(request: SignedIn, answer_id: UUID, document_id: UUID, number: int) -> HttpResponse:
    """The same with the one passage of a cited document that the asker has opened."""
    found = answer_for(request.user, answer_id)
    passage = request.POST.get("passage", "")
    stretch = parse_stretch(passage)
    if stretch is None:
        raise Http404("There is nothing here.")
    _changed(request, found, document_id, stretch)
    page = reverse("page", args=[document_id, number, stretch.first.page + 1])
    return redirect(f"{page}?{urlencode({'passage': passage, 'answer': found.pk})}")


def _changed(request: SignedIn, found: Answer, document_id: UUID | None = None, stretch: Stretch | None = None) -> None:
    try:
        if request.POST.get("keep") == "no":
            kept_answers.take_back(request.user, found)
        elif document_id is not None and stretch is not None:
            kept_answers.keep_opened(request.user, found, document_id, stretch)
        else:
            kept_answers.keep(request.user, found)
    except Permanent as error:
        messages.error(request, error.message)
