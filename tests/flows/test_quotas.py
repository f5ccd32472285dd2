"""I8: limits on bytes, documents and pages hold, also when twenty people come at once."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.files.base import ContentFile
from django.db import connections
from django.test import Client
from django.urls import reverse

from core.models import Membership, Role, Team, User
from rag.config import rag_config
from rag.domain.errors import Permanent
from rag.models import Collection, Document, Grant, IngestRun, Revision
from rag.models.imports import Origin
from rag.models.index import RunState
from rag.services import imports, ingest, library, quotas, uploads
from rag.services.quotas import OverQuota
from rag.services.uploads import Announced, WhenTaken
from tests.pdfs import one_page_pdf

Limits = Callable[..., None]


@pytest.fixture
def limits(settings: LazySettings) -> Limits:
    """Sets limits, named as in settings.RAG."""

    def change(**named: int) -> None:
        settings.RAG = settings.RAG | named
        rag_config.cache_clear()

    return change


def add(
    actor: User, collection: Collection, path: str, body: bytes = b"Some words.", *, replaces: bool = False
) -> library.Added:
    return library.add_document(actor, collection, ContentFile(body), path=path, replaces=replaces)


def race(count: int, act: Callable[[int], object]) -> list[str]:
    """What each of `count` threads that begin at one moment ends with: "" or the sentence of the refusal."""
    barrier, ends = threading.Barrier(count), [""] * count

    def run(number: int) -> None:
        barrier.wait()
        try:
            act(number)
        except Permanent as error:
            ends[number] = error.message
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_do_not_pass_the_limit_on_documents(alice: User, policies: Collection, limits: Limits) -> None:
    limits(COLLECTION_DOCUMENTS=7)
    ends = race(20, lambda number: add(alice, policies, f"{number}.txt", f"Words of {number}.".encode()))
    assert Document.objects.live().filter(collection=policies).count() == 7
    refused = [end for end in ends if end]
    assert len(refused) == 13
    assert set(refused) == {"This collection is full: it may have 7 documents."}


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_do_not_pass_the_limit_on_bytes(alice: User, policies: Collection, limits: Limits) -> None:
    limits(COLLECTION_BYTES=1000)
    ends = race(20, lambda number: add(alice, policies, f"{number}.txt", f"{number:100}".encode()))
    assert sum(Revision.objects.values_list("size", flat=True)) == 1000
    assert sum(bool(end) for end in ends) == 10


@pytest.mark.django_db(transaction=True)
def test_one_person_does_not_pass_the_limit_over_two_collections(
    alice: User, policies: Collection, clinic: Team, limits: Limits
) -> None:
    other = Collection.objects.create(name="Other")
    Grant.objects.create(collection=other, team=clinic, role=Role.MANAGER)
    limits(USER_BYTES=500)
    shelves = (policies, other)
    race(12, lambda number: add(alice, shelves[number % 2], f"{number}.txt", f"{number:100}".encode()))
    assert Revision.objects.count() == 5


@pytest.mark.django_db
def test_each_person_has_room_of_their_own(alice: User, bob: User, policies: Collection, limits: Limits) -> None:
    Membership.objects.filter(user=bob).update(role=Role.CONTRIBUTOR)
    limits(USER_BYTES=20)
    add(alice, policies, "a.txt", b"x" * 20)
    with pytest.raises(OverQuota, match="20\xa0bytes together"):
        add(alice, policies, "b.txt", b"y")
    add(bob, policies, "b.txt", b"y" * 20)


@pytest.mark.django_db
def test_deleting_frees_room_and_the_same_bytes_again_need_none(
    alice: User, policies: Collection, limits: Limits
) -> None:
    limits(COLLECTION_BYTES=20, COLLECTION_DOCUMENTS=1)
    document = add(alice, policies, "a.txt", b"x" * 20).document
    assert add(alice, policies, "a.txt", b"x" * 20).outcome is library.Outcome.UNCHANGED
    with pytest.raises(OverQuota):
        add(alice, policies, "a.txt", b"y", replaces=True)  # the older revision is kept, and counts
    library.delete_document(alice, document)
    assert add(alice, policies, "b.txt", b"z" * 20).outcome is library.Outcome.NEW


@pytest.mark.django_db
def test_a_replacement_is_no_further_document(alice: User, policies: Collection, limits: Limits) -> None:
    limits(COLLECTION_DOCUMENTS=1)
    add(alice, policies, "a.txt", b"one")
    assert add(alice, policies, "a.txt", b"two", replaces=True).outcome is library.Outcome.REVISED


@pytest.mark.django_db
def test_what_is_refused_leaves_no_bytes(alice: User, policies: Collection, limits: Limits) -> None:
    originals = Path(rag_config().data / "originals")
    before = sum(1 for path in originals.rglob("*") if path.is_file())
    limits(COLLECTION_BYTES=3)
    with pytest.raises(OverQuota):
        add(alice, policies, "a.txt")
    assert sum(1 for path in originals.rglob("*") if path.is_file()) == before


@pytest.mark.django_db
def test_files_inside_an_archive_count_and_the_page_says_what_was_left_out(
    alice: User, policies: Collection, limits: Limits, tmp_path: Path
) -> None:
    mail = add(alice, policies, "mail.eml", b"Subject: x\n\nWords.").document
    limits(COLLECTION_DOCUMENTS=2)
    file = tmp_path / "inside.txt"
    for number, words in enumerate((b"one", b"two")):
        file.write_bytes(words)
        assert mail.latest is not None
        if number:
            with pytest.raises(OverQuota):
                library.add_child(mail.latest, f"{number}.txt", file)
        else:
            library.add_child(mail.latest, f"{number}.txt", file)


@pytest.mark.django_db
def test_an_upload_is_refused_before_its_first_byte(alice: User, policies: Collection, limits: Limits) -> None:
    limits(COLLECTION_BYTES=1000)
    batch = imports.open_batch(alice, policies, Origin.BROWSER, 1)
    with pytest.raises(OverQuota):
        uploads.open_upload(alice, policies, Announced("big.pdf", 1001), batch=batch)
    batch.refresh_from_db()
    assert batch.refused == [["big.pdf", "This collection is full: its files may have 1000\xa0bytes together."]]
    limits(COLLECTION_DOCUMENTS=1)
    add(alice, policies, "a.txt")
    with pytest.raises(OverQuota):
        uploads.open_upload(alice, policies, Announced("b.txt", 9), batch=None)
    assert uploads.open_upload(alice, policies, Announced("a.txt", 9, when_taken=WhenTaken.REPLACE), batch=None)


@pytest.mark.django_db
def test_a_document_with_too_many_pages_fails_with_one_sentence(
    alice: User, policies: Collection, limits: Limits
) -> None:
    from io import BytesIO

    from reportlab.pdfgen.canvas import Canvas

    limits(DOCUMENT_PAGES=3)
    buffer = BytesIO()
    canvas = Canvas(buffer)
    for number in range(4):
        canvas.drawString(72, 700, f"These are the words of page {number}.")
        canvas.showPage()
    canvas.save()
    long = add(alice, policies, "long.pdf", buffer.getvalue()).document
    short = add(alice, policies, "short.pdf", one_page_pdf("One page is not too many.")).document
    for document in (long, short):
        assert document.latest is not None
        ingest.read(document.latest.pk)
    run = IngestRun.objects.get(revision=long.latest)
    assert (run.state, run.message) == (RunState.FAILED, "It has 4 pages; at most 3 are read.")
    assert IngestRun.objects.get(revision=short.latest).state == RunState.EMBEDDING


@pytest.mark.django_db
def test_without_limits_nothing_is_counted(
    alice: User, policies: Collection, django_assert_num_queries: Callable[[int], AbstractContextManager[object]]
) -> None:
    with django_assert_num_queries(2):  # the savepoint alone
        quotas.require_room(policies, alice, size=10**12, documents=10**6)
    assert quotas.use(policies) is None


@pytest.mark.django_db
def test_the_page_says_how_much_is_used(
    alice: User, policies: Collection, limits: Limits, as_user: Callable[[User], Client]
) -> None:
    limits(COLLECTION_DOCUMENTS=1200, COLLECTION_BYTES=1024**3)
    add(alice, policies, "a.txt", b"x" * 2048)
    page = as_user(alice).get(reverse("sources", args=[policies.pk])).content.decode()
    assert "1 of 1,200" in page
    assert "2.0\xa0KB of 1.0\xa0GB" in page
