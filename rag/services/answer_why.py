"""Why an answer is as it is: the model, the time each stage took, every passage considered, and the prompt it was asked with."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from core.models import User
from rag.domain.prompt_profiles import FULL, PROFILES
from rag.domain.prompting import PROMPT_VERSION, build_prompt
from rag.models import Answer
from rag.models.conversation import EXTRACTIVE
from rag.services.answer_view import HISTORY_TURNS, offered_sources, readable_history, view_of

_STAGES = {
    "embed": _("Question to vector"),
    "search": _("Search, by meaning and by words"),
    "read": _("Reading the passages"),
    "sources": _("Until the sources were shown"),
    "quotes": _("Choosing verbatim sentences"),
    "waiting": _("Waiting until the model was free"),
    "model_first_token": _("The model's first word"),
    "model": _("The model in all"),
    "total": _("In all"),
}


def why(answer: Answer, reader: User) -> Mapping[str, Any] | None:
    """What the answer's page shows under "Why this answer"; nothing while it is being made."""
    view = view_of(answer, reader)
    if view.is_running:
        return None
    asked_model = bool(answer.provider) and answer.provider != EXTRACTIVE
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
            "offered": source.offered and asked_model,
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
        "asked_model": asked_model,
        "prompt": _prompt(answer, reader) if asked_model else None,
    }


def _prompt(answer: Answer, reader: User) -> list[Mapping[str, str]] | None:
    """What the model was sent, put together again from the pinned passages by the same code; it is stored nowhere.

    None when the reader may no longer see one of its passages, or when the way of writing prompts has changed since.
    """
    sources = offered_sources(answer, reader)
    if sources is None or answer.prompt_version != PROMPT_VERSION:
        return None
    before = answer.conversation.answers.filter(created__lt=answer.created).order_by("created")
    history = readable_history(reader, list(before)[-HISTORY_TURNS:])
    # What did not fit then was left out then: `sources` are those that did.
    chunks = {source.number: source.chunk_id for source in sources}
    prompt = build_prompt(
        answer.standalone,
        sources,
        history,
        context_tokens=2**31,
        answer_tokens=0,
        count_tokens=lambda text: len(text) // 3,
        profile=PROFILES.get(answer.parameters.get("profile", ""), FULL),
        carried=[chunks[number] for number in answer.parameters.get("order", []) if number in chunks],
    )
    return [{"role": message.role.value, "content": message.content} for message in prompt.messages]
