"""A file dropped into one conversation: its owner's alone, in that conversation alone, and gone when its time is over."""

from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
import time_machine
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from core.models import AuditEvent, User
from rag.access import scope_for, scope_for_all
from rag.config import rag_config
from rag.models import Answer, Chunk, Collection, Conversation, Document, Grant, Revision
from rag.models.conversation import AnswerState
from rag.services import answer_view, answering, conversations, embedding, indexing, ingest, private_files, retrieve
from tests.flows.test_one_question import produced

pytestmark = pytest.mark.django_db(transaction=True)
AddText = Callable[..., Document]
SignIn = Callable[[User | None], Client]
Upload = Callable[[str, bytes], BytesIO]
CANARY = "Zirkelwort"
LEASE = f"# Lease\n\nThe {CANARY} rent of the shop is 1,250 euros a month. Notice is six months."
QUESTION = f"What is the {CANARY} rent of the shop a month?"


@pytest.fixture
def thread(bob: User, policies: Collection) -> Conversation:
    made = Conversation.objects.create(owner=bob, title="Shop")
    made.collections.add(policies)
    return made


def read(document: Document) -> Document:
    """The file, read and embedded as a worker does it."""
    document.refresh_from_db()
    assert document.latest is not None
    ingest.read(document.latest.pk)
    embedding.embed(document.latest.pk)
    document.refresh_from_db()
    return document


def dropped(user: User, conversation: Conversation, text: str = LEASE, name: str = "lease.md") -> Document:
    return private_files.add(user, conversation, ContentFile(text.encode(), name=name), name=name)


def asked(user: User, conversation: Conversation, policies: Collection, question: str = QUESTION) -> Answer:
    return produced(answering.open_answer(user, question=question, conversation=conversation, collections=[policies]))


def found(user: User, question: str, policies: Collection, conversation: Conversation | None) -> set[object]:
    """The documents that a question would be answered from."""
    where = conversation.pk if conversation is not None else None
    scope = scope_for(user, asked=[policies.pk], conversation=where)
    return {source.document_id for source in retrieve.search(question, scope).sources}


def test_a_file_answers_in_its_conversation_and_nowhere_else(
    bob: User, alice: User, dana: User, thread: Conversation, policies: Collection, add_text: AddText
) -> None:
    add_text(alice, policies, "hours.md", "The desk is open from eight to five.")
    file = read(dropped(bob, thread))
    answer = asked(bob, thread, policies)
    view = answer_view.view_of(answer, bob)
    assert view.state == AnswerState.FINISHED
    assert CANARY in view.quotes[0].text
    other = Conversation.objects.create(owner=bob, title="Other")
    assert file.pk in found(bob, QUESTION, policies, thread)
    assert file.pk not in found(bob, QUESTION, policies, other)
    assert file.pk not in {source.document_id for source in retrieve.search(QUESTION, scope_for_all(bob)).sources}
    for stranger in (alice, dana):
        assert file.pk not in found(stranger, QUESTION, policies, thread)
        shown = answer_view.view_of(answer, stranger)
        assert CANARY not in str((shown.quotes, shown.sentences, shown.sources, shown.partial))
        assert all(source.hidden for source in shown.sources if source.number == view.quotes[0].number)


def test_no_page_of_anybody_lists_it_and_only_its_owner_opens_it(
    alice: User, bob: User, dana: User, thread: Conversation, policies: Collection, as_user: SignIn
) -> None:
    file = read(dropped(bob, thread))
    page = reverse("page", args=[file.pk, 1, 1])
    assert CANARY in as_user(bob).get(page).content.decode()
    kept: Any = as_user(bob).get(reverse("original", args=[file.pk, 1]))
    assert b"".join(kept.streaming_content) == LEASE.encode()
    for person in (alice, bob, dana):
        browser = as_user(person)
        bodies = [browser.get(reverse(name)).content.decode() for name in ("ask", "collections", "search")]
        bodies.append(browser.post(reverse("search"), {"question": QUESTION}).content.decode())
        assert all("lease.md" not in body and CANARY not in body.replace(QUESTION, "") for body in bodies)
        assert "Only in this conversation" not in "".join(bodies)
        assert browser.get(reverse("collection", args=[file.collection_id])).status_code == 404
        assert browser.get(reverse("document", args=[file.pk])).status_code == 404
        if person != bob:
            assert [browser.get(page).status_code, browser.get(reverse("original", args=[file.pk, 1])).status_code] == [
                404,
                404,
            ]
    assert "lease.md" not in str(list(AuditEvent.objects.values_list("facts", flat=True)))


def test_not_even_a_grant_opens_the_files_of_a_conversation(
    alice: User, bob: User, thread: Conversation, policies: Collection
) -> None:
    file = read(dropped(bob, thread))
    given = policies.grants.get()
    Grant.objects.create(collection_id=file.collection_id, team=given.team, role=given.role)
    scope = scope_for(alice, asked=[file.collection_id], conversation=thread.pk)
    assert not scope.collections
    assert not Document.objects.usable_by(scope.principal, role=given.role).filter(pk=file.pk).exists()
    assert not Chunk.objects.visible_to(scope).exists()


def test_a_question_may_be_asked_while_the_file_is_read_and_the_answer_says_so(
    bob: User, thread: Conversation, policies: Collection, as_user: SignIn
) -> None:
    file = dropped(bob, thread)
    answer = asked(bob, thread, policies)
    view = answer_view.view_of(answer, bob)
    assert view.unread_files == "“lease.md” was not read to its end when this was asked: ask again once it is."
    assert view.unread_files in as_user(bob).get(reverse("answer", args=[answer.pk])).content.decode()
    read(file)
    assert not answer_view.view_of(asked(bob, thread, policies), bob).unread_files


def test_its_time_is_over_for_reading_at_once_and_the_sweep_leaves_nothing(
    bob: User, thread: Conversation, policies: Collection
) -> None:
    file = read(dropped(bob, thread))
    answer = asked(bob, thread, policies)
    indexing.sync(file.collection_id)
    folder = rag_config().index_folder / str(file.collection_id)
    original = Revision.objects.get(document=file).file.name or ""
    assert folder.is_dir()
    assert default_storage.exists(original)
    with time_machine.travel(timezone.now() + timedelta(hours=rag_config().private_file_hours, minutes=1)):
        assert found(bob, QUESTION, policies, thread) == set()
        assert not answer_view.view_of(answer, bob).quotes
        assert private_files.files(bob, thread) == []
        assert private_files.sweep() == 1
        assert private_files.sweep() == 0
    assert not folder.exists()
    assert not default_storage.exists(original)
    assert not Document.objects.filter(pk=file.pk).exists()
    assert not Collection.objects.filter(private=True).exists()
    assert rows_with(CANARY, but={"question", "standalone", "title"}) == []
    assert answer_view.view_of(answer, bob).question == QUESTION


def rows_with(word: str, *, but: set[str]) -> list[str]:
    """Where the word stands in the database, columns of these names aside."""
    places = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table.startswith("sqlite"):
                continue
            for column in connection.introspection.get_table_description(cursor, table):
                cursor.execute(
                    f'SELECT COUNT(*) FROM "{table}" WHERE CAST("{column.name}" AS TEXT) LIKE %s', [f"%{word}%"]
                )
                if column.name not in but and cursor.fetchone()[0]:
                    places.append(f"{table}.{column.name}")
    return places


def test_its_owner_removes_one_file_and_the_others_stay(
    bob: User, alice: User, thread: Conversation, policies: Collection, as_user: SignIn
) -> None:
    lease = read(dropped(bob, thread))
    other = read(dropped(bob, thread, "# Menu\n\nThe soup of the day is lentils.", "menu.md"))
    address = reverse("private_file_delete", args=[thread.pk, lease.pk])
    assert as_user(alice).post(address).status_code == 404
    assert as_user(bob).post(address).status_code == 302
    assert found(bob, QUESTION, policies, thread) <= {other.pk}
    private_files.erase(lease.collection_id)
    assert [file.name for file in private_files.files(bob, thread)] == ["menu.md"]
    assert other.pk in found(bob, "What is the soup of the day?", policies, thread)


def test_a_conversation_that_goes_takes_its_files_along(bob: User, thread: Conversation, policies: Collection) -> None:
    file = read(dropped(bob, thread))
    conversations.delete(bob, thread)
    assert not Document.objects.live().filter(pk=file.pk).exists()
    private_files.sweep()
    assert not Collection.objects.filter(private=True).exists()


def test_it_is_dropped_into_the_composer_without_scripts_and_refused_in_a_sentence(
    bob: User, alice: User, thread: Conversation, as_user: SignIn, upload_file: Upload
) -> None:
    browser = as_user(bob)
    there = reverse("private_files", args=[thread.pk])
    assert browser.post(there, {"file": upload_file("lease.md", LEASE.encode())}).status_code == 302
    page = browser.get(reverse("conversation", args=[thread.pk])).content.decode()
    assert "lease.md" in page
    assert "waiting" in page
    assert as_user(alice).post(there, {"file": upload_file("x.md", b"x")}).status_code == 404
    refused = browser.post(there, {"file": upload_file("tool.exe", b"MZ\x90\x00 nothing to read")}, follow=True)
    assert "message--error" in refused.content.decode()
    first = browser.post(reverse("private_files_new"), {"file": upload_file("lease.md", LEASE.encode())})
    made = Conversation.objects.exclude(pk=thread.pk).get()
    assert first["Location"] == reverse("conversation", args=[made.pk])
    assert (made.owner, made.title) == (bob, "lease.md")
    assert [file.name for file in private_files.files(bob, made)] == ["lease.md"]
    answering.open_answer(bob, question="What is the rent?", conversation=made, collections=[])
    made.refresh_from_db()
    assert made.title == "What is the rent?"
