"""An answer is produced: search, quotes, the model's sentences, the ending. Apart from any request, under a lease.

Its events go to the replay log, its result to the database.
"""

import asyncio
import time
from functools import partial
from uuid import UUID

import structlog
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from core import audit
from core.db import in_db, in_db_for_lease
from rag.backends.llms.base import LLM
from rag.config import rag_config
from rag.domain import events, prompting, support
from rag.domain.conflicts import conflicts
from rag.domain.errors import Permanent, RagError
from rag.models import Answer, AnswerSource, Citation, Sentence
from rag.models.conversation import EXTRACTIVE, RUNNING, AnswerState
from rag.services import modes, prompts, quoting, turns
from rag.services.gathering import Job, gather, mark_offered, store_elsewhere, store_quotes
from rag.services.language_models import ready_llm
from rag.services.leases import Lease, LeaseLost
from rag.services.replay import Log, hub
from rag.services.transcript import CheckedSentence, Transcript, Written, since, tell

log = structlog.get_logger(__name__)


async def produce(answer_id: UUID) -> None:
    """Brings a pending answer to its end. Returns quietly when another process has it."""
    lease = await in_db_for_lease(_claim, answer_id)
    if lease is None:
        return
    writer = Log(hub().client, answer_id, lease.attempt)
    written = Written()
    keeper = asyncio.create_task(_keep(lease, written, answer_id))
    try:
        ending = await _until_stopped(answer_id, lease, writer, written)
        await tell(writer, ending)
    except LeaseLost:
        log.info("answer.lease_lost", answer=str(answer_id))
    finally:
        keeper.cancel()


def _claim(answer_id: UUID) -> Lease | None:
    return Lease.take(Answer, answer_id, Q(state__in=RUNNING), state=AnswerState.ANSWERING)


async def _keep(lease: Lease, written: Written, answer_id: UUID) -> None:
    """Renews the lease and saves what was written so far; sees a stop that was asked while Redis was away."""
    try:
        while True:
            await asyncio.sleep(rag_config().lease_seconds / 12)
            await in_db_for_lease(lease.write, text=written.text)
            if await in_db_for_lease(Answer.objects.filter(pk=answer_id, stop_asked=True).exists):
                await hub().ask_to_stop(answer_id)
    except LeaseLost:
        await hub().ask_to_stop(answer_id)


async def _until_stopped(answer_id: UUID, lease: Lease, writer: Log, written: Written) -> events.Event:
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


async def _work(answer_id: UUID, lease: Lease, writer: Log, written: Written) -> events.Event:
    started = time.perf_counter()
    job = await in_db(gather, answer_id, lease)
    await tell(writer, events.Sources(len(job.sources)))
    job.timings["sources"] = since(started)
    await in_db(lease.write, timings=job.timings)
    if not job.sources:
        return await _refused(job, lease, started)
    quoting_task = asyncio.create_task(_quote(job, lease, writer))
    if not await in_db(quoting.is_clear, job.question, job.sources, job.threshold):
        # The sentences decide whether a model is asked at all.
        await quoting_task
        if job.likelihood < job.threshold:
            return await _refused(job, lease, started)
    # Else side by side: the quotes are computed here, the model reads its prompt elsewhere.
    try:
        # As late as can be: a lock that was set a moment ago holds.
        model = None if await in_db(modes.without_model, job.answer) else await ready_llm(job.answer)
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
        timings = job.timings | {"total": since(started)}
        await in_db(lease.write, timings=timings, cut_off=written.cut_off, conflicts=found)
    if refused:
        await in_db(store_elsewhere, lease, job)
    return events.Refused() if refused else events.Finished()


async def _refused(job: Job, lease: Lease, started: float) -> events.Event:
    """The ending without an answer, which names other collections that may have one."""
    await in_db(store_elsewhere, lease, job)
    await in_db(lease.write, timings=job.timings | {"total": since(started)})
    return events.Refused()


def _statements(job: Job, written: Written) -> list[tuple[int, str]]:
    """What the answer asserts, each with the number of the source that carries it."""
    texts = {source.number: source.text for source in job.sources}
    quoted = [(quote.number, texts[quote.number][quote.start : quote.end]) for quote in job.quotes]
    carried = [
        (sentence.numbers[sentence.check.passage], sentence.text)
        for sentence in written.sentences
        if sentence.check.verdict is support.Verdict.SUPPORTED and sentence.check.passage is not None
    ]
    return quoted + carried


async def _quote(job: Job, lease: Lease, writer: Log) -> None:
    """Finds, stores and tells of the verbatim sentences."""
    started = time.perf_counter()
    found = await in_db(quoting.quoted, job.question, job.sources)
    job.likelihood = found.likelihood
    job.quotes = found.quotes if found.likelihood >= job.threshold else []
    job.timings["quotes"] = since(started)
    await in_db(store_quotes, lease, job)
    await tell(writer, events.Extract(len(job.quotes)))


def _compose_extract(job: Job, written: Written) -> None:
    """The answer without a model: the quotes themselves, each a sentence that cites its source."""
    for quote in job.quotes:
        check = support.Support(support.Verdict.SUPPORTED, passage=0, start=quote.start, end=quote.end)
        written.sentences.append(CheckedSentence(quote.text, (quote.number,), paragraph=True, check=check))
    written.text = "\n\n".join(f"{quote.text} [{quote.number}]" for quote in job.quotes)


async def _ask_model(model: LLM, job: Job, lease: Lease, writer: Log, written: Written) -> bool:
    """Streams the model's answer into the log and `written`; whether the model itself said that it does not know."""
    asked_with = await prompts.write(job, model)
    prompt = asked_with.prompt
    await in_db(
        lease.write,
        provider=model.provider,
        model=model.name,
        model_digest=model.digest,
        prompt_version=prompting.PROMPT_VERSION,
        dropped=prompt.dropped,
        parameters=asked_with.parameters(),
    )
    await in_db(mark_offered, job.answer.pk, [source.number for source in prompt.sources])
    ticket, asker, told = str(job.answer.pk), str(job.answer.conversation.owner_id), partial(tell, writer)
    asked = time.perf_counter()
    async with turns.turn(model, ticket, asker=asker, told=told):
        job.timings["waiting"] = since(asked)
        transcript = Transcript(prompt.sources, writer, written, job.timings, question=job.question)
        if not await model.loaded():
            await told(events.Working("loading"))
        stream = turns.patiently(model, prompt, max_tokens=asked_with.answer_tokens, told=told)
        try:
            async for delta in stream:
                await transcript.take(delta)
                if delta.stop is not None and delta.prompt_tokens is not None:
                    await in_db(lease.write, parameters=asked_with.parameters(read=delta.prompt_tokens))
        finally:
            # Not at the garbage collector's leisure: closing is what stops the model.
            await stream.aclose()
            await transcript.finish()
    if not written.text.strip():
        raise Permanent(_("The model ended without writing anything. The passages it was given are shown."))
    return prompting.is_refusal(written.text)


def _finish(lease: Lease, state: AnswerState, message: str, written: Written) -> None:
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
                missing=list(sentence.check.missing),
            )
            Citation.objects.bulk_create(
                Citation(
                    sentence=stored, source=sources[number], repaired=sentence.repaired, **_span(sentence.check, place)
                )
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
