"""Searching without a model: the same retrieval as for answers, as a page and as JSON."""

import json
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from core.http import SignedIn
from rag.domain.conditions import from_form
from rag.domain.errors import Permanent
from rag.services import search_view
from rag.views import asked


@require_http_methods(["GET", "POST"])
def search(request: SignedIn) -> HttpResponse:
    """The search page; what is searched is posted, for it belongs into no log of addresses."""
    context: dict[str, Any] = {"question": request.POST.get("question", "").strip()}
    status = 200
    if context["question"]:
        scope = asked.scope(
            request.user, asked.uuids(request.POST.getlist("collections")) or None, asked.conditions(request)
        )
        try:
            context["results"] = search_view.results(context["question"], scope)
        except Permanent as error:
            context["error"], status = error.message, 422
    if request.htmx:
        return render(request, "rag/search.html#results", context, status=status)
    context["collections"] = asked.choices(request)
    context["facets"] = asked.facets(request, context["collections"])
    return render(request, "rag/search.html", context, status=status)


@require_POST
def search_json(request: SignedIn) -> JsonResponse:
    """The search as JSON: {"question", "collections"?: [id], "filters"?: {"f.key": [value]}, "limit"?: 1 to 100}.

    Answers {"passages": [...], "enough", "milliseconds"}, passages best first; 400 and {"error"} for what cannot be understood.
    """
    try:
        wanted = _wanted(request)
    except ValueError as error:
        return JsonResponse({"error": str(error)}, status=400)
    scope = asked.scope(request.user, wanted["collections"], from_form(wanted["filters"]))
    try:
        found = search_view.results(wanted["question"], scope, limit=wanted["limit"])
    except Permanent as error:
        return JsonResponse({"error": error.message}, status=400)
    return JsonResponse(_plain(found))


def _wanted(request: SignedIn) -> dict[str, Any]:
    """What the posted JSON asks for. Raises ValueError with a sentence for anything else."""
    try:
        body = json.loads(request.body)
    except ValueError:  # also for bytes that are no text
        raise ValueError(_("The body is not JSON.")) from None
    if not isinstance(body, dict) or not isinstance(body.get("question"), str) or not body["question"].strip():
        raise ValueError(_("The JSON needs a “question” with words in it."))
    collections, filters, limit = body.get("collections"), body.get("filters", {}), body.get("limit", 8)
    if collections is not None and not _texts(collections):
        raise ValueError(_("“collections” must be a list of ids."))
    if not isinstance(filters, dict) or not all(_texts(values) for values in filters.values()):
        raise ValueError(_("“filters” must hold a list of values for each field."))
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 100:
        raise ValueError(_("“limit” must be a number from 1 to 100."))
    ids = None if collections is None else asked.uuids(collections)
    return {"question": body["question"], "collections": ids, "filters": filters, "limit": limit}


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _plain(found: search_view.Results) -> dict[str, Any]:
    passages = [
        {
            "document": str(document.id),
            "title": document.title,
            "collection": str(document.collection_id),
            "heading": list(passage.heading),
            "page": passage.page_label,
            "text": passage.text,
            "url": passage.url,
            "score": round(passage.score, 4),
            "notes": [str(tag.text) for tag in document.tags],
        }
        for document in found.documents
        for passage in (*document.passages, *document.more)
    ]
    passages.sort(key=lambda passage: -float(str(passage["score"])))
    return {"passages": passages, "enough": found.enough, "milliseconds": round(found.milliseconds, 1)}
