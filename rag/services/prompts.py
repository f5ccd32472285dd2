"""The prompt for a question: as long as suits its model, beginning as the prompt before it did, and whether all of it was read."""

import asyncio
from dataclasses import dataclass
from typing import Any

from core.db import in_db
from rag.backends.llms.base import LLM
from rag.config import rag_config
from rag.domain.prompt_profiles import Profile
from rag.domain.prompting import build_prompt, was_cut
from rag.domain.types import Prompt
from rag.models import Answer
from rag.services.gathering import Job
from rag.services.language_models import profile


@dataclass(frozen=True, slots=True)
class Written:
    """A prompt for one model, and what it was written by."""

    model: LLM
    prompt: Prompt
    profile: Profile
    answer_tokens: int

    def parameters(self, *, read: int | None = None) -> dict[str, Any]:
        """What an answer keeps of how it was asked; `read` are the tokens of the prompt that the server says it read."""
        kept: dict[str, Any] = {
            "num_ctx": self.model.context_tokens,
            "num_predict": self.answer_tokens,
            "temperature": 0,
            "profile": self.profile.name,
            "order": [source.number for source in self.prompt.sources],
            "prompt_tokens": self.prompt.tokens if read is None else read,
        }
        if was_cut(self.prompt, read, exact=self.model.counts_exactly):
            kept["cut"] = True
        return kept


async def write(job: Job, model: LLM) -> Written:
    """The prompt that `model` is sent for a gathered question; raises `Permanent` where not even the best passage fits."""
    chosen = profile(model)
    answer_tokens = min(rag_config().answer_tokens, chosen.answer_tokens)
    carried = await in_db(_carried, job.answer)
    # In a thread: a model server that counts tokens itself is asked over HTTP.
    prompt = await asyncio.to_thread(
        build_prompt,
        job.question,
        job.sources,
        job.history,
        context_tokens=model.context_tokens,
        answer_tokens=answer_tokens,
        count_tokens=model.count_tokens,
        profile=chosen,
        carried=carried,
    )
    return Written(model, prompt, chosen, answer_tokens)


def _carried(answer: Answer) -> list[int]:
    """The chunk ids of the prompt of the answer that this one follows, in its order."""
    if answer.after is None:
        return []
    chunks = dict(answer.after.sources.values_list("number", "chunk_id"))
    return [chunks[number] for number in answer.after.parameters.get("order", []) if number in chunks]
