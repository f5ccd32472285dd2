"""System checks of the product: every chosen part can be found, parsers do not quarrel, and no heavy module is imported for it."""

from importlib.util import find_spec
from typing import Any

from django.core.checks import CheckMessage, Error, register

from rag.config import rag_config
from rag.domain.errors import Permanent


@register()
def slots(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Each dotted path in settings leads to a module."""
    config = rag_config()
    errors: list[CheckMessage] = []
    vectors = [path for _, path in config.vector_indexes]
    for path in (
        *vectors,
        config.keyword_index,
        config.passage_embedder,
        config.question_embedder,
        config.reranker,
        config.entailment,
    ):
        module = path.rpartition(".")[0]
        if find_spec(module) is None:
            errors.append(Error(f"{path} cannot be found.", id="footnote.E010"))
    return errors


@register()
def reranking_model(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The folder that FOOTNOTE_RERANKER names, if any, holds a model that can be used; otherwise every search would fail."""
    from rag.slots import reranker

    try:
        reranker()
    except Permanent as error:
        return [Error(f"FOOTNOTE_RERANKER: {error.message}", id="footnote.E012")]
    return []


@register()
def entailment_model(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The folder that FOOTNOTE_ENTAILMENT names, if any, holds a model that can be used; otherwise every answer would fail."""
    from rag.slots import entailment

    try:
        entailment()
    except Permanent as error:
        return [Error(f"FOOTNOTE_ENTAILMENT: {error.message}", id="footnote.E013")]
    return []


@register()
def parsers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """No media type or file ending is claimed by two parsers."""
    from rag.backends.parsers import claimed_twice

    return [Error(quarrel, id="footnote.E011") for quarrel in claimed_twice()]
