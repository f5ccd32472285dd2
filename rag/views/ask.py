"""Asking, and the conversations that questions belong to."""

from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from core.http import SeeOther, SignedIn
from rag.access import conversation_for, principal_of
from rag.domain.conditions import from_json
from rag.domain.errors import Permanent
from rag.forms import QuestionForm, TitleForm
from rag.models import Answer, Conversation
from rag.services import answer_view, answering, conversations, models_admin, private_files, samples
from rag.views import asked as asked_for

CONVERSATIONS_MOST = 200  # in the list at the left; older ones are found by their address


@require_http_methods(["GET", "POST"])
async def ask(request: SignedIn) -> HttpResponse:
    """A new conversation."""
    if request.method == "POST":
        return await _post(request, None)
    return await sync_to_async(_page)(request, None)


@require_http_methods(["GET", "POST"])
async def conversation(request: SignedIn, conversation_id: UUID) -> HttpResponse:
    """A conversation of one's own, and asking on in it."""
    thread = await sync_to_async(_conversation)(request, conversation_id)
    if request.method == "POST":
        return await _post(request, thread)
    return await sync_to_async(_page)(request, thread)


def _conversation(request: SignedIn, conversation_id: UUID) -> Conversation:
    return conversation_for(request.user, conversation_id)


async def _post(request: SignedIn, thread: Conversation | None) -> HttpResponse:
    answer, response = await sync_to_async(_open)(request, thread)
    if answer is not None:
        answering.start(answer.pk)
    return response


def _open(request: SignedIn, thread: Conversation | None) -> tuple[Answer | None, HttpResponse]:
    form = QuestionForm(request.POST)
    question = request.POST.get("suggested") or request.POST.get("question", "")
    try:
        answer = answering.open_answer(
            request.user,
            question=question,
            conversation=thread,
            collections=asked_for.collections(request, thread),
            conditions=asked_for.conditions(request),
            quotes_only="quotes_only" in request.POST,
        )
    except Permanent as error:
        form.add_error("question", error.message)
        return None, _refused(request, thread, form)
    if not request.htmx:
        return answer, SeeOther(reverse("answer", args=[answer.pk]))
    return answer, asked(request, answer)


def _refused(request: SignedIn, thread: Conversation | None, form: QuestionForm) -> HttpResponse:
    if request.htmx:
        return render(request, "rag/composer.html#question_error", {"form": form}, status=422)
    return _page(request, thread, form=form, status=422)


def asked(request: SignedIn, answer: Answer) -> HttpResponse:
    """What htmx puts into the thread for a new answer; the address becomes the conversation's."""
    context = {
        "answer": answer_view.view_of(answer, request.user),
        "conversation": answer.conversation,
        "conversations": _threads(request),
        **private_files.panel(request.user, answer.conversation),
    }
    response = render(request, "rag/ask.html#asked", context)
    response["HX-Push-Url"] = reverse("conversation", args=[answer.conversation_id])
    return response


def _threads(request: SignedIn) -> list[Conversation]:
    return list(Conversation.objects.of(principal_of(request.user))[:CONVERSATIONS_MOST])


def _page(
    request: SignedIn, thread: Conversation | None, *, form: QuestionForm | None = None, status: int = 200
) -> HttpResponse:
    answers = list(thread.answers.select_related("feedback").order_by("created")) if thread is not None else []
    views = answer_view.views_of(answers, request.user)
    collections = asked_for.choices(request, thread)
    remembered = from_json(thread.filters) if thread is not None and request.method == "GET" else ()
    context: dict[str, Any] = {
        "conversations": _threads(request),
        "conversation": thread,
        "answers": views,
        "selected": views[-1] if views else None,
        "collections": collections,
        "facets": asked_for.facets(request, collections, remembered),
        "form": form or QuestionForm(),
        "model": models_admin.in_words(),
        "quotes_only": _quotes_only(request, thread),
        **private_files.panel(request.user, thread),
        "welcome": samples.welcome(collections) if not views else None,
    }
    return render(request, "rag/ask.html", context, status=status)


def _quotes_only(request: SignedIn, thread: Conversation | None) -> bool:
    """Whether the composer asks for quotes only: as was just posted, or as the conversation was asked last."""
    if request.method == "POST":
        return "quotes_only" in request.POST
    return thread is not None and thread.quotes_only


@require_POST  # though it changes nothing: what is chosen belongs into no log of addresses
def filters(request: SignedIn) -> HttpResponse:
    """The filters of the collections that are ticked, for the composer."""
    facets = asked_for.facets(request, asked_for.choices(request))
    return render(request, "rag/composer.html#filters", {"facets": facets})


@require_POST
def rename(request: SignedIn, conversation_id: UUID) -> HttpResponse:
    """Gives the conversation another name."""
    thread = conversation_for(request.user, conversation_id)
    form = TitleForm(request.POST)
    if form.is_valid():
        conversations.rename(thread, title=form.cleaned_data["title"])
    return redirect("conversation", thread.pk)


@require_http_methods(["GET", "POST"])
def delete(request: SignedIn, conversation_id: UUID) -> HttpResponse:
    """Asks once, then deletes the conversation with all its answers."""
    thread = conversation_for(request.user, conversation_id)
    if request.method == "POST":
        conversations.delete(request.user, thread)
        return redirect("ask")
    context = {
        "title": _("Delete “%(title)s”?") % {"title": thread.title},
        "sentence": _("Its questions and answers are removed for good. The documents stay."),
        "action_label": _("Delete the conversation"),
        "cancel_url": reverse("conversation", args=[thread.pk]),
    }
    return render(request, "rag/confirm.html", context)
