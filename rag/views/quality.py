"""The quality page of a collection: its kept questions, and the ranking that they teach."""

import re
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from core.http import SignedIn
from rag.access import Need, collection_for
from rag.domain import evidence
from rag.domain.errors import Permanent
from rag.domain.learning import FEWEST
from rag.forms import QuestionsForm
from rag.models import Collection, Ranker
from rag.models.ranking import RankerKind
from rag.services import field_csv, kept_questions, learning, rankers, thresholds
from rag.services.kept_questions import Taken
from rag.slots import reranker
from rag.views.quality_figures import over_time, standing

_NOT_FOUND = "There is nothing here."
_ID = re.compile(r"[0-9]{1,18}")  # more digits than a database takes are no id
PAGE = 50  # questions
WRONG_MOST = 100  # lines of a file whose faults are shown at once


@require_GET
def page(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """The questions and the ranking of a collection, for whoever manages it."""
    return _page(request, collection_for(request.user, collection_id, need=Need.MANAGE))


def _page(request: SignedIn, found: Collection, *, status: int = 200, **extra: object) -> HttpResponse:
    asked = request.GET.get("page") or 1
    questions = Paginator(kept_questions.of(found), PAGE).get_page(asked)
    learned, reranked = (standing(found, kind) for kind in (RankerKind.WEIGHTS, RankerKind.RERANKER))
    model = reranker()
    context: dict[str, Any] = {
        "collection": found,
        "questions": questions,
        "rows": kept_questions.rows(request.user, list(questions), learned.by_question),
        "count": questions.paginator.count,
        "fewest": FEWEST,
        "enough": kept_questions.of(found).filter(answerable=True).count() >= FEWEST,
        "threshold": thresholds.own(found),
        "shipped": evidence.THRESHOLD,
        "rankings": [learned, reranked] if model or reranked.on else [learned],
        "over_time": over_time(found),
        "reranker": model.name if model else "",
        "form": QuestionsForm(),
    }
    return render(request, "rag/quality.html", context | extra, status=status)


@require_POST
def upload(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """Keeps the questions of a file, and says of each line that is wrong what is."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    given = request.FILES.get("file")
    try:
        if given is None:
            raise Permanent(_("Choose a file first."))
        taken = kept_questions.upload(request.user, found, given.read(field_csv.BYTES_MOST + 1))
    except Permanent as error:
        return _page(request, found, status=422, file_error=error.message)
    if not taken.wrong:
        messages.success(request, _said(taken))
        return redirect("quality", found.pk)
    extra = {"taken": _said(taken), "wrong": taken.wrong[:WRONG_MOST], "wrong_count": len(taken.wrong)}
    return _page(request, found, status=422, **extra)


def _said(taken: Taken) -> str:
    said = ngettext("%(count)d question was added.", "%(count)d questions were added.", taken.questions)
    parts = [said % {"count": taken.questions}]
    if taken.same:
        there = ngettext("%(count)d line was here already.", "%(count)d lines were here already.", taken.same)
        parts.append(there % {"count": taken.same})
    return " ".join(parts)


@require_POST
def delete(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """Asks once, then removes the ticked questions."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    ids = [int(each) for each in request.POST.getlist("question") if _ID.fullmatch(each)]
    chosen = list(kept_questions.of(found).filter(pk__in=ids).values_list("pk", "text"))
    if not chosen:
        messages.error(request, _("Choose some questions first."))
    elif "sure" not in request.POST:
        title = ngettext("Delete %d question?", "Delete %d questions?", len(chosen)) % len(chosen)
        context = {
            "title": title,
            "sentence": _("Nothing learns from them any more. A ranking that is switched on stays as it is."),
            "names": [text for _pk, text in chosen],
            "kept": [("sure", "yes"), *(("question", str(pk)) for pk, _text in chosen)],
            "action_label": _("Delete"),
            "cancel_url": reverse("quality", args=[found.pk]),
        }
        return render(request, "rag/confirm.html", context)
    else:
        count = kept_questions.delete(request.user, found, [pk for pk, _text in chosen])
        said = ngettext("%(count)d question was deleted.", "%(count)d questions were deleted.", count)
        messages.success(request, said % {"count": count})
    return redirect("quality", found.pk)


@require_POST
def learn(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """Has it measured what the questions teach."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    try:
        kind = RankerKind.RERANKER if request.POST.get("kind") == RankerKind.RERANKER else RankerKind.WEIGHTS
        learning.ask_to_learn(request.user, found, kind)
    except Permanent as error:
        messages.error(request, error.message)
    return redirect("quality", found.pk)


@require_POST
def switch(request: SignedIn, collection_id: UUID, ranker_id: int) -> HttpResponse:
    """Switches a measured ranking on, or off, or turns a proposal down."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    ranker = Ranker.objects.filter(collection=found, pk=ranker_id).select_related("collection").first()
    if ranker is None:
        raise Http404(_NOT_FOUND)
    try:
        match request.POST.get("to"):
            case "on":
                rankers.switch_on(request.user, ranker)
                messages.success(request, _("Switched on: from the next search on, passages come in this order."))
            case "off":
                rankers.switch_off(request.user, ranker)
                messages.success(request, _("Switched off: passages come in the order as shipped again."))
            case "no":
                rankers.turn_down(request.user, ranker)
    except Permanent as error:
        messages.error(request, error.message)
    return redirect("quality", found.pk)


@require_POST
def threshold(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """Goes back to the shipped threshold of the evidence."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    thresholds.reset(request.user, found)
    messages.success(request, _("From the next question on, what is refused is decided as shipped."))
    return redirect("quality", found.pk)
