"""Workers are killed with SIGKILL at every named step: afterwards each document is ready, nothing is lost and nothing is there twice.

Real processes: Redis, the reader and the embedder as `manage.py up` starts them, the database in a file. Only the embedder hashes.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connections

from core.celery import app
from core.models import User
from rag import tasks
from rag.backends.embedders import selftest
from rag.models import Chunk, Collection, Document, Extraction, IngestRun, PageDraft, Revision, Vector
from rag.models.index import IndexKind, RunState
from rag.services import embedding, embedding_models, indexing, ingest, library
from rag.services.attempts import IN_WORK
from tests import tiny_models
from tests.crash.workers import Workers
from tests.pdfs import scan_behind

# Once: minutes of real processes. Leases, guards and late messages are tested on both databases in tests/flows.
pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]
SERVICES = Path(ingest.__file__).parent
BOTH_WORKERS_AT = {"read:parsed", "embed:batch-stored"}  # elsewhere the process that does the work dies alone


@dataclass(frozen=True)
class Round:
    """Steps at which whoever reads a mail, or a scan, is killed one after the other, and whoever embeds and indexes a long text."""

    reading: tuple[str, ...]
    embedding: tuple[str, ...]
    scan: bool = False


ROUNDS = (
    Round(("read:before-claim", "read:claimed", "read:converted"), ("embed:before-claim", "embed:claimed")),
    Round(("read:parsed", "read:child-added"), ("embed:batch-computed", "embed:batch-stored")),
    Round(("read:children-added", "read:stored", "read:synced"), ("embed:embedded", "embed:ready")),
    Round(
        ("read:readable-stored", "recognise:page-kept"), ("sync:before-keywords", "sync:keywords-written"), scan=True
    ),
    Round(("recognise:begun", "recognise:done"), ("sync:before-publish", "sync:published"), scan=True),
    Round((), ("sync:pointer-moved",)),
)
REEMBEDDING = ("reembed:before-claim", "reembed:batch-computed", "reembed:batch-stored")
# Readings of whole documents are killed at these in tests/flows/test_reading_everything.py.
READING_EVERYTHING = {"everything:claimed", "everything:group-stored"}


@pytest.fixture(scope="module")
def workers(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    flush_redis()  # messages of other tests
    with Workers(tmp_path_factory.mktemp("crash")) as running:
        yield running


def flush_redis() -> None:
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.client.flushall()


def prose(name: str, paragraphs: int) -> bytes:
    """A text of some length in which every paragraph is another."""
    lines = (
        f"Paragraph {number} of {name} says that item {number * 7} is kept for {number + 3} years."
        for number in range(paragraphs)
    )
    return "\n\n".join(" ".join([line] * 6) for line in lines).encode()


def mail(name: str) -> bytes:
    """A mail with two texts attached."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = name, "ann@firm.example", "bob@firm.example"
    message.set_content(f"Dear Bob, please find the papers about {name} attached. Kind regards, Ann.")
    for number in (1, 2):
        body = prose(f"note {number} of {name}", 3)
        message.add_attachment(body, maintype="text", subtype="plain", filename=f"note-{number}.txt")
    return bytes(message)


def add(actor: User, collection: Collection, name: str, body: bytes, *, bulk: bool = False) -> Document:
    return library.add_document(actor, collection, ContentFile(body), path=name, bulk=bulk).document


def all_ended() -> bool:
    """Whether no run of a live document is in work."""
    return not IngestRun.objects.filter(state__in=IN_WORK, revision__document__deleted__isnull=True).exists()


def not_ready() -> list[str]:
    """Runs that ended in any way but ready, with what they say."""
    runs = IngestRun.objects.exclude(state=RunState.READY).values_list("revision__document__path", "state", "message")
    return [" ".join(row) for row in runs]


def assert_nothing_lost_and_nothing_twice(collection: Collection) -> None:
    chunks = Chunk.objects.for_maintenance().filter(collection=collection)
    for document in Document.objects.filter(collection=collection):
        newest = Extraction.objects.filter(revision=document.latest).order_by("-id").first()
        assert newest is not None, f"{document.path} has no extraction"
        mine = chunks.filter(document=document)
        assert set(mine.values_list("extraction", flat=True)) <= {newest.pk}
        assert [chunk.ordinal for chunk in mine.order_by("ordinal")] == list(range(mine.count()))
        pages = {page.place: page.text for page in newest.pages.all()}
        assert sorted(pages) == list(range(len(pages)))
        for chunk in mine.filter(page_from=0, page_to=0):
            assert pages[0][chunk.start : chunk.end] == chunk.text
    ids = Counter(chunks.values_list("pk", flat=True))
    assert Counter(Vector.objects.filter(collection=collection).values_list("chunk_id", flat=True)) == ids
    assert not PageDraft.objects.exists()
    assert indexed(collection, IndexKind.KEYWORDS) == set(ids)
    assert indexed(collection, IndexKind.VECTORS) == set(ids)


def indexed(collection: Collection, kind: IndexKind) -> set[int]:
    """The passages that a search of the collection can find by words, or by meaning."""
    indexing.close_readers()
    reader = indexing.reader(collection.pk)
    if kind is IndexKind.KEYWORDS:
        assert reader._keywords is not None
        return set(reader._keywords.ids() - reader._keywords_barred)
    found: set[int] = set()
    for index in (reader._base, reader._tail):
        found |= set(index.ids() - reader._barred) if index is not None else set()
    return found


def assert_no_stray_files(workers: Workers) -> None:
    """Nothing half-done lies about, after the sweeper has had its time."""

    def left() -> list[Path]:
        # What people are sending lies there too, in a folder of its own.
        return [path for path in Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir() if path.name != "uploads"]

    workers.wait_until(lambda: not left(), f"left over: {left()}")
    named = set(Revision.objects.values_list("file", flat=True))
    originals = Path(default_storage.path(""))
    assert {str(file.relative_to(originals)) for file in originals.rglob("*") if file.is_file()} >= named


def test_every_named_step_of_the_pipeline_is_in_the_matrix() -> None:
    found = {
        name
        for file in SERVICES.glob("*.py")
        for name in re.findall(r"""\bstep\("([a-z-]+:[a-z-]+)"\)""", file.read_text())
    }
    assert found - READING_EVERYTHING == {
        *REEMBEDDING,
        *(step for each in ROUNDS for step in (*each.reading, *each.embedding)),
    }
    assert len(found) >= 12


def test_workers_killed_at_every_step_lose_nothing_and_store_nothing_twice(
    workers: Workers, alice: User, policies: Collection
) -> None:
    whole = add(alice, policies, "whole.txt", prose("whole", 60))
    workers.wait_until(all_ended, "the first document was not read")
    passages = Chunk.objects.for_maintenance().filter(document=whole).count()
    assert passages > 20
    for number, each in enumerate(ROUNDS):
        steps = (*each.reading, *each.embedding)
        for step in steps:
            workers.kill_at(step, "worker" if step in BOTH_WORKERS_AT else "child")
        if each.scan:
            scanned = scan_behind(f"The lease of house {number} runs for five years.", "INVOICE 4711", "TOTAL 250 EURO")
            add(alice, policies, f"scan-{number}.pdf", scanned)
        else:
            add(alice, policies, f"mail-{number}.eml", mail(f"matter {number}"))
        add(alice, policies, f"long-{number}.txt", prose(f"volume {number}", 60))
        for step in steps:
            workers.wait_for_death_at(step)
        workers.wait_until(all_ended, f"not everything ended after deaths at {steps}: {not_ready()}")
    assert not_ready() == []
    workers.wait_until(in_step, "the indexes did not follow")
    assert_nothing_lost_and_nothing_twice(policies)
    found = Chunk.objects.for_maintenance().filter(document__path__startswith="long-")
    assert set(Counter(found.values_list("document__path", flat=True)).values()) == {passages}
    mails = sum(not each.scan for each in ROUNDS)
    assert Document.objects.filter(collection=policies, parent__isnull=False).count() == 2 * mails
    scans = Extraction.objects.filter(parser__endswith="+ocr")
    assert [(scan.pages_in_all, scan.pages_with_text, scan.pages_by_ocr) for scan in scans] == [(3, 1, 2)] * 2
    assert_no_stray_files(workers)


def in_step() -> bool:
    """Whether the keyword index of every collection is at its collection's version."""
    from rag.models import IndexGeneration

    return all(
        IndexGeneration.objects.filter(
            collection=collection, kind=IndexKind.KEYWORDS, current=True, version__gte=collection.version
        ).exists()
        for collection in Collection.objects.filter(version__gt=0)
    )


def test_a_file_that_kills_its_reader_every_time_is_given_up_and_the_next_is_read(
    workers: Workers, alice: User, policies: Collection
) -> None:
    workers.kill_at("read:parsed", "always")
    poison = IngestRun.objects.get(revision=add(alice, policies, "poison.txt", prose("poison", 2)).latest_id)
    try:
        workers.wait_until(lambda: not_ready() and all_ended(), "it is tried for ever")
    finally:
        workers.spare("read:parsed")
    poison.refresh_from_db()
    assert (poison.state, poison.failures, poison.attempt) == (RunState.FAILED, 3, 3)
    assert "three times" in poison.message
    add(alice, policies, "next.txt", prose("next", 2))
    workers.wait_until(all_ended, "the next was not read")
    assert [line.split()[0] for line in not_ready()] == ["poison.txt"]
    assert_no_stray_files(workers)


def test_a_flushed_redis_loses_no_document(workers: Workers, alice: User, policies: Collection) -> None:
    add(alice, policies, "first.txt", prose("first", 3))
    workers.wait_until(all_ended, "the workers do not work")
    for number in range(12):
        add(alice, policies, f"{number}.txt", prose(f"volume {number}", 20))
    flush_redis()
    workers.wait_until(all_ended, "not everything was read after the flush")
    assert not_ready() == []
    workers.wait_until(in_step, "the indexes did not follow")
    assert_nothing_lost_and_nothing_twice(policies)


def test_messages_that_come_again_late_and_at_once_change_nothing(
    workers: Workers, alice: User, policies: Collection
) -> None:
    documents = [add(alice, policies, f"{number}.txt", prose(f"volume {number}", 20)) for number in range(4)]
    revisions = [document.latest_id for document in documents for _ in range(5) if document.latest_id]
    for revision in revisions:
        tasks.ingest.delay(revision)
        tasks.embed.delay(revision)
    workers.wait_until(all_ended, "not everything was read")
    before = sorted(Chunk.objects.for_maintenance().values_list("pk", flat=True))
    for revision in revisions:
        tasks.ingest.delay(revision)
        tasks.embed.delay(revision)
    workers.wait_until(lambda: not (tasks.waiting("ingest") or tasks.waiting("embed")), "the messages are not taken")
    workers.wait_until(in_step, "the indexes did not follow")
    assert sorted(Chunk.objects.for_maintenance().values_list("pk", flat=True)) == before
    assert set(IngestRun.objects.values_list("attempt", flat=True)) == {2}  # one for reading, one for embedding
    assert_nothing_lost_and_nothing_twice(policies)


def test_what_somebody_uploads_now_is_ready_before_most_of_a_large_import(
    workers: Workers, alice: User, policies: Collection
) -> None:
    for number in range(200):
        add(alice, policies, f"bulk/{number}.txt", prose(f"volume {number}", 1), bulk=True)
    waiting = IngestRun.objects.filter(bulk=True, state__in=IN_WORK).count()
    assert waiting > 20, "the import was over before anything else came"
    urgent = add(alice, policies, "urgent.txt", prose("urgent", 2))
    workers.wait_until(all_ended, "not everything was read")
    assert not_ready() == []
    ready = IngestRun.objects.get(revision=urgent.latest_id).finished
    before = IngestRun.objects.filter(bulk=True, finished__lt=ready).count()
    assert before <= 200 - waiting + 10, (
        f"{before} of the import were ready first, {200 - waiting} of them before it came"
    )


def test_a_cancelled_reading_stops_within_seconds_and_can_be_taken_up_again(
    workers: Workers, alice: User, policies: Collection
) -> None:
    connections.close_all()
    scan = scan_behind("The lease runs for five years.", *(f"PAGE NUMBER {number}" for number in range(8)))
    document = add(alice, policies, "scan.pdf", scan)
    run = IngestRun.objects.get(revision=document.latest_id)

    def recognised_some() -> bool:
        run.refresh_from_db()
        return run.state == RunState.RECOGNISING and run.done >= 2

    workers.wait_until(recognised_some, "no page was recognised")
    assert ingest.cancel(alice, document)
    drafts = PageDraft.objects.count()
    urgent = add(alice, policies, "next.txt", prose("next", 2))
    workers.wait_until(
        lambda: IngestRun.objects.get(revision=urgent.latest_id).state == RunState.READY, "the reader went on"
    )
    run.refresh_from_db()
    assert run.state == RunState.CANCELLED
    assert run.searchable
    assert PageDraft.objects.count() <= drafts + 1
    assert library.retry(alice, document)
    workers.wait_until(all_ended, "it was not taken up again")
    run.refresh_from_db()
    assert (run.state, run.gaps) == (RunState.READY, 0)
    workers.wait_until(in_step, "the indexes did not follow")
    assert_nothing_lost_and_nothing_twice(policies)


def test_a_worker_killed_while_another_model_embeds_loses_nothing_and_stores_nothing_twice(
    workers: Workers, alice: User, policies: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is measured at an import has tests of its own, and takes its time.
    way = selftest.Measured("openvino", "f32", threads=1, streams=1, speed=1.0, agreement=1.0)
    monkeypatch.setattr(selftest, "_measure", lambda *_args: [way])
    monkeypatch.setattr(embedding_models, "common_scale", lambda *_args, **_options: {})
    add(alice, policies, "whole.txt", prose("whole", 500))
    workers.wait_until(all_ended, "the document was not read")
    passages = set(Chunk.objects.for_maintenance().values_list("pk", flat=True))
    assert len(passages) > embedding.EMBED_BATCH
    model = embedding_models.add(None, tiny_models.make(tmp_path / "tiny"))
    for step in REEMBEDDING:
        workers.kill_at(step)
    embedding_models.embed(None, "tiny")
    for step in REEMBEDDING:
        workers.wait_for_death_at(step)
    add(alice, policies, "meanwhile.txt", prose("meanwhile", 30))
    workers.wait_until(all_ended, "what was uploaded meanwhile was not read")
    workers.wait_until(lambda: embedding_models.standing("tiny").complete, "the model did not embed everything")
    everything = Counter(Chunk.objects.for_maintenance().values_list("pk", flat=True))
    assert set(everything) > passages
    for weights in (model.digest, "hashing-1"):
        vectors = Vector.objects.filter(digest=indexing.vector_digest(weights))
        assert Counter(vectors.values_list("chunk_id", flat=True)) == everything
    embedding_models.switch(None, "tiny")
    workers.wait_until(in_step, "the indexes did not follow")
    assert indexed(policies, IndexKind.VECTORS) == set(everything)
    embedding_models.back(None)
    assert embedding_models.remove(None, "tiny") == len(everything)
