"""Why an answer is as it is: the model, the time each stage took, every passage considered, and the prompt it was asked with."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from core.models import User
from rag.domain.prompt_profiles import FULL, PROFILES
from rag.domain.prompting import PROMPT_VERSION, build_prompt
from rag.models import Answer
from rag.models.conversation import EXTRACTIVE
from rag.models.language_model import model_key
from rag.services import branches, considered, language_models, modes
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
    prompt, left_out = _prompt(answer, reader) if asked_model else (None, 0)
    return {
        "model": answer.model or _("none: verbatim extracts"),
        "digest": answer.model_digest,
        "prompt_version": answer.prompt_version,
        "parameters": sorted((name, _in_words(value)) for name, value in answer.parameters.items()),
        "timings": [(_STAGES[name], ms) for name, ms in answer.timings.items() if name in _STAGES],
        "considered": considered.rows(answer, reader, asked_model=asked_model),
        "pinned": [(source.number, source.revision, source.chunk_id, source.sha256) for source in answer.sources.all()],
        "asked_model": asked_model,
        "prompt": prompt,
        "left_out": left_out,
        "offers": [
            offer for offer in language_models.offered() if offer.key != model_key(answer.provider, answer.model)
        ],
    }


def _in_words(value: object) -> str:
    return ", ".join(str(each) for each in value) if isinstance(value, list) else str(value)


def _prompt(answer: Answer, reader: User) -> tuple[list[Mapping[str, str]] | None, int]:
    """What the model was sent, put together again from the pinned passages by the same code; it is stored nowhere.

    Passages that the reader may not see any more are left out; their number comes with it. None when the way of writing prompts has
    changed since.
    """
    if answer.prompt_version != PROMPT_VERSION:
        return None, 0
    sources, left_out = offered_sources(answer, reader)
    history = readable_history(reader, modes.free_to_repeat(branches.before(answer, most=HISTORY_TURNS)))
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
    return [{"role": message.role.value, "content": message.content} for message in prompt.messages], left_out
