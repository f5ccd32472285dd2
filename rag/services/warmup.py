"""What the web process loads before its first question, so that nobody waits for it, and closes after its last."""

import asyncio
import sys

import structlog

from rag.domain.errors import RagError
from rag.services.replay import hub
from rag.slots import question_embedder

log = structlog.get_logger(__name__)


async def start() -> None:
    """Loads the question model in a thread and begins to listen for events; a missing model is said by readiness, not here."""
    hub().start()
    try:
        await asyncio.to_thread(lambda: question_embedder().embed_question("warm"))
    except RagError as error:
        log.error("question_model.missing", reason=error.message)
    if "torch" in sys.modules:
        log.error("web.has_torch")


async def stop() -> None:
    """Gives connections back."""
    await hub().close()
