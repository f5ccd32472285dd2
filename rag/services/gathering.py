"""What is read from the database before anything slow happens: the search as the asker may search now, its passages pinned."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from core import audit
from core.models import User
from rag.access import scope_for
from rag.config import rag_config
from rag.domain.conditions import from_json
from rag.domain.extracts import Quote
from rag.domain.followups import Turn
from rag.domain.surroundings import room
from rag.domain.types import Message, Source
from rag.models import Answer, AnswerSource, Sentence
from rag.services import branches, considered, elsewhere, modes, retrieve, thresholds
from rag.services.answer_view import HISTORY_TURNS, readable_history, readable_words
from rag.services.leases import Lease
from rag.services.private_files import unread as unread_files
from rag.services.surroundings import widened

TURNS = 8  # earlier questions among which a follow-up's topic is looked for


@dataclass
class Job:
    """All that is read from the database before anything slow happens."""

    answer: Answer
    question: str
    sources: list[Source]
    threshold: float  # of the evidence: what lies below is refused
    history: list[Message]
    quotes: list[Quote]
    timings: dict[str, float]
    likelihood: float = 0.0  # that the sources answer


def gather(answer_id: UUID, lease: Lease) -> Job:
    """Searches as the asker may now, not as when the question was posted, and pins what was found."""
    answer = Answer.objects.select_related("conversation__owner").get(pk=answer_id)
    asker = answer.conversation.owner
    earlier = branches.before(answer, most=2 * TURNS)
    asked = list(answer.conversation.collections.values_list("id", flat=True))
    scope = scope_for(asker, asked=asked, conditions=from_json(answer.filters), conversation=answer.conversation_id)
    waiting_for = unread_files(asker, answer.conversation)
    # Asked again, a question does not follow itself.
    said = [] if answer.alone else [other for other in earlier if other.question != answer.question][-TURNS:]
    turns = _turns(asker, said)
    found = retrieve.search(answer.question, scope, turns=turns)
    config = rag_config()
    sources = widened(found.sources, scope, room=room(config.context_tokens, config.answer_tokens))
    together = [turn.question for turn in reversed(turns) if turn.question in found.earlier]
    with lease.guarded():
        AnswerSource.objects.filter(answer=answer).delete()
        Sentence.objects.filter(answer=answer).delete()
        AnswerSource.objects.bulk_create(pinned(answer, source) for source in sources)
        lease.write(
            standalone=found.standalone, together=together, text="", quotes=[], elsewhere=[], waiting_for=waiting_for
        )
        lease.write(considered=considered.kept(found.candidates, scope))
        audit.record(
            "question.searched",
            actor=asker,
            subject=answer,
            documents=sorted({str(source.document_id) for source in sources}),
        )
    history = readable_history(asker, modes.free_to_repeat(earlier[-HISTORY_TURNS:]))
    threshold = thresholds.threshold_for(sources)
    return Job(answer, found.standalone, sources, threshold, history, [], dict(found.timings))


def _turns(asker: User, earlier: Sequence[Answer]) -> list[Turn]:
    """The questions before, and what of the last answer the asker may read now."""
    return [Turn(answer.question, readable_words(asker, answer) if answer is earlier[-1] else "") for answer in earlier]


def pinned(answer: Answer, source: Source) -> AnswerSource:
    found_start, found_end = source.found or (None, None)
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
        found_start=found_start,
        found_end=found_end,
    )


def store_quotes(lease: Lease, job: Job) -> None:
    lease.write(
        quotes=[{"number": quote.number, "start": quote.start, "end": quote.end} for quote in job.quotes],
        evidence=job.likelihood,
        timings=job.timings,
    )


def store_elsewhere(lease: Lease, job: Job) -> None:
    """Looks where else an answer may stand, and stores which collections have evidence."""
    asker = job.answer.conversation.owner
    asked = set(job.answer.conversation.collections.values_list("id", flat=True))
    named, looked_at = elsewhere.look(asker, job.question, asked)
    with lease.guarded():
        lease.write(elsewhere=[str(collection) for collection in named])
        if looked_at:
            audit.record(
                "question.searched",
                actor=asker,
                subject=job.answer,
                documents=sorted({str(source.document_id) for source in looked_at}),
                elsewhere=True,
            )


def mark_offered(answer_id: UUID, numbers: list[int]) -> None:
    AnswerSource.objects.filter(answer_id=answer_id).exclude(number__in=numbers).update(offered=False)
