"""Where else an answer may stand: collections that the asker may read and did not ask. A wrong pick must not look like an absence."""

from collections.abc import Collection as Container
from collections.abc import Sequence
from uuid import UUID

from core.models import Role, User
from rag.access import principal_of, scope_for
from rag.domain.types import Source
from rag.models import Answer, Collection
from rag.models.conversation import AnswerState
from rag.services import quoting, retrieve, thresholds

NAMED_MOST = 3  # collections that a refusal names


def look(asker: User, question: str, asked: Container[UUID]) -> tuple[list[UUID], list[Source]]:
    """At most `NAMED_MOST` collections, best first, whose passages answer the question as far as evidence goes, and the passages
    that were looked at. Nothing is searched that the asker may not read now."""
    readable = Collection.objects.usable_by(principal_of(asker), role=Role.READER).values_list("pk", flat=True)
    others = [collection for collection in readable if collection not in asked]
    if not others:
        return [], []
    found = retrieve.search(question, scope_for(asker, asked=others)).sources
    named: list[UUID] = []
    for collection in dict.fromkeys(source.collection_id for source in found):
        own = [source for source in found if source.collection_id == collection]
        if quoting.quoted(question, own).likelihood >= thresholds.threshold_of(collection):
            named.append(collection)
        if len(named) == NAMED_MOST:
            break
    return named, found


def named(answers: Sequence[Answer], reader: User) -> dict[UUID, list[tuple[UUID, str]]]:
    """The collections that each of the reader's own refused answers names, with their names: those that they may read now."""
    refused = [answer for answer in answers if answer.elsewhere and answer.state == AnswerState.REFUSED]
    if not refused:
        return {}
    principal = principal_of(reader)
    mine = set(Answer.objects.of(principal).filter(pk__in=[each.pk for each in refused]).values_list("pk", flat=True))
    wanted = {UUID(collection) for answer in refused for collection in answer.elsewhere}
    usable = Collection.objects.usable_by(principal, role=Role.READER).filter(pk__in=wanted)
    names = dict(usable.values_list("pk", "name"))
    return {
        answer.pk: [(pk, names[pk]) for pk in map(UUID, answer.elsewhere) if pk in names]
        for answer in refused
        if answer.pk in mine
    }
