"""What the Models page shows of language models: what is installed, what it says of itself, how fast it was, what is worth a try."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.utils.translation import gettext as _

from rag.backends.llms.base import ModelInfo
from rag.backends.llms.ollama_files import Details
from rag.config import rag_config
from rag.domain.errors import Permanent, RagError
from rag.domain.model_advice import RECOMMENDED, Recommended
from rag.models import Collection, LanguageModel, ModelJob
from rag.models.language_model import Provider, model_key
from rag.models.model_job import JobKind, JobState
from rag.services import models_admin
from rag.services.models_admin import Endpoint

JOBS_SHOWN = 8
_AT_ONCE = 8
_LONGEST = 4.0  # seconds that looking up what is not known yet may hold up the page; the next view has the rest
_KEPT = 30 * 24 * 3600  # what a digest stands for does not change
_CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Model:
    """One model of one server, with what is known of it. `changed`: it is not the one that was pinned when it was chosen."""

    info: ModelInfo
    provider: str
    details: Details | None
    usual: bool
    on_offer: bool
    changed: bool
    test: Mapping[str, Any]

    @property
    def licence(self) -> str:
        """The first line of its licence that says something."""
        lines = (line.strip() for line in (self.details.licence if self.details else "").splitlines())
        return next((line for line in lines if line), "")[:60]


@dataclass(frozen=True, slots=True)
class Server:
    """A model server with its models, the usual one first, then those on offer."""

    endpoint: Endpoint
    models: Sequence[Model]

    @property
    def is_ollama(self) -> bool:
        return self.endpoint.provider == Provider.OLLAMA


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the page shows it."""

    id: UUID
    kind: str
    name: str
    file: str
    digest: str
    title: str
    stage: str
    done: int
    total: int
    state: str
    message: str

    @property
    def running(self) -> bool:
        return self.state == JobState.RUNNING


def servers() -> list[Server]:
    """Every model server that is connected and what it has; asks them all, and never raises for a silent one."""
    found = models_admin.endpoints()
    rows = {(row.provider, row.name): row for row in LanguageModel.objects.filter(available=True)}
    known = _details([info for one in found if one.provider == Provider.OLLAMA for info in one.models])
    tested = tests()
    shown = []
    for one in found:
        models = [_model(info, one.provider, rows, known, tested) for info in one.models]
        shown.append(Server(one, sorted(models, key=lambda model: (not model.usual, not model.on_offer))))
    return shown


def _model(
    info: ModelInfo,
    provider: str,
    rows: Mapping[tuple[str, str], LanguageModel],
    known: Mapping[str, Details],
    tested: Mapping[str, Mapping[str, Any]],
) -> Model:
    row = rows.get((provider, info.name))
    same = row is not None and row.digest in {"", info.digest}
    return Model(
        info=info,
        provider=provider,
        details=known.get(info.digest),
        usual=row is not None and row.in_use and same,
        on_offer=row is not None and same,
        changed=row is not None and not same,
        test=tested.get(info.digest, {}),
    )


def details(name: str) -> tuple[Model, Details]:
    """An installed model of the first Ollama with all that it says of itself. Raises RagError when it is not there."""
    for server in servers():
        for model in server.models:
            if server.is_ollama and model.info.name == name:
                found = model.details or _asked([model.info]).get(model.info.digest)
                if found is not None:
                    return model, found
    raise Permanent(_("Ollama does not have this model."))


def tests() -> dict[str, Mapping[str, Any]]:
    """What the newest test of each model measured, by its digest."""
    rows = ModelJob.objects.filter(kind=JobKind.TEST, state=JobState.DONE).order_by("created")
    return {digest: result for digest, result in rows.values_list("digest", "result")[:500] if digest}


def _details(infos: Sequence[ModelInfo]) -> dict[str, Details]:
    """What each model says of itself, by digest: kept from before, or asked now for a few seconds."""
    local = {info.digest: info for info in infos if info.digest and not info.remote}
    kept = cache.get_many([_key(digest) for digest in local])
    known = {digest: Details(**kept[_key(digest)]) for digest in local if _key(digest) in kept}
    return known | _asked([info for digest, info in local.items() if digest not in known])


def _asked(infos: Sequence[ModelInfo]) -> dict[str, Details]:
    if not infos:
        return {}
    found: dict[str, Details] = async_to_sync(_ask)(infos)
    cache.set_many({_key(digest): asdict(value) for digest, value in found.items()}, _KEPT)
    return found


async def _ask(infos: Sequence[ModelInfo]) -> dict[str, Details]:
    from rag.backends.llms import ollama_files

    config, found = rag_config(), dict[str, Details]()
    places = asyncio.Semaphore(_AT_ONCE)

    async def ask(info: ModelInfo) -> None:
        async with places:
            with suppress(RagError):  # it was deleted a moment ago, or says nothing: its row stays without
                allowed = config.outside_hosts
                found[info.digest] = await ollama_files.details(config.ollama_url, info.name, allowed=allowed)

    with suppress(TimeoutError):
        async with asyncio.timeout(_LONGEST):
            await asyncio.gather(*(ask(info) for info in infos))
    return found


def _key(digest: str) -> str:
    return f"model-details:{digest}"


def jobs() -> list[Job]:
    """What is under way and what ended last, except tests that went well: those are shown with their model."""
    rows = ModelJob.objects.exclude(kind=JobKind.TEST, state=JobState.DONE)
    return [
        Job(
            id=row.pk,
            kind=row.kind,
            name=row.name,
            file=row.file,
            digest=row.digest,
            title=row.file or row.name,
            stage=_stage(row.stage),
            done=row.done,
            total=row.total,
            state=row.state,
            message=row.message or (_("Stopped.") if row.state == JobState.CANCELLED else ""),
        )
        for row in sorted(rows[:JOBS_SHOWN], key=lambda row: row.state != JobState.RUNNING)
    ]


def _stage(said: str) -> str:
    """What is being done, in words; Ollama's own words for what is not known here."""
    stages = {
        "": _("Beginning"),
        "pulling manifest": _("Asking the registry"),
        "reading": _("Reading the file"),
        "sending": _("Sending it to Ollama"),
        "waiting": _("Waiting for its turn"),
        "testing": _("Asking the test question"),
        "writing manifest": _("Finishing"),
        "success": _("Finishing"),
    }
    if said in stages:
        return stages[said]
    if said.startswith(("pulling", "downloading")):
        return _("Fetching")
    return _("Checking") if said.startswith("verifying") else said


def uses(name: str) -> str:
    """Why the model of this name cannot be deleted, in a sentence; "" when nothing uses it."""
    if LanguageModel.objects.filter(provider=Provider.OLLAMA, name=name, in_use=True).exists():
        return _("It answers where no other is picked. Choose another one first, or exact words.")
    key = model_key(Provider.OLLAMA, name)
    count = Collection.objects.filter(language_model=key, deleted__isnull=True).count()
    if count:
        return _("%(count)d collections use it. Their managers have to choose another one first.") % {"count": count}
    return ""


# --- What is worth a try


@dataclass(frozen=True, slots=True)
class Advice:
    """A recommended model beside what is there."""

    model: Recommended
    fits: bool
    installed: bool


def advice(servers: Sequence[Server]) -> list[Advice]:
    """The recommended models, those that fit into this machine's memory first."""
    installed = {model.info.name for server in servers for model in server.models}
    memory = machine_memory()
    found = [Advice(model, model.fits(memory), model.name in installed) for model in RECOMMENDED]
    return sorted(found, key=lambda one: (not one.fits, one.model.unfaithful if one.fits else one.model.gigabytes))


def machine_memory() -> int:
    """Bytes of memory that this process's machine or container has."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no container, or no limit
        return min(whole, int(_CGROUP.read_text()))
    return whole


def ollama_is_here() -> bool:
    """Whether Ollama runs on this very machine, so that its memory is this machine's."""
    return (urlsplit(rag_config().ollama_url).hostname or "") in {"127.0.0.1", "localhost", "::1"}
