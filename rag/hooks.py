"""What the product tells the site: preparations for a start, readiness, the rows of doctor, samples, start and stop."""

from core.registry import (
    Finding,
    State,
    register_doctor,
    register_preparation,
    register_readiness,
    register_samples,
    register_server_start,
    register_server_stop,
)


def _embedding() -> None:
    from rag.services import preparation

    preparation.prepare_embedding()


def _weights() -> Finding:
    from rag.services import preparation

    return preparation.weights()


def _question_model() -> Finding:
    from rag.services import preparation

    return preparation.question_model()


def _passage_model() -> Finding:
    from rag.services import preparation

    return preparation.passage_model()


def _ollama() -> Finding:
    from rag.services import models_admin

    return models_admin.finding()


def _sandbox() -> Finding:
    from rag.services import preparation

    return preparation.sandbox_limits()


def _old_office() -> Finding:
    from rag.backends.convert import libreoffice

    program = libreoffice()
    if program:
        return Finding(State.OK, f".doc and .ppt files are converted by {program}")
    return Finding(State.WARN, ".doc and .ppt files are refused: LibreOffice is not installed", "install LibreOffice")


def _recognition() -> Finding:
    from rag.services import preparation

    return preparation.recognition()


def _indexes() -> Finding:
    from rag.services import preparation

    return preparation.indexes()


def _ready() -> Finding:
    """Cheap: whether a question could be embedded, without loading anything."""
    from rag.config import rag_config

    exported = (rag_config().export_folder / "meta.json").exists()
    return Finding(State.OK if exported else State.FAIL, "question model", "python3 manage.py prepare")


async def _start() -> None:
    from rag.services import model_jobs, warmup

    await warmup.start()
    model_jobs.begin_to_look_after()


async def _stop() -> None:
    from rag.services import warmup

    await warmup.stop()


def _samples(user: object) -> None:
    from core.models import User
    from rag.services import samples

    if isinstance(user, User):
        samples.load(user)


register_preparation("embedding model", _embedding)
register_readiness("question model", _ready)
register_doctor("embedding weights", _weights)
register_doctor("question model", _question_model)
register_doctor("passage model", _passage_model)
register_doctor("language model", _ollama, announce=True)
register_doctor("parser limits", _sandbox)
register_doctor("old Office files", _old_office)
register_doctor("text recognition", _recognition)
register_doctor("indexes", _indexes)
register_samples(_samples)
register_server_start(_start)
register_server_stop(_stop)
