"""The part of a reading that a language model has: one bounded call for each few passages, in the model's queue like any question."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

from asgiref.sync import async_to_sync
from django.utils.translation import gettext as _

from core.db import in_db
from rag.backends.llms.base import LLM
from rag.domain import events, exhaustive
from rag.domain.errors import Permanent
from rag.domain.exhaustive import Judged
from rag.domain.types import Source, StopReason
from rag.models import Collection, WholeReading
from rag.services import language_models, turns
from rag.services.replay import hub

REPLY_TOKENS = 400  # a sentence of each of six passages is about 200


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model said of some passages: groups of them in order, each with the reply to it."""

    groups: Sequence[tuple[int, str]]  # how many passages, and the reply
    provider: str
    model: str
    digest: str

    def verdicts(self, judged: Sequence[Judged]) -> list[Judged]:
        """The passages with the model's verdict: as far as it copied a sentence that stands there."""
        found: list[Judged] = []
        for size, reply in self.groups:
            found += exhaustive.by_model(judged[len(found) : len(found) + size], reply)
        return found


def is_connected(collections: Sequence[Collection]) -> bool:
    """Whether a model could be asked about documents of these collections; asks no server."""
    return language_models.usual(language_models.offered(), collections) is not None


def ask(reading: WholeReading, collections: Sequence[Collection], sources: Sequence[Source]) -> Asked | None:
    """What the model of these collections says of the passages; None where none is connected any more. Holds no database connection
    while the model thinks. Raises RagError when it cannot be asked."""
    return async_to_sync(_ask)(reading.pk, str(reading.owner_id), reading.question, collections, sources)


async def _ask(
    reading_id: UUID, asker: str, question: str, collections: Sequence[Collection], sources: Sequence[Source]
) -> Asked | None:
    offer = await in_db(lambda: language_models.usual(language_models.offered(), collections))
    if offer is None:
        return None
    model = await language_models.ready(offer)
    room = model.context_tokens - REPLY_TOKENS
    groups = exhaustive.groups(question, sources, room=room, count_tokens=model.count_tokens)
    replies = []
    try:
        for group in groups:
            async with turns.turn(model, f"reading-{reading_id}", asker=asker, told=_unheard, background=True):
                replies.append((len(group), await _reply(model, question, group)))
    finally:
        await hub().close()  # its event loop ends with this call
    return Asked(replies, model.provider, model.name, model.digest)


async def _unheard(event: events.Event) -> None:
    """Nobody looks at the queue of a reading: its tiles wait."""


async def _reply(model: LLM, question: str, group: Sequence[Source]) -> str:
    prompt = exhaustive.prompt_for(question, group)
    text: list[str] = []
    stopped: StopReason | None = None
    async with aclosing(turns.patiently(model, prompt, max_tokens=REPLY_TOKENS, told=_unheard)) as deltas:
        async for delta in deltas:
            text.append(delta.text)
            stopped = delta.stop or stopped
            if sum(map(len, text)) > 16 * REPLY_TOKENS:  # a server that does not keep to the limit
                break
    if stopped is None and not "".join(text).strip():
        raise Permanent(_("The model ended without writing anything."))
    return "".join(text)
