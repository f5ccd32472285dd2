"""What an administrator decides about language models: which are on offer, which is the usual one, which a collection uses."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils.translation import gettext as _

from core import audit
from core.models import User
from core.registry import Finding, State
from rag.backends.llms.base import ModelInfo
from rag.config import rag_config
from rag.domain.errors import Permanent, RagError
from rag.models import Collection, LanguageModel
from rag.models.language_model import Provider
from rag.services import language_models


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What was found at the address of a model server; `sentence` says it to a person."""

    url: str
    reachable: bool
    version: str
    sentence: str
    models: tuple[ModelInfo, ...] = ()
    provider: str = Provider.OLLAMA
    outside: bool = False  # beyond one's own network, by the operator's leave


def chosen() -> LanguageModel | None:
    """The usual model, if an administrator chose one."""
    return LanguageModel.objects.filter(in_use=True).first()


def endpoint() -> Endpoint:
    """What the first Ollama answers right now; never raises for a silent or broken one."""
    return async_to_sync(_ollama)(rag_config().ollama_url)


def endpoints() -> list[Endpoint]:
    """What every connected model server answers right now, asked all at once; never raises for a silent or broken one."""
    return async_to_sync(_endpoints)()


async def _endpoints() -> list[Endpoint]:
    config = rag_config()
    asked = [_ollama(url) for url in config.ollama_urls]
    asked += [_openai(url) for url in config.openai_urls]
    if config.replicate_key:
        asked.append(_replicate())
    return list(await asyncio.gather(*asked))


async def _ollama(url: str) -> Endpoint:
    from rag.backends.llms import ollama

    allowed = rag_config().outside_hosts
    try:
        version = await ollama.version(url, allowed=allowed)
        models = tuple(await ollama.list_models(url, allowed=allowed))
    except RagError as error:
        return Endpoint(url=url, reachable=False, version="", sentence=error.message)
    sentence = _("Ollama %(version)s answers with %(count)d models.") % {"version": version, "count": len(models)}
    return Endpoint(url=url, reachable=True, version=version, sentence=sentence, models=models)


async def _openai(url: str) -> Endpoint:
    from rag.backends.llms import openai_compatible

    config, provider = rag_config(), Provider.OPENAI
    outside = bool(language_models.outside_of(provider))
    try:
        listed = await openai_compatible.list_models(url, config.openai_key, allowed=config.outside_hosts)
    except RagError as error:
        return Endpoint(url, reachable=False, version="", sentence=error.message, provider=provider, outside=outside)
    named = config.openai_models
    known = {info.name: info for info in listed}
    models = tuple(known.get(name, ModelInfo(name, "")) for name in named) if named else tuple(listed)
    sentence = _("A server of the OpenAI kind answers with %(count)d models.") % {"count": len(models)}
    return Endpoint(
        url, reachable=True, version="", sentence=sentence, models=models, provider=provider, outside=outside
    )


async def _replicate() -> Endpoint:
    from rag.backends.llms import replicate
    from rag.backends.llms.addresses import host_of, outside

    config, provider = rag_config(), Provider.REPLICATE
    url = config.replicate_url
    try:
        if not language_models.is_connected(provider):
            raise outside(host_of(url))
        asked = (
            replicate.describe(url, config.replicate_key, name, allowed=config.outside_hosts)
            for name in config.replicate_models
        )
        models = tuple(await asyncio.gather(*asked))
    except RagError as error:
        return Endpoint(url, reachable=False, version="", sentence=error.message, provider=provider, outside=True)
    sentence = _("Replicate has the %(count)d models that FOOTNOTE_REPLICATE_MODELS names.") % {"count": len(models)}
    return Endpoint(url, reachable=True, version="", sentence=sentence, models=models, provider=provider, outside=True)


def _found(provider: str, name: str) -> ModelInfo:
    """The model as its server has it now; raises RagError when none can be reached, none has it, or it runs elsewhere."""
    there = [found for found in endpoints() if found.provider == provider]
    answering = [found for found in there if found.reachable]
    if there and not answering:
        raise Permanent(there[0].sentence)
    for found in answering:
        for info in found.models:
            if info.name == name:
                if info.remote:
                    raise Permanent(_("This model runs on somebody else's machine. Documents and questions stay here."))
                return _with_context(found, info)
    if provider == Provider.OLLAMA:
        raise Permanent(_("Ollama no longer has this model. Choose another one."))
    raise Permanent(_("The server does not have this model any more. Choose another one."))


def _with_context(found: Endpoint, info: ModelInfo) -> ModelInfo:
    """The model with the context that it was trained for, which Ollama lists nowhere and tells of each model alone."""
    if found.provider != Provider.OLLAMA:
        return info
    from rag.backends.llms.ollama_files import details

    shown = async_to_sync(details)(found.url, info.name, allowed=rag_config().outside_hosts)
    return replace(info, context=shown.context)


def choose(actor: User, name: str, *, provider: str = Provider.OLLAMA) -> LanguageModel:
    """Makes a model the one that answers where no other is picked, pinned by its digest where its provider has digests.

    Raises RagError when it is not there or runs elsewhere: Ollama's cloud models send every prompt away.
    """
    return _keep(actor, provider, _found(provider, name), in_use=True)


def offer(actor: User, name: str, *, provider: str = Provider.OLLAMA) -> LanguageModel:
    """Lets a model be picked for a question or a collection, pinned as it is now; what is usual stays. Raises as `choose` does."""
    return _keep(actor, provider, _found(provider, name), in_use=False)


@transaction.atomic
def _keep(actor: User, provider: str, info: ModelInfo, *, in_use: bool) -> LanguageModel:
    values = {
        "digest": info.digest,
        "billions": info.billions,
        "context_limit": info.context,
        "available": True,
        "chosen_by": actor,
    }
    if in_use:
        LanguageModel.objects.filter(in_use=True).update(in_use=False)
        values["in_use"] = True
    made = {**values, "in_use": in_use}
    model, _new = LanguageModel.objects.update_or_create(
        provider=provider, name=info.name, defaults=values, create_defaults=made
    )
    action = "model.chosen" if in_use else "model.offered"
    audit.record(action, actor=actor, subject=model, provider=provider, name=info.name, digest=info.digest)
    return model


@transaction.atomic
def withdraw(actor: User, name: str, *, provider: str = Provider.OLLAMA) -> None:
    """Takes a model off the offer; where it was the usual one, answers are verbatim extracts. Choosing it again brings all back."""
    rows = LanguageModel.objects.filter(provider=provider, name=name, available=True)
    for model in rows:
        rows.update(available=False, in_use=False)
        audit.record("model.withdrawn", actor=actor, subject=model, provider=provider, name=name)


@transaction.atomic
def use_none(actor: User) -> None:
    """Goes back to verbatim extracts where no model is picked; those on offer stay on offer."""
    if LanguageModel.objects.filter(in_use=True).update(in_use=False):
        audit.record("model.chosen", actor=actor, name="")


@transaction.atomic
def choose_for(actor: User, collection: Collection, key: str) -> None:
    """Has one model on offer answer from this collection, "" for the usual one; the caller has checked that the actor manages it.

    Raises `Permanent` for a model that is not on offer.
    """
    key = language_models.pick(key)
    if Collection.objects.filter(pk=collection.pk).exclude(language_model=key).update(language_model=key):
        audit.record("collection.model", actor=actor, subject=collection, model=key)


def finding() -> Finding:
    """What doctor and `up` say about the language models."""
    config = rag_config()
    if config.gguf:  # `doctor` runs beside the server, which alone knows the file's port
        return Finding(State.OK, f"model file {config.gguf.rpartition('/')[2]}")
    found, rows = endpoints(), list(LanguageModel.objects.filter(available=True))
    missing = [row for row in rows if not _is_there(row, found)]
    if missing:
        silent = next((one.sentence for one in found if not one.reachable), "Its server answers without it.")
        names = ", ".join(row.name for row in missing)
        usual = any(row.in_use for row in missing)
        return Finding(
            State.FAIL if usual else State.WARN,
            f"{names} is not available: {silent}",
            "Choose a model on the Models page.",
        )
    model = next((row for row in rows if row.in_use), None)
    if model is not None:
        return Finding(State.OK, f"{model.name} by {_by(model, found)}{_further(rows)}{_leaving()}")
    if any(one.models for one in found):
        sentence = next(one.sentence for one in found if one.models)
        return Finding(
            State.WARN, f"{sentence} None is chosen: answers are exact words", "Choose one on the Models page."
        )
    return Finding(
        State.WARN, "No language model: answers are exact words", "Start Ollama (FOOTNOTE_OLLAMA_URL) and pull a model."
    )


def _is_there(row: LanguageModel, found: Sequence[Endpoint]) -> bool:
    """Whether one of its servers has the very model."""
    return any(
        info.name == row.name and (info.digest == row.digest or not row.digest)
        for one in found
        if one.provider == row.provider
        for info in one.models
    )


def _by(model: LanguageModel, found: Sequence[Endpoint]) -> str:
    there = [one for one in found if one.provider == model.provider]
    answering = [one for one in there if one.reachable]
    name = f"Ollama {answering[0].version}" if model.provider == Provider.OLLAMA else str(model.get_provider_display())
    return name if len(there) == 1 else f"{name} on {len(answering)} of {len(there)} hosts"


def _further(rows: Sequence[LanguageModel]) -> str:
    return f", {len(rows) - 1} more on offer" if len(rows) > 1 else ""


def _leaving() -> str:
    hosts = language_models.outside_hosts()
    return f"; {', '.join(hosts)} may be sent questions and passages" if hosts else ""
