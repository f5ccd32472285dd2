"""The parts that were chosen, each made once per process. Importing this file imports none of them."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from django.utils.module_loading import import_string

from rag.backends.embedders.base import Embedder, Identity
from rag.backends.embedders.tokens import TokenCounter
from rag.backends.entailment.base import Entailment
from rag.backends.keywords.base import KeywordIndex
from rag.backends.rerankers.base import Reranker
from rag.backends.sandbox import Sandbox
from rag.backends.vectors.base import VectorIndex
from rag.config import rag_config
from rag.domain.errors import Permanent
from rag.models import EmbeddingModel
from rag.models.embedding_model import EmbeddingState

P = ParamSpec("P")
T = TypeVar("T")


def _once(make: Callable[[], T]) -> Callable[[], T]:
    """Like lru_cache, but two threads that ask at once wait for one load of the weights."""
    lock = threading.Lock()
    cached = lru_cache(maxsize=1)(make)

    @wraps(make)
    def get() -> T:
        with lock:
            return cached()

    get.cache_clear = cached.cache_clear  # type: ignore[attr-defined]  # for tests
    return get


# --- The embedding model


@dataclass(frozen=True, slots=True)
class Model:
    """An embedding model and where its files lie; `folder` is "" for the one that comes with the packages."""

    identity: Identity
    folder: str
    export_folder: str
    imported: bool = False
    exported: bool = True  # False: only torch can run it


def embedding_model() -> Model:
    """The one that this installation works with now: each question asks anew, so that a switch needs no restart.

    FOOTNOTE_EMBEDDER names it for good; otherwise it is the one that an administrator switched to, which costs one SELECT.
    """
    if rag_config().embedder_folder:
        return base_model()
    row = EmbeddingModel.objects.filter(in_use=True).order_by().first()
    return base_model() if row is None else model_of(row)


def kept_models() -> list[Model]:
    """Those whose vectors the indexes hold: the one in use first, then those that stand beside it."""
    current = embedding_model()
    found = [current]
    for row in EmbeddingModel.objects.exclude(state__in=(EmbeddingState.IMPORTED, EmbeddingState.REMOVING)):
        model = model_of(row)
        if model.identity.digest != current.identity.digest:
            found.append(model)
    return found


def model_of(row: EmbeddingModel) -> Model:
    """The model that a row tells of."""
    if not row.folder:
        base = base_model().identity
        known = base if base.digest == row.digest else Identity(row.name, row.digest, row.dimension)
        return Model(known, "", str(rag_config().export_folder))
    config, facts = rag_config(), row.facts
    return Model(
        Identity(row.name, row.digest, row.dimension, facts.get("scale", 1.0), facts.get("shift", 0.0)),
        str(config.imported_folder / row.folder),
        str(config.exports_folder / row.folder),
        imported=True,
        exported=row.exported,
    )


@lru_cache(maxsize=1)
def base_model() -> Model:
    """The one that came with Footnote, or that FOOTNOTE_EMBEDDER names; costs no loading of weights."""
    config = rag_config()
    maker: type[Embedder] = import_string(config.question_embedder)
    return Model(maker.identity(config.embedder_folder), config.embedder_folder, str(config.export_folder))


def embedding_identity() -> Identity:
    """Which vectors this installation works with now; costs no loading of weights."""
    return embedding_model().identity


class _Embedders:
    """The embedders that this process has loaded: the one in use, and the one that may take its place or had it before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[Model, Embedder] = OrderedDict()

    def get(self, model: Model, maker: str) -> Embedder:
        """Loads the weights at the first call for a model; two threads that ask at once wait for one load of them."""
        with self._lock:
            found = self._made.pop(model, None) or self._make(model, maker)
            self._made[model] = found
            while len(self._made) > _LOADED:
                self._made.popitem(last=False)
        return found

    def clear(self) -> None:
        with self._lock:
            self._made.clear()

    @staticmethod
    def _make(model: Model, maker: str) -> Embedder:
        if model.imported and not Path(model.folder).is_dir():
            raise Permanent(
                f"The files of the embedding model {model.identity.name} are missing. Import its folder again: "
                "python3 manage.py models import FOLDER"
            )
        embedder: Embedder = import_string(maker)(
            folder=model.folder, export_folder=model.export_folder, threads=rag_config().embed_threads
        )
        if embedder.digest != model.identity.digest:
            raise Permanent(
                f"A file of the embedding model {model.identity.name} has been altered. Remove it and import it again: "
                "python3 manage.py models"
            )
        return embedder


_LOADED = 2
_for_questions, _for_passages = _Embedders(), _Embedders()
_BY_TORCH = "rag.backends.embedders.sentence_transformers.SentenceTransformersEmbedder"


def question_embedder(model: Model | None = None) -> Embedder:
    """Embeds questions in this process, by default with the model in use; without torch, unless nothing else can run it."""
    model = model or embedding_model()
    if not model.imported:
        return _for_questions.get(model, rag_config().question_embedder)
    return _for_questions.get(
        model, "rag.backends.embedders.openvino.OpenVinoEmbedder" if model.exported else _BY_TORCH
    )


def passage_embedder(model: Model | None = None) -> Embedder:
    """Embeds passages, with all threads that it may have: only the `embed` worker asks for it."""
    model = model or embedding_model()
    if not model.imported:
        return _for_passages.get(model, rag_config().passage_embedder)
    return _for_passages.get(model, "rag.backends.embedders.passages.PassageEmbedder" if model.exported else _BY_TORCH)


def forget_models() -> None:
    """Forgets which models there are and closes those that are loaded; for tests that change settings."""
    base_model.cache_clear()
    _for_questions.clear()
    _for_passages.clear()


# --- The others


def vector_indexes() -> list[tuple[int, type[VectorIndex]]]:
    """The kinds of vector index, each with the number of vectors from which it is used; the first is for any number."""
    return [(least, import_string(path)) for least, path in rag_config().vector_indexes]


@lru_cache(maxsize=1)
def keyword_index() -> type[KeywordIndex]:
    found: type[KeywordIndex] = import_string(rag_config().keyword_index)
    return found


@_once
def token_counter() -> TokenCounter:
    """Counts text in the tokens of the model that came with Footnote, or that FOOTNOTE_EMBEDDER names, without its weights.

    Passages keep their bounds when another model takes its place: only so can the two be compared, and a switch be undone.
    """
    return TokenCounter(rag_config().embedder_folder)


@_once
def reranker() -> Reranker | None:
    """The model that FOOTNOTE_RERANKER names, None where it names none; its weights are loaded when it first judges."""
    config = rag_config()
    if not config.reranker_folder:
        return None
    made: Reranker = import_string(config.reranker)(folder=config.reranker_folder, threads=config.embed_threads)
    return made


@_once
def entailment() -> Entailment | None:
    """The model that FOOTNOTE_ENTAILMENT names, None where it names none; its weights are loaded when it first judges."""
    config = rag_config()
    if not config.entailment_folder:
        return None
    made: Entailment = import_string(config.entailment)(folder=config.entailment_folder, threads=config.embed_threads)
    return made


@_once
def sandbox() -> Sandbox:
    """Runs parsers in limited child processes."""
    return Sandbox()
