"""A follow-up is searched together with what was said before it, and by itself where its reader wants that."""

from collections.abc import Callable

import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse

from core.models import Membership, User
from rag.access import scope_for_all
from rag.domain.followups import Turn
from rag.models import Answer, Collection, Document
from rag.models.conversation import AnswerState
from rag.services import answer_view, answering, library, retrieve
from tests.flows.test_one_question import answered, produced, use
from tests.scripted_ollama import ScriptedOllama

pytestmark = pytest.mark.django_db(transaction=True)
AddText = Callable[..., Document]
SignIn = Callable[[User | None], Client]

POOL = "# Swimming pool\n\nThe swimming pool opens at seven. On Saturdays the swimming pool opens at ten. Entry is four euros."
LIBRARY = (
    "# Library\n\nThe library opens at nine. On Saturdays the library opens at noon. Entry is free. Cards are yearly."
)
FIRST = "When does the library open?"
FOLLOW_UP = "And on Saturdays?"


@pytest.fixture
def places(alice: User, policies: Collection, add_text: AddText) -> dict[str, Document]:
    return {
        "pool": add_text(alice, policies, "pool.md", POOL),
        "library": add_text(alice, policies, "library.md", LIBRARY),
    }


def first_document(user: User, question: str, turns: list[Turn]) -> object:
    return retrieve.search(question, scope_for_all(user), turns=turns).sources[0].document_id


@pytest.mark.parametrize("place", ["pool", "library"])
def test_a_follow_up_finds_what_the_conversation_is_about(place: str, alice: User, places: dict[str, Document]) -> None:
    opened = {"pool": "When does the swimming pool open?", "library": FIRST}[place]
    assert first_document(alice, FOLLOW_UP, [Turn(opened)]) == places[place].pk


def test_the_topic_is_carried_over_more_than_one_turn(alice: User, places: dict[str, Document]) -> None:
    turns = [Turn(FIRST, "The library opens at nine."), Turn("Thanks!", ""), Turn("What does entry cost?")]
    assert first_document(alice, FOLLOW_UP, turns) == places["library"].pk


def test_the_topic_is_the_last_one_that_was_spoken_of(alice: User, places: dict[str, Document]) -> None:
    turns = [Turn("When does the swimming pool open?"), Turn(FIRST)]
    assert first_document(alice, FOLLOW_UP, turns) == places["library"].pk


def test_old_words_do_not_spoil_a_question_about_something_else(alice: User, places: dict[str, Document]) -> None:
    question = "How much is entry to the swimming pool in euros?"
    alone = retrieve.search(question, scope_for_all(alice))
    after = retrieve.search(question, scope_for_all(alice), turns=[Turn("Who approves invoices above a thousand?")])
    assert [source.chunk_id for source in after.sources] == [source.chunk_id for source in alone.sources]


def test_a_follow_up_shows_what_it_was_searched_with_and_is_asked_by_itself_in_one_click(
    alice: User, policies: Collection, places: dict[str, Document], as_user: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = answered(alice, policies, FIRST)
    second = answered(alice, policies, FOLLOW_UP, after=first)
    assert second.together == [FIRST]
    assert second.standalone == f"{FOLLOW_UP} ({FIRST})"
    page = as_user(alice).get(reverse("answer", args=[second.pk])).content.decode()
    assert page.count(f"<q>{FIRST}</q>") == 1
    assert "Ask it by itself" in page

    monkeypatch.setattr("rag.views.answers.start", lambda answer_id: None)
    as_user(alice).post(reverse("answer_again", args=[second.pk]), {"alone": "1"})
    third = Answer.objects.order_by("-created")[0]
    assert (third.question, third.alone) == (FOLLOW_UP, True)


def test_a_question_asked_by_itself_is_searched_by_itself(
    alice: User, policies: Collection, places: dict[str, Document]
) -> None:
    first = answered(alice, policies, FIRST)
    opened = answering.open_answer(
        alice, question=FOLLOW_UP, conversation=first.conversation, collections=[policies], alone=True
    )
    job = produced(opened)
    assert job.together == []
    assert job.standalone == FOLLOW_UP
    page = answer_view.view_of(job, alice)
    assert page.together == []


def test_a_question_asked_again_does_not_follow_itself(
    alice: User, policies: Collection, places: dict[str, Document]
) -> None:
    first = answered(alice, policies, FIRST)
    assert answered(alice, policies, FIRST, after=first).together == []


def test_an_answer_counts_no_longer_once_its_sources_are_out_of_reach(
    bob: User, policies: Collection, places: dict[str, Document]
) -> None:
    answer = answered(bob, policies, FIRST)
    assert answer.state == AnswerState.FINISHED
    assert "nine" in answer_view.readable_words(bob, answer)
    Membership.objects.filter(user=bob).delete()
    assert answer_view.readable_words(bob, answer) == ""


def test_a_deleted_document_is_gone_from_what_follows(
    alice: User, policies: Collection, places: dict[str, Document]
) -> None:
    answer = answered(alice, policies, FIRST)
    library.delete_document(alice, places["library"])
    answer.refresh_from_db()
    assert "nine" not in answer_view.readable_words(alice, answer)


def test_a_follow_up_costs_no_call_of_the_model_before_its_sources(
    alice: User, policies: Collection, places: dict[str, Document], settings: LazySettings
) -> None:
    with ScriptedOllama(mood="slow_first_token") as server:
        use(settings, server)
        first = answered(alice, policies, FIRST)
        second = answered(alice, policies, FOLLOW_UP, after=first)
        assert len(server.requests) == 2  # the two answers
    assert second.sources.exists()
    assert "And on Saturdays?" in server.requests[-1]["messages"][-1]["content"]
