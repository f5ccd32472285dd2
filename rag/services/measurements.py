"""Keeps what measurings of retrieval gave, and gives them back to be drawn over time."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from core import __version__
from rag.config import rag_config
from rag.models import Collection, Evaluation
from rag.services.indexing import current_digest

_SOURCES = Path(__file__).resolve().parents[1]
_DECIDES = ("domain", "backends/keywords", "backends/vectors", "backends/rerankers", "services")  # what is found


def keep(
    *,
    collection: Collection | None,
    name: str,
    questions: int,
    passages: int,
    left_out: int,
    stages: Sequence[Mapping[str, Any]],
    timings: Mapping[str, Sequence[float]],
) -> Evaluation:
    """Stores one measuring, made with the weights, the indexes and the code that this process works with."""
    config = rag_config()
    return Evaluation.objects.create(
        collection=collection,
        name=name[:200],
        questions=questions,
        passages=passages,
        left_out=left_out,
        embedder=current_digest(),
        indexes={
            "vectors": config.vector_index.rpartition(".")[2],
            "keywords": config.keyword_index.rpartition(".")[2],
        },
        code=code_version(),
        stages=list(stages),
        timings={step: list(values) for step, values in timings.items()},
    )


def history(collection: Collection | None, *, name: str = "") -> list[Evaluation]:
    """The measurings of a collection's own questions, or of public sets (None; `name`: of one of them), oldest first.

    The caller has checked who may see the collection.
    """
    found = Evaluation.objects.filter(collection=collection).order_by("made", "pk")
    return list(found.filter(name=name) if name else found)


@lru_cache(maxsize=1)
def code_version() -> str:
    """The version, and a sum over the code that decides what is found: two measurings with another one may differ by it."""
    summed = hashlib.sha256()
    for folder in _DECIDES:
        for file in sorted((_SOURCES / folder).glob("*.py")):
            summed.update(file.read_bytes())
    return f"{__version__}+{summed.hexdigest()[:10]}"
