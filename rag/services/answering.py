"""An answer's way: asked, produced apart from any request, followed by whoever may see it. The one asynchronous seam.

Why apart from the request: a closed tab must not stop it, and two tabs must see the same. `produce` runs as a task of the server
process in a fresh context, under a lease; its events go to the replay log, its result to the database.
"""

import asyncio
import contextvars
import hashlib
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from core import audit
from core.db import in_db
from core.models import User
from rag.access import scope_for
from rag.backends.llms.base import LLM
from rag.config import rag_config
from rag.domain import citations, events, prompting, support
from rag.domain.conditions import Condition, from_json, to_json
from rag.domain.conflicts import conflicts
from rag.domain.errors import Permanent, RagError
from rag.domain.extracts import Quote
from rag.domain.followups import Turn
from rag.domain.types import Delta, Message, Source, StopReason
from rag.models import Answer, AnswerSource, Citation, Collection, Conversation, Sentence
from rag.models.conversation import EXTRACTIVE, RUNNING, AnswerState
from rag.services import quoting, retrieve
from rag.services.answer_view import HISTORY_TURNS, readable_history, readable_words
from rag.services.leases import Lease, LeaseLost
from rag.services.models_admin import ready_llm
from rag.services.replay import Log, hub

log = structlog.get_logger(__name__)

QUESTION_MOST = 2000  # characters
TURNS = 8  # earlier questions among which a follow-up's topic is looked for
_running: set[asyncio.Task[None]] = set()


# --- Asking


@transaction.atomic
def open_answer(
    actor: User,
    *,
    question: str,
    conversation: Conversation | None,
    collections: Sequence[Collection],
    conditions: Sequence[Condition] = (),
    alone: bool = False,
) -> Answer:
    """A pending answer in the conversation, or in a new one. The caller has checked that all of it is the actor's to use.

    Of the collections it asks the documents that fulfil the conditions; the conversation remembers both. `alone`: what was said
    before it does not count in the search.
    Raises Permanent for an empty or over-long question, or when there is nothing to ask.
    """
    question = " ".join(question.split())
    if not question:
        raise Permanent(_("Type a question first."))
    if len(question) > QUESTION_MOST:
        raise Permanent(
            _("This question has %(length)d characters; %(most)d is the most.")
            % {"length": len(question), "most": QUESTION_MOST}
        )
    if not collections:
        raise Permanent(_("Choose at least one collection to ask."))
    if conversation is None:
        conversation = Conversation.objects.create(owner=actor, title=question[:200])
    conversation.collections.set(collections)
    conversation.filters = to_json(conditions)
    conversation.save(update_fields=["updated", "filters"])
    answer = Answer.objects.create(
        conversation=conversation, question=question, filters=conversation.filters, alone=alone
    )
    audit.record(
        "question.asked",
        actor=actor,
        subject=answer,
        collections=sorted(str(collection.pk) for collection in collections),
        fields=[condition.key for condition in conditions],
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


# --- Producing


@dataclass
class _Job:
    """All that is read from the database before anything slow happens."""

    answer: Answer
    question: str
    sources: list[Source]
    enough: bool
    history: list[Message]
    quotes: list[Quote]
    timings: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A finished sentence with the sources it cites, and what the check against them said."""

    text: str
    numbers: tuple[int, ...]
    paragraph: bool
    check: support.Support


@dataclass
class _Written:
    """What has been written so far; kept whatever the ending is."""

    text: str = ""
    sentences: list[_Sentence] = field(default_factory=list)
    cut_off: bool = False


async def produce(answer_id: UUID) -> None:
    """Brings a pending answer to its end. Returns quietly when another process has it."""
    lease = await in_db(_claim, answer_id)
    if lease is None:
        return
    writer = Log(hub().client, answer_id, lease.attempt)
    written = _Written()
    keeper = asyncio.create_task(_keep(lease, written, answer_id))
    try:
        ending = await _until_stopped(answer_id, lease, writer, written)
        await _tell(writer, ending)
    except LeaseLost:
        log.info("answer.lease_lost", answer=str(answer_id))
    finally:
        keeper.cancel()


def _claim(answer_id: UUID) -> Lease | None:
    return Lease.take(Answer, answer_id, Q(state__in=RUNNING), state=AnswerState.ANSWERING)


async def _keep(lease: Lease, written: _Written, answer_id: UUID) -> None:
    """Renews the lease and saves what was written so far; sees a stop that was asked while Redis was away."""
    try:
        while True:
            await asyncio.sleep(rag_config().lease_seconds / 12)
            await in_db(lease.write, text=written.text)
            if await in_db(Answer.objects.filter(pk=answer_id, stop_asked=True).exists):
                await hub().ask_to_stop(answer_id)
    except LeaseLost:
        await hub().ask_to_stop(answer_id)


async def _until_stopped(answer_id: UUID, lease: Lease, writer: Log, written: _Written) -> events.Event:
    """Does the work or ends it when the reader says stop; stores whatever came out; the event that tells of it."""
    async with hub().stopper(answer_id) as stopped:
        hub().start()
        work = asyncio.create_task(_work(answer_id, lease, writer, written))
        stopping = asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            # Once is not enough: a cancellation that meets a finished read in a client library can be swallowed there, and
            # the model would be read on to its end (seen about one time in ten).
            while not work.done():
                work.cancel()
                await asyncio.wait({work}, timeout=0.25)
    state, event, message = _ending(work)
    await in_db(_finish, lease, state, message, written)
    return event


def _ending(work: "asyncio.Task[events.Event]") -> tuple[AnswerState, events.Event, str]:
    if work.cancelled():
        return AnswerState.STOPPED, events.Stopped(), ""
    error = work.exception()
    if error is None:
        event = work.result()
        state = AnswerState.REFUSED if isinstance(event, events.Refused) else AnswerState.FINISHED
        return state, event, ""
    if isinstance(error, RagError):
        return AnswerState.FAILED, events.Failed(error.message), error.message
    if isinstance(error, LeaseLost):
        raise error
    log.error("answer.failed", exc_info=error)
    message = _("Something went wrong while answering. Nothing was lost; ask again, or tell your administrator.")
    return AnswerState.FAILED, events.Failed(message), message


async def _work(answer_id: UUID, lease: Lease, writer: Log, written: _Written) -> events.Event:
    started = time.perf_counter()
    job = await in_db(_gather, answer_id, lease)
    await _tell(writer, events.Sources(len(job.sources)))
    job.timings["sources"] = _since(started)
    await in_db(lease.write, timings=job.timings)
    if not job.enough:
        return events.Refused()
    # Side by side: the quotes are computed here, the model reads its prompt elsewhere.
    quoting_task = asyncio.create_task(_quote(job, lease, writer))
    try:
        model = await ready_llm()
        refused = False
        if model is None:
            await quoting_task
            _compose_extract(job, written)
            await in_db(lease.write, provider=EXTRACTIVE)
            refused = not job.quotes
        else:
            refused = await _ask_model(model, job, lease, writer, written)
    finally:
        # Whatever becomes of the model, the quotes are kept and shown.
        await quoting_task
        found = await asyncio.to_thread(conflicts, _statements(job, written), job.sources)
        timings = job.timings | {"total": _since(started)}
        await in_db(lease.write, timings=timings, cut_off=written.cut_off, conflicts=found)
    return events.Refused() if refused else events.Finished()


def _statements(job: _Job, written: _Written) -> list[tuple[int, str]]:
    """What the answer asserts, each with the number of the source that carries it."""
    texts = {source.number: source.text for source in job.sources}
    quoted = [(quote.number, texts[quote.number][quote.start : quote.end]) for quote in job.quotes]
    carried = [
        (sentence.numbers[sentence.check.passage], sentence.text)
        for sentence in written.sentences
        if sentence.check.verdict is support.Verdict.SUPPORTED and sentence.check.passage is not None
    ]
    return quoted + carried


async def _quote(job: _Job, lease: Lease, writer: Log) -> None:
    """Finds, stores and tells of the verbatim sentences."""
    started = time.perf_counter()
    job.quotes = await in_db(quoting.best_quotes, job.question, job.sources)
    job.timings["quotes"] = _since(started)
    await in_db(_store_quotes, lease, job)
    await _tell(writer, events.Extract(len(job.quotes)))


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


def _gather(answer_id: UUID, lease: Lease) -> _Job:
    """Searches as the asker may now, not as when the question was posted, and pins what was found."""
    answer = Answer.objects.select_related("conversation__owner").get(pk=answer_id)
    asker = answer.conversation.owner
    before = Answer.objects.filter(conversation=answer.conversation, created__lt=answer.created).order_by("created")
    earlier = list(before.exclude(pk=answer.pk))
    asked = list(answer.conversation.collections.values_list("id", flat=True))
    scope = scope_for(asker, asked=asked, conditions=from_json(answer.filters))
    # Asked again, a question does not follow itself.
    said = [] if answer.alone else [other for other in earlier if other.question != answer.question][-TURNS:]
    turns = _turns(asker, said)
    found = retrieve.search(answer.question, scope, turns=turns)
    together = [turn.question for turn in reversed(turns) if turn.question in found.earlier]
    with lease.guarded():
        AnswerSource.objects.filter(answer=answer).delete()
        Sentence.objects.filter(answer=answer).delete()
        AnswerSource.objects.bulk_create(_pinned(answer, source) for source in found.sources)
        lease.write(standalone=found.standalone, together=together, text="", quotes=[])
        audit.record(
            "question.searched",
            actor=asker,
            subject=answer,
            documents=sorted({str(source.document_id) for source in found.sources}),
        )
    history = readable_history(asker, earlier[-HISTORY_TURNS:])
    enough = bool(found.sources) and found.evidence.enough
    return _Job(answer, found.standalone, found.sources, enough, history, [], dict(found.timings))


def _turns(asker: User, earlier: Sequence[Answer]) -> list[Turn]:
    """The questions before, and what of the last answer the asker may read now."""
    return [Turn(answer.question, readable_words(asker, answer) if answer is earlier[-1] else "") for answer in earlier]


def _pinned(answer: Answer, source: Source) -> AnswerSource:
    return AnswerSource(
        answer=answer,
        number=source.number,
        document_id=source.document_id,
        extraction_id=source.extraction_id,
        revision=source.revision,
        chunk_id=source.chunk_id,
        page_from=source.page_from,
        page_to=source.page_to,
        page_label=source.page_label,
        heading=list(source.heading),
        start=source.start,
        end=source.end,
        sha256=hashlib.sha256(source.text.encode()).hexdigest(),
        score=source.score,
        cosine=source.cosine,
        ranks=dict(source.ranks),
    )


def _store_quotes(lease: Lease, job: _Job) -> None:
    lease.write(
        quotes=[{"number": quote.number, "start": quote.start, "end": quote.end} for quote in job.quotes],
        timings=job.timings,
    )


def _compose_extract(job: _Job, written: _Written) -> None:
    """The answer without a model: the quotes themselves, each a sentence that cites its source."""
    for quote in job.quotes:
        check = support.Support(support.Verdict.SUPPORTED, passage=0, start=quote.start, end=quote.end)
        written.sentences.append(_Sentence(quote.text, (quote.number,), paragraph=True, check=check))
    written.text = "\n\n".join(f"{quote.text} [{quote.number}]" for quote in job.quotes)


async def _ask_model(model: LLM, job: _Job, lease: Lease, writer: Log, written: _Written) -> bool:
    """Streams the model's answer into the log and `written`; whether the model itself said that it does not know."""
    config = rag_config()
    # In a thread: a model server that counts tokens itself is asked over HTTP.
    prompt = await asyncio.to_thread(
        prompting.build_prompt,
        job.question,
        job.sources,
        job.history,
        context_tokens=model.context_tokens,
        answer_tokens=config.answer_tokens,
        count_tokens=model.count_tokens,
    )
    await in_db(
        lease.write,
        provider=model.provider,
        model=model.name,
        model_digest=model.digest,
        prompt_version=prompting.PROMPT_VERSION,
        dropped=prompt.dropped,
        parameters={"num_ctx": model.context_tokens, "num_predict": config.answer_tokens, "temperature": 0},
    )
    await in_db(_mark_offered, job.answer.pk, [source.number for source in prompt.sources])
    transcript = _Transcript(prompt.sources, writer, written, job.timings)
    stream = model.stream(prompt, max_tokens=config.answer_tokens)
    try:
        async for delta in stream:
            await transcript.take(delta)
    finally:
        # Not at the garbage collector's leisure: closing is what stops the model.
        await stream.aclose()
        await transcript.finish()
    if not written.text.strip():
        raise Permanent(_("The model ended without writing anything. The passages it was given are shown."))
    return prompting.is_refusal(written.text)


class _Transcript:
    """Turns a model's pieces into told events and checked sentences as they come."""

    def __init__(self, sources: Sequence[Source], writer: Log, written: _Written, timings: dict[str, float]) -> None:
        self._texts = {source.number: source.text for source in sources}
        self._scanner = citations.CitationScanner(self._texts)
        self._builder = citations.AnswerBuilder()
        self._writer, self._written, self._timings = writer, written, timings
        self._asked = time.perf_counter()

    async def take(self, delta: Delta) -> None:
        """The next piece."""
        if delta.text:
            await self._tell(self._scanner.feed(delta.text))
        if delta.stop is StopReason.LENGTH:
            self._written.cut_off = True

    async def finish(self) -> None:
        """What the scanner and the builder still held back; the model has ended, however it did."""
        await self._tell(self._scanner.finish())
        await self._settle(self._builder.finish())
        self._timings["model"] = _since(self._asked)

    async def _tell(self, found: Sequence[events.Event]) -> None:
        for event in found:
            if isinstance(event, events.Token):
                self._timings.setdefault("model_first_token", _since(self._asked))
                self._written.text += event.text
            elif isinstance(event, events.Cited):
                self._written.text += f"[{event.number}]"
            await _tell(self._writer, event)
            await self._settle(self._builder.feed([event]))

    async def _settle(self, finished: Sequence[citations.AnswerSentence]) -> None:
        for sentence in finished:
            before = self._builder.text[: sentence.start]
            paragraph = "\n" in before[len(before.rstrip()) :] or not before.strip()
            check = support.check(sentence.text, [self._texts[number] for number in sentence.citations])
            self._written.sentences.append(_Sentence(sentence.text, sentence.citations, paragraph, check))
            await _tell(self._writer, _checked(len(self._written.sentences) - 1, self._written.sentences[-1]))


def _checked(ordinal: int, sentence: _Sentence) -> events.Checked:
    check = sentence.check
    number = 0 if check.passage is None else sentence.numbers[check.passage]
    return events.Checked(
        ordinal=ordinal,
        text=sentence.text,
        paragraph=sentence.paragraph,
        numbers=sentence.numbers,
        verdict=check.verdict.value,
        reason=check.reason,
        number=number,
        start=check.start,
        end=check.end,
    )


def _mark_offered(answer_id: UUID, numbers: list[int]) -> None:
    AnswerSource.objects.filter(answer_id=answer_id).exclude(number__in=numbers).update(offered=False)


async def _tell(writer: Log, event: events.Event) -> None:
    """Writes to the replay log; without it the answer still comes to its end, and readers see it whole then."""
    try:
        await writer.write(event)
    except RedisError as error:
        log.warning("answer.not_told", kind=event.kind, error=type(error).__name__)


def _finish(lease: Lease, state: AnswerState, message: str, written: _Written) -> None:
    """The ending in one transaction: sentences, citations, state, audit."""
    with lease.guarded():
        answer = lease.rows().select_related("conversation__owner").get()
        sources = {source.number: source for source in AnswerSource.objects.filter(answer=answer)}
        for ordinal, sentence in enumerate(written.sentences):
            stored = Sentence.objects.create(
                answer=answer,
                ordinal=ordinal,
                text=sentence.text,
                paragraph=sentence.paragraph,
                verdict=sentence.check.verdict.value,
                reason=sentence.check.reason[:300],
            )
            Citation.objects.bulk_create(
                Citation(sentence=stored, source=sources[number], **_span(sentence.check, place))
                for place, number in enumerate(sentence.numbers)
            )
        audit.record(
            "question.answered",
            actor=answer.conversation.owner,
            subject=answer,
            state=state.value,
            model=answer.model,
            model_digest=answer.model_digest,
        )
        lease.release(state=state, message=message[:500], text=written.text, finished=timezone.now())


def _span(check: support.Support, place: int) -> dict[str, int]:
    """The words of the source that carry the sentence, or none (0, 0) where the check found no best place in this one."""
    if check.passage == place and check.end > check.start:
        return {"start": check.start, "end": check.end}
    return {"start": 0, "end": 0}


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
            if entry is None and not await in_db(is_running, answer_id):
                return
            yield entry
            if entry is not None and isinstance(entry[1], events.LAST):
                return
    finally:
        await entries.aclose()


def is_running(answer_id: UUID) -> bool:
    """Whether somebody may still write to the answer."""
    return Answer.objects.filter(pk=answer_id, state__in=RUNNING).exists()
