"""An answer's way: asked, produced apart from any request, followed by whoever may see it. The one asynchronous seam.

Why apart from the request: a closed tab must not stop it, and two tabs must see the same. `producing.produce` runs as a task of
the server process in a fresh context.
"""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from core import audit
from core.db import in_db
from core.models import User
from rag.domain import events
from rag.domain.conditions import Condition, to_json
from rag.domain.errors import Permanent
from rag.models import Answer, Collection, Conversation
from rag.models.conversation import RUNNING, AnswerState
from rag.services import language_models
from rag.services.private_files import entitle
from rag.services.private_files import has_any as has_files
from rag.services.producing import produce
from rag.services.replay import hub

QUESTION_MOST = 2000  # characters
_running: set[asyncio.Task[None]] = set()


# --- Asking


@transaction.atomic
def open_answer(
    actor: User,
    *,
    question: str,
    conversation: Conversation | None,
    after: Answer | None = None,
    version_of: Answer | None = None,
    collections: Sequence[Collection],
    conditions: Sequence[Condition] = (),
    alone: bool = False,
    quotes_only: bool = False,
    model: str = "",
) -> Answer:
    """A pending answer in the conversation, or in a new one. The caller has checked that all of it is the actor's to use.

    It follows `after` there, or its newest answer; or it stands in the place of `version_of`, which stays reachable.
    Of the collections it asks the documents that fulfil the conditions; the conversation remembers both. `alone`: what was said
    before it does not count in the search. `quotes_only`: no model is asked. `model` is the key of the one that was picked
    for it, "" for the usual one.
    Raises Permanent for an empty or over-long question, when there is nothing to ask, and for a model that is not on offer.
    """
    question = " ".join(question.split())
    if not question:
        raise Permanent(_("Type a question first."))
    if len(question) > QUESTION_MOST:
        raise Permanent(
            _("This question has %(length)d characters; %(most)d is the most.")
            % {"length": len(question), "most": QUESTION_MOST}
        )
    if not collections and not has_files(actor, conversation):
        raise Permanent(_("Choose at least one collection to ask."))
    wanted = language_models.pick(model)
    if conversation is None:
        conversation = Conversation.objects.create(owner=actor, title=question[:200])
    entitle(conversation, question)
    conversation.collections.set(collections)
    conversation.filters = to_json(conditions)
    conversation.quotes_only = quotes_only
    conversation.save(update_fields=["updated", "filters", "quotes_only"])
    answer = Answer.objects.create(
        conversation=conversation,
        after=version_of.after if version_of else after or conversation.answers.order_by("created").last(),
        question=question,
        filters=conversation.filters,
        alone=alone,
        quotes_only=quotes_only,
        wanted_model=wanted,
    )
    audit.record(
        "question.asked",
        actor=actor,
        subject=answer,
        collections=sorted(str(collection.pk) for collection in collections),
        fields=[condition.key for condition in conditions],
        quotes_only=quotes_only,
        model=wanted,
    )
    return answer


def start(answer_id: UUID) -> None:
    """Begins to produce the answer in this process and returns at once; needs a running event loop.

    The fresh context matters: in the request's own, each answer would keep a database connection.
    """
    task = asyncio.get_running_loop().create_task(
        produce(answer_id), name=f"answer-{answer_id}", context=contextvars.Context()
    )
    _running.add(task)
    task.add_done_callback(_running.discard)


async def stop(answer_id: UUID) -> None:
    """Ends a running answer wherever it runs; what was written is kept. The caller has checked whose it is."""
    await in_db(Answer.objects.filter(pk=answer_id, state__in=RUNNING).update, stop_asked=True)
    await hub().ask_to_stop(answer_id)


def sweep_stale() -> int:
    """Ends answers whose process died, with what they had, and says how many. Asking again is the reader's choice."""
    stale = Answer.objects.filter(Q(state__in=RUNNING), Q(lease_until__lt=timezone.now()) | _never_begun())
    return stale.update(
        state=AnswerState.FAILED,
        lease_until=None,
        finished=timezone.now(),
        message=_("The server stopped while this was being answered. Nothing else was lost; ask again."),
    )


def _never_begun() -> Q:
    """Posted, but the process died before it took the lease."""
    return Q(lease_until__isnull=True, created__lt=timezone.now() - timedelta(seconds=60))


# --- Following


async def follow(answer_id: UUID, *, after: str) -> AsyncGenerator[tuple[str, events.Event] | None, None]:
    """The answer's events after the id `after`, to its last one; None as a sign of life while nothing happens.

    Ends as soon as the database says that the answer is over, also when the log was lost. The caller has checked who follows.
    """
    heartbeat = settings.STREAM_HEARTBEAT
    entries = hub().follow(answer_id, after=after, pause=heartbeat)
    try:
        if not await in_db(is_running, answer_id):
            return
        async for entry in entries:
            if entry is None and not await hub().for_all(answer_id, partial(in_db, is_running, answer_id), fresh=1.0):
                return
            yield entry
            if entry is not None and isinstance(entry[1], events.LAST):
                return
    finally:
        await entries.aclose()


def is_running(answer_id: UUID) -> bool:
    """Whether somebody may still write to the answer."""
    return Answer.objects.filter(pk=answer_id, state__in=RUNNING).exists()
