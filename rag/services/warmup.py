"""What the web process loads before its first question, so that nobody waits for it, and closes after its last."""

import gc
import sys

import structlog

from core.db import in_db
from rag.domain.errors import RagError
from rag.services.replay import hub
from rag.slots import embedding_model, question_embedder

log = structlog.get_logger(__name__)


async def start() -> None:
    """Loads the question model and begins to listen for events; a missing model is said by readiness, not here."""
    hub().start()
    try:
        exported = await in_db(_load)
    except RagError as error:
        log.error("question_model.missing", reason=error.message)
        return
    if exported and "torch" in sys.modules:
        log.error("web.has_torch")
    # What is loaded by now stays for good: the collector need not look through it again and again (a twentieth of a search).
    gc.collect()
    gc.freeze()


def _load() -> bool:
    """Loads the model in use; whether it runs without torch."""
    model = embedding_model()
    question_embedder(model).embed_question("warm")
    return model.exported


async def stop() -> None:
    """Gives connections back."""
    await hub().close()
