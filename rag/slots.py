"""The parts that were chosen in settings, each made once per process. Importing this file imports none of them."""

import threading
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

from django.utils.module_loading import import_string

from rag.backends.embedders.base import Embedder, Identity
from rag.backends.embedders.tokens import TokenCounter
from rag.backends.keywords.base import KeywordIndex
from rag.backends.sandbox import Sandbox
from rag.backends.vectors.base import VectorIndex
from rag.config import rag_config

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


@_once
def question_embedder() -> Embedder:
    """Embeds questions in this process, without torch."""
    config = rag_config()
    maker = import_string(config.question_embedder)
    embedder: Embedder = maker(
        folder=config.embedder_folder, export_folder=str(config.export_folder), threads=config.embed_threads
    )
    return embedder


@lru_cache(maxsize=1)
def embedding_identity() -> Identity:
    """Which vectors this installation works with; costs no loading of weights."""
    config = rag_config()
    maker: type[Embedder] = import_string(config.question_embedder)
    return maker.identity(config.embedder_folder)


@_once
def passage_embedder() -> Embedder:
    """Embeds passages, with all threads that it may have: only the `embed` worker asks for it."""
    config = rag_config()
    maker = import_string(config.passage_embedder)
    embedder: Embedder = maker(
        folder=config.embedder_folder, export_folder=str(config.export_folder), threads=config.embed_threads
    )
    return embedder


@lru_cache(maxsize=1)
def vector_index() -> type[VectorIndex]:
    found: type[VectorIndex] = import_string(rag_config().vector_index)
    return found


@lru_cache(maxsize=1)
def keyword_index() -> type[KeywordIndex]:
    found: type[KeywordIndex] = import_string(rag_config().keyword_index)
    return found


@_once
def token_counter() -> TokenCounter:
    """Counts text in the embedder's own tokens, without its weights."""
    return TokenCounter(rag_config().embedder_folder)


@_once
def sandbox() -> Sandbox:
    """Runs parsers in limited child processes."""
    return Sandbox()
