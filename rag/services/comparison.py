"""Asks the same questions of two embedding models, side by side, before anybody switches.

Only numbers come out of it. The questions are a collection's kept ones where it has any, otherwise those that were asked last, and
in a collection that nobody has asked yet the headings of its own passages. Each is asked in its own collection, by meaning alone:
the search by words is the same for both.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from uuid import UUID

from django.utils.translation import gettext as _

from rag.domain import metrics
from rag.domain.errors import Permanent
from rag.domain.types import Everything
from rag.models import Answer, Chunk, EmbeddingModel, JudgedPlace, Page
from rag.models import Collection as StoredCollection
from rag.services import embedding_models
from rag.services.indexing import Reader
from rag.services.kept_questions import Words, carrying
from rag.slots import Model, embedding_model, model_of, question_embedder

QUESTIONS = 200  # asked in all
NEAREST = 10

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked in a collection. `right` are the passages that answer it (chunk ids); None where nobody knows."""

    collection: UUID
    text: str
    right: frozenset[int] | None = None


@dataclass
class Side:
    """What one model did."""

    name: str
    milliseconds: list[float] = field(default_factory=list)  # of each question, its embedding included
    ndcg: list[float] = field(default_factory=list)  # of each judged question

    @property
    def usual_milliseconds(self) -> float:
        return median(self.milliseconds)


@dataclass
class Compared:
    """The model in use, and the one that may take its place. `overlap` is the share of the ten nearest that both found, of each
    question."""

    now: Side
    then: Side
    overlap: list[float] = field(default_factory=list)

    @property
    def judged(self) -> int:
        return len(self.now.ndcg)

    @property
    def better(self) -> int:
        return sum(new > old for old, new in zip(self.now.ndcg, self.then.ndcg, strict=True))

    @property
    def worse(self) -> int:
        return sum(new < old for old, new in zip(self.now.ndcg, self.then.ndcg, strict=True))


def compare(name: str, *, questions: int = QUESTIONS, say: Say = lambda _line: None) -> Compared:
    """Asks up to `questions` questions of the model of this name and of the one in use. Loads both.

    Raises Permanent when it is the one in use, when it has no vectors yet, or when there is nothing to ask.
    """
    standing = embedding_models.standing(name)
    if embedding_models.in_use(standing.row):
        raise Permanent(_("“%(name)s” is in use. Name the one that it is to be compared with.") % {"name": name})
    if not standing.begun:
        raise Permanent(_("“%(name)s” has embedded nothing yet.") % {"name": name})
    asked = questions_for(standing.row, questions)
    if not asked:
        raise Permanent(_("There is nothing to ask: no passages."))
    if not standing.complete:
        say(_("%(missing)d passages are not embedded by it yet: it cannot find them.") % {"missing": standing.missing})
    return _asked(asked, embedding_model(), model_of(standing.row))


def lines(found: Compared) -> list[str]:
    """The comparison as a person reads it."""
    told = [
        f"{len(found.overlap)} questions, by meaning alone. Of the ten nearest passages {fmean(found.overlap):.0%} are the same.",
        f"  a question takes {found.now.usual_milliseconds:.1f} ms with {found.now.name}, "
        f"{found.then.usual_milliseconds:.1f} ms with {found.then.name}",
    ]
    if found.judged:
        told.append(
            f"  {found.judged} of them have known answers: nDCG@10 {fmean(found.now.ndcg):.3f} with {found.now.name}, "
            f"{fmean(found.then.ndcg):.3f} with {found.then.name} ({found.better} better, {found.worse} worse)"
        )
    else:
        told.append("  No collection has kept questions: which of the two is right is not known.")
    return told


def questions_for(row: EmbeddingModel, most: int) -> list[Question]:
    """What to ask, as many as `most`, the same number in each collection that has enough."""
    collections = list(
        StoredCollection.objects.filter(deleted__isnull=True, private=False, chunks__isnull=False).distinct()
    )
    found: list[Question] = []
    for place, collection in enumerate(collections):
        share = math.ceil((most - len(found)) / (len(collections) - place))
        found += (_kept(collection.pk) or _last_asked(collection.pk, share) or _headings(collection.pk, share))[:share]
    return found


def _asked(questions: Sequence[Question], now: Model, then: Model) -> Compared:
    compared = Compared(Side(now.identity.name), Side(then.identity.name))
    readers: dict[tuple[UUID, str], Reader] = {}
    for question in questions:
        nearest: list[list[int]] = []
        for model, side in ((now, compared.now), (then, compared.then)):
            key = (question.collection, model.identity.digest)
            if key not in readers:
                # Not the readers that searches share: those serve the model in use.
                readers[key] = Reader(question.collection, model.identity)
                readers[key].refresh()
            embedder = question_embedder(model)
            began = time.perf_counter()
            hits = readers[key].dense(embedder.embed_question(question.text), limit=NEAREST, allowed=Everything())
            side.milliseconds.append((time.perf_counter() - began) * 1000)
            nearest.append([hit.chunk_id for hit in hits])
            if question.right is not None:
                side.ndcg.append(ndcg(nearest[-1], question.right))
        most = max(len(nearest[0]), 1)
        compared.overlap.append(len(set(nearest[0]) & set(nearest[1])) / most)
    return compared


def ndcg(ranking: Sequence[int], right: Collection[int]) -> float:
    """nDCG@10 with gains of 0 and 1: 1 when all that is right comes first."""
    return metrics.ndcg(ranking, dict.fromkeys(right, 1.0), k=NEAREST)


def _kept(collection: UUID) -> list[Question]:
    """Those whose right passages are there."""
    rows = JudgedPlace.objects.filter(question__collection=collection, document__deleted__isnull=True)
    asked: dict[str, list[Words]] = {}
    for text, document, quote in rows.order_by("-question_id").values_list("question__text", "document", "quote"):
        asked.setdefault(text, []).append((document, quote))
    places = {place for places in asked.values() for place in places}
    carried = carrying(places, chunks=Chunk.objects.for_maintenance(), pages=Page.objects.all())
    right = {text: frozenset[int]().union(*(carried[place] for place in places)) for text, places in asked.items()}
    return [Question(collection, text, ids) for text, ids in right.items() if ids]


def _last_asked(collection: UUID, most: int) -> list[Question]:
    rows = Answer.objects.filter(conversation__collections=collection).order_by("-created")
    return _each_once(
        collection, (alone or said for alone, said in rows.values_list("standalone", "question")[: 2 * most])
    )


def _headings(collection: UUID, most: int) -> list[Question]:
    """The headings that stand above passages, or the titles of the documents, from all over the collection."""
    chunks = Chunk.objects.for_maintenance().filter(collection=collection).order_by("ordinal", "pk")
    rows = chunks.values_list("heading", "document__title")[: 10 * most]
    return _each_once(collection, (heading[-1] if heading else title for heading, title in rows))


def _each_once(collection: UUID, texts: Iterable[str]) -> list[Question]:
    return [Question(collection, text) for text in dict.fromkeys(text.strip() for text in texts) if text]
