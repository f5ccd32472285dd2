"""One answer: as a page, as a stream, and what its reader may do with it."""

from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from core.http import SeeOther, SignedIn
from rag.access import answer_for
from rag.domain.conditions import from_json
from rag.domain.errors import Permanent
from rag.forms import ReasonForm
from rag.models import Answer
from rag.models.conversation import FeedbackKind
from rag.services import answer_view, answer_why, answering, branches, conversations, language_models, source_words
from rag.services.answering import open_answer, start
from rag.views.answer_stream import pieces
from rag.views.ask import another_version
from rag.views.asked import collections


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
    """The same question anew, as the documents are now, beside the answer there is; with `alone`, whatever was said before it."""
    return await _version(request, answer_id, None)


@require_POST
async def edit(request: SignedIn, answer_id: UUID) -> HttpResponse:
    """Another question in the place of this one; the old one stays, with what followed it."""
    return await _version(request, answer_id, request.POST.get("question", ""))


async def _version(request: SignedIn, answer_id: UUID, question: str | None) -> HttpResponse:
    opened, response = await sync_to_async(_open_version)(request, answer_id, question)
    if opened is not None:
        start(opened.pk)
    return response


def _open_version(request: SignedIn, answer_id: UUID, question: str | None) -> tuple[Answer | None, HttpResponse]:
    found = answer_for(request.user, answer_id)
    try:
        opened = open_answer(
            request.user,
            question=found.question if question is None else question,
            conversation=found.conversation,
            version_of=found,
            collections=collections(request, found.conversation),
            conditions=from_json(found.filters),
            alone=found.alone or "alone" in request.POST,
            quotes_only=found.quotes_only,
            model=request.POST.get("model", language_models.still_offered(found.wanted_model)),
        )
    except Permanent as error:
        return None, _refused(request, found, error.message)
    return opened, another_version(request, opened)


def _refused(request: SignedIn, found: Answer, sentence: str) -> HttpResponse:
    """The page that was left, with the sentence on it."""
    messages.error(request, sentence)
    address = branches.url(found.conversation_id, found.pk)
    return HttpResponse(status=204, headers={"HX-Redirect": address}) if request.htmx else SeeOther(address)


@require_POST
def feedback(request: SignedIn, answer_id: UUID) -> HttpResponse:
    """Thumbs up or down, and why not; the same thumb again takes it back."""
    found = answer_for(request.user, answer_id)
    value = request.POST.get("value")
    form = ReasonForm(request.POST)
    if value in {"up", "down"}:
        conversations.rate(found, helpful=value == "up")
    elif value == "why" and form.is_valid():
        kind = form.cleaned_data["kind"]
        conversations.explain(found, kind=FeedbackKind(kind) if kind else None, reason=form.cleaned_data["reason"])
    if not request.htmx:
        return redirect(branches.url(found.conversation_id, found.pk))
    found = answer_for(request.user, answer_id)
    context = {"answer": answer_view.view_of(found, request.user), "thanked": value == "why"}
    return render(request, "rag/actions.html#feedback", context)


@require_POST
def words(request: SignedIn, answer_id: UUID) -> HttpResponse:
    """The cited passage's words in the place of the sentence `put`, or the sentence `back` again."""
    found = answer_for(request.user, answer_id)
    for name, change in (("put", source_words.put), ("back", source_words.take_back)):
        ordinal = request.POST.get(name, "")
        if ordinal.isascii() and ordinal.isdigit() and len(ordinal) < 6:
            change(request.user, found, int(ordinal))
    if not request.htmx:
        return redirect(branches.url(found.conversation_id, found.pk))
    context = {"answer": answer_view.view_of(found, request.user), "conversation": found.conversation}
    return render(request, "rag/article.html#body", context)
