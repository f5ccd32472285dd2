"""Which collections a form asks, and by which of their own fields: read from the form, and shown in it."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Count, Q

from core.http import SignedIn
from core.models import User
from rag.access import Need, principal_of, scope_for, scope_for_all
from rag.domain.conditions import Condition, from_form
from rag.domain.types import Scope
from rag.models import Collection, Conversation
from rag.models.index import RunState
from rag.services import fields


def collections(request: SignedIn, thread: Conversation | None = None) -> list[Collection]:
    """The ticked collections, of those one may read; without a choice, those of the conversation, or all."""
    usable = Collection.objects.usable_by(principal_of(request.user), role=Need.READ)
    ticked = uuids(request.POST.getlist("collections"))
    if ticked:
        return list(usable.filter(id__in=ticked))
    if thread is not None:
        return list(usable.filter(id__in=thread.collections.values("id")))
    return list(usable)


def scope(user: User, ticked: Sequence[UUID] | None, wanted: Sequence[Condition]) -> Scope:
    """What a search asks: the ticked collections, of those one may read, or all of them where None; narrowed by each condition."""
    if ticked is None:
        return scope_for_all(user, wanted)
    return scope_for(user, asked=ticked, conditions=wanted)


def conditions(request: SignedIn) -> tuple[Condition, ...]:
    """The filters that were posted."""
    return from_form(dict(request.POST.lists()))


def choices(request: SignedIn, thread: Conversation | None = None) -> list[dict[str, Any]]:
    """The collections one may ask, with how many documents are found by their words already, and which are ticked."""
    live = Q(documents__deleted__isnull=True)
    rows: Any = Collection.objects.usable_by(principal_of(request.user), role=Need.READ).annotate(
        total_count=Count("documents", filter=live),
        ready_count=Count(
            "documents", filter=live & Q(documents__latest__run__state__in=(RunState.READY, RunState.EMBEDDING))
        ),
    )
    ticked = set(uuids(request.POST.getlist("collections") or request.GET.getlist("collection")))
    if not ticked and thread is not None:
        ticked = set(thread.collections.values_list("id", flat=True))
    return [
        {
            "id": row.pk,
            "name": row.name,
            "quotes_only": row.quotes_only,
            "selected": not ticked or row.pk in ticked,
            "ready_count": row.ready_count,
            "total_count": row.total_count,
        }
        for row in rows
    ]


def facets(
    request: SignedIn, offered: list[dict[str, Any]], otherwise: tuple[Condition, ...] = ()
) -> list[fields.Facet]:
    """The fields of the ticked ones of the collections that are `offered`, with what was chosen just now or `otherwise`."""
    asked = [collection["id"] for collection in offered if collection["selected"]]
    given = from_form(dict((request.POST if request.method == "POST" else request.GET).lists()))
    return fields.facets(scope_for(request.user, asked=asked), given or otherwise)


def uuid_of(text: str) -> UUID | None:
    """The id that the text is, or None."""
    return next(iter(uuids([text])), None)


def number_of(text: str) -> int:
    """The whole number that the text is, or 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def uuids(texts: Iterable[str]) -> list[UUID]:
    """Those of the texts that are ids; anything else asks for nothing."""
    found = []
    for text in texts:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found
