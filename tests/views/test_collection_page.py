"""The table of documents: what it says of each, how it is narrowed, what is done to many at once, and what the stream tells."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.files.base import ContentFile
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone

from core.models import Membership, Role, User
from rag.domain.types import Reading
from rag.models import Answer, Collection, Conversation, Document, Extraction, IngestRun, Page
from rag.models.conversation import AnswerState
from rag.models.imports import Origin
from rag.models.index import RunState
from rag.services import answer_view, document_view, imports, library, progress
from rag.services.document_view import Listing

SignIn = Callable[[User | None], Client]
AddText = Callable[..., Document]


def made(actor: User, collection: Collection, path: str, **run: object) -> Document:
    """A document whose run is as said; nothing of it was really read."""
    added = library.add_document(actor, collection, ContentFile(path.encode()), path=path)
    IngestRun.objects.filter(revision=added.document.latest).update(**run)
    return Document.objects.select_related("latest__run").get(pk=added.document.pk)


STATES: list[tuple[dict[str, Any], str, str]] = [
    ({"state": RunState.QUEUED}, "waiting", "work"),
    ({"state": RunState.READING}, "reading", "work"),
    ({"state": RunState.READING, "done": 12, "total": 80}, "reading page 12 of 80", "work"),
    ({"state": RunState.RECOGNISING, "done": 3, "total": 20}, "recognising page 3 of 20", "work"),
    (
        {"state": RunState.EMBEDDING, "done": 9, "total": 20, "searchable": True},
        "searchable by words, embedding 45 %",
        "work",
    ),
    ({"state": RunState.READY}, "ready", "ready"),
    ({"state": RunState.READY, "gaps": 3}, "ready with gaps", "gaps"),
    ({"state": RunState.FAILED, "message": "It is broken."}, "failed", "failed"),
    ({"state": RunState.FAILED, "needs_password": True}, "needs a password", "password"),
    ({"state": RunState.CANCELLED}, "cancelled", "cancelled"),
]


@pytest.mark.parametrize(("run", "label", "state"), STATES, ids=[label for _run, label, _state in STATES])
def test_a_row_says_how_far_its_document_is(
    alice: User, policies: Collection, as_user: SignIn, run: dict[str, Any], label: str, state: str
) -> None:
    document = made(alice, policies, "a.txt", **run)
    row = document_view.rows([document])[0]
    assert (row["state"], row["state_label"]) == (state, label)
    page = as_user(alice).get(reverse("collection", args=[policies.pk])).content.decode()
    assert label in page and run.get("message", "") in page


def test_the_table_is_narrowed_to_each_state(alice: User, policies: Collection, as_user: SignIn) -> None:
    for number, (run, _label, _state) in enumerate(STATES):
        made(alice, policies, f"{number}.txt", **run)
    found = document_view.counts(policies)
    assert found == {"all": 10, "work": 5, "ready": 1, "gaps": 1, "failed": 2, "cancelled": 1}
    client = as_user(alice)
    for state, count in found.items():
        query = {} if state == "all" else {"state": state}
        page = client.get(reverse("collection", args=[policies.pk]), query).content.decode()
        assert page.count("data-row") == count, state


def test_an_address_that_makes_no_sense_shows_everything(alice: User, policies: Collection, as_user: SignIn) -> None:
    made(alice, policies, "a.txt", state=RunState.READY)
    query = {"state": "x' or 1=1", "sort": "password", "page": "-3", "q": ""}
    page = as_user(alice).get(reverse("collection", args=[policies.pk]), query)
    assert page.status_code == 200 and page.content.decode().count("data-row") == 1


def test_a_listing_keeps_what_was_asked_when_one_thing_changes() -> None:
    listing = Listing.of({"q": "fee & co", "state": "failed", "sort": "title", "page": "3"})
    assert listing.address(page=4) == "?q=fee+%26+co&state=failed&sort=title&page=4"
    assert listing.sorted_by("title") == "?q=fee+%26+co&state=failed&sort=-title"
    assert listing.sorted_by("size") == "?q=fee+%26+co&state=failed&sort=-size"
    assert listing.address(state="", query="") == "?sort=title"


@pytest.mark.parametrize("action", ["delete", "retry", "cancel"])
def test_many_documents_are_done_at_once_and_foreign_ones_are_not(
    alice: User, charlie: User, policies: Collection, secrets: Collection, as_user: SignIn, action: str
) -> None:
    before = RunState.QUEUED if action == "cancel" else RunState.FAILED
    mine = [made(alice, policies, f"{number}.txt", state=before) for number in range(3)]
    foreign = made(charlie, secrets, "b.txt", state=before)
    ids = [str(document.pk) for document in (*mine[:2], foreign)]
    body = {"action": action, "document": [*ids, "nonsense"]}
    client = as_user(alice)
    asked = client.post(reverse("collection_act", args=[policies.pk]), body)
    if action == "delete":
        assert "Delete 2 documents?" in asked.content.decode()
        assert Document.objects.live().count() == 4
        client.post(reverse("collection_act", args=[policies.pk]), body | {"sure": "yes"})
        assert set(Document.objects.live()) == {mine[2], foreign}
        return
    after = {"retry": RunState.QUEUED, "cancel": RunState.CANCELLED}[action]
    states = {run.revision.document_id: run.state for run in IngestRun.objects.select_related("revision")}
    assert [states[document.pk] for document in (*mine, foreign)] == [after, after, before, before]


def test_all_that_failed_is_retried_at_once(alice: User, policies: Collection, as_user: SignIn) -> None:
    made(alice, policies, "a.txt", state=RunState.FAILED)
    made(alice, policies, "b.txt", state=RunState.FAILED, needs_password=True)
    as_user(alice).post(reverse("collection_act", args=[policies.pk]), {"action": "retry_failed"})
    assert sorted(IngestRun.objects.values_list("state", flat=True)) == ["failed", "queued"]


def test_a_reader_gets_no_buttons(bob: User, alice: User, policies: Collection, as_user: SignIn) -> None:
    document = made(alice, policies, "a.txt", state=RunState.FAILED, message="It is broken.")
    imports.open_batch(alice, policies, Origin.BROWSER, 1)
    for address in (reverse("collection", args=[policies.pk]), reverse("document", args=[document.pk])):
        page = as_user(bob).get(address).content.decode()
        assert "It is broken." in page
        for part in ("Try again", "Set fields", "data-uploader", "Last imports", "Retry"):
            assert part not in page


def test_a_protected_document_asks_for_its_password_and_keeps_it_sealed(
    alice: User, policies: Collection, as_user: SignIn
) -> None:
    document = made(alice, policies, "a.txt", state=RunState.FAILED, needs_password=True)
    client = as_user(alice)
    assert 'type="password"' in client.get(reverse("document", args=[document.pk])).content.decode()
    form = {"password": "opensesame", "from": "document"}
    answer = client.post(reverse("document_retry", args=[document.pk]), form)
    assert answer["Location"] == reverse("document", args=[document.pk])
    document.refresh_from_db()
    assert document.latest is not None
    assert document.latest.run.state == RunState.QUEUED
    assert document.latest.secret and "opensesame" not in document.latest.secret
    assert "opensesame" not in client.get(reverse("document", args=[document.pk])).content.decode()


# --- What was not read


@pytest.fixture
def half_read(alice: User, policies: Collection, add_text: AddText) -> Document:
    """A document of four pages: text, OCR, blank, unread."""
    document = add_text(alice, policies, "a.txt", "Words about parking.")
    extraction = Extraction.objects.get()
    Extraction.objects.filter(pk=extraction.pk).update(
        pages_in_all=4,
        pages_with_text=1,
        pages_by_ocr=1,
        pages_blank=1,
        pages_unread=1,
        confidence=0.87,
        images=2,
        left_out=[["logo.bin", "Files of this kind cannot be read."]],
        properties={"author": "M. Oduya"},
        language="de",
    )
    Page.objects.create(
        extraction=extraction,
        place=3,
        number=4,
        label="iv",
        text="",
        reading=Reading.UNREAD,
        gap="Its script is unknown.",
    )
    IngestRun.objects.update(gaps=1)
    return document


def test_a_documents_page_reports_what_was_read_and_what_was_not(
    alice: User, half_read: Document, as_user: SignIn
) -> None:
    page = as_user(alice).get(reverse("document", args=[half_read.pk])).content.decode()
    for part in (
        "ready with gaps",
        "recognised from pictures",
        "87 % sure on average",
        "2 pictures have content that was not read",
        "logo.bin",
        "M. Oduya",
        "German",
        "Its script is unknown.",
        "page iv",
    ):
        assert part in page, part
    assert re.findall(r'<rect class="coverage__(\w+)" x="(\d+)" y="0" width="(\d+)"', page) == [
        ("text", "0", "250"),
        ("ocr", "250", "250"),
        ("blank", "500", "250"),
        ("unread", "750", "250"),
    ]


def test_the_collection_says_that_pages_are_unread_and_so_does_every_answer_from_it(
    alice: User, bob: User, policies: Collection, half_read: Document, as_user: SignIn
) -> None:
    page = as_user(bob).get(reverse("collection", args=[policies.pk])).content.decode()
    assert "1 document has unread pages." in page
    thread = Conversation.objects.create(owner=bob, title="Parking")
    thread.collections.add(policies)
    answer = Answer.objects.create(conversation=thread, question="Where?", state=AnswerState.FINISHED)
    view = answer_view.view_of(answer, bob)
    assert view.unread == "1 document here has unread pages."
    assert view.unread_url == reverse("collection", args=[policies.pk]) + "?state=gaps"
    assert view.unread in as_user(bob).get(reverse("answer", args=[answer.pk])).content.decode()
    Membership.objects.filter(user=bob).delete()
    assert answer_view.view_of(answer, bob).unread == ""


# --- The stream of events


def events(client: AsyncClient, address: str, least: int, *, between: Callable[[], object] | None = None) -> list[Any]:
    """The first `least` events of the stream as (name, data); `between` is called once the first one came."""

    async def take() -> list[Any]:
        response = await client.get(address)
        assert isinstance(response, StreamingHttpResponse), response.status_code
        assert response["X-Accel-Buffering"] == "no"
        found: list[Any] = []
        stream: AsyncIterator[bytes] = response.__aiter__()
        async with asyncio.timeout(20):
            while len(found) < least:
                text = (await anext(stream)).decode()
                if text.startswith(":"):
                    continue
                name = re.search(r"^event: (\w+)", text, re.MULTILINE)
                assert name is not None
                found.append((name[1], text))
                if between is not None and len(found) == 1:
                    await sync_to_async(between)()
        return found

    return async_to_sync(take)()


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Callable[[User], AsyncClient]:
    """A browser whose streams look without waiting, in the test's own transaction."""
    monkeypatch.setattr("core.db._pool", None)
    monkeypatch.setattr("rag.views.events._SOON", 0.01)
    monkeypatch.setattr("rag.views.events._LATER", 0.01)
    monkeypatch.setattr("rag.views.events._CALM", 0.0)

    def browser(user: User) -> AsyncClient:
        client = AsyncClient()
        client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
        return client

    return browser


Listen = Callable[[User], AsyncClient]


def test_the_stream_begins_with_what_is_in_work_and_tells_what_changes(
    alice: User, policies: Collection, listening: Listen
) -> None:
    made(alice, policies, "done.txt", state=RunState.READY)
    document = made(alice, policies, "long.txt", state=RunState.READING, done=12, total=80)

    def further() -> None:
        IngestRun.objects.filter(revision=document.latest).update(state=RunState.RECOGNISING, done=3, total=20)

    address = reverse("collection_events", args=[policies.pk])
    found = events(listening(alice), address, 3, between=further)
    assert [name for name, _data in found] == ["summary", "row", "row"]
    assert "Reading one document" in found[0][1]
    assert "reading page 12 of 80" in found[1][1] and f"row-{document.pk}" in found[1][1]
    assert "recognising page 3 of 20" in found[2][1]


def test_what_ended_after_the_page_was_made_is_told_and_what_ended_before_is_not(
    alice: User, policies: Collection, listening: Listen
) -> None:
    now = timezone.now()
    made(alice, policies, "late.txt", state=RunState.READY, finished=now)
    made(alice, policies, "early.txt", state=RunState.READY, finished=now - timedelta(minutes=5))
    address = reverse("collection_events", args=[policies.pk])
    found = events(listening(alice), f"{address}?since={now.timestamp() - 1:.3f}", 1)
    assert [name for name, _data in found] == ["row"]
    assert "late.txt" in found[0][1]


def test_a_new_document_lets_the_page_fetch_its_table(alice: User, policies: Collection, listening: Listen) -> None:
    made(alice, policies, "a.txt", state=RunState.READING)

    def another() -> None:
        made(alice, policies, "b.txt", state=RunState.READY)

    found = events(listening(alice), reverse("collection_events", args=[policies.pk]), 4, between=another)
    assert "refresh" in [name for name, _data in found]


def test_the_stream_ends_when_its_reader_loses_the_collection(
    bob: User, alice: User, policies: Collection, listening: Listen
) -> None:
    made(alice, policies, "a.txt", state=RunState.READING)

    def revoke() -> None:
        Membership.objects.filter(user=bob).delete()
        IngestRun.objects.update(message="Nobody else may see this.")

    found = events(listening(bob), reverse("collection_events", args=[policies.pk]), 3, between=revoke)
    assert found[-1][0] == "gone"
    assert "Nobody else" not in str(found[1:])


def test_a_reader_cannot_follow_an_import(bob: User, alice: User, policies: Collection, as_user: SignIn) -> None:
    batch = imports.open_batch(alice, policies, Origin.BROWSER, 1)
    address = f"{reverse('collection_events', args=[policies.pk])}?batch={batch.pk}"
    assert as_user(bob).get(address).status_code == 404
    Membership.objects.filter(user=bob).update(role=Role.CONTRIBUTOR)
    assert as_user(bob).get(address).status_code == 200


def test_a_documents_page_follows_its_document_alone(
    alice: User, policies: Collection, secrets: Collection, charlie: User, listening: Listen, as_user: SignIn
) -> None:
    document = made(alice, policies, "a.txt", state=RunState.READING, done=1, total=9)
    foreign = made(charlie, secrets, "b.txt", state=RunState.READING)
    address = reverse("collection_events", args=[policies.pk])
    assert as_user(alice).get(f"{address}?document={foreign.pk}").status_code == 404
    assert as_user(alice).get(f"{address}?document=nonsense").status_code == 404

    def ready() -> None:
        IngestRun.objects.filter(revision=document.latest).update(state=RunState.READY)

    found = events(listening(alice), f"{address}?document={document.pk}", 5, between=ready)
    assert {"summary", "state", "refresh"} == {name for name, _data in found}


def test_a_quiet_stream_gives_signs_of_life(
    alice: User, policies: Collection, listening: Listen, settings: Any
) -> None:
    settings.STREAM_HEARTBEAT = 0.0

    async def first() -> bytes:
        response = await listening_client.get(reverse("collection_events", args=[policies.pk]))
        assert isinstance(response, StreamingHttpResponse)
        found: bytes = await anext(response.__aiter__())
        return found

    listening_client = listening(alice)
    assert async_to_sync(first)().startswith(b":")


# --- How far


def test_the_summary_counts_what_came_together(alice: User, policies: Collection) -> None:
    batch = imports.open_batch(alice, policies, Origin.BROWSER, 4)
    for number, state in enumerate((RunState.READY, RunState.FAILED, RunState.READING, RunState.QUEUED)):
        made(alice, policies, f"{number}.txt", state=state, batch=batch)
    made(alice, policies, "old.txt", state=RunState.READY)
    found = progress.wave(policies)
    assert (found.ended, found.total) == (2, 4)
    assert progress.sentence(found) == "Reading 3 of 4"
    assert progress.sentence(found, 250) == "Reading 3 of 4 · about 4 minutes left"
    assert progress.sentence(found, 20).endswith("less than a minute left")
    assert progress.sentence(found, 3 * 3600).endswith("about 3 hours left")
    IngestRun.objects.update(state=RunState.READY)
    assert progress.sentence(progress.wave(policies)) == ""


def test_the_pace_is_taken_from_the_last_minute_and_never_guessed() -> None:
    pace = progress.Pace()
    assert pace.seconds_left(0, 0, 1000) is None
    assert pace.seconds_left(4, 40, 960) is None
    assert pace.seconds_left(10, 100, 900) == pytest.approx(90)
    assert pace.seconds_left(200, 100, 900) is None, "nothing happened for a long time"
    assert pace.seconds_left(210, 200, 800) == pytest.approx(80)
    assert pace.seconds_left(220, 50, 50) is None, "other work than before"
