"""Language models come, are tried and go on the Models page: fetched by name, taken in from a file, measured, deleted."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterator

import pytest
from asgiref.sync import async_to_sync
from django.conf import LazySettings
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone

from core.db import in_db
from core.models import AuditEvent, User
from rag.domain.errors import Permanent
from rag.domain.model_advice import GIGABYTE, RECOMMENDED
from rag.models import Collection, LanguageModel, ModelJob
from rag.models.model_job import JobState
from rag.services import model_jobs, model_overview, models_admin
from rag.services.replay import hub
from tests.conftest import forget_everything
from tests.scripted_ollama import PULL_STEP, PULL_STEPS, ScriptedOllama

pytestmark = pytest.mark.django_db(transaction=True)
AsUser = Callable[[User | None], Client]
NAME, DIGEST = "qwen3:4b", "ab" * 32
WEIGHTS = b"GGUF\x03" + bytes(range(256)) * 4096


@pytest.fixture
def ollama(settings: LazySettings) -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as server:
        server.registry = {NAME: DIGEST}
        settings.RAG = settings.RAG | {"OLLAMA_URL": server.url, "FIRST_TOKEN_SECONDS": 5}
        forget_everything()
        yield server
        server.go_on.set()


@pytest.fixture
def folder(settings: LazySettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A data folder with one model file for import."""
    settings.DATA_DIR = tmp_path_factory.mktemp("data")
    forget_everything()
    model_jobs.files_folder().mkdir(parents=True)
    (model_jobs.files_folder() / "Tiny Model.gguf").write_bytes(WEIGHTS)
    yield


def ended(job: ModelJob) -> ModelJob:
    """The job, run to its end in an event loop of its own."""

    async def run() -> None:
        try:
            await model_jobs.run(job.pk)
        finally:
            await hub().close()

    async_to_sync(run)()
    job.refresh_from_db()
    return job


def text(client: Client, address: str = "models", **query: str) -> str:
    response = client.get(reverse(address), query)
    assert response.status_code == 200
    return response.content.decode()


def test_a_model_is_fetched_by_name_and_pinned_by_its_digest_when_it_is_chosen(
    dana: User, ollama: ScriptedOllama
) -> None:
    job = ended(model_jobs.pull(dana, "qwen3:4b", digest=f"sha256:{DIGEST}"))
    assert (job.state, job.message, job.digest) == (JobState.DONE, "", DIGEST)
    assert models_admin.choose(dana, NAME).digest == DIGEST
    rows = {row.action: row for row in AuditEvent.objects.filter(action__startswith="model.")}
    assert set(rows) == {"model.pull_started", "model.pull_ended", "model.chosen"}
    assert rows["model.pull_ended"].facts["digest"] == DIGEST
    assert rows["model.pull_ended"].actor_name == "dana"


def test_a_fetch_shows_how_far_it_is_is_stopped_and_goes_on_where_it_stopped(
    dana: User, as_user: AsUser, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_jobs, "BEAT_SECONDS", 0.05)
    ollama.hold_at = 4
    job = model_jobs.pull(dana, NAME)
    client, shown = as_user(dana), []

    async def play() -> None:
        running = asyncio.create_task(model_jobs.run(job.pk))
        async with asyncio.timeout(60):
            while (await ModelJob.objects.aget(pk=job.pk)).done != 4 * PULL_STEP:
                await asyncio.sleep(0.02)
        shown.append(await in_db(text, client))
        await in_db(model_jobs.stop, dana, job.pk)
        await asyncio.wait_for(running, 60)

    async_to_sync(play)()
    assert f'max="{PULL_STEPS * PULL_STEP}" value="{4 * PULL_STEP}"' in shown[0]
    assert "Stop qwen3:4b" in shown[0]
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED
    assert ollama.wait_until_aborted()
    assert NAME not in ollama.digests
    ollama.hold_at = 0
    ollama.go_on.set()
    assert ended(model_jobs.pull(dana, NAME)).state == JobState.DONE
    assert ollama.fetched[NAME] == PULL_STEPS, "the four steps that were there were not fetched again"


def test_what_a_dead_process_left_is_taken_up_by_another(
    dana: User, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_jobs, "LOOK_SECONDS", 0.05)
    job = model_jobs.pull(dana, NAME)
    ModelJob.objects.filter(pk=job.pk).update(attempt=1, lease_until=timezone.now())  # its holder is gone

    async def play() -> None:
        model_jobs.begin_to_look_after()
        async with asyncio.timeout(60):
            while (await ModelJob.objects.aget(pk=job.pk)).state == JobState.RUNNING:
                await asyncio.sleep(0.05)
        for task in list(model_jobs._running):
            task.cancel()

    async_to_sync(play)()
    job.refresh_from_db()
    assert (job.state, job.digest, job.attempt) == (JobState.DONE, DIGEST, 2)


def test_each_reason_why_nothing_was_fetched_is_a_sentence_of_its_own(
    dana: User, ollama: ScriptedOllama, settings: LazySettings
) -> None:
    said = [ended(model_jobs.pull(dana, "nobody:1b")).message]
    said.append(ended(model_jobs.pull(dana, NAME, digest="cd" * 32)).message)
    ollama.registry = None
    said.append(ended(model_jobs.pull(dana, NAME)).message)
    ollama.version = "0.16.0"
    said.append(ended(model_jobs.pull(dana, NAME)).message)
    settings.RAG = settings.RAG | {"OLLAMA_URL": "http://127.0.0.1:9"}
    forget_everything()
    said.append(ended(model_jobs.pull(dana, NAME)).message)
    assert len(set(said)) == 5
    for words, sentence in zip(
        (
            "has no model of this name",
            "another model",
            "cannot reach its registry",
            "leaks prompts",
            "cannot be reached",
        ),
        said,
        strict=True,
    ):
        assert words in sentence
    with pytest.raises(Permanent):
        model_jobs.pull(dana, "../../etc; rm -rf")


def test_the_same_model_is_not_fetched_twice_at_once(dana: User, ollama: ScriptedOllama) -> None:
    model_jobs.pull(dana, NAME)
    with pytest.raises(Permanent, match="under way already"):
        model_jobs.pull(dana, NAME)


@pytest.mark.usefixtures("folder")
def test_a_file_becomes_a_model_without_a_registry(dana: User, as_user: AsUser, ollama: ScriptedOllama) -> None:
    ollama.registry = None
    assert "Tiny Model.gguf" in text(as_user(dana))
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    job = ended(model_jobs.import_file(dana, "Tiny Model.gguf", digest=sha256.upper()))
    assert (job.state, job.message, job.name) == (JobState.DONE, "", "tiny-model:latest")
    assert ollama.blobs[f"sha256:{sha256}"] == WEIGHTS
    assert job.digest == ollama.digests["tiny-model:latest"]
    sent = ollama.paths.count(f"/api/blobs/sha256:{sha256}")
    assert ended(model_jobs.import_file(dana, "Tiny Model.gguf", name="second")).state == JobState.DONE
    assert ollama.paths.count(f"/api/blobs/sha256:{sha256}") == sent + 1, "asked for, and not sent a second time"


@pytest.mark.usefixtures("folder")
def test_what_is_no_model_file_is_refused_in_a_sentence(dana: User, ollama: ScriptedOllama) -> None:
    folder = model_jobs.files_folder()
    (folder / "page.gguf").write_bytes(b"<html>")
    (folder / "old.gguf").write_bytes(b"GGUF\x01")
    (folder / "empty.gguf").write_bytes(b"")
    said = [ended(model_jobs.import_file(dana, name)).message for name in ("page.gguf", "old.gguf", "empty.gguf")]
    said.append(ended(model_jobs.import_file(dana, "Tiny Model.gguf", digest="0" * 64)).message)
    for words, sentence in zip(("not a GGUF file", "cannot read this file", "empty", "another one"), said, strict=True):
        assert words in sentence
    outside = folder.parent / "outside.gguf"
    outside.write_bytes(WEIGHTS)
    for name in ("../outside.gguf", str(outside), "nothing.gguf"):
        with pytest.raises(Permanent, match="no such file"):
            model_jobs.import_file(dana, name)


def test_an_ollama_that_leaks_is_sent_no_file(dana: User, ollama: ScriptedOllama, folder: None) -> None:
    ollama.version = "0.17.0"
    assert "leaks prompts" in ended(model_jobs.import_file(dana, "Tiny Model.gguf")).message
    assert not ollama.blobs


def test_a_test_says_how_fast_a_model_reads_and_writes(dana: User, as_user: AsUser, ollama: ScriptedOllama) -> None:
    job = ended(model_jobs.test(dana, "scripted-slowly:latest"))
    assert job.state == JobState.DONE, job.message
    assert job.result["answer_tokens"] > 1 and 0 < job.result["answer_per_second"] < 1000
    assert job.result["prompt_tokens"] > 500 and job.result["prompt_per_second"] > 0
    first, second = (json.dumps(request["messages"]) for request in ollama.requests[-2:])
    assert not second.startswith(first[:40]), "what was read for loading is not known already"
    page = text(as_user(dana), "model", name="scripted-slowly:latest")
    assert "tokens a second" in page
    assert "131,072" in page
    assert "tokens/s" in text(as_user(dana))


def test_a_model_in_use_is_not_deleted_and_another_only_by_its_name(
    dana: User, as_user: AsUser, ollama: ScriptedOllama, policies: Collection
) -> None:
    name, client = "scripted-ok:latest", as_user(dana)
    models_admin.choose(dana, name)
    address = f"{reverse('model_delete')}?name={name}"
    assert "Choose another one first" in client.post(address, {"typed": name}).content.decode()
    models_admin.choose(dana, "scripted:latest")
    Collection.objects.filter(pk=policies.pk).update(language_model=f"ollama:{name}")
    assert "1 collections use it" in client.post(address, {"typed": name}).content.decode()
    Collection.objects.update(language_model="")
    assert "Nothing was deleted" in client.post(address, {"typed": "scripted"}).content.decode()
    assert name in ollama.digests
    assert client.post(address, {"typed": name}).status_code == 302
    assert name not in ollama.digests
    assert not LanguageModel.objects.filter(name=name, available=True).exists()
    assert AuditEvent.objects.filter(action="model.deleted", facts__name=name).exists()


def test_many_models_are_shown_with_what_they_say_of_themselves_and_asked_once(
    dana: User, as_user: AsUser, ollama: ScriptedOllama
) -> None:
    for number in range(60):
        ollama.digests[f"model-{number}:latest"] = hashlib.sha256(str(number).encode()).hexdigest()
    client = as_user(dana)
    assert text(client).count("131,072") >= 60
    asked = ollama.paths.count("/api/show")
    assert "Find a model" in text(client)
    assert ollama.paths.count("/api/show") == asked


def test_a_model_that_was_changed_since_it_was_chosen_says_so(
    dana: User, as_user: AsUser, ollama: ScriptedOllama
) -> None:
    models_admin.choose(dana, "scripted:latest")
    ollama.digests["scripted:latest"] = "9" * 64
    assert "changed since it was chosen" in text(as_user(dana))


def test_models_are_recommended_by_memory(
    dana: User, as_user: AsUser, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_overview, "machine_memory", lambda: 8 * GIGABYTE)
    entries = model_overview.advice(model_overview.servers())
    assert [entry.model.name for entry in entries if entry.fits] == ["qwen3:4b"]
    assert {entry.model for entry in entries} == set(RECOMMENDED)
    page = text(as_user(dana))
    assert "about 4 GB" in page and "5.7 %" in page and "too large for this machine" in page


def test_the_form_begins_a_fetch_in_the_web_process(dana: User, ollama: ScriptedOllama) -> None:
    async def play() -> str:
        client = AsyncClient()
        await client.aforce_login(dana, backend="allauth.account.auth_backends.AuthenticationBackend")
        response = await client.post(reverse("model_begin"), {"act": "pull", "name": NAME})
        assert response.status_code == 302
        end = time.monotonic() + 60
        while not await ModelJob.objects.filter(state=JobState.DONE, digest=DIGEST).aexists():
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        page = (await client.get(reverse("model_jobs"))).content.decode()
        await hub().close()
        return page

    assert "fetched" in async_to_sync(play)()


def test_nobody_else_can_begin_anything(alice: User, as_user: AsUser, ollama: ScriptedOllama) -> None:
    for act in ("pull", "import", "test"):
        assert as_user(alice).post(reverse("model_begin"), {"act": act, "name": NAME}).status_code == 404
    assert not ModelJob.objects.exists()
