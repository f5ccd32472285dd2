"""Files dropped into a conversation: added, shown as far as they are read, removed. Its owner's alone."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from core.http import SignedIn
from rag.access import conversation_for, private_file_for
from rag.domain.errors import RagError
from rag.models import Conversation
from rag.services import private_files


@require_POST
def new(request: SignedIn) -> HttpResponse:
    """Opens a conversation with the files of the form."""
    return _taken(request, None)


@require_http_methods(["GET", "POST"])
def files(request: SignedIn, conversation_id: UUID) -> HttpResponse:
    """The conversation's files as far as they are read, for htmx; a POST adds more."""
    found = conversation_for(request.user, conversation_id)
    if request.method == "POST":
        return _taken(request, found)
    return _shown(request, found)


@require_POST
def delete(request: SignedIn, conversation_id: UUID, document_id: UUID) -> HttpResponse:
    """Removes one file at once."""
    found = conversation_for(request.user, conversation_id)
    private_files.remove(request.user, private_file_for(request.user, found.pk, document_id))
    return _shown(request, found)


def _taken(request: SignedIn, thread: Conversation | None) -> HttpResponse:
    """Each file is taken in or refused by itself; what is wrong is said beside the composer."""
    uploads = request.FILES.getlist("file")
    errors = [] if uploads else [_("Choose a file first.")]
    for upload in uploads:
        thread, error = _take(request, thread, upload)
        errors += [error] if error else []
    response = _shown(request, thread, errors)
    if thread is not None and request.htmx:
        response["HX-Push-Url"] = reverse("conversation", args=[thread.pk])
    return response


def _take(
    request: SignedIn, thread: Conversation | None, upload: "UploadedFile[Any]"
) -> tuple[Conversation | None, str]:
    """The conversation that the file is in now, and what is wrong with it."""
    try:
        document = private_files.add(request.user, thread, upload, name=upload.name or "")
    except RagError as error:
        return thread, error.message
    return document.collection.conversation, ""


def _shown(request: SignedIn, thread: Conversation | None, errors: list[str] | None = None) -> HttpResponse:
    if request.htmx:
        return render(request, "rag/private_files.html#files", private_files.panel(request.user, thread, errors or ()))
    for error in errors or ():
        messages.error(request, error)
    return redirect("conversation", thread.pk) if thread is not None else redirect("ask")
