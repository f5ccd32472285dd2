"""One's own conversations: the list of them, finding one, and what is done with one."""

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST

from core.http import SignedIn
from rag.access import conversation_for, deleted_conversation_for
from rag.forms import TitleForm
from rag.services import conversation_list, conversations, sharing
from rag.views.asked import number_of


@require_http_methods(["GET", "POST"])  # what is looked for belongs into no log of addresses
def conversations_page(request: SignedIn) -> HttpResponse:
    """All of one's conversations, those shared with one, and those just deleted; posted words find some of one's own."""
    words = request.POST.get("q", "").strip()[:200]
    found = conversation_list.find(request.user, words) if words else None
    if request.htmx:
        recent = conversation_list.recent(request.user)
        context: dict[str, Any] = {"found": found, "looking": bool(words), "conversations": recent}
        return render(request, "rag/conversations.html#list", context)
    context = {
        "query": words,
        "found": found,
        "page": conversation_list.page(request.user, number_of(request.GET.get("page", "")) or 1),
        "shared": sharing.shared_with(request.user),
        "deleted": conversation_list.deleted(request.user),
    }
    return render(request, "rag/conversations.html", context)


@require_POST
def rename(request: SignedIn, conversation_id: UUID) -> HttpResponse:
    """Gives the conversation another name."""
    thread = conversation_for(request.user, conversation_id)
    form = TitleForm(request.POST)
    if form.is_valid():
        conversations.rename(thread, title=form.cleaned_data["title"])
    return redirect("conversation", thread.pk)


@require_POST
def pin(request: SignedIn, conversation_id: UUID) -> HttpResponse:
    """Keeps the conversation at the top of the list, or no longer."""
    thread = conversation_for(request.user, conversation_id)
    conversations.pin(thread, pinned=request.POST.get("pinned") == "yes")
    return redirect("conversation", thread.pk)


@require_POST
def delete(request: SignedIn, conversation_id: UUID) -> HttpResponse:
    """Deletes the conversation with all its answers; the next page offers to take that back."""
    thread = conversation_for(request.user, conversation_id)
    conversations.delete(request.user, thread)
    return redirect(f"{reverse('ask')}?{urlencode({'deleted': str(thread.pk)})}")


@require_POST
def restore(request: SignedIn, conversation_id: UUID) -> HttpResponse:
    """Takes back that the conversation was deleted."""
    thread = deleted_conversation_for(request.user, conversation_id)
    conversations.restore(request.user, thread)
    return redirect("conversation", thread.pk)
