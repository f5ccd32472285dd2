"""Which language model answers a question: the one picked for it, else its collections', else the installation's.

What is on offer are the rows that an administrator made available, and the model file that the environment names. A model is
named by its key, provider and name, so that a choice outlives a new digest. A choice that cannot be kept is said, never replaced in
silence; only a collection's wish gives way to the installation's where its model is no longer on offer.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.utils.translation import gettext as _

from core.db import in_db
from rag.backends.llms.addresses import host_of
from rag.backends.llms.base import LLM, billions_of
from rag.config import rag_config
from rag.domain.errors import Permanent, RagError
from rag.domain.prompt_profiles import Profile, profile_of
from rag.models import Answer, Collection, Conversation, LanguageModel
from rag.models.language_model import Provider, model_key


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be picked; `usual` is the one that answers where none was. `outside` names a host that is not one's own."""

    provider: str
    name: str
    digest: str  # of a model file: "", it is read when the model is asked
    billions: float
    context_limit: int
    usual: bool
    outside: str = ""

    @property
    def key(self) -> str:
        return model_key(self.provider, self.name)


def offered() -> list[Offer]:
    """Every model that can be picked, the usual one first; costs one SELECT and asks no server."""
    config = rag_config()
    file = [_file()] if config.llama_url else []
    rows = [
        Offer(
            row.provider,
            row.name,
            row.digest,
            row.billions or billions_of(row.name),
            row.context_limit,
            usual=row.in_use and not file,
            outside=outside_of(row.provider),
        )
        for row in LanguageModel.objects.filter(available=True)
        if is_connected(row.provider)
    ]
    return sorted([*file, *rows], key=lambda offer: not offer.usual)


def _file() -> Offer:
    name = Path(rag_config().gguf).stem
    return Offer(Provider.LLAMACPP, name, "", billions_of(name), 0, usual=True)


def is_connected(provider: str) -> bool:
    """Whether the environment says where this provider is and, for a service outside, that it may be asked."""
    config = rag_config()
    match provider:
        case Provider.OLLAMA:
            return True
        case Provider.OPENAI:
            return bool(config.openai_urls)
        case Provider.REPLICATE:
            return bool(config.replicate_key) and host_of(config.replicate_url) in config.outside_hosts
        case Provider.LLAMACPP:
            return bool(config.llama_url)
    return False


def outside_hosts() -> list[str]:
    """The hosts outside one's own network that may be sent questions and passages, of those that a provider here would ask."""
    hosts = (outside_of(provider) for provider in Provider.values if is_connected(provider))
    return sorted({host for hosts_of_one in hosts for host in hosts_of_one.split(", ") if host})


def outside_of(provider: str) -> str:
    """The allowed hosts outside that this provider asks, "" where it stays in one's own network."""
    config = rag_config()
    urls: dict[str, Sequence[str]] = {
        Provider.OLLAMA: config.ollama_urls,
        Provider.OPENAI: config.openai_urls,
        Provider.REPLICATE: (config.replicate_url,),
    }
    hosts = {host_of(url) for url in urls.get(provider, ()) if "://" in url}
    return ", ".join(sorted(hosts & set(config.outside_hosts)))


def usual(offers: Sequence[Offer], asked: Sequence[Collection] = ()) -> Offer | None:
    """The one that answers where none was picked; None where answers are verbatim extracts.

    Those of the collections asked that name a model decide where they agree.
    """
    keys = {collection.language_model for collection in asked} - {""}
    if len(keys) == 1:
        wanted = keys.pop()
        if found := next((offer for offer in offers if offer.key == wanted), None):
            return found
    return next((offer for offer in offers if offer.usual), None)


def still_offered(key: str) -> str:
    """`key` where it names a model on offer, otherwise "": the usual one."""
    return key if key in {offer.key for offer in offered()} else ""


def pick(key: str) -> str:
    """`key` where it names a model on offer, or "" for the usual one; raises `Permanent` for any other."""
    if key and key not in {offer.key for offer in offered()}:
        raise Permanent(_("This model is not on offer any more. Pick another one."))
    return key


def wanted(answer: Answer) -> Offer | None:
    """The model for this answer; None for verbatim extracts. Raises `Permanent` when the one picked is not on offer any more."""
    offers = offered()
    if answer.wanted_model:
        found = next((offer for offer in offers if offer.key == answer.wanted_model), None)
        if found is None:
            raise Permanent(_("The model that was picked for this question is not on offer any more. Ask another one."))
        return found
    return usual(offers, list(answer.conversation.collections.all()))


async def ready_llm(answer: Answer | None = None) -> LLM | None:
    """The model that answers, after its server said that it is still the one that was chosen; None for extracts.

    Without an answer, the installation's. Raises RagError when the model is gone, was changed, or now runs elsewhere.
    """
    offer = await in_db(lambda: wanted(answer) if answer is not None else usual(offered()))
    if offer is None:
        return None
    return await ready(offer, thread=str(answer.conversation_id) if answer is not None else "")


async def ready(offer: Offer, *, thread: str = "") -> LLM:
    """A model on offer, ready to be asked a question of the conversation `thread`; raises RagError as `ready_llm` does."""
    urls = await _ollamas_with(offer) if offer.provider == Provider.OLLAMA else _urls(offer.provider)
    # Reading a model file for its digest takes seconds, once.
    made = [await asyncio.to_thread(make, offer, url) for url in urls]
    every = _urls(offer.provider)
    if len(every) == 1:
        return made[0]
    from rag.backends.llms.spread import SpreadLLM

    return SpreadLLM(made, thread=thread, every=every)


def _urls(provider: str) -> Sequence[str]:
    """Where this provider is asked."""
    config = rag_config()
    match provider:
        case Provider.OLLAMA:
            return config.ollama_urls
        case Provider.OPENAI:
            return config.openai_urls
        case Provider.REPLICATE:
            return (config.replicate_url,)
    return (config.llama_url,)


async def _ollamas_with(offer: Offer) -> list[str]:
    """The Ollamas that have the very model; raises what the most telling of them said where none has."""
    from rag.backends.llms import ollama
    from rag.backends.llms.spread import BOARD

    config = rag_config()
    urls = [url for url in config.ollama_urls if not BOARD.is_aside(url)] or list(config.ollama_urls)
    checks = (ollama.check_model(url, offer.name, offer.digest, allowed=config.outside_hosts) for url in urls)
    results = await asyncio.gather(*checks, return_exceptions=True)
    failures = []
    for url, result in zip(urls, results, strict=True):
        if not isinstance(result, BaseException):
            continue
        if not isinstance(result, RagError):
            raise result
        failures.append(result)
        if not isinstance(result, Permanent) and len(config.ollama_urls) > 1:
            BOARD.put_aside(url)
    found = [url for url, result in zip(urls, results, strict=True) if not isinstance(result, BaseException)]
    if not found:
        raise next((error for error in failures if isinstance(error, Permanent)), failures[0])
    return found


def make(offer: Offer, url: str) -> LLM:
    """The model at one of its addresses. The providers bring an HTTP client: a web process pays for it when it first needs it."""
    config = rag_config()
    context = context_tokens(offer)
    match offer.provider:
        case Provider.LLAMACPP:
            from rag.backends.llms.llamacpp import LlamaCppLLM

            return LlamaCppLLM(
                url,
                config.llama_key,
                model_path=config.gguf,
                context_tokens=config.context_tokens,
                first_token_seconds=config.first_token_seconds,
            )
        case Provider.OPENAI:
            from rag.backends.llms.openai_compatible import OpenAICompatibleLLM

            return OpenAICompatibleLLM(
                url,
                config.openai_key,
                name=offer.name,
                digest=offer.digest,
                context_tokens=context,
                billions=offer.billions,
                allowed=config.outside_hosts,
                first_token_seconds=config.first_token_seconds,
            )
        case Provider.REPLICATE:
            from rag.backends.llms.replicate import ReplicateLLM

            return ReplicateLLM(
                url,
                config.replicate_key,
                name=offer.name,
                digest=offer.digest,
                context_tokens=context,
                billions=offer.billions,
                allowed=config.outside_hosts,
                first_token_seconds=config.first_token_seconds,
            )
    from rag.backends.llms.ollama import OllamaLLM

    return OllamaLLM(
        url,
        offer.name,
        offer.digest,
        context,
        billions=offer.billions,
        allowed=config.outside_hosts,
        first_token_seconds=config.first_token_seconds,
    )


def context_tokens(offer: Offer) -> int:
    """The context that is asked of the model: the installation's, or what it was trained for where that is less."""
    most = rag_config().context_tokens
    return min(most, offer.context_limit) if offer.context_limit else most


def profile(model: LLM) -> Profile:
    """How long prompts for this model are."""
    return profile_of(model.billions, wish=rag_config().prompt)


def for_composer(thread: Conversation | None, asked: Iterable[UUID], *, picked: str = "") -> dict[str, object]:
    """What the composer says about who answers, and the models that can be picked; asks no server, so it costs no time.

    `asked` are the ids of the collections that are ticked. The model picked for the conversation's last question stays picked.
    """
    offers = offered()
    if not picked and thread is not None:
        picked = thread.answers.order_by("created").values_list("wanted_model", flat=True).last() or ""
    picked = picked if picked in {offer.key for offer in offers} else ""
    without = usual(offers, list(Collection.objects.filter(pk__in=asked)))
    shown = next((offer for offer in offers if offer.key == picked), without)
    return {
        "name": shown.name if shown else _("Exact words"),
        "kind": shown.provider if shown else "extractive",
        "connected": shown is not None,
        "note": _note(shown),
        "usual": without.name if without else _("Exact words"),
        "picked": picked,
        "choices": [{"key": offer.key, "name": offer.name, "note": _where(offer)} for offer in offers],
    }


def _where(offer: Offer) -> str:
    if offer.outside:
        return _("outside: %(host)s") % {"host": offer.outside}
    return str(Provider(offer.provider).label)


def _note(offer: Offer | None) -> str:
    if offer is None:
        return _(
            "No language model is connected: answers are the exact words of your documents. "
            "An administrator can connect one under Models."
        )
    if offer.outside:
        return _("The question and the passages found for it are sent to %(host)s, outside your network.") % {
            "host": offer.outside
        }
    if offer.provider == Provider.LLAMACPP:
        return _("A model file on this machine answers.")
    if offer.provider == Provider.OLLAMA:
        return _("Ollama answers with this model, pinned by its digest.")
    return _("A model server in your network answers.")
