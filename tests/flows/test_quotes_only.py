"""Quotes only: a collection that allows nothing else, a question that asks for nothing else. The model is never called then."""

from collections.abc import Callable

import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse

from core.models import AuditEvent, User
from rag.models import Answer, Collection, Document, Grant
from rag.models.conversation import AnswerState
from rag.services import answer_view, answering, modes
from tests.flows.test_one_question import QUESTION, answered, produced, use
from tests.scripted_ollama import ScriptedOllama

pytestmark = pytest.mark.django_db(transaction=True)
AddText = Callable[..., Document]
SignIn = Callable[[User | None], Client]
LEAVE = "# Leave policy\n\nFull-time staff have 27 days of paid leave a year. Leave is asked for on the staff portal."
CONTRACT = "# Contract\n\nThe notice period of the cleaning contract is three months. The fee is €400 a month."


@pytest.fixture
def contracts(alice: User, policies: Collection, add_text: AddText) -> Collection:
    """Beside Policies; both have a document."""
    made = Collection.objects.create(name="Contracts")
    Grant.objects.create(collection=made, team=policies.grants.get().team, role=policies.grants.get().role)
    add_text(alice, policies, "leave.md", LEAVE)
    add_text(alice, made, "contract.md", CONTRACT)
    return made


def chats(server: ScriptedOllama) -> int:
    """How often the model was asked to write."""
    return sum("messages" in request for request in server.requests)


def quotes_alone(answer: Answer, reader: User) -> str:
    """Why the answer is made of quotes alone, which it is."""
    view = answer_view.view_of(answer, reader)
    assert (view.state, view.quotes_only, list(view.sentences), view.model_name) == (AnswerState.FINISHED, True, [], "")
    assert view.quotes
    return view.mode


def test_one_locked_collection_among_those_asked_keeps_every_model_away(
    alice: User, policies: Collection, contracts: Collection, settings: LazySettings
) -> None:
    modes.lock(alice, contracts, quotes_only=True)
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        opened = answering.open_answer(alice, question=QUESTION, conversation=None, collections=[policies, contracts])
        assert quotes_alone(produced(opened), alice) == "Quotes only: Contracts allows no generated sentences."
        assert chats(server) == 0
        free = answered(alice, policies)
        assert (chats(server), free.model) == (1, "scripted:latest")


def test_a_lock_that_is_set_after_the_question_was_posted_holds_for_it_and_for_asking_again(
    alice: User, policies: Collection, contracts: Collection, settings: LazySettings, as_user: SignIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        first = answered(alice, policies)
        second = answering.open_answer(
            alice, question="How is leave asked for?", conversation=first.conversation, collections=[policies]
        )
        modes.lock(alice, policies, quotes_only=True)
        asked = chats(server)
        assert "Policies" in quotes_alone(produced(second), alice)
        monkeypatch.setattr("rag.views.answers.start", lambda answer_id: None)
        as_user(alice).post(reverse("answer_again", args=[first.pk]))
        assert "Policies" in quotes_alone(produced(Answer.objects.order_by("-created")[0]), alice)
        assert chats(server) == asked


def test_no_prompt_repeats_what_was_said_from_a_locked_collection(
    alice: User, policies: Collection, contracts: Collection, settings: LazySettings
) -> None:
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        first = answered(alice, contracts, "What is the notice period of the cleaning contract?")
        modes.lock(alice, contracts, quotes_only=True)
        answered(alice, policies, "How many days of paid leave do full-time staff have?", after=first)
        sent = str(server.requests[-1]["messages"])
    assert "27 days" in sent
    assert "three months" not in sent
    assert "€400" not in sent


def test_a_question_may_ask_for_quotes_only_and_its_conversation_remembers(
    alice: User, policies: Collection, contracts: Collection, settings: LazySettings, as_user: SignIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("rag.services.answering.start", lambda answer_id: None)
    monkeypatch.setattr("rag.views.answers.start", lambda answer_id: None)
    browser = as_user(alice)
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        form = {"question": QUESTION, "collections": [str(policies.pk)]}
        browser.post(reverse("ask"), form | {"quotes_only": "1"})
        first = Answer.objects.get()
        assert quotes_alone(produced(first), alice) == "Quotes only, as you asked."
        thread = reverse("conversation", args=[first.conversation_id])
        assert 'name="quotes_only" value="1" checked' in browser.get(thread).content.decode()
        browser.post(reverse("answer_again", args=[first.pk]))
        assert quotes_alone(produced(Answer.objects.order_by("-created")[0]), alice)
        assert chats(server) == 0
        browser.post(thread, form)
        assert produced(Answer.objects.order_by("-created")[0]).model == "scripted:latest"
        assert 'name="quotes_only" value="1" checked' not in browser.get(thread).content.decode()


def test_who_may_not_read_the_locked_collection_is_neither_held_by_it_nor_told_its_name(
    alice: User, charlie: User, policies: Collection, contracts: Collection, settings: LazySettings
) -> None:
    modes.lock(alice, contracts, quotes_only=True)
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        opened = answering.open_answer(alice, question=QUESTION, conversation=None, collections=[policies, contracts])
        contracts.grants.all().delete()
        answer = produced(opened)
        assert (answer.model, answer.locked_by, chats(server)) == ("scripted:latest", [], 1)
    Answer.objects.update(locked_by=[str(contracts.pk)])
    answer.refresh_from_db()
    assert "Contracts" not in modes.sentences([answer], charlie)[answer.pk]


def test_managers_lock_a_collection_and_that_is_audited(
    alice: User, bob: User, policies: Collection, as_user: SignIn
) -> None:
    address = reverse("collection_modes", args=[policies.pk])
    assert as_user(bob).post(address, {"quotes_only": "1"}).status_code == 404
    as_user(alice).post(address, {"quotes_only": "1"})
    policies.refresh_from_db()
    assert policies.quotes_only
    assert "checked" in as_user(alice).get(reverse("collection", args=[policies.pk])).content.decode()
    as_user(alice).post(address, {})
    policies.refresh_from_db()
    assert not policies.quotes_only
    events = AuditEvent.objects.filter(action="collection.quotes_only").order_by("pk")
    assert [event.facts["quotes_only"] for event in events] == [True, False]
