"""Measures whether a collection's kept questions teach a better ranking, and proposes it. Nothing is ever switched on here."""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from core import audit
from core.models import User
from rag.access import Need, may, scope_for
from rag.domain.errors import Permanent
from rag.domain.learning import FEATURES, FEWEST, Figures, Lesson, features, helps, learn
from rag.domain.ranking import Found
from rag.domain.types import Scope
from rag.models import Collection, Ranker
from rag.models.ranking import RankerKind, RankerState
from rag.services import kept_questions, retrieve
from rag.services.indexing import current_digest
from rag.services.kept_questions import Judged
from rag.services.leases import Lease, LeaseLost, free
from rag.services.reranking import rerank
from rag.slots import reranker

ATTEMPTS_MOST = 3
MEASURED_MOST = 500  # questions, the newest: more teach nothing more and take minutes


def ask_to_learn(actor: User, collection: Collection, kind: RankerKind = RankerKind.WEIGHTS) -> Ranker:
    """Has a worker measure what the collection's questions teach, or what the reranking model makes of them; one of each at a time.

    Raises Permanent when no reranking model is configured.
    """
    from rag import tasks

    if kind == RankerKind.RERANKER and reranker() is None:
        raise Permanent(_("No reranking model is configured."))
    with transaction.atomic():
        try:
            with transaction.atomic():
                ranker = Ranker.objects.create(collection=collection, kind=kind, asked_by=actor)
        except IntegrityError:  # it is being measured already
            return Ranker.objects.get(collection=collection, kind=kind, state=RankerState.WAITING)
        audit.record("ranking.asked", actor=actor, subject=collection, ranker=ranker.pk)
        tasks.send(tasks.learn, ranker.pk)
    return ranker


def resume() -> None:
    """Queues again what a dead worker or a lost message left waiting; what has killed ATTEMPTS_MOST workers has failed."""
    from rag import tasks

    left = Ranker.objects.filter(free(), state=RankerState.WAITING)
    left.filter(attempt__gte=ATTEMPTS_MOST).update(
        state=RankerState.FAILED, message=_("Measuring broke off several times."), measured=timezone.now()
    )
    for ranker_id in left.values_list("pk", flat=True):
        tasks.send(tasks.learn, ranker_id)


def measure(ranker_id: int) -> None:
    """Learns, and writes what came of it: a proposal, or why there is none. Running it twice is running it once."""
    lease = Lease.take(Ranker, ranker_id, Q(state=RankerState.WAITING))
    if lease is None:
        return
    ranker = Ranker.objects.select_related("collection", "asked_by").get(pk=ranker_id)
    try:
        with lease:
            try:
                changes = _measured(ranker)
            except Permanent as error:
                changes = {"state": RankerState.FAILED, "message": error.message[:300]}
        lease.release(measured=timezone.now(), **changes)
    except LeaseLost:
        return  # another worker has it


def _measured(ranker: Ranker) -> dict[str, object]:
    actor, collection = ranker.asked_by, ranker.collection
    if actor is None or not may(actor, collection, need=Need.MANAGE):
        raise Permanent(_("Whoever asked for this no longer manages the collection."))
    scope = scope_for(actor, asked=[collection.pk])
    questions = kept_questions.judged(collection.pk, scope)[-MEASURED_MOST:]
    if ranker.kind == RankerKind.RERANKER:
        return _with_reranker(questions, scope)
    return _with_weights(questions, scope)


def _with_weights(questions: Sequence[Judged], scope: Scope) -> dict[str, object]:
    """What the questions teach. The order before is the one as shipped, whatever is switched on."""
    lessons = [lesson_of(question, scope) for question in questions]
    _require([lesson.answers for lesson in lessons])
    learned = learn(lessons)
    return {
        "state": RankerState.PROPOSED if learned.helps else RankerState.REJECTED,
        "values": dict(zip(FEATURES, learned.weights.values, strict=True)),
        "basis": current_digest(),
        "figures": as_rows(questions, learned.figures),
        "message": ""
        if learned.helps
        else _(
            "What these questions teach gains others too little, or too uncertainly, to be proposed. More may tell more."
        ),
    }


def _with_reranker(questions: Sequence[Judged], scope: Scope) -> dict[str, object]:
    """What the reranking model makes of the questions. The order before is the one that serves without it."""
    model = reranker()
    if model is None:
        raise Permanent(_("No reranking model is configured."))
    figures = []
    answers = []
    for question in questions:
        found = retrieve.candidates(question.text, scope)
        every = np.ones(len(found.found.ids), dtype=np.bool_)
        after = rerank(question.text, found.found, found.learned, every, scope)
        answers.append(answers_of(question, found.found))
        lesson = Lesson(np.zeros((len(every), 0)), found.learned, answers[-1], len(question.places))
        figures.append(Figures.of(lesson, found.learned, after))
    _require(answers)
    gained = helps(figures)
    return {
        "state": RankerState.PROPOSED if gained else RankerState.REJECTED,
        "basis": model.digest,
        "figures": as_rows(questions, figures),
        "message": "" if gained else _("What the model gains on these questions is too little to be sure of."),
    }


def _require(answers: Sequence[tuple[tuple[int, ...], ...]]) -> None:
    """Raises Permanent where too few of the questions have a right passage among their candidates."""
    taught = sum(bool(each) for each in answers)
    if taught < FEWEST:
        raise Permanent(too_few(taught))


def too_few(count: int) -> str:
    """What to say where only `count` questions can teach something."""
    return _("At least %(fewest)d questions whose passage is found are needed; there are %(count)d.") % {
        "fewest": FEWEST,
        "count": count,
    }


def as_rows(questions: Sequence[Judged], figures: Sequence[Figures]) -> list[list[float]]:
    """The figures as `Ranker.figures` holds them."""
    pairs = zip(questions, figures, strict=True)
    return [[question.id, *(round(figure, 4) for figure in astuple(each))] for question, each in pairs]


def lesson_of(question: Judged, scope: Scope) -> Lesson:
    """The question with what a search for it has to choose from."""
    found = retrieve.candidates(question.text, scope)
    return Lesson(
        features=features(found.found, found.named, found.lengths),
        prior=found.shipped,
        answers=answers_of(question, found.found),
        places=len(question.places),
    )


def answers_of(question: Judged, found: Found) -> tuple[tuple[int, ...], ...]:
    """For each place that some candidate carries, the indexes of those that do."""
    carried = (np.flatnonzero(np.isin(found.ids, list(chunks))).tolist() for chunks in question.places)
    return tuple(tuple(indexes) for indexes in carried if indexes)
