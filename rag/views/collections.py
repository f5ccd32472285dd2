"""Collections: the list, one of them with its documents, and who may use it."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.db.models import Count, Max, Q, Sum
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST

from core.http import SignedIn
from core.models import Team
from rag.access import Need, collection_for, may, principal_of
from rag.backends.parsers import suffixes
from rag.domain.errors import Permanent
from rag.forms import CollectionForm, GrantForm
from rag.models import Collection, Document
from rag.models.index import RunState
from rag.services import bulk, document_view, fields, imports, language_models, library, progress, uploads, validity
from rag.services.document_view import Listing


@require_http_methods(["GET", "POST"])
def collections(request: SignedIn) -> HttpResponse:
    """The collections that one may read, and a new one for whoever manages a team."""
    form = CollectionForm(request.user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        made = library.create_collection(request.user, **form.cleaned_data)
        return redirect("collection", made.pk)
    manages = form.fields["team"].queryset.exists()  # type: ignore[attr-defined]  # a ModelChoiceField
    context = {"collections": _cards(request), "form": form if manages else None}
    return render(request, "rag/collections.html", context, status=422 if form.errors else 200)


def _cards(request: SignedIn) -> list[dict[str, Any]]:
    live = Q(documents__deleted__isnull=True)
    rows = (
        Collection.objects.usable_by(principal_of(request.user), role=Need.READ)
        .annotate(
            total=Count("documents", filter=live),
            ready=Count("documents", filter=live & Q(documents__latest__run__state=RunState.READY)),
            failed=Count("documents", filter=live & Q(documents__latest__run__state=RunState.FAILED)),
            gaps=Count(
                "documents",
                filter=live & Q(documents__latest__run__state=RunState.READY, documents__latest__run__gaps__gt=0),
            ),
            size_bytes=Sum("documents__latest__size", filter=live),
            updated=Max("documents__latest__created", filter=live),
        )
        .prefetch_related("grants__team__memberships")
    )
    return [_card(request, row) for row in rows]


def _card(request: SignedIn, row: Any) -> dict[str, Any]:
    """`row` is a collection with its counts."""
    return {
        "id": row.pk,
        "name": row.name,
        "description": row.description,
        "documents": row.total,
        "ready": row.ready,
        "failed": row.failed,
        "gaps": row.gaps,
        "size_bytes": row.size_bytes or 0,
        "updated": row.updated or row.created,
        "teams": _team_names(request, row),
    }


def _team_names(request: SignedIn, collection: Collection) -> list[str]:
    """The teams of one's own that the collection is shared with; others' names are not one's business (A6)."""
    return sorted(
        grant.team.name
        for grant in collection.grants.all()
        if any(membership.user_id == request.user.pk for membership in grant.team.memberships.all())
    )


@require_http_methods(["GET"])
def collection(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """The documents of a collection; htmx asks for the table alone."""
    found = collection_for(request.user, collection_id, need=Need.READ)
    return page(request, found)


def page(request: SignedIn, found: Collection, *, status: int = 200, **extra: object) -> HttpResponse:
    """The collection's page; `extra` carries forms with errors."""
    context = table(request, found)
    if request.htmx and not extra:
        return render(request, "rag/collection.html#rows", context)
    context |= overview(found, Listing.of(request.GET))
    context["summary"] = progress.sentence(progress.wave(found))
    # What changes from now on is told by the stream of events.
    context["events_url"] = reverse("collection_events", args=[found.pk]) + "?" + request.GET.urlencode()
    context["upkeep"] = validity.upkeep(found)
    context["now"] = f"{timezone.now().timestamp():.3f}"
    if context["may_write"]:
        context |= _incoming(request, found)
    if context["may_manage"]:
        context["grants"] = [
            {"team": grant.team.name, "role": grant.get_role_display(), "team_id": grant.team_id}
            for grant in found.grants.select_related("team")
        ]
        context["grant_form"] = GrantForm(request.user)
        context["models"] = language_models.offered()
        context["grant_url"] = reverse("collection_share", args=[found.pk])
    return render(request, "rag/collection.html", context | extra, status=status)


def table(request: SignedIn, found: Collection) -> dict[str, Any]:
    """One page of the table of documents, as the address asks for it."""
    listing = Listing.of(request.GET)
    documents: Any = listing.one_page(found)
    documents.object_list = document_view.rows(documents.object_list)
    return {
        "collection": found,
        "documents": documents,
        "listing": listing,
        "own_columns": fields.columns(found.pk),
        "columns": {name: listing.sorted_by(name) for name in ("title", "size", "uploaded")},
        "previous_url": listing.address(page=documents.number - 1) if documents.has_previous() else "",
        "next_url": listing.address(page=documents.number + 1) if documents.has_next() else "",
        "here": listing.address(page=documents.number),
        "may_write": may(request.user, found, need=Need.WRITE),
        "may_manage": may(request.user, found, need=Need.MANAGE),
    }


def overview(found: Collection, listing: Listing) -> dict[str, Any]:
    """How many documents are in which state, and the ways to see those alone."""
    counts = document_view.counts(found)
    return {"counts": counts, "filters": document_view.filters(listing, counts)}


def _incoming(request: SignedIn, found: Collection) -> dict[str, Any]:
    """What only those see who may add documents: uploads that broke off, questions left open, the last imports."""
    return {
        "unfinished": uploads.unfinished(request.user, found),
        "undecided": len(uploads.undecided(request.user, found)),
        "imports": imports.recent(found),
        "suffixes": suffixes(),
        "upload_limit": settings.UPLOAD_LIMIT,
        "form_limit": settings.UPLOAD_FORM_LIMIT,
    }


@require_POST
def act(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """Deletes, reads again or stops reading the chosen documents; deleting asks once. `retry_failed` needs no choice."""
    found = collection_for(request.user, collection_id, need=Need.WRITE)
    action, back = request.POST.get("action", ""), found_url(found) + Listing.of(request.POST).address()
    chosen = bulk.chosen(found, request.POST.getlist("document"))
    if action == "retry_failed":
        messages.success(request, bulk.retry_failed(request.user, found))
    elif not chosen:
        messages.error(request, _("Choose some documents first."))
    elif action == "delete" and "sure" not in request.POST:
        return _ask_before_deleting(request, chosen, back)
    elif action in bulk.ACTIONS:
        messages.success(request, bulk.act(request.user, chosen, action))
    return redirect(back)


def _ask_before_deleting(request: SignedIn, chosen: list[Document], back: str) -> HttpResponse:
    kept = [("action", "delete"), ("sure", "yes"), *(("document", str(document.pk)) for document in chosen)]
    title = ngettext("Delete %d document?", "Delete %d documents?", len(chosen)) % len(chosen)
    context = {
        "title": title,
        "sentence": _("All revisions are removed for good. Answers that cite them will say that they are gone."),
        "names": [document.title for document in chosen],
        "kept": kept,
        "action_label": _("Delete"),
        "cancel_url": back,
    }
    return render(request, "rag/confirm.html", context)


@require_POST
def share(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """Lets another of one's teams use the collection."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    form = GrantForm(request.user, request.POST)
    if not form.is_valid():
        return page(request, found, status=422, grant_form=form)
    library.share(request.user, found, **form.cleaned_data)
    return redirect("collection", found.pk)


@require_POST
def unshare(request: SignedIn, collection_id: UUID, team_id: int) -> HttpResponse:
    """Takes a team's leave away."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    team = get_object_or_404(Team, pk=team_id, grants__collection=found)
    try:
        library.unshare(request.user, found, team=team)
    except Permanent as error:
        messages.error(request, error.message)
    return redirect("collections" if not may(request.user, found, need=Need.READ) else found_url(found))


def found_url(found: Collection) -> str:
    """Where a collection is."""
    return reverse("collection", args=[found.pk])


@require_http_methods(["GET", "POST"])
def delete(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """Asks once, then takes the collection out with all its documents."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    if request.method == "POST":
        library.delete_collection(request.user, found)
        messages.success(request, _("“%(name)s” was deleted.") % {"name": found.name})
        return redirect("collections")
    count = Document.objects.live().filter(collection=found).count()
    context = {
        "title": _("Delete “%(name)s”?") % {"name": found.name},
        "sentence": _("Its %(count)d documents are removed for good, and no answer can use them any more.")
        % {"count": count},
        "action_label": _("Delete the collection"),
        "cancel_url": found_url(found),
    }
    return render(request, "rag/confirm.html", context)
