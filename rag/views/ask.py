"""Asking, and the conversations that questions belong to."""

from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from core.http import SeeOther, SignedIn
from rag.access import conversation_for
from rag.domain.conditions import from_json
from rag.domain.errors import Permanent
from rag.forms import QuestionForm
from rag.models import Answer, Conversation
from rag.services import answering, branches, conversation_list, language_models, private_files, samples, thread_view
from rag.views import asked as asked_for


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
            after=_followed(request, thread),
            collections=asked_for.collections(request, thread),
            conditions=asked_for.conditions(request),
            quotes_only="quotes_only" in request.POST,
            model=request.POST.get("model", ""),
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


def _followed(request: SignedIn, thread: Conversation | None) -> Answer | None:
    """The last answer of the branch that was on screen; None for the conversation's newest."""
    after = asked_for.uuid_of(request.POST.get("after", ""))
    return thread.answers.filter(pk=after).first() if thread is not None and after is not None else None


def asked(request: SignedIn, answer: Answer) -> HttpResponse:
    """What htmx puts into the thread for a new answer; the address becomes the conversation's."""
    context = {
        **_parts(request, answer.conversation, at=answer.pk, most=1),
        **private_files.panel(request.user, answer.conversation),
    }
    response = render(request, "rag/ask.html#asked", context)
    response["HX-Push-Url"] = reverse("conversation", args=[answer.conversation_id])
    return response


def another_version(request: SignedIn, answer: Answer) -> HttpResponse:
    """The thread with a new version of a question in its place: its whole branch, which takes the place of the one on screen."""
    address = branches.url(answer.conversation_id, answer.pk)
    if not request.htmx:
        return SeeOther(address)
    if "/conversations/" not in (request.htmx.current_url_abs_path or ""):
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    response = render(request, "rag/ask.html#again", _parts(request, answer.conversation, at=answer.pk))
    response["HX-Retarget"], response["HX-Reswap"] = "#thread", "innerHTML"
    response["HX-Push-Url"] = reverse("conversation", args=[answer.conversation_id])
    return response


def _parts(
    request: SignedIn, thread: Conversation, *, at: UUID | None, until: UUID | None = None, most: int = thread_view.PAGE
) -> dict[str, Any]:
    """A page of the thread, the answer whose evidence is shown, and the list at the left."""
    shown = thread_view.thread(thread, request.user, at=at, until=until, most=most)
    return {
        "conversations": conversation_list.recent(request.user),
        "conversation": thread,
        "thread": shown,
        "selected": shown.answers[-1] if shown.answers else None,
    }


def _nothing_yet(request: SignedIn) -> dict[str, Any]:
    wanted = asked_for.uuid_of(request.GET.get("deleted", ""))
    lately = conversation_list.deleted(request.user) if wanted else []
    return {
        "conversations": conversation_list.recent(request.user),
        "deleted": next((each for each in lately if each.pk == wanted), None),
        "selected": None,
    }


def _page(
    request: SignedIn, thread: Conversation | None, *, form: QuestionForm | None = None, status: int = 200
) -> HttpResponse:
    at, until = (asked_for.uuid_of(request.GET.get(name, "")) for name in ("at", "until"))
    shown = _parts(request, thread, at=at, until=until) if thread is not None else _nothing_yet(request)
    collections = asked_for.choices(request, thread)
    remembered = from_json(thread.filters) if thread is not None and request.method == "GET" else ()
    context: dict[str, Any] = {
        **shown,
        "collections": collections,
        "facets": asked_for.facets(request, collections, remembered),
        "form": form or QuestionForm(),
        "model": language_models.for_composer(
            thread, [row["id"] for row in collections if row["selected"]], picked=request.POST.get("model", "")
        ),
        "quotes_only": _quotes_only(request, thread),
        **private_files.panel(request.user, thread),
        "welcome": samples.welcome(collections) if shown["selected"] is None else None,
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
