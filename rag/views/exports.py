"""Answers and conversations as files."""

from uuid import UUID

from django.http import Http404, HttpResponse
from django.views.decorators.http import require_GET

from core.http import SignedIn
from rag.access import answer_for, conversation_for
from rag.services import branches
from rag.services.export import files
from rag.views.asked import uuid_of


@require_GET
def answer(request: SignedIn, answer_id: UUID, form: str) -> HttpResponse:
    """One answer as a file."""
    found = answer_for(request.user, answer_id)
    _known(form)
    return _sent(files.export_answer(request.user, found, form))


@require_GET
def conversation(request: SignedIn, conversation_id: UUID, form: str) -> HttpResponse:
    """The branch that is shown, from its first question on, as a file."""
    thread = conversation_for(request.user, conversation_id)
    _known(form)
    branch = branches.tree(thread).branch(uuid_of(request.GET.get("at", "")))
    return _sent(files.export_branch(request.user, thread, branch, form))


def _known(form: str) -> None:
    if form not in files.FORMATS:
        raise Http404("There is nothing here.")


def _sent(export: files.Export) -> HttpResponse:
    response = HttpResponse(export.data, content_type=export.media_type)
    response["Content-Disposition"] = f'attachment; filename="{export.name}"'
    return response
