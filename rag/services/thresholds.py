"""How much evidence a question needs to be answered: as shipped, or as a collection's own questions taught."""

from collections.abc import Sequence
from uuid import UUID

import numpy as np
from django.db import transaction

from core import audit
from core.models import User
from rag.domain import evidence
from rag.domain.thresholds import ANSWERABLE_FEWEST, FALSE_MOST, UNANSWERABLE_FEWEST, area, line, share_below
from rag.domain.types import Source
from rag.models import Collection, EvidenceThreshold
from rag.services.indexing import current_digest


def basis() -> str:
    """What a threshold depends on: the vectors in use and the weights of the evidence."""
    return f"{evidence.VERSION}:{current_digest()}"


def threshold_for(sources: Sequence[Source]) -> float:
    """The likelihood below which a question is refused that found these: the threshold of the collection of the best."""
    return threshold_of(sources[0].collection_id) if sources else evidence.THRESHOLD


def threshold_of(collection_id: UUID) -> float:
    """A collection's own threshold, or the shipped one where it has none that holds."""
    found = EvidenceThreshold.objects.filter(collection_id=collection_id, basis=basis())
    own = found.values_list("value", flat=True).first()
    return evidence.THRESHOLD if own is None else own


def own(collection: Collection) -> EvidenceThreshold | None:
    """A collection's own threshold, where it has one that holds."""
    return EvidenceThreshold.objects.filter(collection=collection, basis=basis()).first()


@transaction.atomic
def learn(
    collection: Collection, *, answerable: Sequence[float], unanswerable: Sequence[float]
) -> EvidenceThreshold | None:
    """Keeps the highest threshold that refuses at most `FALSE_MOST` of the collection's answerable questions, given the
    likelihoods of its questions; None, and nothing changes, where they are too few for that."""
    if len(answerable) < ANSWERABLE_FEWEST or len(unanswerable) < UNANSWERABLE_FEWEST:
        return None
    yes, no = np.asarray(answerable, dtype=np.float64), np.asarray(unanswerable, dtype=np.float64)
    value = line(yes, FALSE_MOST)
    kept, _new = EvidenceThreshold.objects.update_or_create(
        collection=collection,
        defaults={
            "value": value,
            "basis": basis(),
            "answerable": len(yes),
            "unanswerable": len(no),
            "wrongly": share_below(yes, value),
            "rightly": share_below(no, value),
            "area": area(yes, no),
        },
    )
    audit.record("threshold.learned", actor=None, subject=collection, value=round(value, 4))
    return kept


@transaction.atomic
def reset(actor: User, collection: Collection) -> None:
    """The shipped threshold holds again. The caller has checked that `actor` manages the collection."""
    if EvidenceThreshold.objects.filter(collection=collection).delete()[0]:
        audit.record("threshold.reset", actor=actor, subject=collection)
