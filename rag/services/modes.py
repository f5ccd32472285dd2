"""Answers without generated sentences: because the question asks for quotes only, or because a collection allows nothing else.

Why it is decided where the answer is produced, and once more before each call of a model: a lock that is set after a question was
posted holds for that question too, and no page, picker or other way in can go around it.
"""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core import audit
from core.models import User
from rag.access import Need, principal_of
from rag.models import Answer, Collection


@transaction.atomic
def lock(actor: User, collection: Collection, *, quotes_only: bool) -> None:
    """From now on no answer from the collection holds a generated sentence, or may again. The caller has checked that `actor`
    manages it."""
    changed = Collection.objects.filter(pk=collection.pk, quotes_only=not quotes_only).update(quotes_only=quotes_only)
    if changed:
        audit.record("collection.quotes_only", actor=actor, subject=collection, quotes_only=quotes_only)


def without_model(answer: Answer) -> bool:
    """Whether no model may be asked for this answer, as things are now; notes on the answer which collections say so."""
    locked = _locks(answer)
    if locked != answer.locked_by:
        answer.locked_by = locked
        Answer.objects.filter(pk=answer.pk).update(locked_by=locked)
    wished: bool = Answer.objects.values_list("quotes_only", flat=True).get(pk=answer.pk)
    return wished or bool(locked)


def _locks(answer: Answer) -> list[str]:
    """The collections that allow no generated sentences, of those asked that the asker may read and of those found in."""
    usable = Collection.objects.usable_by(principal_of(answer.conversation.owner), role=Need.READ)
    asked = Q(pk__in=usable.order_by().values("pk")) & Q(pk__in=answer.conversation.collections.order_by().values("pk"))
    found = Q(pk__in=answer.sources.order_by().values("document__collection"))
    rows = Collection.objects.filter(asked | found, quotes_only=True).order_by("pk")
    return [str(collection) for collection in rows.values_list("pk", flat=True)]


def free_to_repeat(answers: Sequence[Answer]) -> list[Answer]:
    """Those of the answers whose words a model may be shown: none of their passages is from a collection that is locked now."""
    locked = Answer.objects.filter(
        pk__in=[answer.pk for answer in answers], sources__document__collection__quotes_only=True
    )
    barred = set(locked.values_list("pk", flat=True))
    return [answer for answer in answers if answer.pk not in barred]


def locked_among(collections: Iterable[UUID]) -> list[Collection]:
    """Those of these collections that allow no generated sentences."""
    return list(Collection.objects.filter(pk__in=list(collections), quotes_only=True))


def sentences(answers: Sequence[Answer], reader: User) -> Mapping[UUID, str]:
    """Why an answer holds quotes alone, where somebody wanted it so. A collection is named to those who may read it, no others."""
    wanted = {collection for answer in answers for collection in answer.locked_by}
    if not wanted and not any(answer.quotes_only for answer in answers):
        return {}
    usable = Collection.objects.usable_by(principal_of(reader), role=Need.READ).filter(pk__in=wanted)
    names = {str(pk): name for pk, name in usable.values_list("pk", "name")}
    return {answer.pk: _sentence(answer, names) for answer in answers if answer.locked_by or answer.quotes_only}


def _sentence(answer: Answer, names: Mapping[str, str]) -> str:
    if not answer.locked_by:
        return _("Quotes only, as you asked.")
    named = sorted(names[collection] for collection in answer.locked_by if collection in names)
    if not named:
        return _("Quotes only: a collection that was asked allows no generated sentences.")
    told = ngettext(
        "Quotes only: %(names)s allows no generated sentences.",
        "Quotes only: %(names)s allow no generated sentences.",
        len(named),
    )
    return told % {"names": ", ".join(named)}
