"""What ranks a collection beyond what is shipped: which learned weights and which reranking model are switched on for it.

Why on its own: searching asks here, and measuring (`learning`) searches.
"""

from collections.abc import Iterable, Mapping
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from core import audit
from core.models import User
from rag.domain.errors import Permanent
from rag.domain.learning import FEATURES, Weights
from rag.models import Collection, Ranker
from rag.models.ranking import RankerKind, RankerState
from rag.services.indexing import current_digest
from rag.slots import reranker


def weights_of(collections: Iterable[UUID], *, basis: str) -> Mapping[UUID, Weights]:
    """The learned weights that are on for these collections. Those measured with other vectors than `basis` names, or with other
    features, do not serve."""
    rows = Ranker.objects.filter(
        collection_id__in=list(collections), kind=RankerKind.WEIGHTS, state=RankerState.ON, basis=basis
    )
    stored = rows.order_by().values_list("collection_id", "values")
    return {collection: found for collection, values in stored if (found := as_weights(values)) is not None}


def reranked(collections: Iterable[UUID]) -> frozenset[UUID]:
    """Those of the collections for which the configured reranking model is on."""
    model = reranker()
    if model is None:
        return frozenset()
    rows = Ranker.objects.filter(
        collection_id__in=list(collections), kind=RankerKind.RERANKER, state=RankerState.ON, basis=model.digest
    )
    return frozenset(rows.order_by().values_list("collection_id", flat=True))


def as_weights(values: Mapping[str, float]) -> Weights | None:
    """Stored weights, or None where they are of other features than this version has."""
    if set(values) != set(FEATURES):
        return None
    return Weights(tuple(float(values[name]) for name in FEATURES))


def serves(ranker: Ranker) -> bool:
    """Whether a ranker can serve as this installation is now, switched on or not."""
    if ranker.kind == RankerKind.RERANKER:
        model = reranker()
        return model is not None and ranker.basis == model.digest
    return ranker.basis == current_digest() and as_weights(ranker.values) is not None


@transaction.atomic
def switch_on(actor: User, ranker: Ranker) -> None:
    """Ranks the collection so from the next search on, instead of what did before. Raises Permanent when it cannot serve."""
    Collection.objects.select_for_update().get(pk=ranker.collection_id)
    ranker.refresh_from_db()
    if ranker.state not in {RankerState.PROPOSED, RankerState.OFF}:
        raise Permanent(_("This ranking cannot be switched on."))
    if not serves(ranker):
        raise Permanent(_("This ranking was measured with another model. Measure once more."))
    same = Ranker.objects.filter(collection_id=ranker.collection_id, kind=ranker.kind)
    same.filter(state=RankerState.ON).update(state=RankerState.OFF, switched=timezone.now(), switched_by=actor)
    _switch(actor, ranker, RankerState.ON)
    audit.record("ranking.switched_on", actor=actor, subject=ranker.collection, ranker=ranker.pk)


@transaction.atomic
def switch_off(actor: User, ranker: Ranker) -> None:
    """Ranks the collection as shipped again."""
    Collection.objects.select_for_update().get(pk=ranker.collection_id)
    ranker.refresh_from_db()
    if ranker.state == RankerState.ON:
        _switch(actor, ranker, RankerState.OFF)
        audit.record("ranking.switched_off", actor=actor, subject=ranker.collection, ranker=ranker.pk)


@transaction.atomic
def turn_down(actor: User, ranker: Ranker) -> None:
    """Leaves a proposal aside."""
    ranker.refresh_from_db()
    if ranker.state == RankerState.PROPOSED:
        _switch(actor, ranker, RankerState.REJECTED)
        audit.record("ranking.turned_down", actor=actor, subject=ranker.collection, ranker=ranker.pk)


def _switch(actor: User, ranker: Ranker, state: RankerState) -> None:
    ranker.state, ranker.switched, ranker.switched_by = state, timezone.now(), actor
    ranker.save(update_fields=["state", "switched", "switched_by"])
