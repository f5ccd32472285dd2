"""One place, many revisions: replacing, sharing equal bytes, files inside files, and what answers rest on meanwhile."""

import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from core.models import User
from core.sealing import unseal
from rag.access import scope_for_all
from rag.domain.errors import Permanent
from rag.domain.types import Source
from rag.models import Answer, AnswerSource, Chunk, Collection, Conversation, Document, IngestRun, Revision
from rag.models.index import RunState
from rag.services import answer_view, gathering, library, retrieve, validity
from rag.services.library import Exists, Outcome

AddText = Callable[..., Document]
SignIn = Callable[[User | None], Client]
LEAVE = b"# Leave\n\nFull-time staff have 27 days of leave a year.\n"
OTHER = LEAVE.replace(b"27", b"29")


def add(actor: User, collection: Collection, path: str, body: bytes, *, replaces: bool = False) -> library.Added:
    return library.add_document(actor, collection, ContentFile(body), path=path, replaces=replaces)


def newest(document: Document) -> Revision:
    document.refresh_from_db()
    assert document.latest is not None
    return document.latest


# --- Replacing


@pytest.mark.django_db
def test_other_bytes_replace_a_document_only_where_that_was_said(alice: User, policies: Collection) -> None:
    document = add(alice, policies, "leave.md", LEAVE).document
    with pytest.raises(Exists):
        add(alice, policies, "leave.md", OTHER)
    assert document.revisions.count() == 1
    assert stored_files() == {newest(document).file.name}
    assert add(alice, policies, "leave.md", OTHER, replaces=True).outcome is Outcome.REVISED
    assert newest(document).number == 2


@pytest.mark.django_db
def test_the_same_bytes_are_nothing_to_do_and_never_asked_about(alice: User, policies: Collection) -> None:
    add(alice, policies, "leave.md", LEAVE)
    assert add(alice, policies, "leave.md", LEAVE).outcome is Outcome.UNCHANGED
    assert Revision.objects.count() == 1
    assert len(stored_files()) == 1


@pytest.mark.django_db
def test_the_same_bytes_again_read_what_failed_or_was_cancelled(alice: User, policies: Collection) -> None:
    document = add(alice, policies, "leave.md", LEAVE).document
    for state in (RunState.FAILED, RunState.CANCELLED):
        IngestRun.objects.update(state=state, failures=3)
        add(alice, policies, "leave.md", LEAVE)
        run = IngestRun.objects.get(revision=newest(document))
        assert (run.state, run.failures) == (RunState.QUEUED, 0)


@pytest.mark.django_db
def test_both_are_kept_under_a_free_name(alice: User, policies: Collection) -> None:
    assert library.free_path(policies, "hr/leave.md") == "hr/leave.md"
    add(alice, policies, "hr/leave.md", LEAVE)
    assert library.free_path(policies, "hr/leave.md") == "hr/leave (2).md"
    add(alice, policies, "hr/leave (2).md", OTHER)
    assert library.free_path(policies, "hr/leave.md") == "hr/leave (3).md"


@pytest.mark.django_db
@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED])
def test_a_password_given_with_a_retry_is_kept_sealed(alice: User, policies: Collection, state: RunState) -> None:
    document = add(alice, policies, "leave.md", LEAVE).document
    IngestRun.objects.update(state=state, needs_password=True)
    document.refresh_from_db()
    assert library.retry(alice, document, password="open sesame")
    revision = newest(document)
    assert "sesame" not in revision.secret
    assert unseal(revision.secret) == "open sesame"
    run = IngestRun.objects.get()
    assert (run.state, run.needs_password) == (RunState.QUEUED, False)
    assert not library.retry(alice, document), "what waits already is left alone"


# --- Equal bytes


def stored_files() -> set[str]:
    root = Path(default_storage.path(""))
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _own_storage(settings: LazySettings, tmp_path: Path) -> None:
    storage = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": tmp_path}}
    settings.STORAGES = settings.STORAGES | {"default": storage}


@pytest.mark.django_db
def test_equal_bytes_are_stored_once_in_a_collection_and_apart_between_collections(
    alice: User, charlie: User, policies: Collection, secrets: Collection
) -> None:
    first, second = add(alice, policies, "a.md", LEAVE).document, add(alice, policies, "b.md", LEAVE).document
    foreign = add(charlie, secrets, "a.md", LEAVE).document
    assert newest(first).file.name == newest(second).file.name != newest(foreign).file.name
    assert len(stored_files()) == 2


@pytest.mark.django_db(transaction=True)
def test_a_shared_file_goes_with_the_last_document_that_has_it(alice: User, policies: Collection) -> None:
    first, second = add(alice, policies, "a.md", LEAVE).document, add(alice, policies, "b.md", LEAVE).document
    library.delete_document(alice, first)
    library.purge_deleted(policies.pk)
    with newest(second).file.open() as file:
        assert file.read() == LEAVE
    library.delete_document(alice, second)
    library.purge_deleted(policies.pk)
    assert stored_files() == set()


@pytest.mark.django_db(transaction=True)
def test_a_lost_file_is_not_shared(alice: User, policies: Collection) -> None:
    first = add(alice, policies, "a.md", LEAVE).document
    default_storage.delete(newest(first).file.name or "")
    second = add(alice, policies, "b.md", LEAVE).document
    assert stored_files() == {newest(second).file.name}


@pytest.mark.django_db(transaction=True)
def test_a_queue_that_cannot_be_reached_costs_no_stored_file(
    alice: User, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(revision: Revision) -> None:
        transaction.on_commit(lambda: (_ for _ in ()).throw(ConnectionError("no queue")))

    monkeypatch.setattr(library, "_queue", lost)
    with pytest.raises(ConnectionError):
        add(alice, policies, "a.md", LEAVE)
    assert stored_files() == {Revision.objects.get().file.name}


def at_once(*jobs: Callable[[], object]) -> list[object]:
    """What each job gave or raised, all of them begun at the same moment."""
    barrier, results = threading.Barrier(len(jobs)), list[object]([None] * len(jobs))

    def run(place: int, job: Callable[[], object]) -> None:
        barrier.wait()
        try:
            results[place] = job()
        except Exception as error:
            results[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(place, job)) for place, job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db(transaction=True)
def test_twenty_uploads_of_one_file_at_once_are_one_document(alice: User, policies: Collection) -> None:
    results = at_once(*[lambda: add(alice, policies, "a.md", LEAVE).outcome for _ in range(20)])
    assert sorted(str(result) for result in results) == sorted(["Outcome.NEW"] + ["Outcome.UNCHANGED"] * 19)
    assert (Document.objects.count(), Revision.objects.count(), len(stored_files())) == (1, 1, 1)


@pytest.mark.django_db(transaction=True)
def test_a_purge_beside_an_upload_of_the_same_bytes_never_takes_its_file(alice: User, policies: Collection) -> None:
    for turn in range(10):
        gone = add(alice, policies, f"gone{turn}.md", LEAVE).document
        library.delete_document(alice, gone)
        results = at_once(
            lambda: library.purge_deleted(policies.pk),
            lambda turn=turn: add(alice, policies, f"kept{turn}.md", LEAVE).document,  # type: ignore[misc]
        )
        assert not [result for result in results if isinstance(result, Exception)]
        kept = Document.objects.get(path=f"kept{turn}.md")
        assert default_storage.exists(newest(kept).file.name or "")
        library.delete_document(alice, kept)
        library.purge_deleted(policies.pk)
    assert stored_files() == set()


# --- Files inside files


@pytest.fixture
def mail(alice: User, policies: Collection) -> Document:
    return add(alice, policies, "post/mail.md", b"# A mail\n\nWith attachments.").document


@pytest.fixture
def inner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inner") / "attachment"
    path.write_bytes(LEAVE)
    return path


@pytest.mark.django_db
def test_a_file_inside_a_file_is_a_document_below_it(alice: User, mail: Document, inner: Path) -> None:
    added = library.add_child(newest(mail), "../a/leave.md", inner)
    child = added.document
    assert (child.path, child.parent, child.owner) == ("post/mail.md/a/leave.md", mail, alice)
    assert IngestRun.objects.get(revision=newest(child)).bulk
    assert library.add_child(newest(mail), "a/leave.md", inner).outcome is Outcome.UNCHANGED
    inner.write_bytes(OTHER)
    assert library.add_child(newest(mail), "a/leave.md", inner).outcome is Outcome.REVISED


@pytest.mark.django_db
def test_nothing_else_comes_to_the_place_of_a_file_inside_a_file(
    alice: User, policies: Collection, mail: Document, inner: Path
) -> None:
    library.add_child(newest(mail), "leave.md", inner)
    with pytest.raises(Permanent, match=r"inside “post/mail\.md”"):
        add(alice, policies, "post/mail.md/leave.md", LEAVE, replaces=True)
    add(alice, policies, "post/mail.md/own.md", LEAVE)
    with pytest.raises(Permanent, match="document of its own"):
        library.add_child(newest(mail), "own.md", inner)


@pytest.mark.django_db
def test_what_is_inside_goes_with_the_file_around_it(
    alice: User, policies: Collection, mail: Document, inner: Path
) -> None:
    child = library.add_child(newest(mail), "zip.md", inner).document
    grandchild = library.add_child(newest(child), "leave.md", _other(inner)).document
    library.delete_document(alice, mail)
    assert not Document.objects.live().filter(pk__in=[mail.pk, child.pk, grandchild.pk]).exists()
    assert library.purge_deleted(policies.pk) == 3


def _other(file: Path) -> Path:
    path = file.with_name(f"{file.name}-other")
    path.write_bytes(OTHER)
    return path


@pytest.mark.django_db
def test_nothing_comes_into_a_file_that_was_deleted(alice: User, mail: Document, inner: Path) -> None:
    revision = newest(mail)
    library.delete_document(alice, mail)
    with pytest.raises(Permanent, match="was deleted"):
        library.add_child(revision, "leave.md", inner)


@pytest.mark.django_db
def test_files_that_a_newer_revision_no_longer_holds_are_dropped(mail: Document, inner: Path) -> None:
    kept = library.add_child(newest(mail), "a/kept.md", inner).document
    gone = library.add_child(newest(mail), "gone.md", inner).document
    assert library.drop_children(mail, keep_paths=["a/kept.md"]) == 1
    assert list(Document.objects.live().filter(parent=mail)) == [kept]
    assert not Document.objects.live().filter(pk=gone.pk).exists()


@pytest.mark.django_db
def test_archives_that_never_end_are_not_followed(mail: Document, inner: Path) -> None:
    inner.write_bytes(b"# A mail\n\nWith attachments.")
    with pytest.raises(Permanent, match="contains itself"):
        library.add_child(newest(mail), "mail.md", inner)
    above = mail
    for depth in range(library.NESTING_MOST):
        inner.write_bytes(f"level {depth}".encode())
        above = library.add_child(newest(above), "deeper.md", inner).document
    inner.write_bytes(b"one too deep")
    with pytest.raises(Permanent, match="too deep"):
        library.add_child(newest(above), "deeper.md", inner)


@pytest.mark.django_db
def test_an_archive_in_an_archive_is_opened_and_one_inside_that_is_not(
    alice: User, policies: Collection, tmp_path: Path
) -> None:
    def archive(number: int) -> Path:
        file = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(file, "w") as opened:
            opened.writestr(f"{number}.txt", f"text {number}")
        return file

    outer = add(alice, policies, "outer.zip", archive(1).read_bytes()).document
    inside = library.add_child(newest(outer), "inside.zip", archive(2)).document
    with pytest.raises(Permanent, match="2 deep"):
        library.add_child(newest(inside), "innermost.zip", archive(3))
    note = tmp_path / "note.txt"
    note.write_text("Other files there are taken.")
    assert library.add_child(newest(inside), "note.txt", note).document.parent == inside


@pytest.mark.django_db
def test_a_file_inside_is_read_by_whoever_reads_its_collection_and_nobody_else(
    bob: User, charlie: User, mail: Document, inner: Path, as_user: SignIn
) -> None:
    child = library.add_child(newest(mail), "leave.md", inner).document
    address = reverse("document", args=[child.pk])
    assert as_user(bob).get(address).status_code == 200
    assert as_user(charlie).get(address).status_code == 404


# --- What answers rest on meanwhile


@pytest.mark.django_db
def test_an_older_revision_is_searched_until_the_newer_one_was_read(
    alice: User, policies: Collection, add_text: AddText
) -> None:
    document = add_text(alice, policies, "leave.md", LEAVE)
    add(alice, policies, "leave.md", OTHER, replaces=True)
    assert ["27" in source.text for source in found(alice)] == [True]
    IngestRun.objects.filter(revision=newest(document)).update(state=RunState.FAILED)
    assert ["27" in source.text for source in found(alice)] == [True]
    document.refresh_from_db()
    said = [tag.text for tag in validity.notices(document)]
    assert said == ["Revision 2 could not be read; answers use revision 1."]


def found(user: User) -> list[Source]:
    return retrieve.search("How many days of leave do full-time staff have?", scope_for_all(user)).sources


@pytest.mark.django_db
def test_an_answer_says_when_its_words_are_of_an_older_revision(
    alice: User, bob: User, policies: Collection, add_text: AddText
) -> None:
    document = add_text(alice, policies, "leave.md", LEAVE)
    answer = pinned_answer(bob, policies)
    assert answer_view.view_of(answer, bob).warnings == []
    add_text(alice, policies, "leave.md", OTHER)
    view = answer_view.view_of(Answer.objects.get(pk=answer.pk), bob)
    assert [warning.text for warning in view.warnings] == [
        "This rests on revision 1 of “Leave”. A newer revision exists."
    ]
    assert view.warnings[0].url == reverse("document", args=[document.pk])
    assert [tag.text for tag in view.sources[0].tags] == ["revision 1; revision 2 is newer"]
    assert "27 days" in view.quotes[0].text, "the words of then are still there"


def pinned_answer(user: User, collection: Collection) -> Answer:
    """An answer as it is stored: its sources pinned, the first passage's words quoted."""
    thread = Conversation.objects.create(owner=user, title="Leave")
    thread.collections.add(collection)
    answer = Answer.objects.create(conversation=thread, question="How many days?", state="finished")
    sources = found(user)
    AnswerSource.objects.bulk_create(gathering.pinned(answer, source) for source in sources)
    answer.quotes = [{"number": 1, "start": 0, "end": len(sources[0].text)}]
    answer.save()
    return answer


@pytest.mark.django_db
def test_chunks_of_older_revisions_are_gone_from_the_search(
    alice: User, policies: Collection, add_text: AddText
) -> None:
    document = add_text(alice, policies, "leave.md", LEAVE)
    add_text(alice, policies, "leave.md", OTHER)
    revisions = set(Chunk.objects.for_maintenance().values_list("extraction__revision__number", flat=True))
    document.refresh_from_db()
    assert revisions == {2}
    assert document.revisions.count() == 2, "the older one stays, for answers that cite it"
