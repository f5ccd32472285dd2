"""Keeps what measurings of retrieval gave, and gives them back to be drawn over time."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from core import __version__
from rag.backends import files
from rag.backends.errors import Damaged
from rag.config import rag_config
from rag.models import Collection, Evaluation, IndexGeneration
from rag.services.indexing import current_digest

_SOURCES = Path(__file__).resolve().parents[1]
_SEALS = (files.META, "footnote.json")  # files in which an index says of what kind it is
_DECIDES = ("domain", "backends/keywords", "backends/vectors", "backends/rerankers", "services")  # what is found


def keep(
    *,
    collection: Collection | None,
    name: str,
    questions: int,
    passages: int,
    left_out: int,
    indexes: Mapping[str, str],
    stages: Sequence[Mapping[str, Any]],
    timings: Mapping[str, Sequence[float]],
) -> Evaluation:
    """Stores one measuring, made with the weights and the code that this process works with."""
    return Evaluation.objects.create(
        collection=collection,
        name=name[:200],
        questions=questions,
        passages=passages,
        left_out=left_out,
        embedder=current_digest(),
        indexes=dict(indexes),
        code=code_version(),
        stages=list(stages),
        timings={step: list(values) for step, values in timings.items()},
    )


def index_kinds(collection_id: UUID) -> dict[str, str]:
    """Which kind of index serves each leg of a collection, by leg; none of vectors where they are few and searched as they are."""
    found: dict[str, str] = {}
    generations = IndexGeneration.objects.filter(collection_id=collection_id, current=True)
    for generation in generations.filter(digest__in=("", current_digest())):
        folder = rag_config().index_folder / str(collection_id) / generation.folder
        for seal in _SEALS:
            if (folder / seal).is_file():
                try:
                    found[generation.kind] = str(files.unseal(folder, seal)["kind"])
                except (Damaged, KeyError):
                    found[generation.kind] = "unknown"
    return found


def history(collection: Collection | None, *, name: str = "", most: int = 100) -> list[Evaluation]:
    """The newest measurings of a collection's own questions, or of public sets (None; `name`: of one of them), oldest first.

    The caller has checked who may see the collection.
    """
    found = Evaluation.objects.filter(collection=collection).order_by("-made", "-pk")
    return list((found.filter(name=name) if name else found)[:most])[::-1]


@lru_cache(maxsize=1)
def code_version() -> str:
    """The version, and a sum over the code that decides what is found: two measurings with another one may differ by it."""
    summed = hashlib.sha256()
    for folder in _DECIDES:
        for file in sorted((_SOURCES / folder).glob("*.py")):
            summed.update(file.read_bytes())
    return f"{__version__}+{summed.hexdigest()[:10]}"
