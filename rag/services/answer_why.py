"""Why an answer is as it is: the model, the time each stage took, every passage considered, and the prompt it was asked with."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from core.models import User
from rag.models import Answer
from rag.models.conversation import EXTRACTIVE
from rag.services.answer_view import view_of

_STAGES = {
    "embed": _("Question to vector"),
    "search": _("Search, by meaning and by words"),
    "read": _("Reading the passages"),
    "sources": _("Until the sources were shown"),
    "quotes": _("Choosing verbatim sentences"),
    "model_first_token": _("The model's first word"),
    "model": _("The model in all"),
    "total": _("In all"),
}


def why(answer: Answer, reader: User) -> Mapping[str, Any] | None:
    """What the answer's page shows under "Why this answer"; nothing while it is being made."""
    view = view_of(answer, reader)
    if view.is_running:
        return None
    shown = {source.number: source for source in view.sources}
    rows = [
        {
            "number": source.number,
            "title": shown[source.number].title or _("A passage that you may no longer see"),
            "page_label": shown[source.number].page_label,
            "dense_rank": source.ranks.get("dense"),
            "keyword_rank": source.ranks.get("keyword"),
            "fused_rank": source.number,
            "cosine": source.cosine,
            "bm25": None,
            "offered": source.offered and bool(answer.provider) and answer.provider != EXTRACTIVE,
        }
        for source in answer.sources.all()
    ]
    return {
        "model": answer.model or _("none: verbatim extracts"),
        "digest": answer.model_digest,
        "prompt_version": answer.prompt_version,
        "parameters": answer.parameters,
        "timings": [(_STAGES[name], ms) for name, ms in answer.timings.items() if name in _STAGES],
        "considered": rows,
        "prompt": None,
    }
