"""A question to whole documents: every passage is read, what could not be read is said, and nothing is claimed beyond that."""

import json
from collections.abc import Callable, Iterator

import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from core.models import AuditEvent, Membership, User
from rag.domain.errors import Permanent
from rag.models import Collection, Document, FoundPassage, ReadDocument, WholeReading
from rag.models.exhaustive import ReadingState
from rag.services import exhaustive, exhaustive_view, library, modes, steps
from rag.services.exhaustive_view import ReadingView
from tests import scripted_ollama
from tests.conftest import forget_everything
from tests.flows.test_one_question import use
from tests.pdfs import pdf
from tests.scripted_ollama import ScriptedOllama

pytestmark = pytest.mark.django_db(transaction=True)
AddText = Callable[..., Document]
SignIn = Callable[[User | None], Client]
CLAUSE = "The tenant shall keep the boiler in working order and have it serviced every spring."
ASKED = "Who has to keep the boiler in working order?"
ABSENT = "Which airport does the ambassador fly from?"
_TOPICS = ("rent", "keys", "garden", "insurance", "parking", "windows", "noise", "pets", "bins", "deposit")


def contract(pages: int, *, clause_on: int, empty: int) -> bytes:
    """A contract of so many pages, the clause on one of them, nothing on another."""
    sheets = []
    for number in range(1, pages + 1):
        topic = _TOPICS[number % len(_TOPICS)]
        agreed = f"The parties agree about the {topic} as it is set out in full in annex {number}, paragraph"
        lines = [f"Section {number}. Of the {topic}.", *(f"{agreed} {line}." for line in range(1, 10))]
        if number == clause_on:
            lines.append(CLAUSE)
        sheets.append("" if number == empty else "\n".join(lines))
    return pdf(*sheets)


@pytest.fixture
def lease(alice: User, policies: Collection, add_text: AddText) -> Document:
    """42 pages; page 17 has the clause, page 31 a picture that nothing could read."""
    document = add_text(alice, policies, "lease.pdf", contract(42, clause_on=17, empty=31))
    assert document.current is not None
    gap = "The picture on this page could not be read."
    document.current.extractions.get().pages.filter(place=30, text="").update(reading="unread", gap=gap)
    return document


def opened(user: User, *documents: Document, question: str = ASKED, with_model: bool = False) -> WholeReading:
    return exhaustive.open_reading(user, question=question, documents=documents, with_model=with_model)


def read(reading: WholeReading, user: User) -> ReadingView:
    """The reading as its owner sees it when workers have done all they can."""
    for _turn in range(50):
        exhaustive.run(reading.pk)
        reading.refresh_from_db()
        if reading.state not in (ReadingState.WAITING, ReadingState.READING):
            break
    return exhaustive_view.view_of(reading, user)


def kinds(view: ReadingView) -> dict[str, list[str]]:
    """The labels of the first document's tiles by their kind."""
    found: dict[str, list[str]] = {}
    for tile in view.documents[0].tiles:
        found.setdefault(tile.kind, []).append(tile.label)
    return found


def test_the_passage_that_answers_is_found_with_its_words_and_every_page_is_accounted_for(
    bob: User, lease: Document
) -> None:
    view = read(opened(bob, lease), bob)
    assert view.state == ReadingState.FINISHED
    assert "17" in kinds(view)["found"]
    assert kinds(view)["unread"] == ["31"]
    assert sum(map(len, kinds(view).values())) == 42
    assert "waiting" not in kinds(view)
    best = max(view.answers, key=lambda passage: passage.strength)
    assert CLAUSE in "".join(part.text for part in best.parts if part.mark)
    assert best.page_label == "page 17"
    assert view.gaps == "Page 31 could not be read."


def test_an_absence_is_claimed_for_what_was_read_and_for_nothing_else(
    bob: User, lease: Document, as_user: SignIn
) -> None:
    reading = opened(bob, lease, question=ABSENT)
    view = read(reading, bob)
    assert view.headline == "Not found in 41 of 42 pages"
    assert view.verdict.startswith("No passage of the 41 pages that could be read seems to answer. Nearest: ")
    assert view.gaps == "Page 31 could not be read."
    assert len(view.nearest) == 3
    page = as_user(bob).get(reverse("reading", args=[reading.pk])).content.decode()
    for words in (view.headline, view.gaps, '31<span class="unseen">: could not be read</span>', "No model was asked."):
        assert words in page
    assert "does not exist" not in page


@pytest.mark.parametrize(("where", "nth", "done"), [("everything:claimed", 1, 0), ("everything:group-stored", 3, 15)])
def test_a_reading_that_was_killed_goes_on_after_the_last_stored_group_and_finds_the_same(
    bob: User, lease: Document, monkeypatch: pytest.MonkeyPatch, where: str, nth: int, done: int
) -> None:
    whole = read(opened(bob, lease), bob)
    monkeypatch.setattr(exhaustive, "GROUP", 5)
    reading = opened(bob, lease)
    seen: list[str] = []

    def die(name: str) -> None:
        seen.append(name)
        if seen.count(where) == nth:
            raise KeyboardInterrupt  # nothing catches it: the process is gone

    monkeypatch.setattr(steps, "_observers", [die])
    with pytest.raises(KeyboardInterrupt):
        exhaustive.run(reading.pk)
    monkeypatch.setattr(steps, "_observers", [])
    part = ReadDocument.objects.get(reading=reading)
    assert part.done == done
    assert part.tiles[0] == ("r" if done else "w")
    assert part.tiles[-1] == "w"
    exhaustive.run(reading.pk)  # its lease is not over yet
    assert ReadDocument.objects.get(reading=reading).done == done
    WholeReading.objects.filter(pk=reading.pk).update(
        lease_until=timezone.now(), created=timezone.now() - exhaustive.LOST
    )
    assert exhaustive.sweep_stale() == 1
    resumed = read(reading, bob)
    assert resumed.documents == whole.documents
    assert resumed.answers == whole.answers


def test_who_stops_a_reading_keeps_what_was_found_and_may_go_on(
    bob: User, lease: Document, monkeypatch: pytest.MonkeyPatch, as_user: SignIn
) -> None:
    monkeypatch.setattr(exhaustive, "GROUP", 10)
    reading = opened(bob, lease)
    browser = as_user(bob)
    monkeypatch.setattr(
        steps,
        "_observers",
        [lambda name: name == "everything:group-stored" and browser.post(reverse("reading_stop", args=[reading.pk]))],
    )
    view = read(reading, bob)
    monkeypatch.setattr(steps, "_observers", [])
    assert view.state == ReadingState.CANCELLED
    assert kinds(view)["read"][0] == "1"
    assert kinds(view)["waiting"][-1] == "42"
    assert view.headline.startswith("Stopped after ")
    assert view.verdict == "Nothing that answers was found until then. The rest was not read."
    browser.post(reverse("reading_resume", args=[reading.pk]))
    assert read(reading, bob).state == ReadingState.FINISHED
    actions = set(AuditEvent.objects.filter(subject_id=str(reading.pk)).values_list("action", flat=True))
    assert actions == {"documents.read_whole", "reading.stopped", "reading.resumed", "reading.ended"}
    assert "boiler" not in json.dumps(list(AuditEvent.objects.values_list("facts", flat=True)))


def test_rights_that_are_taken_in_the_middle_end_the_reading_and_hide_it(
    alice: User, bob: User, charlie: User, lease: Document, monkeypatch: pytest.MonkeyPatch, as_user: SignIn
) -> None:
    monkeypatch.setattr(exhaustive, "GROUP", 20)
    reading = opened(bob, lease)
    address = reverse("reading", args=[reading.pk])
    for stranger in (alice, charlie):
        assert as_user(stranger).get(address).status_code == 404
    monkeypatch.setattr(
        steps,
        "_observers",
        [lambda name: name == "everything:group-stored" and Membership.objects.filter(user=bob).delete()],
    )
    exhaustive.run(reading.pk)
    monkeypatch.setattr(steps, "_observers", [])
    reading.refresh_from_db()
    assert reading.state == ReadingState.FAILED
    assert ReadDocument.objects.get(reading=reading).done == 20
    assert as_user(bob).get(address).status_code == 404
    assert ASKED not in as_user(bob).get(reverse("readings")).content.decode()


def test_a_deleted_document_takes_its_reading_along(alice: User, bob: User, lease: Document, as_user: SignIn) -> None:
    reading = opened(bob, lease)
    read(reading, bob)
    library.delete_document(alice, lease)
    assert as_user(bob).get(reverse("reading", args=[reading.pk])).status_code == 404
    library.purge_deleted(lease.collection_id)
    exhaustive.sweep_stale()
    assert not WholeReading.objects.exists()
    assert not FoundPassage.objects.exists()


def test_several_documents_are_read_together_and_one_that_is_barred_later_is_not_spoken_of(
    alice: User, bob: User, lease: Document, policies: Collection, add_text: AddText
) -> None:
    other = add_text(alice, policies, "house.md", f"# House rules\n\n{CLAUSE}")
    reading = opened(bob, lease, other)
    view = read(reading, bob)
    assert [document.title for document in view.documents] == ["lease", "House rules"]
    assert {passage.title for passage in view.answers} == {"lease", "House rules"}
    library.delete_document(alice, other)
    left = exhaustive_view.view_of(reading, bob)
    assert (left.hidden, [document.title for document in left.documents]) == (1, ["lease"])
    assert {passage.title for passage in left.answers} == {""}


def test_what_is_too_long_or_too_much_is_refused_in_a_sentence(
    bob: User, charlie: User, lease: Document, settings: LazySettings, as_user: SignIn
) -> None:
    settings.RAG = settings.RAG | {"READING_PAGES": 41}
    forget_everything()
    form = {"question": ASKED, "document": [str(lease.pk)]}
    refused = as_user(bob).post(reverse("readings"), form)
    assert refused.status_code == 422
    assert "These are about 42 pages; at most 41 are read whole" in refused.content.decode()
    assert as_user(charlie).post(reverse("readings"), form).status_code == 404
    settings.RAG = settings.RAG | {"READING_PAGES": 42}
    forget_everything()
    for _number in range(exhaustive.AT_ONCE):
        opened(bob, lease)
    with pytest.raises(Permanent, match="under way already"):
        opened(bob, lease)


def test_a_reader_chooses_documents_in_the_table_and_asks_from_a_document_s_page(
    bob: User, lease: Document, as_user: SignIn
) -> None:
    browser = as_user(bob)
    table = browser.get(reverse("collection", args=[lease.collection_id])).content.decode()
    assert "Ask all of them" in table
    assert "Delete" not in table
    chosen = browser.post(reverse("readings"), {"document": [str(lease.pk)]}).content.decode()
    assert "Every passage is read" in chosen
    sent = browser.post(reverse("readings"), {"question": ASKED, "document": [str(lease.pk)]})
    reading = WholeReading.objects.get()
    assert sent["Location"] == reverse("reading", args=[reading.pk])
    page = browser.get(reverse("document", args=[lease.pk])).content.decode()
    assert reverse("reading", args=[reading.pk]) in page


# --- With a model


def test_a_model_s_claim_counts_only_with_a_sentence_that_stands_in_the_passage(
    bob: User, lease: Document, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(messages: list[dict[str, str]]) -> Iterator[str]:
        passages = messages[-1]["content"].split("<source id=")
        named = [number for number, passage in enumerate(passages) if CLAUSE in passage]
        yield "".join(f'[{number}] "{CLAUSE}"\n' for number in named)
        yield '[1] "The landlord mends the boiler."\nAll of them answer: [2] "and so on".'

    monkeypatch.setitem(scripted_ollama.STREAMS, "ok", reply)
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        view = read(opened(bob, lease, with_model=True), bob)
        prompts = [request for request in server.requests if "messages" in request]
    assert view.state == ReadingState.FINISHED
    assert kinds(view)["found"] == ["17"]
    assert [passage.page_label for passage in view.answers] == ["page 17"]
    assert "scripted:latest" in view.way
    assert 7 <= len(prompts) <= 42


def test_a_locked_collection_keeps_the_model_away_and_says_so(
    alice: User, bob: User, lease: Document, settings: LazySettings
) -> None:
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        reading = opened(bob, lease, with_model=True)
        modes.lock(alice, lease.collection, quotes_only=True)
        view = read(reading, bob)
        assert not [request for request in server.requests if "messages" in request]
    assert "17" in kinds(view)["found"]
    assert view.message == "Quotes only: Policies allows no model. Scores decided."
    assert "No model was asked." in view.way


def test_a_model_that_fails_ends_the_reading_with_its_sentence_and_scores_take_over_on_demand(
    bob: User, lease: Document, settings: LazySettings, as_user: SignIn
) -> None:
    with ScriptedOllama() as server:
        use(settings, server)
        reading = opened(bob, lease, with_model=True)
    failed = read(reading, bob)
    assert (failed.state, bool(failed.message)) == (ReadingState.FAILED, True)
    as_user(bob).post(reverse("reading_resume", args=[reading.pk]), {"scores": "1"})
    view = read(reading, bob)
    assert (view.state, view.message) == (ReadingState.FINISHED, "")
    assert "17" in kinds(view)["found"]
