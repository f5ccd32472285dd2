"""A revision's way through the pipeline, stage by stage: what is stored when, and what is said of what was not read."""

import errno
import io
import zipfile
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.files.base import ContentFile
from django.db import connection
from django.utils import timezone

from core.models import AuditEvent, User
from rag import tasks
from rag.access import scope_for
from rag.backends.sandbox import Sandbox
from rag.domain.errors import Permanent, Protected, Retryable
from rag.domain.types import Attachment, Page, ParsedDocument, Reading
from rag.models import Chunk, Collection, Document, Extraction, IngestRun, PageDraft, Revision, Vector
from rag.models.index import RunState
from rag.services import embedding, following, indexing, ingest, library, queues, recognition, retrieve
from rag.services.attempts import ATTEMPTS
from tests.pdfs import one_page_pdf, scan_behind

SCAN = scan_behind("The lease of the house runs for five years.", "INVOICE NUMBER 4711", "TOTAL 250 EURO")


def add(actor: User, collection: Collection, name: str, body: bytes, *, bulk: bool = False) -> IngestRun:
    """The run of a document that was just added; nobody has worked on it."""
    document = library.add_document(actor, collection, ContentFile(body), path=name, replaces=True, bulk=bulk).document
    return IngestRun.objects.select_related("revision__document").get(revision=document.latest)


def read(run: IngestRun) -> IngestRun:
    """The run after its revision was read, in this process."""
    ingest.read(run.revision_id)
    run.refresh_from_db()
    return run


def finish(run: IngestRun) -> IngestRun:
    """The run after all of it, however many turns a slow machine takes for it."""
    while read(run).state == RunState.RECOGNISING and run.lease_until is None:
        continue
    embedding.embed(run.revision_id)
    run.refresh_from_db()
    return run


def words_found(question: str, actor: User, collection: Collection) -> list[str]:
    scope = scope_for(actor, asked=[collection.pk])
    return [source.text for source in retrieve.search(question, scope).sources]


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), body)
    return buffer.getvalue()


class Parsed(Sandbox):
    """A sandbox whose files hold what a test says."""

    def __init__(self, document: ParsedDocument, *recognised: Page, inside: dict[str, bytes] | None = None) -> None:
        super().__init__()
        self.document, self.recognised, self.inside = document, list(recognised), inside or {}
        self.asked: list[int] = []

    def parse(self, path: Path | str, **more: Any) -> ParsedDocument:
        found = []
        for number, (name, body) in enumerate(self.inside.items()):
            file = more["attachments"] / f"{number:05d}"
            file.write_bytes(body)
            found.append(Attachment(name, file, len(body)))
        return ParsedDocument(
            self.document.title, self.document.pages, self.document.parser, self.document.warnings, {}, tuple(found)
        )

    def recognise(self, path: Path | str, *, numbers: Any, on_page: Any, **more: Any) -> None:
        self.asked += numbers
        for page in self.recognised:
            if page.number in numbers:
                on_page(page)


UseSandbox = Callable[[Sandbox], Sandbox]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> UseSandbox:
    """Has files read by this sandbox."""

    def use(sandbox: Sandbox) -> Sandbox:
        monkeypatch.setattr(ingest, "sandbox", lambda: sandbox)
        monkeypatch.setattr(recognition, "sandbox", lambda: sandbox)
        return sandbox

    return use


# --- Coverage


def test_a_scan_behind_a_text_page_is_recognised_and_the_report_adds_up(alice: User, policies: Collection) -> None:
    run = finish(add(alice, policies, "lease.pdf", SCAN))
    assert (run.state, run.gaps, run.message) == (RunState.READY, 0, "")
    report = Extraction.objects.filter(revision=run.revision).latest("pk")
    assert report.parser.endswith("+ocr")
    assert (report.pages_in_all, report.pages_with_text, report.pages_by_ocr, report.pages_unread) == (3, 1, 2, 0)
    assert 0.9 < report.confidence <= 1
    assert [page.reading for page in report.pages.all()] == ["text", "ocr", "ocr"]
    assert not PageDraft.objects.exists()
    assert any("4711" in text for text in words_found("invoice number", alice, policies))


def test_every_kind_of_page_is_counted_once(alice: User, policies: Collection, use: UseSandbox) -> None:
    pages = (
        Page(1, "The tenant keeps the stairs clean in winter and in summer, and pays for the water that is used."),
        Page(2, "  "),
        Page(3, "", reading=Reading.UNREAD),
        Page(4, "", reading=Reading.UNREAD, gap="It has no text layer."),
        Page(5, "A table without its last column.", gap="A column could not be read.", images=2),
        Page(6, "", reading=Reading.BLANK),
    )
    read_by_eye = Page(3, "Rent: 900", reading=Reading.OCR, confidence=0.8)
    left = Page(4, "", reading=Reading.UNREAD, gap="It is in a script that is not read here.")
    use(Parsed(ParsedDocument("Lease", pages, "pdf/1"), read_by_eye, left))
    run = finish(add(alice, policies, "lease.pdf", one_page_pdf("x")))
    assert (run.state, run.gaps) == (RunState.READY, 2)
    report = Extraction.objects.filter(revision=run.revision).latest("pk")
    counted = (report.pages_with_text, report.pages_by_ocr, report.pages_blank, report.pages_unread)
    assert counted == (2, 1, 2, 1)
    assert sum(counted) == report.pages_in_all == 6
    assert (report.confidence, report.images, report.language) == (0.8, 2, "en")
    stored = {page.number: page for page in report.pages.all()}
    assert stored[2].reading == "blank"
    assert (stored[4].reading, stored[4].gap) == ("unread", left.gap)
    assert stored[5].gap == "A column could not be read."


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Der Mieter hat die Miete bis zum dritten Werktag eines Monats im Voraus zu zahlen.", "de"),
        ("Le locataire paie le loyer au plus tard le troisième jour ouvrable de chaque mois.", "fr"),
        ("12 4711 38,50 12 4711 38,50 12 4711 38,50 12 4711 38,50", ""),
        ("Ja.", ""),
    ],
)
def test_the_language_is_told_where_enough_of_it_is_there(
    alice: User, policies: Collection, text: str, language: str
) -> None:
    run = read(add(alice, policies, "text.txt", text.encode()))
    assert Extraction.objects.get(revision=run.revision).language == language


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        (Page(1, "", reading=Reading.UNREAD), "nothing could be recognised in its pictures"),
        (Page(1, "", images=1), "nothing could be recognised in its pictures"),
        (Page(1, " \n "), "No text was found in this file."),
    ],
)
def test_a_file_without_a_word_fails_with_a_sentence(
    alice: User, policies: Collection, use: UseSandbox, page: Page, sentence: str
) -> None:
    use(Parsed(ParsedDocument("", (page,), "pdf/1")))
    run = read(add(alice, policies, "empty.pdf", one_page_pdf("x")))
    assert run.state == RunState.FAILED
    assert sentence in run.message
    assert not Extraction.objects.exists()


# --- Recognising


def test_what_a_file_says_itself_is_found_before_its_pictures_are_recognised(
    alice: User, policies: Collection, use: UseSandbox
) -> None:
    pages = (Page(1, "The lease of the house runs for five years."), Page(2, "", reading=Reading.UNREAD))
    seen: list[list[str]] = []

    class Looking(Parsed):
        def recognise(self, path: Path | str, **more: Any) -> None:
            run.refresh_from_db()
            assert (run.state, run.searchable, run.done, run.total) == (RunState.RECOGNISING, True, 0, 1)
            seen.append(words_found("lease of the house", alice, policies))
            super().recognise(path, **more)

    use(Looking(ParsedDocument("Lease", pages, "pdf/1"), Page(2, "INVOICE 4711", reading=Reading.OCR, confidence=0.9)))
    run = add(alice, policies, "lease.pdf", one_page_pdf("x"))
    read(run)
    assert seen == [["The lease of the house runs for five years."]]
    first, second = Extraction.objects.order_by("pk")
    assert (first.parser, first.pages_unread, second.parser, second.pages_unread) == ("pdf/1", 1, "pdf/1+ocr", 0)
    assert set(Chunk.objects.for_maintenance().values_list("extraction", flat=True)) == {second.pk}


def test_a_killed_recognition_goes_on_behind_the_last_page(
    alice: User, policies: Collection, use: UseSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = tuple(Page(number, "", reading=Reading.UNREAD) for number in (1, 2, 3))
    words = [Page(number, f"Page number {number}", reading=Reading.OCR, confidence=0.9) for number in (1, 2, 3)]
    sandbox = Parsed(ParsedDocument("Scan", pages, "pdf/1"), *words)
    use(sandbox)

    def die(name: str) -> None:
        if name == "recognise:page-kept" and PageDraft.objects.count() == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(recognition, "step", die)
    run = add(alice, policies, "scan.pdf", one_page_pdf("x"))
    with pytest.raises(KeyboardInterrupt):
        ingest.read(run.revision_id)
    IngestRun.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    ingest.sweep_stale()
    run.refresh_from_db()
    assert (run.state, run.failures, run.done, run.total) == (RunState.RECOGNISING, 1, 2, 3)
    monkeypatch.undo()
    use(sandbox)
    sandbox.asked.clear()
    assert finish(run).state == RunState.READY
    assert sandbox.asked == [3]
    assert [page.text for page in Extraction.objects.get().pages.all()] == [page.text for page in words]
    assert not PageDraft.objects.exists()


def test_a_long_recognition_lets_others_go_first_and_goes_on(
    alice: User, policies: Collection, use: UseSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = tuple(Page(number, "", reading=Reading.UNREAD) for number in (1, 2))
    words = [Page(number, f"Page number {number}", reading=Reading.OCR, confidence=0.9) for number in (1, 2)]
    use(Parsed(ParsedDocument("Scan", pages, "pdf/1"), *words))
    monkeypatch.setattr(queues, "LONGEST", -1.0)
    run = read(add(alice, policies, "scan.pdf", one_page_pdf("x")))
    assert (run.state, run.lease_until, run.done, run.failures) == (RunState.RECOGNISING, None, 1, 0)
    assert read(run).state == RunState.EMBEDDING
    assert Extraction.objects.get().pages_by_ocr == 2


def test_pictures_that_cannot_be_recognised_leave_what_was_read_with_a_gap(
    alice: User, policies: Collection, use: UseSandbox
) -> None:
    pages = (Page(1, "The lease runs for five years."), Page(2, "Stamp", reading=Reading.UNREAD))
    unread = Page(2, "", reading=Reading.UNREAD, gap="Recognising this page took longer than 2 minutes.")
    use(Parsed(ParsedDocument("Lease", pages, "pdf/1"), unread))
    run = finish(add(alice, policies, "lease.pdf", one_page_pdf("x")))
    assert (run.state, run.gaps) == (RunState.READY, 1)
    page = Extraction.objects.latest("pk").pages.get(number=2)
    assert (page.text, page.reading, page.gap) == ("Stamp", "unread", unread.gap)


# --- Files inside files


def test_files_inside_an_archive_become_documents_below_its_path(alice: User, policies: Collection) -> None:
    body = zipped(a_txt=b"Alpha is kept for ten years.", deep__b_txt=b"Beta is kept for two years.", run_exe=b"MZ\x90")
    run = finish(add(alice, policies, "papers.zip", body))
    assert (run.state, run.searchable, run.gaps, run.total) == (RunState.READY, False, 0, 0)
    children = Document.objects.filter(parent=run.revision.document).order_by("path")
    assert [child.path for child in children] == ["papers.zip/a.txt", "papers.zip/deep/b.txt"]
    report = Extraction.objects.get(revision=run.revision)
    assert report.attachments == 2
    assert [path for path, _sentence in report.left_out] == ["run.exe"]
    assert report.left_out[0][1].endswith(".")
    assert all(IngestRun.objects.get(revision=child.latest).bulk for child in children)


def test_files_that_left_the_archive_are_taken_out_and_the_same_ones_are_left_alone(
    alice: User, policies: Collection
) -> None:
    finish(add(alice, policies, "papers.zip", zipped(a_txt=b"Alpha is here.", b_txt=b"Beta is here.")))
    for child in Document.objects.filter(parent__isnull=False):
        assert child.latest is not None
        finish(IngestRun.objects.get(revision=child.latest))
    read(add(alice, policies, "papers.zip", zipped(a_txt=b"Alpha is here.", c_txt=b"Gamma is here.")))
    live = Document.objects.live().filter(parent__isnull=False).order_by("path")
    assert [child.path for child in live] == ["papers.zip/a.txt", "papers.zip/c.txt"]
    assert Revision.objects.filter(document=live[0]).count() == 1
    assert words_found("Beta", alice, policies) == ["Alpha is here."]


def test_two_files_of_one_name_in_a_mail_are_two_documents(alice: User, policies: Collection) -> None:
    message = EmailMessage()
    message["Subject"], message["From"] = "Two scans", "ann@firm.example"
    message.set_content("Here they are.")
    for text in (b"The first is about parking.", b"The second is about heating."):
        message.add_attachment(text, maintype="text", subtype="plain", filename="scan.txt")
    read(add(alice, policies, "mail.eml", bytes(message)))
    paths = list(Document.objects.filter(parent__isnull=False).order_by("path").values_list("path", flat=True))
    assert paths == ["mail.eml/scan (2).txt", "mail.eml/scan.txt"]


def test_an_archive_of_nothing_readable_fails_and_says_what_was_in_it(alice: User, policies: Collection) -> None:
    run = read(add(alice, policies, "tools.zip", zipped(run_exe=b"MZ\x90")))
    assert run.state == RunState.FAILED
    assert "run.exe" in run.message


def test_nothing_of_an_attempt_is_left_in_the_folder_for_passing_files(
    alice: User, policies: Collection, settings: LazySettings
) -> None:
    read(add(alice, policies, "papers.zip", zipped(a_txt=b"Alpha is here.")))
    read(add(alice, policies, "broken.zip", b"PK\x03\x04 broken"))
    passing = Path(settings.FILE_UPLOAD_TEMP_DIR)
    assert not list(passing.glob("reading-*"))
    stray = passing / "reading-4711-3"
    stray.mkdir()
    ingest.sweep_stale()
    assert not stray.exists()


# --- How an attempt may end


def test_a_protected_file_asks_for_its_password_and_is_read_with_it(
    alice: User, policies: Collection, use: UseSandbox
) -> None:
    given: list[str] = []

    class Locked(Parsed):
        def parse(self, path: Path | str, **more: Any) -> ParsedDocument:
            given.append(more["password"])
            if more["password"] != "open sesame":
                raise Protected("This file is protected by a password.")
            return super().parse(path, **more)

    use(Locked(ParsedDocument("Lease", (Page(1, "The lease runs for five years."),), "pdf/1")))
    run = read(add(alice, policies, "lease.pdf", one_page_pdf("x")))
    assert (run.state, run.needs_password) == (RunState.FAILED, True)
    assert ingest.retry_all_failed(alice, policies) == 0
    library.retry(alice, run.revision.document, password="open sesame")
    run = IngestRun.objects.select_related("revision__document").get(pk=run.pk)
    assert read(run).state == RunState.EMBEDDING
    assert not run.needs_password
    assert given == ["", "open sesame"]
    assert "open sesame" not in str(list(AuditEvent.objects.values_list("facts", flat=True)))


def test_a_retryable_error_is_tried_three_times_and_then_said(
    alice: User, policies: Collection, use: UseSandbox
) -> None:
    class Lost(Parsed):
        def parse(self, path: Path | str, **more: Any) -> ParsedDocument:
            raise Retryable("The document reader stopped unexpectedly.")

    use(Lost(ParsedDocument("", (), "pdf/1")))
    run = add(alice, policies, "lease.pdf", one_page_pdf("x"))
    for attempt in range(1, ATTEMPTS + 1):
        read(run)
        assert (run.failures, run.lease_until) == (attempt, None)
        assert run.state == (RunState.QUEUED if attempt < ATTEMPTS else RunState.FAILED)
    assert run.message == "The document reader stopped unexpectedly."


def test_an_error_of_our_own_is_said_and_logged_and_does_not_hold_the_lease(
    alice: User, policies: Collection, use: UseSandbox
) -> None:
    class Wrong(Parsed):
        def parse(self, path: Path | str, **more: Any) -> ParsedDocument:
            raise ZeroDivisionError

    use(Wrong(ParsedDocument("", (), "pdf/1")))
    run = add(alice, policies, "lease.pdf", one_page_pdf("x"))
    with pytest.raises(ZeroDivisionError):
        ingest.read(run.revision_id)
    run.refresh_from_db()
    assert (run.state, run.failures, run.lease_until) == (RunState.QUEUED, 1, None)
    assert "its log says what" in run.message


def test_a_full_disk_is_waited_for_as_long_as_it_takes(
    alice: User, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = add(alice, policies, "papers.zip", zipped(a_txt=b"Alpha is here."))
    real = library._store

    def full(*arguments: object) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    for _ in range(ATTEMPTS + 1):
        monkeypatch.setattr(library, "_store", full)
        read(run)
        assert (run.state, run.failures, run.lease_until) == (RunState.QUEUED, 0, None)
        assert "disk is full" in run.message
        assert run.queued > timezone.now()
    monkeypatch.setattr(library, "_store", real)
    assert (read(run).state, run.message) == (RunState.READY, "")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="fills a SQLite database")
@pytest.mark.django_db(transaction=True)
def test_a_database_without_space_is_waited_for_too(alice: User, policies: Collection) -> None:
    text = "\n\n".join(f"Paragraph {number} says something else than the others." for number in range(4000))
    run = add(alice, policies, "long.txt", text.encode())
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # what other tests have deleted would be room
        cursor.execute("PRAGMA page_count")
        pages = cursor.fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {pages + 4}")
    try:
        read(run)
        assert (run.state, run.failures) == (RunState.QUEUED, 0)
        assert "disk is full" in run.message
        assert not Extraction.objects.exists()
    finally:
        connection.close()
    assert finish(run).state == RunState.READY


def test_an_index_that_cannot_be_written_leaves_the_document_stored_and_is_brought_up_to_date_later(
    alice: User, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(collection_id: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    finish(add(alice, policies, "first.txt", b"Alpha is kept for ten years."))
    monkeypatch.setattr(indexing, "sync", full)
    run = finish(add(alice, policies, "second.txt", b"Beta is kept for two years."))
    assert run.state == RunState.READY
    assert words_found("Alpha", alice, policies)
    assert indexing.behind() == [policies.pk]
    monkeypatch.undo()
    indexing.sync_all()
    assert indexing.behind() == []
    assert any("Beta" in text for text in words_found("Beta", alice, policies))


def test_a_revision_that_fails_leaves_the_older_one_found(alice: User, policies: Collection) -> None:
    finish(add(alice, policies, "lease.pdf", one_page_pdf("The lease runs for five years.")))
    run = read(add(alice, policies, "lease.pdf", b"%PDF-1.7 broken"))
    assert run.state == RunState.FAILED
    assert words_found("lease", alice, policies) == ["The lease runs for five years."]


def test_an_older_revision_that_is_read_late_does_not_come_back(alice: User, policies: Collection) -> None:
    older = add(alice, policies, "lease.txt", b"The lease runs for five years.")
    newer = finish(add(alice, policies, "lease.txt", b"The lease runs for seven years."))
    read(older)
    assert (older.state, newer.state) == (RunState.CANCELLED, RunState.READY)
    assert "newer version" in older.message
    assert words_found("lease", alice, policies) == ["The lease runs for seven years."]


def test_the_embedding_of_an_older_revision_ends_when_a_newer_one_is_stored(alice: User, policies: Collection) -> None:
    older = read(add(alice, policies, "lease.txt", b"The lease runs for five years."))
    finish(add(alice, policies, "lease.txt", b"The lease runs for seven years."))
    older.refresh_from_db()
    assert older.state == RunState.CANCELLED
    embedding.embed(older.revision_id)
    chunks = Chunk.objects.for_maintenance().values_list("pk", flat=True)
    assert sorted(Vector.objects.values_list("chunk_id", flat=True)) == sorted(chunks)


# --- What people do


def test_a_cancelled_reading_writes_nothing_more_and_can_be_retried(
    alice: User, policies: Collection, use: UseSandbox
) -> None:
    class Slow(Parsed):
        def parse(self, path: Path | str, **more: Any) -> ParsedDocument:
            assert ingest.cancel(alice, run.revision.document)
            return super().parse(path, **more)

    document = ParsedDocument("Lease", (Page(1, "The lease runs for five years."),), "pdf/1")
    use(Slow(document))
    run = add(alice, policies, "lease.pdf", one_page_pdf("x"))
    read(run)
    assert (run.state, run.lease_until) == (RunState.CANCELLED, None)
    assert not Extraction.objects.exists()
    assert AuditEvent.objects.filter(action="document.cancelled", subject_id=str(run.revision.document_id)).exists()
    use(Parsed(document))
    assert library.retry(alice, run.revision.document)
    assert finish(run).state == RunState.READY
    assert not ingest.cancel(alice, run.revision.document)


def test_a_document_cancelled_while_it_is_embedded_is_found_by_its_words(alice: User, policies: Collection) -> None:
    run = read(add(alice, policies, "lease.txt", b"The lease runs for five years."))
    assert run.state == RunState.EMBEDDING
    assert ingest.cancel(alice, run.revision.document)
    embedding.embed(run.revision_id)
    run.refresh_from_db()
    assert (run.state, run.searchable) == (RunState.CANCELLED, True)
    assert not Vector.objects.exists()
    assert words_found("lease", alice, policies) == ["The lease runs for five years."]


def test_all_that_failed_is_queued_again_and_a_lot_of_it_as_an_import(alice: User, policies: Collection) -> None:
    few = [read(add(alice, policies, f"{number}.pdf", b"%PDF-1.7 broken")) for number in range(2)]
    assert {run.state for run in few} == {RunState.FAILED}
    assert ingest.retry_all_failed(alice, policies) == 2
    assert set(IngestRun.objects.values_list("state", "bulk")) == {(RunState.QUEUED, False)}
    for number in range(2, 25):
        add(alice, policies, f"{number}.pdf", b"%PDF-1.7 broken")
    IngestRun.objects.update(state=RunState.FAILED)
    assert ingest.retry_all_failed(alice, policies) == 25
    assert set(IngestRun.objects.values_list("state", "bulk")) == {(RunState.QUEUED, True)}


# --- Queues


@pytest.fixture
def redis() -> Any:
    """The queues, empty at first."""
    from celery import current_app

    with current_app.connection_for_write() as broker:
        channel: Any = broker.default_channel
        channel.client.flushall()
        yield channel.client
        channel.client.flushall()


@pytest.mark.django_db(transaction=True)
def test_imports_and_single_uploads_wait_in_queues_of_their_own(alice: User, policies: Collection, redis: Any) -> None:
    add(alice, policies, "one.txt", b"Alpha is here.")
    add(alice, policies, "two.txt", b"Beta is here.", bulk=True)
    add(alice, policies, "three.txt", b"Gamma is here.", bulk=True)
    assert (tasks.waiting("ingest"), tasks.waiting("ingest_bulk")) == (1, 2)
    for run in IngestRun.objects.all():
        read(run)
    # Small documents are embedded together, so one message stands for both of the import.
    assert (tasks.waiting("embed"), tasks.waiting("embed_bulk")) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_lost_messages_are_sent_again_and_those_that_wait_are_not_doubled(
    alice: User, policies: Collection, redis: Any
) -> None:
    for number in range(3):
        add(alice, policies, f"{number}.txt", f"Number {number} is here.".encode())
    long_ago = timezone.now() - timedelta(minutes=1)
    IngestRun.objects.update(queued=long_ago)
    assert ingest.sweep_stale() == 0
    redis.flushall()
    assert ingest.sweep_stale() == 3
    assert ingest.sweep_stale() == 0
    assert tasks.waiting("ingest") == 3


def test_work_of_an_import_gives_way_at_once_and_other_work_after_a_while(redis: Any) -> None:
    single, bulk = (queues.Turn(queues.Work.READING, bulk=bulk) for bulk in (False, True))
    for turn in (single, bulk):
        turn._asked -= 2
        assert not turn.over()
    tasks.ingest.apply_async((4711,), queue="ingest")
    for turn in (single, bulk):
        turn._asked -= 2
    assert (single.over(), bulk.over()) == (False, True)
    single._began -= queues.SLICE
    single._asked -= 2
    assert single.over()


def test_an_import_is_indexed_every_two_seconds_and_the_last_of_it_at_once(
    policies: Collection, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[object] = []
    monkeypatch.setattr(indexing, "sync", synced.append)
    monkeypatch.setattr(following, "_synced", 0.0)
    tasks.ingest.apply_async((4711,), queue="ingest_bulk")
    for _ in range(3):
        following.follow(policies.pk, queues.Work.READING, bulk=True)
    assert synced == [policies.pk]
    redis.flushall()
    following.follow(policies.pk, queues.Work.READING, bulk=True)
    assert synced == [policies.pk] * 2
    following.follow(policies.pk, queues.Work.READING, bulk=False)
    assert synced == [policies.pk] * 3


def test_a_document_is_stored_although_redis_is_away(
    alice: User, policies: Collection, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kombu.exceptions import OperationalError

    def away(*arguments: object, **options: object) -> None:
        raise OperationalError("Connection refused")

    monkeypatch.setattr(tasks.ingest, "apply_async", away)
    tasks._publish(tasks.ingest, (4711,), None)
    run = add(alice, policies, "one.txt", b"Alpha is here.")
    assert run.state == RunState.QUEUED


def test_refused_attachments_do_not_stop_the_reading_of_what_they_came_with(
    alice: User, policies: Collection, use: UseSandbox
) -> None:
    letter = ParsedDocument("Letter", (Page(None, "Please find the papers attached."),), "mail/1")
    use(Parsed(letter, inside={"": b"x", "empty.txt": b"", "fine.txt": b"Alpha is here.", "a.exe": b"MZ"}))
    run = read(add(alice, policies, "letter.txt", b"x"))
    assert (run.state, run.gaps) == (RunState.EMBEDDING, 0)
    report = Extraction.objects.get()
    assert report.attachments == 1
    assert [path for path, _ in report.left_out] == ["", "empty.txt", "a.exe"]


def test_permanent_errors_are_not_tried_again(alice: User, policies: Collection, use: UseSandbox) -> None:
    class Broken(Parsed):
        def parse(self, path: Path | str, **more: Any) -> ParsedDocument:
            raise Permanent("This file is damaged.")

    use(Broken(ParsedDocument("", (), "pdf/1")))
    run = read(add(alice, policies, "lease.pdf", one_page_pdf("x")))
    assert (run.state, run.message, run.needs_password) == (RunState.FAILED, "This file is damaged.", False)
    assert ingest.sweep_stale() == 0
