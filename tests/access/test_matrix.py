"""A1, A2, A9, W4: every address, every actor; what is foreign and what does not exist are the same."""

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.http import HttpResponseBase, StreamingHttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from core.models import Membership, Role, Team, User
from core.registry import registry
from rag.models import (
    Answer,
    Batch,
    Collection,
    CollectionField,
    Conversation,
    Document,
    Grant,
    KeptQuestion,
    Ranker,
    Share,
    Upload,
)
from rag.models.conversation import AnswerState
from rag.models.exhaustive import WholeReading
from rag.services import exhaustive, private_files, uploads
from rag.services.uploads import Announced
from tests.access.matrix import ACTORS, MATRIX
from tests.pdfs import one_page_pdf

AddText = Callable[..., Document]
CASES = [(name, method, codes.split()) for name, rows in MATRIX.items() for method, codes in rows]


@dataclass
class World:
    """One team with a collection, a document, a conversation of its reader; and an outsider with the same of their own."""

    collection: Collection
    document: Document
    older: Document
    private: Document
    reading: WholeReading
    own_field: CollectionField
    kept: KeptQuestion
    ranker: Ranker
    batch: Batch
    upload: Upload
    answer: Answer
    share: Share
    team: Team
    guest: User
    membership: Membership
    session: UserSession
    actors: dict[str, User] = field(default_factory=dict)

    def arguments(self, name: str) -> dict[str, Any]:
        """What the address of this name needs."""
        answer, document = {"answer_id": self.answer.pk}, {"document_id": self.document.pk}
        thread, collection = {"conversation_id": self.answer.conversation_id}, {"collection_id": self.collection.pk}
        page = document | {"number": 1, "page": 1}
        special: dict[str, dict[str, Any]] = {
            "user_deactivate": {"user_id": self.guest.pk},
            "session_end": {"session_id": self.session.pk},
            "team_add_member": {"team_id": self.team.pk},
            "team_remove_member": {"team_id": self.team.pk, "membership_id": self.membership.pk},
            "conversations": {},
            "shared": thread,
            "conversation_export": thread | {"form": "markdown"},
            "answer_export": answer | {"form": "markdown"},
            "conversation_unshare": thread | {"share_id": self.share.pk},
            "collection_unshare": collection | {"team_id": self.team.pk},
            "private_files": thread,
            "private_file_delete": thread | {"document_id": self.private.pk},
            "model_job": {"job_id": uuid.UUID(int=5)},
            "upload": collection,
            "upload_piece": {"upload_id": self.upload.pk},
            "imports": collection,
            "reviews": collection,
            "answer_keep_passage": answer | document | {"number": 1},
            "quality_switch": collection | {"ranker_id": self.ranker.pk},
            "field": collection | {"field_id": self.own_field.pk},
            "field_delete": collection | {"field_id": self.own_field.pk},
            "document_replaces": document | {"older_id": self.older.pk},
            "original": document | {"number": 1},
            "page": page,
            "page_picture": page,
        }
        if name in special:
            return special[name]
        families = {
            "conversation": thread,
            "answer": answer,
            "collection": collection,
            "reading": {"reading_id": self.reading.pk},
            "document": document,
            "fields": collection,
            "quality": collection,
            "uploads": collection,
            "sources": collection,
            "import": collection | {"batch_id": self.batch.pk},
        }
        family = name.partition("_")[0]
        return families.get(family, {}) if name != "collections" else {}

    def headers(self, name: str) -> dict[str, str]:
        """What is sent along there."""
        tus = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Upload-Length": "9"}
        known = {
            "uploads": tus | {"Upload-Metadata": "path YS50eHQ="},
            "upload_piece": tus | {"Content-Type": "application/offset+octet-stream"},
        }
        return known.get(name, {})

    def body(self, name: str, actor: str) -> dict[str, Any] | str:
        """What is posted there: a form, or JSON."""
        bodies: dict[str, dict[str, Any] | str] = {
            "uploads": "",
            "uploads_existing": '{"paths": ["hours.pdf"]}',
            "uploads_waiting": {"answer": "skip"},
            "imports": {"announced": "3"},
            "sources_folder": {"path": "inbox"},
            "sources_mail": {"server": "mail.example.org:993", "user": "team", "folder": "INBOX"},
            "import": {"action": "retry"},
            "collection_act": {"action": "retry", "document": [str(self.document.pk)]},
            "theme": {"theme": "dark"},
            "user_create": {"username": "newcomer", "password": "a long enough secret"},
            "team_create": {"name": "New team"},
            "team_add_member": {"user": self.guest.pk, "role": Role.READER},
            "ask": {"question": "When is it open?", "collections": [str(self.collection.pk)]},
            "conversation": {"question": "When is it open?"},
            "search": {"question": "When is it open?"},
            "search_json": '{"question": "When is it open?"}',
            "conversation_rename": {"title": "Another name"},
            "conversation_pin": {"pinned": "yes"},
            "conversation_share": {"people": [self.guest.pk]},
            "conversations": {"q": "open"},
            "answer_edit": {"question": "And when is it closed?"},
            "answer_feedback": {"value": "up"},
            "answer_keep": {"keep": "no"},
            "answer_keep_passage": {"passage": "1.0-1.9"},
            "quality_upload": {"file": ContentFile(b"question,document\nWhen is it open?,hours.pdf\n", name="q.csv")},
            "quality_delete": {"question": [str(self.kept.pk)]},
            "quality_switch": {"to": "off"},
            "collections": {"name": "Mine", "team": self._managed_team(actor)},
            "collection_share": {"team": self.team.pk, "role": Role.READER},
            "upload": {"files": ContentFile(b"Some words.", name="new.txt")},
            "readings": {"question": "When is it open?", "document": [str(self.document.pk)]},
            "private_files": {"file": ContentFile(b"Some words.", name="new.txt")},
            "fields": {"label": "Matter", "kind": "text", "source": "folder:1"},
            "field": {f"field{self.own_field.pk}-label": "Customer"},
            "fields_set": {"document": [str(self.document.pk)]},
            "fields_csv": {"file": ContentFile(b"path,Client\nhours.pdf,Meyer\n", name="fields.csv")},
            "document_fields": {"v.client": "Meyer"},
            "document_validity": {"review_by": "2030-01-31"},
            "document_replaces": {"verdict": "yes"},
        }
        return bodies.get(name, {})

    def _managed_team(self, actor: str) -> object:
        user = self.actors.get(actor)
        managed = Membership.objects.filter(user=user, role=Role.MANAGER).first() if user else None
        return managed.team_id if managed else self.team.pk


@pytest.fixture
def world(add_text: AddText) -> World:
    people = {
        name: User.objects.create_user(username=name, password="x") for name in ACTORS if name not in {"anonymous"}
    }
    User.objects.filter(pk=people["administrator"].pk).update(is_superuser=True, is_staff=True)
    guest = User.objects.create_user(username="guest", password="x")
    team, foreign = Team.objects.create(name="Team"), Team.objects.create(name="Foreign")
    Membership.objects.create(team=foreign, user=people["outsider"], role=Role.MANAGER)
    for name, role in (("reader", Role.READER), ("contributor", Role.CONTRIBUTOR), ("manager", Role.MANAGER)):
        Membership.objects.create(team=team, user=people[name], role=role)
    # The deactivated and the bearer of a token had every right in the team.
    for name in ("inactive", "token"):
        Membership.objects.create(team=team, user=people[name], role=Role.MANAGER)
    membership = Membership.objects.create(team=team, user=guest, role=Role.READER)
    collection = Collection.objects.create(name="Shelf")
    Grant.objects.create(collection=collection, team=team, role=Role.MANAGER)
    second = Team.objects.create(name="Second")
    Membership.objects.create(team=second, user=people["manager"], role=Role.MANAGER)
    Grant.objects.create(collection=collection, team=second, role=Role.MANAGER)
    document = add_text(
        people["manager"], collection, "hours.pdf", one_page_pdf("The desk is open from eight to five.")
    )
    older = Document.objects.create(collection=collection, path="hours old.pdf", title="hours old")
    own_field = CollectionField.objects.create(collection=collection, key="client", label="Client")
    kept = KeptQuestion.objects.create(collection=collection, text="When is it open?", origin="uploaded")
    ranker = Ranker.objects.create(collection=collection, kind="weights", state="on")
    thread = Conversation.objects.create(owner=people["reader"], title="Hours")
    thread.collections.add(collection)
    answer = Answer.objects.create(conversation=thread, question="When is it open?", state=AnswerState.FINISHED)
    dropped = ContentFile(b"The desk is mine.", name="mine.txt")
    private = private_files.add(people["reader"], thread, dropped, name="mine.txt")
    reading = exhaustive.open_reading(people["reader"], question="Is it?", documents=[document], with_model=False)
    share = Share.objects.create(conversation=thread, tip=answer, user=people["manager"])
    batch = Batch.objects.create(collection=collection, actor=people["contributor"], announced=1)
    upload = uploads.open_upload(people["contributor"], collection, Announced("sent.txt", 9), batch=batch)
    return World(
        collection,
        document,
        older,
        private,
        reading,
        own_field,
        kept,
        ranker,
        batch,
        upload,
        answer,
        share,
        team,
        guest,
        membership,
        UserSession.objects.create(user=people["reader"], ip="192.0.2.7", session_key="elsewhere"),
        people,
    )


def browser(world: World, actor: str) -> Client:
    """A client as this actor sends it; forgery protection is switched off, as a test of its own covers it."""
    if actor == "anonymous":
        return Client()
    if actor == "token":
        return Client(headers={"Authorization": "Bearer 0123456789abcdef"})
    client = Client()
    client.force_login(world.actors[actor], backend="allauth.account.auth_backends.AuthenticationBackend")
    if actor == "inactive":
        User.objects.filter(pk=world.actors[actor].pk).update(is_active=False)
    return client


def send(client: Client, world: World, method: str, name: str, actor: str) -> Any:
    """What the address answers to this request of the matrix."""
    address, headers = reverse(name, kwargs=world.arguments(name)), world.headers(name)
    body = world.body(name, actor)
    if method == "POST" and not isinstance(body, str):
        return client.post(address, body, headers=headers)
    content = body if method == "POST" and isinstance(body, str) else ""
    return client.generic(method, address, content, content_type="application/json", headers=headers)


def read_to_the_end(response: HttpResponseBase) -> None:
    """Takes a download whole, so that its file is closed; a stream of events has no end to wait for."""
    if isinstance(response, StreamingHttpResponse) and not response.is_async:
        b"".join(response.streaming_content)  # type: ignore[arg-type]  # bytes, as it is not asynchronous


def code_of(response: HttpResponseBase) -> str:
    status = response.status_code
    if status in {302, 303}:
        return "S" if response["Location"].startswith("/sign-in/") else "R"
    return {200: "O", 204: "E", 403: "F", 404: "N", 422: "U"}.get(status, str(status))


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "method", "codes"), CASES)
def test_each_address_answers_each_actor_as_the_matrix_says(
    world: World, name: str, method: str, codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.services.answering.start", lambda answer_id: None)
    monkeypatch.setattr("rag.views.answers.start", lambda answer_id: None)
    monkeypatch.setattr("core.db._pool", None)
    monkeypatch.setattr("rag.services.replay.Hub.ask_to_stop", _told_nobody)
    monkeypatch.setattr(registry, "readiness", {})
    got = {}
    for actor in ACTORS:
        # What one actor did is undone before the next one comes.
        with suppress(_Undo), transaction.atomic():
            client = browser(world, actor)
            response = send(client, world, method, name, actor)
            got[actor] = code_of(response)
            read_to_the_end(response)
            raise _Undo
    assert got == dict(zip(ACTORS, codes, strict=True))


async def _told_nobody(hub: object, answer_id: uuid.UUID) -> None:
    """Stands in for telling the other processes: this test has none, and no lasting event loop."""


class _Undo(Exception):
    pass


def all_addresses(patterns: list[Any] | None = None) -> Iterator[str]:
    for pattern in patterns if patterns is not None else get_resolver().url_patterns:
        if isinstance(pattern, URLResolver):
            yield from all_addresses(pattern.url_patterns)
        else:
            assert isinstance(pattern, URLPattern)
            assert pattern.name, f"{pattern.pattern} has no name"
            yield pattern.name


def test_every_address_is_in_the_matrix() -> None:
    assert sorted(set(all_addresses())) == sorted(MATRIX)


MASK = re.compile(rb'name="csrfmiddlewaretoken" value="[^"]+"')


@pytest.mark.django_db
@pytest.mark.parametrize(
    "name",
    [
        "conversation",
        "answer",
        "answer_stream",
        "shared",
        "conversation_share",
        "conversation_export",
        "answer_export",
        "collection",
        "collection_events",
        "import",
        "import_csv",
        "sources",
        "uploads_waiting",
        "document",
        "original",
        "page",
        "page_picture",
    ],
)
def test_what_is_foreign_and_what_does_not_exist_answer_byte_for_byte_alike(world: World, name: str) -> None:
    client = browser(world, "outsider")
    real = world.arguments(name)
    missing = {key: uuid.uuid4() if isinstance(value, uuid.UUID) else value for key, value in real.items()}
    answers = []
    for arguments in (real, missing):
        response = client.get(reverse(name, kwargs=arguments))
        headers = {key: value for key, value in response.items() if key not in {"Date", "Set-Cookie"}}
        answers.append((response.status_code, headers, MASK.sub(b"", response.content)))
    assert answers[0][0] == 404
    assert answers[0] == answers[1]


@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name, rows in MATRIX.items() if rows[0][0] == "GET"])
def test_reading_an_address_writes_nothing(world: World, name: str) -> None:
    client = browser(world, "manager" if name not in {"conversation", "conversation_share", "answer"} else "reader")
    quiet = {"core_auditevent", "django_session", "usersessions_usersession", "rag_indexgeneration"}

    def counts() -> dict[str, int]:
        found = {}
        with connection.cursor() as cursor:
            for table in connection.introspection.table_names(cursor):
                if table not in quiet and not table.startswith("sqlite"):
                    cursor.execute(f'SELECT COUNT(*) FROM "{table}"')
                    found[table] = cursor.fetchone()[0]
        return found

    before = counts()
    read_to_the_end(client.get(reverse(name, kwargs=world.arguments(name))))
    assert counts() == before


@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name, rows in MATRIX.items() for row in rows if row[0] == "POST"])
def test_a_post_without_its_token_is_refused(world: World, name: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.actors["manager"], backend="allauth.account.auth_backends.AuthenticationBackend")
    assert send(client, world, "POST", name, "manager").status_code == 403


@pytest.mark.django_db
def test_charlie_cannot_stop_bobs_answer(world: World) -> None:
    Answer.objects.filter(pk=world.answer.pk).update(state=AnswerState.ANSWERING)
    client = browser(world, "outsider")
    assert client.post(reverse("answer_stop", args=[world.answer.pk])).status_code == 404
    world.answer.refresh_from_db()
    assert not world.answer.stop_asked


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("user_create", {"is_superuser": "1", "is_staff": "1", "id": "999"}),
        ("collections", {"id": str(uuid.uuid4()), "version": "77", "deleted": "2020-01-01"}),
        ("conversation_rename", {"owner": "1", "pinned": "1", "id": str(uuid.uuid4())}),
    ],
)
def test_fields_that_a_form_does_not_name_change_nothing(world: World, name: str, extra: dict[str, str]) -> None:
    actor = {"user_create": "administrator", "collections": "manager", "conversation_rename": "reader"}[name]
    client = browser(world, actor)
    form = world.body(name, actor)
    assert isinstance(form, dict)
    client.post(reverse(name, kwargs=world.arguments(name)), form | extra)
    if name == "user_create":
        made = User.objects.get(username="newcomer")
        assert (made.is_superuser, made.is_staff) == (False, False)
        assert made.pk != 999
    elif name == "collections":
        assert Collection.objects.get(name="Mine").version == 0
    else:
        thread = Conversation.objects.get(pk=world.answer.conversation_id)
        assert (thread.owner, thread.pinned, thread.title) == (world.actors["reader"], False, "Another name")
