"""What takes long with language models: fetching one, taking in a file, trying how fast one is. A task of the web process each.

Why not a worker's: next to nothing is computed here, Ollama does it, and a worker would stand still for the hour that five gigabytes
may take. Each runs under a lease; what a dead process left is taken up by any web process within half a minute, and Ollama goes on
with what it had fetched.
"""

import asyncio
import contextvars
import hashlib
import re
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from asgiref.sync import async_to_sync
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from core import audit
from core.db import in_db, in_db_for_lease
from core.models import User
from rag.backends.llms.base import LLM
from rag.backends.llms.ollama_files import Step
from rag.config import rag_config
from rag.domain import events
from rag.domain.errors import Permanent, RagError
from rag.domain.types import Delta, Message, Prompt, Role
from rag.models import ModelJob
from rag.models.language_model import Provider
from rag.models.model_job import JobKind, JobState
from rag.services import language_models, turns
from rag.services.language_models import Offer
from rag.services.leases import Lease, LeaseLost, free

log = structlog.get_logger(__name__)

BEAT_SECONDS = 1.0
LOOK_SECONDS = 30.0  # between two looks for what a dead process left
TEST_TOKENS = 96  # the longest answer to the test prompt
_READ = 4 * 1024 * 1024
_NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]{1,5})?(/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}(:[A-Za-z0-9][A-Za-z0-9._-]*)?"
)
_DIGEST = re.compile(r"(sha256:)?([0-9a-f]{64})")
_running: set[asyncio.Task[None]] = set()


# --- Asking for it


def files_folder() -> Path:
    """Where an administrator puts GGUF files that are to be imported."""
    return rag_config().data / "models" / "gguf"


def files() -> list[tuple[str, int]]:
    """Name and size in bytes of each GGUF file in that folder."""
    folder = files_folder()
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix.lower() == ".gguf" and path.is_file())
    return sorted((path.name, path.stat().st_size) for path in found)


def full_name(name: str) -> str:
    """The name as Ollama lists it, with its tag. Raises Permanent for what cannot be a model's name."""
    name = name.strip()
    if len(name) > 200 or not _NAME.fullmatch(name):
        raise Permanent(_("This cannot be a model's name. Names look like qwen3:4b."))
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def name_for(file: str) -> str:
    """What an imported file is called unless somebody says otherwise."""
    stem = re.sub(r"[^a-z0-9._-]+", "-", Path(file).stem.lower()).strip("-._")
    return f"{stem or 'model'}:latest"


def pull(actor: User, name: str, *, digest: str = "") -> ModelJob:
    """A job that has Ollama fetch the model. `digest`: what it must have, or the job fails. Raises Permanent."""
    return _open(actor, JobKind.PULL, full_name(name), digest=_wanted(digest))


def import_file(actor: User, file: str, *, name: str = "", digest: str = "") -> ModelJob:
    """A job that makes a model of a file in the folder for model files. `digest`: the file's SHA-256, where it is known.

    Raises Permanent when there is no such file.
    """
    if file not in dict(files()):
        raise Permanent(_("There is no such file in the folder for model files."))
    return _open(actor, JobKind.IMPORT, full_name(name or name_for(file)), file=file, digest=_wanted(digest))


def test(actor: User, name: str) -> ModelJob:
    """A job that measures how fast the installed model reads and writes. Raises Permanent."""
    return _open(actor, JobKind.TEST, full_name(name))


def _wanted(digest: str) -> str:
    digest = digest.strip().lower()
    if not digest:
        return ""
    found = _DIGEST.fullmatch(digest)
    if found is None:
        raise Permanent(_("A digest has 64 digits from 0 to 9 and a to f."))
    return found[2]


def _open(actor: User, kind: JobKind, name: str, *, file: str = "", digest: str = "") -> ModelJob:
    try:
        with transaction.atomic():
            job = ModelJob.objects.create(
                kind=kind, provider=Provider.OLLAMA, name=name, file=file, digest=digest, started_by=actor
            )
            audit.record(f"model.{kind}_started", actor=actor, subject=job, name=name, file=file, digest=digest)
    except IntegrityError:
        raise Permanent(_("This is under way already.")) from None
    return job


@transaction.atomic
def stop(actor: User, job_id: UUID) -> None:
    """Ends a job within a second or two; what was fetched is kept by Ollama. Nothing for one that has ended."""
    jobs = ModelJob.objects.filter(pk=job_id, state=JobState.RUNNING)
    if not jobs.update(stop_asked=True):
        return
    # Nobody holds it: it ends here.
    jobs.filter(free()).update(state=JobState.CANCELLED, finished=timezone.now())
    audit.record("model.job_stopped", actor=actor, subject=ModelJob.objects.get(pk=job_id))


def forget(job_id: UUID) -> None:
    """Takes an ended job from the page."""
    ModelJob.objects.filter(pk=job_id).exclude(state=JobState.RUNNING).exclude(kind=JobKind.TEST).delete()


# --- Running it


def start(job_id: UUID) -> None:
    """Begins the job in this process and returns at once; needs a running event loop."""
    task = asyncio.get_running_loop().create_task(run(job_id), name=f"model-{job_id}", context=contextvars.Context())
    _running.add(task)
    task.add_done_callback(_running.discard)


def begin_to_look_after() -> None:
    """Has this web process take up what others left, from now on."""
    task = asyncio.get_running_loop().create_task(_look_after(), name="model-jobs", context=contextvars.Context())
    _running.add(task)
    task.add_done_callback(_running.discard)


async def _look_after() -> None:
    """For ever: takes up what a process that died has left."""
    while True:
        with suppress(Exception):  # the database may be away for a moment; the next look comes
            for job_id in await in_db(_left_behind):
                start(job_id)
        await asyncio.sleep(LOOK_SECONDS)


def _left_behind() -> list[UUID]:
    return list(ModelJob.objects.filter(free(), state=JobState.RUNNING).values_list("pk", flat=True))


@dataclass
class _Progress:
    step: Step


async def run(job_id: UUID) -> None:
    """Brings the job to its end. Returns quietly when another process has it, or it has ended."""
    lease = await in_db(Lease.take, ModelJob, job_id, Q(state=JobState.RUNNING))
    if lease is None:
        return
    job = await in_db(ModelJob.objects.get, pk=job_id)
    progress = _Progress(Step(""))
    work = asyncio.create_task(_WORK[JobKind(job.kind)](job, progress))
    keeper = asyncio.create_task(_keep(lease, progress, work))
    try:
        await asyncio.wait({work})
    finally:
        keeper.cancel()
        work.cancel()
    with suppress(LeaseLost):
        await in_db(_end, lease, work)


async def _keep(lease: Lease, progress: _Progress, work: "asyncio.Task[_Result]") -> None:
    """Writes down how far it is and renews the lease; ends the work when somebody stops it or has taken it over."""
    while True:
        try:
            if await in_db_for_lease(_beat, lease, progress.step):
                work.cancel()
        except LeaseLost:
            work.cancel()
            return
        await asyncio.sleep(BEAT_SECONDS)


def _beat(lease: Lease, step: Step) -> bool:
    lease.write(stage=step.stage[:200], done=step.done, total=step.total)
    asked: bool = lease.rows().values_list("stop_asked", flat=True).get()
    return asked


@dataclass(frozen=True, slots=True)
class _Result:
    digest: str = ""
    measured: dict[str, float] | None = None


def _end(lease: Lease, work: "asyncio.Task[_Result]") -> None:
    """The ending in one transaction with its audit event."""
    state, message, result = JobState.DONE, "", _Result()
    if work.cancelled():
        state = JobState.CANCELLED
    elif error := work.exception():
        state = JobState.FAILED
        message = (
            error.message if isinstance(error, RagError) else _("Something went wrong; the server's log says what.")
        )
        if not isinstance(error, RagError):
            log.error("model_job.failed", exc_info=error)
    else:
        result = work.result()
    with lease.guarded():
        job = lease.rows().select_related("started_by").get()
        audit.record(
            f"model.{job.kind}_ended",
            actor=job.started_by,
            subject=job,
            name=job.name,
            state=state.value,
            digest=result.digest or job.digest,
        )
        lease.release(
            state=state,
            message=message[:500],
            digest=result.digest or job.digest,
            result=result.measured or {},
            finished=timezone.now(),
        )


# --- The work


async def _pull(job: ModelJob, progress: _Progress) -> _Result:
    from rag.backends.llms import ollama, ollama_files

    config, digest = rag_config(), ""
    for url in config.ollama_urls:
        await ollama.version(url, allowed=config.outside_hosts)
        async with aclosing(ollama_files.pull(url, job.name, allowed=config.outside_hosts)) as steps:
            await _follow(steps, progress)
        digest = await _digest(url, job.name)
        if job.digest and digest != job.digest:
            raise Permanent(
                _("The registry has another model under this name: its digest begins with %(digest)s. Do not use it.")
                % {"digest": digest[:12]}
            )
    return _Result(digest)


async def _import(job: ModelJob, progress: _Progress) -> _Result:
    from rag.backends.llms import ollama, ollama_files

    config, path, digest = rag_config(), files_folder() / job.file, ""
    allowed = config.outside_hosts

    def read(done: int, total: int) -> None:
        progress.step = Step("reading", done, total)

    sha256, size = await asyncio.to_thread(_hashed, path, read)
    if job.digest and sha256 != job.digest:
        raise Permanent(_("The file is another one: its SHA-256 begins with %(digest)s.") % {"digest": sha256[:12]})

    def sent(done: int) -> None:
        progress.step = Step("sending", done, size)

    for url in config.ollama_urls:
        await ollama.version(url, allowed=allowed)  # older ones leak memory to whoever creates a model
        if not await ollama_files.has_blob(url, sha256, allowed=allowed):
            with await asyncio.to_thread(path.open, "rb") as file:
                await ollama_files.send_blob(url, sha256, file, size, sent, allowed=allowed)
        async with aclosing(ollama_files.create(url, job.name, job.file, sha256, allowed=allowed)) as steps:
            await _follow(steps, progress)
        digest = await _digest(url, job.name)
    return _Result(digest)


def _hashed(path: Path, read: Callable[[int, int], None]) -> tuple[str, int]:
    """The file's SHA-256 and size. Raises Permanent when it is gone or no GGUF file."""
    digest, done = hashlib.sha256(), 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while piece := file.read(_READ):
                if not done and not piece.startswith(b"GGUF"):
                    raise Permanent(_("This is not a GGUF file. Was it copied to its end?"))
                digest.update(piece)
                done += len(piece)
                read(done, size)
    except OSError:
        raise Permanent(_("The file cannot be read. Is it still in the folder for model files?")) from None
    if not done:
        raise Permanent(_("The file is empty."))
    return digest.hexdigest(), done


async def _follow(steps: AsyncGenerator[Step, None], progress: _Progress) -> None:
    async for step in steps:
        progress.step = step


async def _digest(url: str, name: str) -> str:
    from rag.backends.llms import ollama

    for info in await ollama.list_models(url, allowed=rag_config().outside_hosts):
        if info.name == name:
            return info.digest
    raise Permanent(_("Ollama says that it is done, and does not list the model."))


async def _test(job: ModelJob, progress: _Progress) -> _Result:
    from rag.backends.llms import ollama

    config = rag_config()
    info = await ollama.check_model(config.ollama_url, job.name, "", allowed=config.outside_hosts)
    offer = Offer(Provider.OLLAMA, info.name, info.digest, info.billions, info.context, usual=False)
    llm = language_models.make(offer, config.ollama_url)

    async def told(event: events.Event) -> None:
        if isinstance(event, events.Queued) and event.position:
            progress.step = Step("waiting")

    async with turns.turn(llm, str(job.pk), asker=f"job {job.started_by_id}", told=told, background=True):
        progress.step = Step("testing")
        return _Result(info.digest, await measured(llm, salt=f"Test {job.pk}"))


_WORK: dict[JobKind, Callable[[ModelJob, _Progress], Coroutine[Any, Any, _Result]]] = {
    JobKind.PULL: _pull,
    JobKind.IMPORT: _import,
    JobKind.TEST: _test,
}


async def measured(llm: LLM, *, salt: str) -> dict[str, float]:
    """How fast the model is: seconds to load it, seconds from a prompt of a usual size to its first token, and tokens a second read
    and written. `salt` keeps it from knowing the prompt already. Raises what the model raises."""
    began = time.perf_counter()
    await _timed(llm, _prompt(f"Load {salt}", passages=0), max_tokens=1)
    loaded = time.perf_counter() - began
    first, took, read, written = await _timed(llm, _prompt(salt, passages=8), max_tokens=TEST_TOKENS)
    return {
        "load_seconds": round(loaded, 2),
        "first_token_seconds": round(first, 2),
        "prompt_tokens": read,
        "prompt_per_second": round(read / first, 1) if first else 0.0,
        "answer_tokens": written,
        "answer_per_second": round((written - 1) / (took - first), 1) if written > 1 and took > first else 0.0,
    }


async def _timed(llm: LLM, prompt: Prompt, *, max_tokens: int) -> tuple[float, float, int, int]:
    """Seconds to the first token and in all, and the tokens read and written, by its own count where it counts."""
    began = time.perf_counter()
    first, pieces, last = 0.0, 0, Delta()
    async with aclosing(llm.stream(prompt, max_tokens=max_tokens)) as deltas:
        async for delta in deltas:
            if delta.text or delta.thinking:
                pieces += 1
                first = first or time.perf_counter() - began
            last = delta
    took = time.perf_counter() - began
    return first or took, took, last.prompt_tokens or prompt.tokens, last.answer_tokens or pieces


def _prompt(salt: str, *, passages: int) -> Prompt:
    """A prompt of about the size of a question with eight passages: some 1,000 tokens."""
    rule = "Either party may end this agreement with three months' written notice to the end of a quarter. "
    texts = [f"Passage {number} of {salt}: " + rule * 6 for number in range(passages)]
    words = "\n\n".join([f"{salt}.", *texts, "Tell in five sentences what the passages say."])
    return Prompt(messages=(Message(Role.USER, words),), sources=(), question="", tokens=_tokens(words))


def _tokens(words: str) -> int:
    """About how many tokens English prose takes, for servers that do not say: four characters each."""
    return len(words) // 4


def delete(actor: User, name: str) -> None:
    """Deletes the model from Ollama's disk. The caller has asked whether it is in use. Raises RagError."""
    from rag.backends.llms import ollama_files

    config = rag_config()
    for url in config.ollama_urls:
        async_to_sync(ollama_files.delete)(url, name, allowed=config.outside_hosts)
    with transaction.atomic():
        ModelJob.objects.filter(provider=Provider.OLLAMA, name=name).exclude(state=JobState.RUNNING).delete()
        audit.record("model.deleted", actor=actor, name=name)
