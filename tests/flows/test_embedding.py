"""Passages get their vectors once, small documents together, and each run ends on its own."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.conf import LazySettings
from django.core.files.base import ContentFile
from django.db.models import F
from django.utils import timezone

from core.celery import app
from core.models import User
from rag import slots, tasks
from rag.backends.embedders.hashing import HashingEmbedder
from rag.config import rag_config
from rag.domain.errors import Retryable
from rag.domain.types import Vectors
from rag.models import Chunk, Collection, Document, IngestRun, Vector
from rag.models.index import RunState
from rag.services import embedding, ingest, library, steps
from rag.services.leases import LeaseLost

pytestmark = pytest.mark.django_db
AddText = Callable[..., Document]


class CountingEmbedder(HashingEmbedder):
    """Hashes, and remembers what it was given."""

    given: ClassVar[list[str]] = []
    refuse: ClassVar[str] = ""  # a word that it cannot stand

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        if self.refuse and any(self.refuse in text for text in texts):
            raise Retryable("The embedder could not stand it.")
        self.given.extend(texts)
        return super().embed_passages(texts)


@pytest.fixture(autouse=True)
def given(settings: LazySettings) -> Iterator[list[str]]:
    """The texts that were embedded, in their order."""
    settings.RAG = settings.RAG | {"PASSAGE_EMBEDDER": f"{__name__}.CountingEmbedder"}
    rag_config.cache_clear()
    slots.forget_models()
    CountingEmbedder.given.clear()
    CountingEmbedder.refuse = ""
    yield CountingEmbedder.given
    CountingEmbedder.refuse = ""


def paragraph(number: int, *, of: str = "this") -> str:
    """About a passage's worth of words, unlike any other."""
    return " ".join(f"Rule {number} of {of} says that item {number}-{part} is kept for years." for part in range(9))


def text_of(numbers: Sequence[int], *, of: str = "this") -> str:
    return "\n\n".join(paragraph(number, of=of) for number in numbers)


def waiting(actor: User, collection: Collection, name: str, text: str) -> IngestRun:
    """A document that was read and waits to be embedded."""
    added = library.add_document(actor, collection, ContentFile(text.encode()), path=name)
    run = IngestRun.objects.get(revision__document=added.document)
    ingest.read(run.revision_id)
    run.refresh_from_db()
    assert run.state == RunState.EMBEDDING
    return run


def lacking(collection: Collection) -> int:
    return Chunk.objects.for_maintenance().filter(collection=collection, vectors__isnull=True).count()


def test_every_passage_gets_the_vector_of_its_own_words(
    alice: User, policies: Collection, add_text: AddText, given: list[str]
) -> None:
    add_text(alice, policies, "long.txt", text_of(range(2 * embedding.EMBED_BATCH + 7)))
    vectors = Vector.objects.select_related("chunk").filter(collection=policies)
    assert len(vectors) == len(given) > 2 * embedding.EMBED_BATCH
    embedder = HashingEmbedder()
    for vector in vectors:
        assert bytes(vector.data) == embedder.embed_passages([f"long\n{vector.chunk.text}"])[0].tobytes()
    assert lacking(policies) == 0


def test_the_same_words_are_embedded_once_in_a_document_and_in_a_collection(
    alice: User, policies: Collection, add_text: AddText, given: list[str]
) -> None:
    add_text(alice, policies, "a/form.txt", text_of([1] * 300 + [2]))
    passages = Chunk.objects.for_maintenance().filter(collection=policies).count()
    assert passages > 2 * embedding.EMBED_BATCH  # so that batches repeat each other's words
    assert len(given) == len(set(given)) < 10
    before = len(given)
    add_text(alice, policies, "b/form.txt", text_of([2, 1, 1]))
    assert len(given) - before <= 1  # at most one passage in which the two meet
    assert lacking(policies) == 0


def test_another_collection_has_vectors_of_its_own(
    alice: User, charlie: User, policies: Collection, secrets: Collection, add_text: AddText, given: list[str]
) -> None:
    add_text(alice, policies, "form.txt", text_of([1]))
    add_text(charlie, secrets, "form.txt", text_of([1]))
    assert len(given) == 2


def test_a_revision_embeds_only_what_changed(
    alice: User, policies: Collection, add_text: AddText, given: list[str]
) -> None:
    add_text(alice, policies, "rules.txt", text_of(range(40)))
    before = len(given)
    changed = text_of(range(40)).replace("Rule 20 of", "Amended rule 20 of")
    body = ContentFile(changed.encode())
    document = library.add_document(alice, policies, body, path="rules.txt", replaces=True).document
    document.refresh_from_db()
    assert document.latest is not None
    ingest.read(document.latest.pk)
    assert 0 < lacking(policies) <= 3  # the others have theirs from the moment in which they are found by words
    embedding.embed(document.latest.pk)
    assert all("rule 20" in text for text in given[before:])
    assert lacking(policies) == 0
    assert set(Chunk.objects.for_maintenance().values_list("document", flat=True)) == {document.pk}


def test_small_documents_that_wait_are_embedded_together_and_each_is_ready(alice: User, policies: Collection) -> None:
    runs = [waiting(alice, policies, f"{number}.txt", text_of([number, number + 50])) for number in range(12)]
    embedding.embed(runs[3].revision_id)
    for run in runs:
        run.refresh_from_db()
        assert (run.state, run.lease_until, run.done, run.attempt) == (RunState.READY, None, run.total, 2)
    assert lacking(policies) == 0


def test_a_large_document_and_one_that_failed_before_come_alone(alice: User, policies: Collection) -> None:
    large = waiting(alice, policies, "large.txt", text_of(range(80)))
    failed = waiting(alice, policies, "failed.txt", text_of([1]))
    IngestRun.objects.filter(pk=failed.pk).update(failures=1)
    small = waiting(alice, policies, "small.txt", text_of([2]))
    embedding.embed(small.revision_id)
    assert states(large, failed, small) == [RunState.EMBEDDING, RunState.EMBEDDING, RunState.READY]
    embedding.embed(failed.revision_id)
    embedding.embed(large.revision_id)
    assert states(large, failed) == [RunState.READY, RunState.READY]


def test_who_waits_for_space_on_the_disk_is_not_taken_along(alice: User, policies: Collection) -> None:
    first, later = (waiting(alice, policies, f"{name}.txt", text_of([1], of=name)) for name in ("first", "later"))
    IngestRun.objects.filter(pk=later.pk).update(queued=timezone.now() + timedelta(minutes=1))
    embedding.embed(first.revision_id)
    assert states(first, later) == [RunState.READY, RunState.EMBEDDING]


def test_what_one_cannot_be_embedded_for_is_not_counted_against_the_others(alice: User, policies: Collection) -> None:
    poison = waiting(alice, policies, "poison.txt", "Arsenic. " + text_of([1]))
    others = [waiting(alice, policies, f"{number}.txt", text_of([number])) for number in range(2, 5)]
    CountingEmbedder.refuse = "Arsenic"
    embedding.embed(others[0].revision_id)
    assert states(poison, *others) == [RunState.EMBEDDING] * 4
    assert list(IngestRun.objects.order_by("pk").values_list("failures", flat=True)) == [0, 1, 0, 0]
    assert not IngestRun.objects.filter(lease_until__isnull=False).exists()
    for _ in range(3):
        for run in (poison, *others):
            embedding.embed(run.revision_id)
    assert states(poison, *others) == [RunState.FAILED] + [RunState.READY] * 3


def test_a_document_that_is_cancelled_or_deleted_meanwhile_gets_nothing_and_the_others_go_on(
    alice: User, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [waiting(alice, policies, f"{number}.txt", text_of([number])) for number in range(3)]
    cancelled, deleted = runs[1].revision.document, runs[2].revision.document

    def meanwhile(name: str) -> None:
        if name == "embed:batch-computed":
            ingest.cancel(alice, cancelled)
            library.delete_document(alice, deleted)

    monkeypatch.setattr(steps, "_observers", [meanwhile])
    embedding.embed(runs[0].revision_id)
    assert states(runs[0], runs[1]) == [RunState.READY, RunState.CANCELLED]
    assert set(Vector.objects.values_list("chunk__document", flat=True)) == {runs[0].revision.document_id}


def test_a_stale_embedder_writes_nothing(alice: User, policies: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    run = waiting(alice, policies, "one.txt", text_of([1]))

    def overtake(name: str) -> None:
        if name == "embed:batch-computed":
            IngestRun.objects.filter(pk=run.pk).update(attempt=F("attempt") + 1)

    monkeypatch.setattr(steps, "_observers", [overtake])
    embedding.embed(run.revision_id)
    assert not Vector.objects.exists()
    assert states(run) == [RunState.EMBEDDING]


def test_a_killed_run_goes_on_after_its_last_batch(
    alice: User, policies: Collection, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = waiting(alice, policies, "long.txt", text_of(range(3 * embedding.EMBED_BATCH)))
    seen = []

    def die(name: str) -> None:
        seen.append(name)
        if seen.count("embed:batch-stored") == 2:
            seen.clear()
            raise LeaseLost

    monkeypatch.setattr(steps, "_observers", [die])
    embedding.embed(run.revision_id)
    stored = Vector.objects.count()
    assert stored == 2 * embedding.EMBED_BATCH
    run.refresh_from_db()
    assert (run.state, run.done) == (RunState.EMBEDDING, stored)
    monkeypatch.setattr(steps, "_observers", [])
    IngestRun.objects.filter(pk=run.pk).update(lease_until=None)
    given.clear()
    embedding.embed(run.revision_id)
    assert states(run) == [RunState.READY]
    assert len(given) == run.total - stored


def states(*runs: IngestRun) -> list[str]:
    for run in runs:
        run.refresh_from_db()
    return [run.state for run in runs]


@pytest.mark.django_db(transaction=True)
def test_a_small_document_needs_no_message_while_one_waits_and_a_large_one_has_its_own(
    alice: User, policies: Collection
) -> None:
    clear_queues()
    small = [waiting(alice, policies, f"{number}.txt", text_of([number])) for number in range(5)]
    assert tasks.waiting("embed") == 1
    large = waiting(alice, policies, "large.txt", text_of(range(80)))
    assert tasks.waiting("embed") == 2
    clear_queues()
    embedding.embed(small[0].revision_id)
    assert states(large, *small) == [RunState.EMBEDDING] + [RunState.READY] * 5


@pytest.mark.django_db(transaction=True)
def test_a_message_whose_document_is_done_serves_those_that_have_none(
    alice: User, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear_queues()
    monkeypatch.setattr(embedding, "COMPANIONS", 2)
    runs = [waiting(alice, policies, f"{number}.txt", text_of([number])) for number in range(7)]
    embedding.embed(runs[0].revision_id)
    assert states(*runs).count(RunState.READY) == 3
    clear_queues()  # the message is taken
    embedding.embed(runs[0].revision_id)
    assert states(*runs).count(RunState.READY) == 6
    assert tasks.waiting("embed") == 1  # for the one that is left
    clear_queues()
    embedding.embed(runs[0].revision_id)
    assert states(*runs).count(RunState.READY) == 7
    assert tasks.waiting("embed") == 0


def clear_queues() -> None:
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.client.flushall()
