"""What has to be there before the first question, and what doctor says of it."""

import subprocess
import sys

from django.conf import settings

from core.registry import Finding, State
from rag.backends.embedders.weights import find_weights
from rag.config import rag_config
from rag.domain.errors import RagError
from rag.models import Collection, IndexGeneration
from rag.models.index import IndexKind
from rag.slots import question_embedder, sandbox


def export_question_model() -> None:
    """Exports the weights for embedding questions without torch, unless that was done; takes about fifteen seconds once.

    In a process of its own: torch would otherwise stay in this one. Raises RagError with what went wrong.
    """
    from rag.backends.embedders.openvino import is_exported

    config = rag_config()
    found = find_weights(config.embedder_folder)
    if is_exported(found, config.export_folder):
        return
    command = [sys.executable, "manage.py", "export_question_model"]
    done = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RagError(f"The question model could not be exported: {last}")


def weights() -> Finding:
    """Whether the embedding weights are there and unaltered."""
    try:
        found = find_weights(rag_config().embedder_folder)
    except RagError as error:
        return Finding(State.FAIL, error.message, "python3 manage.py up")
    return Finding(State.OK, f"{found.name}, {found.dimension} dimensions, {found.digest[:12]}")


def question_model() -> Finding:
    """Whether questions can be embedded."""
    try:
        vector = question_embedder().embed_question("Is anybody there?")
    except RagError as error:
        return Finding(State.FAIL, error.message, "python3 manage.py prepare")
    return Finding(State.OK, f"{len(vector)} dimensions, without torch")


def sandbox_limits() -> Finding:
    """How parsers are held."""
    report = sandbox().limits_report()
    weak = report["network"].startswith("not taken away")
    text = ", ".join(f"{name}: {value}" for name, value in report.items())
    return Finding(
        State.WARN if weak else State.OK, text, "Run on Linux with user namespaces or seccomp." if weak else ""
    )


def indexes() -> Finding:
    """Whether every collection's indexes follow the database."""
    behind = [
        collection.pk
        for collection in Collection.objects.filter(deleted__isnull=True, version__gt=0)
        if not IndexGeneration.objects.filter(
            collection=collection, kind=IndexKind.KEYWORDS, current=True, version__gte=collection.version
        ).exists()
    ]
    count = Collection.objects.filter(deleted__isnull=True).count()
    if behind:
        return Finding(State.WARN, f"{len(behind)} of {count} collections are behind", "python3 manage.py reindex")
    return Finding(State.OK, f"{count} collections, all up to date")
