"""A document's whole way: upload, read, cut, store, embed, search, replace, delete."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone

from core.models import AuditEvent, User
from rag.access import scope_for
from rag.config import rag_config
from rag.domain.errors import Permanent
from rag.models import Chunk, Collection, Document, Extraction, IndexGeneration, IngestRun, Removal, Revision, Vector
from rag.models.index import RunState
from rag.services import embedding, indexing, ingest, library, retrieve
from rag.services.library import Outcome

AddText = Callable[..., Document]
LEAVE = (
    "# Leave\n\nFull-time staff have 27 days of leave a year.\n\n## Carrying over\n\nFive days may be carried to May."
)


def titles(question: str, user: User, *collections: Collection) -> list[str]:
    """The documents found, best first, each once."""
    scope = scope_for(user, asked=[collection.pk for collection in collections])
    return list(dict.fromkeys(source.title for source in retrieve.search(question, scope).sources))


def test_an_uploaded_document_is_found_by_meaning_and_by_words(
    alice: User, policies: Collection, add_text: AddText
) -> None:
    document = add_text(alice, policies, "leave.md", LEAVE)
    assert document.latest is not None
    run = IngestRun.objects.get(revision=document.latest)
    assert (run.state, run.lease_until, run.message) == (RunState.READY, None, "")
    scope = scope_for(alice, asked=[policies.pk])
    found = retrieve.search("How many days of leave do full-time staff have?", scope).sources
    assert found[0].document_id == document.pk
    assert set(found[0].ranks) == {"dense", "keyword"}
    assert "27 days" in found[0].text


def test_a_document_is_found_by_its_words_before_its_vectors_are_there(alice: User, policies: Collection) -> None:
    added = library.add_document(alice, policies, ContentFile(LEAVE.encode()), path="leave.md")
    added.document.refresh_from_db()
    assert added.document.latest is not None
    ingest.read(added.document.latest.pk)
    assert not Vector.objects.exists()
    assert titles("carried over", alice, policies) == ["Leave"]


def test_every_chunk_is_exactly_its_stretch_of_the_page(alice: User, policies: Collection, add_text: AddText) -> None:
    document = add_text(alice, policies, "leave.md", LEAVE * 20)
    pages = {page.place: page.text for page in Extraction.objects.get().pages.all()}
    chunks = Chunk.objects.for_maintenance().filter(document=document)
    assert chunks.count() > 1
    for chunk in chunks:
        assert chunk.page_from == chunk.page_to
        assert pages[chunk.page_from][chunk.start : chunk.end] == chunk.text


def test_the_same_bytes_at_the_same_path_are_nothing_to_do(
    alice: User, policies: Collection, add_text: AddText
) -> None:
    add_text(alice, policies, "leave.md", LEAVE)
    before = sorted(_stored_files())
    again = library.add_document(alice, policies, ContentFile(LEAVE.encode()), path="leave.md")
    assert again.outcome is Outcome.UNCHANGED
    assert Revision.objects.count() == 1
    assert sorted(_stored_files()) == before


def _stored_files() -> list[str]:
    folders, _ = default_storage.listdir("")
    return [name for folder in folders for name in default_storage.listdir(folder)[1]]


def test_new_bytes_at_a_path_replace_what_is_searched_and_keep_the_old_extraction(
    alice: User, policies: Collection, add_text: AddText
) -> None:
    add_text(alice, policies, "leave.md", LEAVE)
    document = add_text(alice, policies, "leave.md", LEAVE.replace("27", "29"))
    assert document.current == document.latest
    assert Extraction.objects.count() == 2
    scope = scope_for(alice, asked=[policies.pk])
    texts = [source.text for source in retrieve.search("days of leave", scope).sources]
    assert any("29 days" in text for text in texts)
    assert not any("27 days" in text for text in texts)


def test_the_old_revision_is_searched_until_the_new_one_has_been_read(
    alice: User, policies: Collection, add_text: AddText
) -> None:
    add_text(alice, policies, "leave.md", LEAVE)
    library.add_document(
        alice, policies, ContentFile(LEAVE.replace("27", "29").encode()), path="leave.md", replaces=True
    )
    scope = scope_for(alice, asked=[policies.pk])
    assert "27 days" in retrieve.search("days of leave", scope).sources[0].text


def test_a_deleted_document_is_gone_from_the_very_next_search(
    alice: User, policies: Collection, add_text: AddText
) -> None:
    document = add_text(alice, policies, "leave.md", LEAVE)
    assert titles("days of leave", alice, policies)
    library.delete_document(alice, document)
    assert titles("days of leave", alice, policies) == []


def test_purging_removes_rows_and_bytes(alice: User, policies: Collection, add_text: AddText) -> None:
    kept = add_text(alice, policies, "kept.md", "Something about parking permits.")
    document = add_text(alice, policies, "leave.md", LEAVE)
    library.delete_document(alice, document)
    before = len(_stored_files())
    library.purge_deleted(policies.pk)
    assert list(Document.objects.values_list("pk", flat=True)) == [kept.pk]
    indexing.sync(policies.pk)
    assert before == len(_stored_files())  # inside the test's transaction the bytes wait for the commit


@pytest.mark.django_db(transaction=True)
def test_purging_deletes_the_bytes_when_it_commits(alice: User, policies: Collection, add_text: AddText) -> None:
    document = add_text(alice, policies, "leave.md", LEAVE)
    stored = str(document.latest.file.name) if document.latest else ""
    assert default_storage.exists(stored)
    library.delete_document(alice, document)
    library.purge_deleted(policies.pk)
    assert not default_storage.exists(stored)


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        ("empty.txt", b"", "empty"),
        ("program.exe", b"MZ\x90\x00", "not read"),
        ("page.pdf", b"<html>not a pdf</html>", "name ends in .pdf"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_one_sentence(
    alice: User, policies: Collection, name: str, body: bytes, sentence: str
) -> None:
    with pytest.raises(Permanent, match=sentence):
        library.add_document(alice, policies, ContentFile(body), path=name)
    assert not Document.objects.exists()
    assert not Revision.objects.exists()


def test_a_broken_file_ends_failed_with_a_reason_and_can_be_retried(alice: User, policies: Collection) -> None:
    added = library.add_document(alice, policies, ContentFile(b"%PDF-1.7\nbroken"), path="broken.pdf")
    added.document.refresh_from_db()
    assert added.document.latest is not None
    ingest.read(added.document.latest.pk)
    run = IngestRun.objects.get()
    assert run.state == RunState.FAILED
    assert run.message.endswith(".")
    library.retry(alice, added.document)
    run.refresh_from_db()
    assert (run.state, run.message) == (RunState.QUEUED, "")


def test_a_late_delivery_of_a_finished_task_changes_nothing(
    alice: User, policies: Collection, add_text: AddText
) -> None:
    document = add_text(alice, policies, "leave.md", LEAVE)
    before = list(Chunk.objects.for_maintenance().values_list("pk", flat=True))
    assert document.latest is not None
    ingest.read(document.latest.pk)
    embedding.embed(document.latest.pk)
    assert list(Chunk.objects.for_maintenance().values_list("pk", flat=True)) == before
    ingest.read(987654321)  # the row is gone: quiet


def test_a_stale_attempt_writes_nothing(alice: User, policies: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    added = library.add_document(alice, policies, ContentFile(LEAVE.encode()), path="leave.md")
    added.document.refresh_from_db()
    assert added.document.latest is not None
    real = ingest._parse

    def overtaken(run: IngestRun, *rest: Any) -> Any:
        parsed = real(run, *rest)
        IngestRun.objects.filter(pk=run.pk).update(attempt=F("attempt") + 1)
        return parsed

    monkeypatch.setattr(ingest, "_parse", overtaken)
    ingest.read(added.document.latest.pk)
    assert not Extraction.objects.exists()
    assert not Chunk.objects.for_maintenance().exists()


def test_an_expired_lease_is_queued_again_and_the_third_death_is_a_failure(alice: User, policies: Collection) -> None:
    added = library.add_document(alice, policies, ContentFile(LEAVE.encode()), path="leave.md")
    run = IngestRun.objects.get(revision__document=added.document)
    for death in range(1, 4):
        IngestRun.objects.filter(pk=run.pk).update(state=RunState.READING, lease_until=timezone.now())
        ingest.sweep_stale()
        run.refresh_from_db()
        assert run.failures == death
        assert run.state == (RunState.QUEUED if death < 3 else RunState.FAILED)
    assert "three times" in run.message


def test_the_vector_generation_is_written_when_the_tail_is_long_and_finds_the_same(
    alice: User, policies: Collection, add_text: AddText, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "TAIL_MOST", 3)
    for number in range(6):
        add_text(alice, policies, f"note-{number}.txt", f"Note number {number} is about subject{number} alone.")
    generation = IndexGeneration.objects.get(kind="vectors", current=True)
    assert generation.count >= 3
    indexing.close_readers()
    for number in range(6):
        assert titles(f"subject{number}", alice, policies)[0] == f"note-{number}"


def test_a_damaged_generation_is_set_aside_and_searches_go_on(
    alice: User, policies: Collection, add_text: AddText, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "TAIL_MOST", 1)
    add_text(alice, policies, "leave.md", LEAVE)
    generation = IndexGeneration.objects.get(kind="vectors", current=True)
    folder = rag_config().index_folder / str(policies.pk) / generation.folder
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:-7])
    indexing.close_readers()
    assert titles("days of leave", alice, policies) == ["Leave"]
    generation.refresh_from_db()
    assert not generation.current
    assert not folder.exists()


def test_indexes_are_rebuilt_from_the_database_alone(alice: User, policies: Collection, add_text: AddText) -> None:
    add_text(alice, policies, "leave.md", LEAVE)
    before = titles("days of leave", alice, policies)
    indexing.rebuild(policies.pk)
    indexing.close_readers()
    assert titles("days of leave", alice, policies) == before == ["Leave"]


def test_the_reindex_command_takes_names_and_says_which_it_does_not_know(
    alice: User, policies: Collection, add_text: AddText, capsys: pytest.CaptureFixture[str]
) -> None:
    add_text(alice, policies, "leave.md", LEAVE)
    call_command("reindex", "Policies")
    assert capsys.readouterr().out == "Policies: up to date\n"
    assert titles("days of leave", alice, policies) == ["Leave"]
    with pytest.raises(CommandError, match="no collection 'Nothing'"):
        call_command("reindex", "Nothing")


def test_a_reader_misses_no_removal_between_versions(alice: User, policies: Collection, add_text: AddText) -> None:
    documents = [add_text(alice, policies, f"{n}.txt", f"Paragraph about topic{n}.") for n in range(4)]
    assert len(titles("paragraph", alice, policies)) == 4
    library.delete_document(alice, documents[1])
    add_text(alice, policies, "5.txt", "Paragraph about topic5.")
    library.delete_document(alice, documents[2])
    assert sorted(titles("paragraph", alice, policies)) == ["0", "3", "5"]
    assert Removal.objects.count() == 2


def test_uploads_and_deletions_are_audited(alice: User, policies: Collection, add_text: AddText) -> None:
    document = add_text(alice, policies, "leave.md", LEAVE)
    library.delete_document(alice, document)
    actions = list(AuditEvent.objects.values_list("action", "subject_id", "actor_name"))
    assert ("document.uploaded", str(document.pk), "alice") in actions
    assert ("document.deleted", str(document.pk), "alice") in actions


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("../../etc/passwd.txt", "etc/passwd.txt"),
        ("/absolute/note.txt", "absolute/note.txt"),
        ("C:\\temp\\note.txt", "temp/note.txt"),
        ("nul\x00l\r\nbreak.txt", "nullbreak.txt"),
        ("exe\u202etxt.md", "exetxt.md"),
        ("😀.md", "😀.md"),
        ("x" * 600 + ".md", "x" * 497 + ".md"),
    ],
)
def test_a_hostile_name_becomes_a_plain_relative_path(given: str, stored: str) -> None:
    assert library.clean_path(given) == stored


def test_a_foreign_collection_in_the_question_is_the_same_as_none(
    alice: User, charlie: User, policies: Collection, secrets: Collection, add_text: AddText
) -> None:
    add_text(charlie, secrets, "secret.txt", "The vault opens with the word marzipan.")
    assert titles("marzipan vault", alice, policies, secrets) == []
    assert titles("marzipan vault", charlie, secrets) == ["secret"]
    assert titles("marzipan", alice) == []
    scope = scope_for(alice, asked=[uuid.uuid4()])
    assert scope.collections == frozenset()
