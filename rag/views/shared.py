"""Conversations that others may read."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from core.http import SignedIn
from rag.access import conversation_for, shared_conversation_for
from rag.domain.errors import Permanent
from rag.forms import ShareForm
from rag.services import branches, sharing
from rag.views.asked import choices, number_of, uuid_of


@require_http_methods(["GET", "POST"])
def share(request: SignedIn, conversation_id: UUID) -> HttpResponse:
    """Whom the conversation is shared with, and sharing the branch that was shown with somebody more."""
    thread = conversation_for(request.user, conversation_id)
    given = request.POST if request.method == "POST" else request.GET
    branch = branches.tree(thread).branch(uuid_of(given.get("at", "")))
    form = ShareForm(request.user, request.POST if request.method == "POST" else None)
    if request.method == "POST" and branch and form.is_valid():
        try:
            for other in form.chosen():
                sharing.share(request.user, thread, thread.answers.get(pk=branch[-1]), other=other)
        except Permanent as error:
            messages.error(request, error.message)
        return redirect("conversation_share", thread.pk)
    shares = sharing.shares_of(thread)
    tip = branch[-1] if branch else None
    context = {"conversation": thread, "form": form, "shares": shares, "tip": tip, "questions": len(branch)}
    return render(request, "rag/share.html", context, status=422 if form.is_bound else 200)


@require_POST
def unshare(request: SignedIn, conversation_id: UUID, share_id: int) -> HttpResponse:
    """Takes one share back."""
    thread = conversation_for(request.user, conversation_id)
    sharing.unshare(request.user, thread, share_id)
    return redirect("conversation_share", thread.pk)


@require_GET
def shared(request: SignedIn, conversation_id: UUID) -> HttpResponse:
    """Somebody else's conversation, to be read; one's own is shown as such."""
    thread = shared_conversation_for(request.user, conversation_id)
    if thread.owner_id == request.user.pk:
        return redirect("conversation", thread.pk)
    found = sharing.opened(request.user, thread, page=number_of(request.GET.get("page", "")))
    own = {collection["id"] for collection in choices(request)}
    collections = [each for each in thread.collections.values_list("pk", flat=True) if each in own]
    context = {"shared": found, "collections": collections, "ask_url": reverse("ask")}
    return render(request, "rag/shared.html", context)
