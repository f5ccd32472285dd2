"""Embedding models as the Models page shows them."""

from django.utils.translation import gettext as _

from rag.models.embedding_model import EmbeddingState
from rag.services import embedding_models
from rag.services.embedding_models import Standing


def embedding_rows() -> list[dict[str, object]]:
    """Every embedding model, with how far it is and what can be done to it."""
    used = embedding_models.digest_in_use()
    return [_row(standing, used) for standing in embedding_models.standings()]


def _row(standing: Standing, used_digest: str) -> dict[str, object]:
    """An embedding model as the page shows it, with what can be done to it: `act` and the button's words."""
    row = standing.row
    used = row.digest == used_digest
    embeds = row.state == EmbeddingState.EMBEDDING or used
    act, words = "embed", _("Embed")
    if used:
        act, words = "", ""
    elif embeds and standing.complete:
        act, words = "switch", _("Go back") if row.left else _("Use")
    elif embeds:
        act, words = "pause", _("Pause")
    elif standing.begun:
        words = _("Go on")
    return {
        "name": row.name,
        "digest": row.digest,
        "dimension": row.dimension,
        "licence": row.licence,
        "in_use": used,
        "state": row.state,
        "state_label": row.get_state_display(),
        "under_way": embeds and not standing.complete,
        "ready": embeds and standing.complete,
        "done": standing.done,
        "total": standing.total,
        "message": row.message,
        "act": "" if row.state == EmbeddingState.REMOVING else act,
        "words": words,
    }
