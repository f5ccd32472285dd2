"""Which document is in force: first days, reviews, successors, and what looks like one.

Read anew wherever it matters (a search, an answer, a page), by SQL and today's date: nothing about it is stored with an index.
A successor takes a document's place from the successor's own first day on, not before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from django.core.cache import cache
from django.db import transaction
from django.db.models import Count, Max, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from core import audit
from core.models import Membership, Role, User
from rag.domain import lookalikes, marks
from rag.domain.errors import Permanent
from rag.models import Collection, Document, Unrelated
from rag.models.index import RunState
from rag.models.library import DocumentQuerySet

SUGGESTIONS_MOST = 50  # pairs shown of one collection
COMPARED_MOST = 20_000  # documents of a collection that are compared by name, the newest first: under a second
_HOUR = 3600


# --- Who is in force


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a document counts today: `successor` is the live document that has its place, `starts` a first day to come,
    `due` the day by which it should have been looked at again."""

    successor: Document | None = None
    starts: date | None = None
    due: date | None = None

    @property
    def in_force(self) -> bool:
        return self.successor is None and self.starts is None


def standings(documents: Iterable[Document]) -> Mapping[UUID, Standing]:
    """How each of these documents stands today, in two queries or few more where successors have successors."""
    today = timezone.localdate()
    asked = {document.pk: document for document in documents}
    heirs = _heirs(asked.values(), today)
    return {
        pk: Standing(
            successor=heirs.get(pk),
            starts=document.valid_from if document.valid_from and document.valid_from > today else None,
            due=document.review_by if document.review_by and document.review_by <= today else None,
        )
        for pk, document in asked.items()
    }


def _heirs(documents: Iterable[Document], today: date) -> Mapping[UUID, Document]:
    """Who has each document's place in the end: the last successor that is live and in force."""
    known: dict[UUID, Document] = {}
    wanted = {document.superseded_by_id for document in documents if document.superseded_by_id}
    while wanted:
        rows = Document.objects.live().filter(Q(valid_from__isnull=True) | Q(valid_from__lte=today), pk__in=wanted)
        found = {row.pk: row for row in rows}
        known |= found
        wanted = {row.superseded_by_id for row in found.values() if row.superseded_by_id} - known.keys()
    heirs: dict[UUID, Document] = {}
    for document in documents:
        last, passed = document, {document.pk}
        while last.superseded_by_id in known and last.superseded_by_id not in passed:
            last = known[last.superseded_by_id]
            passed.add(last.pk)
        if last is not document:
            heirs[document.pk] = last
    return heirs


def left_out(question: str, collections: Iterable[UUID]) -> frozenset[UUID]:
    """The documents of these collections that do not answer this question, because others are in force.

    Superseded ones, and those whose first day is to come. A question for an older version by its year, date or number is
    answered by that one, not by what took its place; one for "the previous version" by all that are or were in force.
    """
    today = timezone.localdate()
    asked = Document.objects.filter(collection_id__in=collections, deleted__isnull=True).order_by()
    coming = frozenset(asked.not_yet_in_force(today).values_list("id", flat=True))
    superseded = {row.pk: row for row in asked.superseded(today).select_related("superseded_by")}
    if not superseded or marks.asks_for_the_past(question):
        return coming
    wanted = {
        pk
        for pk, row in superseded.items()
        if row.superseded_by and marks.asks_for(question, _called(row), _called(row.superseded_by))
    }
    heirs = {heir.pk for heir in _line_of(wanted, superseded)}
    return coming | (superseded.keys() - wanted) | (heirs - wanted)


def _called(document: Document) -> str:
    """A document's title, path and first day: where its year, date or version stands."""
    return f"{document.title} ; {document.path} ; {document.valid_from or ''}"


def _line_of(wanted: Iterable[UUID], superseded: Mapping[UUID, Document]) -> Iterable[Document]:
    """Every document that took the place of one of these, one after another."""
    for pk in wanted:
        passed = {pk}
        while (row := superseded.get(pk)) is not None and row.superseded_by is not None:
            pk = row.superseded_by.pk
            if pk in passed:
                break
            passed.add(pk)
            yield row.superseded_by


# --- What people say of it


@transaction.atomic
def change(
    actor: User,
    document: Document,
    *,
    owner: User | None,
    valid_from: date | None,
    review_by: date | None,
    superseded_by: Document | None,
) -> bool:
    """Writes who answers for the document, from when it holds, when it is to be looked at, and what has its place; whether that
    was new. The caller has checked that `actor` may write to it.

    Raises Permanent for a successor that the document itself has succeeded, or a review before the first day.
    """
    Collection.objects.select_for_update().get(pk=document.collection_id)
    if valid_from and review_by and review_by < valid_from:
        raise Permanent(_("The review lies before the first day."))
    _check_successor(document, superseded_by)
    wanted = {
        "owner_id": owner.pk if owner else None,
        "valid_from": valid_from,
        "review_by": review_by,
        "superseded_by_id": superseded_by.pk if superseded_by else None,
    }
    changed = {name: value for name, value in wanted.items() if getattr(document, name) != value}
    if not changed:
        return False
    Document.objects.filter(pk=document.pk).update(**changed)
    audit.record(
        "document.validity_changed",
        actor=actor,
        subject=document,
        **{name: None if value is None else str(value) for name, value in changed.items()},
    )
    return True


def _check_successor(document: Document, successor: Document | None) -> None:
    if successor is None:
        return
    if successor.collection_id != document.collection_id or successor.deleted is not None:
        raise Permanent(_("Choose a document of the same collection."))
    last, passed = successor, set[UUID]()
    while True:
        if last.pk == document.pk:
            raise Permanent(_("These two would replace each other. One of them has to be the newer."))
        if last.superseded_by is None or last.pk in passed:
            return
        passed.add(last.pk)
        last = last.superseded_by


def possible_owners(collection: Collection) -> list[User]:
    """The people who may write to the collection: one of them answers for each document."""
    members = Membership.objects.filter(
        role__gte=Role.CONTRIBUTOR,
        user__is_active=True,
        team__grants__collection=collection,
        team__grants__role__gte=Role.CONTRIBUTOR,
    )
    return list(User.objects.filter(pk__in=members.values("user")).order_by("username"))


def possible_successors(document: Document) -> DocumentQuerySet:
    """The other live documents of its collection that lie in no other file."""
    others = Document.objects.live().filter(collection=document.collection_id, parent__isnull=True)
    return others.exclude(pk=document.pk).order_by("title", "path")


def due(collection: Collection) -> DocumentQuerySet:
    """The collection's documents whose review was due, the longest overdue first."""
    found = Document.objects.due_for_review(timezone.localdate()).filter(collection=collection)
    return found.select_related("owner").order_by("review_by", "title")


# --- What looks like a newer version


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Does `newer` replace `older`?"""

    newer: Document
    older: Document


def suggestions_for(document: Document) -> list[Suggestion]:
    """The documents that this one seems to replace, or to be replaced by."""
    return [pair for pair in suggestions(document.collection) if document.pk in (pair.newer.pk, pair.older.pk)]


def suggestions(collection: Collection) -> list[Suggestion]:
    """Pairs of documents of which one seems to replace the other, less those that people decided about; newest first."""
    pairs = _pairs(collection)
    if not pairs:
        return []
    wanted = {pk for pair in pairs for pk in pair}
    rows = Document.objects.live().filter(pk__in=wanted, collection=collection, superseded_by__isnull=True)
    documents = {row.pk: row for row in rows.select_related("latest", "collection")}
    told = set(Unrelated.objects.filter(first__in=documents, second__in=documents).values_list("first_id", "second_id"))
    found = [
        Suggestion(documents[newer], documents[older])
        for newer, older in pairs
        if newer in documents and older in documents and _ordered(newer, older) not in told
    ]
    return found[:SUGGESTIONS_MOST]


def _pairs(collection: Collection) -> Sequence[tuple[UUID, UUID]]:
    """(newer, older) by name; computed once for each state of the collection."""
    live = Document.objects.live().filter(collection=collection, parent__isnull=True)
    # Titles change when a revision is read; paths never do.
    state = live.aggregate(count=Count("pk"), newest=Max("created"), uploaded=Max("latest"), read=Max("current"))
    key = f"lookalikes:{collection.pk}:{'-'.join(str(value).replace(' ', '_') for value in state.values())}"
    found: Sequence[tuple[UUID, UUID]] | None = cache.get(key)
    if found is None:
        rows = live.order_by("-created", "-id").values_list("pk", "path", "title")[:COMPARED_MOST]
        found = list({_ordered(*pair): pair for pair in _compare(list(rows))}.values())
        cache.set(key, found, _HOUR)
    return found


def _compare(rows: Sequence[tuple[UUID, str, str]]) -> Iterable[tuple[UUID, UUID]]:
    """Documents with those that their name or their title is a newer version of; rows are newest first."""
    for place in (1, 2):
        alike: dict[frozenset[str], list[tuple[UUID, lookalikes.Name]]] = {}
        for row in rows:
            name = PurePosixPath(row[1]).stem if place == 1 else row[2]
            read = lookalikes.read(name)
            alike.setdefault(read.words, []).append((row[0], read))
        for same in alike.values():
            # Twenty of one name are a series of some kind, not twenty versions.
            if 1 < len(same) <= 20:
                yield from _versions(same)


def _versions(same: Sequence[tuple[UUID, lookalikes.Name]]) -> Iterable[tuple[UUID, UUID]]:
    taken: set[UUID] = set()
    for (late, late_name), (early, early_name) in combinations(same, 2):
        if not lookalikes.alike(late_name, early_name):
            continue
        turned = lookalikes.newer(late_name, early_name) is lookalikes.Order.SECOND
        newer, older = (early, late) if turned else (late, early)
        if older not in taken:
            taken.add(older)
            yield newer, older


def _ordered(one: UUID, other: UUID) -> tuple[UUID, UUID]:
    return (one, other) if one.hex < other.hex else (other, one)


@transaction.atomic
def accept(actor: User, *, newer: Document, older: Document) -> None:
    """`newer` takes the place of `older` from its first day on. Raises Permanent where that cannot be."""
    _check_successor(older, newer)
    Document.objects.filter(pk=older.pk).update(superseded_by=newer)
    audit.record("document.superseded", actor=actor, subject=older, by=str(newer.pk))


def dismiss(actor: User, *, newer: Document, older: Document) -> None:
    """Neither replaces the other, and nobody is asked again."""
    first, second = _ordered(newer.pk, older.pk)
    with transaction.atomic():
        _pair, made = Unrelated.objects.get_or_create(first_id=first, second_id=second)
        if made:
            audit.record("document.told_apart", actor=actor, subject=older, other=str(newer.pk))


# --- As a reader is told


@dataclass(frozen=True, slots=True)
class Tag:
    """A few words about a document or a source, the more pressing in `tone` "warn"; `url` leads to what they speak of."""

    text: str
    url: str = ""
    tone: str = "warn"


def tags(standing: Standing) -> list[Tag]:
    """What is to be said of a document that is not plainly in force."""
    found = []
    if standing.successor is not None:
        title, url = standing.successor.title, reverse("document", args=[standing.successor.pk])
        found.append(Tag(_("superseded by “%(title)s”") % {"title": title}, url))
    if standing.starts is not None:
        found.append(Tag(_("not in force before %(day)s") % {"day": date_format(standing.starts)}))
    if standing.due is not None:
        found.append(Tag(_("review was due %(day)s") % {"day": date_format(standing.due)}, tone="plain"))
    return found


def revision_tags(document: Document, number: int) -> list[Tag]:
    """What is to be said of the words of revision `number`: a newer one is there, or was sent and could not be read.

    The document comes with `current` and `latest__run`.
    """
    url = reverse("document", args=[document.pk])
    if document.current is not None and document.current.number > number:
        said = _("revision %(number)d; revision %(newer)d is newer")
        return [Tag(said % {"number": number, "newer": document.current.number}, url)]
    failed = unread_revision(document)
    if failed:
        return [
            Tag(
                _("revision %(newer)d could not be read; this is %(number)d") % {"newer": failed, "number": number},
                url,
                "plain",
            )
        ]
    return []


def unread_revision(document: Document) -> int:
    """The number of the latest revision where it could not be read and answers use an older one; otherwise 0."""
    latest, current = document.latest, document.current
    if latest is None or current is None or latest.number <= current.number:
        return 0
    run = getattr(latest, "run", None)
    return latest.number if run is not None and run.state in (RunState.FAILED, RunState.CANCELLED) else 0


def notices(document: Document) -> list[Tag]:
    """What a document's own page says of its standing, as sentences' beginnings: its tags, and a revision that was not read."""
    found = tags(standings([document])[document.pk])
    if (failed := unread_revision(document)) and document.current is not None:
        said = _("Revision %(newer)d could not be read; answers use revision %(number)d.")
        found.append(Tag(said % {"newer": failed, "number": document.current.number}))
    return found


def standing_panel(document: Document) -> dict[str, Any]:
    """What a document's own page shows of its standing."""
    return {
        "document": document,
        "notices": notices(document),
        "suggestions": suggestions_for(document),
        "replaces": list(document.supersedes.filter(deleted__isnull=True).order_by("title")),
    }


def upkeep(collection: Collection) -> dict[str, int]:
    """How many documents of a collection are due for review, and how many look like versions of others."""
    return {"due": due(collection).count(), "suggestions": len(suggestions(collection))}
