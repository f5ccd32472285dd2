"""Which language model answers: what an endpoint offers, what the administrator chose, and whether it is still the same."""

from dataclasses import dataclass

from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils.translation import gettext as _

from core import audit
from core.db import in_db
from core.models import User
from core.registry import Finding, State
from rag.backends.llms.base import LLM, ModelInfo
from rag.config import rag_config
from rag.domain.errors import Permanent, RagError
from rag.models import LanguageModel
from rag.models.language_model import Provider


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What was found at the Ollama address; `sentence` says it to a person."""

    url: str
    reachable: bool
    version: str
    sentence: str
    models: tuple[ModelInfo, ...] = ()


def chosen() -> LanguageModel | None:
    """The model in use, if an administrator chose one."""
    return LanguageModel.objects.filter(in_use=True).first()


def chosen_llm() -> LLM | None:
    """The model that answers, ready to be asked; None where answers are verbatim extracts.

    A model file named in the environment goes before a choice made on the page.
    """
    # The providers bring an HTTP client: a web process pays for it when it first needs it.
    config = rag_config()
    if config.llama_url:
        from rag.backends.llms.llamacpp import LlamaCppLLM

        return LlamaCppLLM(
            url=config.llama_url,
            key=config.llama_key,
            model_path=config.gguf,
            context_tokens=config.context_tokens,
            first_token_seconds=config.first_token_seconds,
        )
    model = chosen()
    if model is None:
        return None
    from rag.backends.llms.ollama import OllamaLLM

    return OllamaLLM(
        url=config.ollama_url,
        name=model.name,
        digest=model.digest,
        context_tokens=config.context_tokens,
        first_token_seconds=config.first_token_seconds,
    )


async def ready_llm() -> LLM | None:
    """The model that answers, after its endpoint said that it is still the one that was chosen; None for extracts.

    Raises RagError when it is gone, was changed, or now runs elsewhere.
    """
    llm = await in_db(chosen_llm)
    if llm is not None and llm.provider == Provider.OLLAMA:
        from rag.backends.llms import ollama

        await ollama.check_model(rag_config().ollama_url, llm.name, llm.digest)
    return llm


def endpoint() -> Endpoint:
    """What the Ollama address answers right now; never raises for a silent or broken one."""
    from rag.backends.llms import ollama

    url = rag_config().ollama_url
    try:
        version = async_to_sync(ollama.version)(url)
        models = tuple(async_to_sync(ollama.list_models)(url))
    except RagError as error:
        return Endpoint(url=url, reachable=False, version="", sentence=error.message)
    sentence = _("Ollama %(version)s answers with %(count)d models.") % {"version": version, "count": len(models)}
    return Endpoint(url=url, reachable=True, version=version, sentence=sentence, models=models)


@transaction.atomic
def _choose(actor: User, info: ModelInfo) -> LanguageModel:
    LanguageModel.objects.filter(in_use=True).update(in_use=False)
    model, _made = LanguageModel.objects.update_or_create(
        provider=Provider.OLLAMA,
        name=info.name,
        defaults={"digest": info.digest, "available": True, "in_use": True, "chosen_by": actor},
    )
    audit.record("model.chosen", actor=actor, subject=model, name=info.name, digest=info.digest)
    return model


def choose(actor: User, name: str) -> LanguageModel:
    """Makes an installed model the one that answers, pinned by its digest.

    Raises Permanent when it is not installed or runs elsewhere: Ollama's cloud models send every prompt away.
    """
    from rag.backends.llms import ollama

    for info in async_to_sync(ollama.list_models)(rag_config().ollama_url):
        if info.name == name:
            if info.remote:
                raise Permanent(_("This model runs on somebody else's machine. Documents and questions stay here."))
            return _choose(actor, info)
    raise Permanent(_("Ollama no longer has this model. Choose another one."))


@transaction.atomic
def use_none(actor: User) -> None:
    """Goes back to verbatim extracts."""
    if LanguageModel.objects.filter(in_use=True).update(in_use=False):
        audit.record("model.chosen", actor=actor, name="")


def in_words() -> dict[str, object]:
    """What the composer says about who answers; asks no endpoint, so it costs no time."""
    config = rag_config()
    if config.llama_url:
        name = config.gguf.rpartition("/")[2]
        return {"name": name, "kind": "llamacpp", "connected": True, "note": _("A model file on this machine answers.")}
    model = chosen()
    if model is not None:
        note = _("Ollama answers with this model, pinned by its digest.")
        return {"name": model.name, "kind": "ollama", "connected": True, "note": note}
    return {
        "name": _("Exact words"),
        "kind": "extractive",
        "connected": False,
        "note": _(
            "No language model is connected: answers are the exact words of your documents. "
            "An administrator can connect one under Models."
        ),
    }


def finding() -> Finding:
    """What doctor and `up` say about the language model."""
    config = rag_config()
    if config.gguf:  # `doctor` runs beside the server, which alone knows the file's port
        return Finding(State.OK, f"model file {config.gguf.rpartition('/')[2]}")
    found, model = endpoint(), chosen()
    if model is not None:
        there = any(info.name == model.name and info.digest == model.digest for info in found.models)
        if there:
            return Finding(State.OK, f"{model.name} by Ollama {found.version}")
        return Finding(
            State.FAIL, f"{model.name} is not available: {found.sentence}", "Choose a model on the Models page."
        )
    if found.models:
        return Finding(
            State.WARN, f"{found.sentence} None is chosen: answers are exact words", "Choose one on the Models page."
        )
    return Finding(
        State.WARN, "No language model: answers are exact words", "Start Ollama (FOOTNOTE_OLLAMA_URL) and pull a model."
    )
