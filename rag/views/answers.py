"""One answer: as a page, as a stream, and what its reader may do with it."""

from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from core.http import SeeOther, SignedIn
from rag.access import answer_for
from rag.domain.conditions import from_json
from rag.models import Answer
from rag.services import answer_view, answer_why, answering, conversations
from rag.services.answering import open_answer, start
from rag.views.answer_stream import pieces
from rag.views.ask import asked


def _answer(request: SignedIn, answer_id: UUID) -> Answer:
    return answer_for(request.user, answer_id)


@require_GET
def answer(request: SignedIn, answer_id: UUID) -> HttpResponse:
    """The answer with its evidence, and why it is as it is; refreshes itself without JavaScript until it is done."""
    found = answer_for(request.user, answer_id)
    context = {
        "answer": answer_view.view_of(found, request.user),
        "conversation": found.conversation,
        "why": answer_why.why(found, request.user),
    }
    return render(request, "rag/answer.html", context)


@require_GET
async def stream(request: SignedIn, answer_id: UUID) -> HttpResponseBase:
    """The answer's events as they happen. Only follows: closing it stops nothing."""
    found = await sync_to_async(_answer)(request, answer_id)
    after = request.headers.get("Last-Event-ID", "")
    response = StreamingHttpResponse(
        pieces(request, found.pk, after=after), content_type="text/event-stream; charset=utf-8"
    )
    response["X-Accel-Buffering"] = "no"
    return response


@require_POST
async def stop(request: SignedIn, answer_id: UUID) -> HttpResponse:
    """Ends the answer; what was written is kept."""
    found = await sync_to_async(_answer)(request, answer_id)
    await answering.stop(found.pk)
    if request.htmx:
        return HttpResponse(status=204)
    return SeeOther(reverse("answer", args=[found.pk]))


@require_POST
async def again(request: SignedIn, answer_id: UUID) -> HttpResponse:
    """The same question anew, as the documents are now; with `alone`, whatever was said before it."""
    opened, response = await sync_to_async(_open_again)(request, answer_id)
    start(opened.pk)
    return response


def _open_again(request: SignedIn, answer_id: UUID) -> tuple[Answer, HttpResponse]:
    found = answer_for(request.user, answer_id)
    thread = found.conversation
    opened = open_answer(
        request.user,
        question=found.question,
        conversation=thread,
        collections=list(thread.collections.all()),
        conditions=from_json(found.filters),
        alone=found.alone or "alone" in request.POST,
        quotes_only=found.quotes_only,
    )
    return opened, asked(request, opened) if request.htmx else SeeOther(reverse("answer", args=[opened.pk]))


@require_POST
def feedback(request: SignedIn, answer_id: UUID) -> HttpResponse:
    """Thumbs up or down; the same one again takes it back."""
    found = answer_for(request.user, answer_id)
    value = request.POST.get("value")
    if value in {"up", "down"}:
        conversations.rate(found, helpful=value == "up")
    if not request.htmx:
        return redirect("conversation", found.conversation_id)
    found = answer_for(request.user, answer_id)
    return render(request, "rag/actions.html#feedback", {"answer": answer_view.view_of(found, request.user)})
