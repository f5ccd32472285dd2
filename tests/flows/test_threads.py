"""Conversations as people keep them: versions and branches, pages, names, pins, words found again, deleted and taken back."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from core.models import AuditEvent, Membership, User
from rag.models import Answer, Collection, Conversation, Document, Feedback
from rag.models.conversation import AnswerState
from rag.services import answering, branches, conversation_list, conversations, library, thread_view
from tests.flows.test_one_question import LEAVE, answered, produced, use
from tests.scripted_ollama import ScriptedOllama

pytestmark = pytest.mark.django_db(transaction=True)
AddText = Callable[..., Document]
SignIn = Callable[[User | None], Client]
HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def _started_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are produced by the tests, where they need them."""
    monkeypatch.setattr("rag.views.answers.start", lambda answer_id: None)
    monkeypatch.setattr("rag.services.answering.start", lambda answer_id: None)


@pytest.fixture
def leave(alice: User, policies: Collection, add_text: AddText) -> Document:
    return add_text(alice, policies, "leave.md", LEAVE)


def asked(user: User, collection: Collection, question: str, thread: Conversation | None = None, **more: Any) -> Answer:
    return answering.open_answer(user, question=question, conversation=thread, collections=[collection], **more)


def questions(thread: thread_view.Thread) -> list[str]:
    return [answer.question for answer in thread.answers]


# --- Versions


def test_an_edited_question_is_a_branch_of_its_own_and_the_old_one_stays_with_what_followed_it(
    alice: User, policies: Collection, as_user: SignIn
) -> None:
    first = asked(alice, policies, "When is it open?")
    second = asked(alice, policies, "And on Saturdays?", first.conversation)
    browser = as_user(alice)
    response = browser.post(reverse("answer_edit", args=[first.pk]), {"question": "Where is it?"})
    edited = Answer.objects.get(question="Where is it?")
    assert (edited.after, edited.conversation) == (None, first.conversation)
    assert response["Location"] == branches.url(first.conversation_id, edited.pk)

    newest = thread_view.thread(first.conversation, alice)
    assert questions(newest) == ["Where is it?"]
    assert newest.answers[0].version is not None
    assert (newest.answers[0].version.number, newest.answers[0].version.count) == (2, 2)
    old = browser.get(newest.answers[0].version.previous_url).content.decode()
    assert "And on Saturdays?" in old
    assert "1/2" in old

    # A question that is asked while the old branch is on screen follows that branch.
    browser.post(
        reverse("conversation", args=[first.conversation_id]), {"question": "And on Sundays?", "after": second.pk}
    )
    follower = Answer.objects.get(question="And on Sundays?")
    assert follower.after == second
    assert questions(thread_view.thread(first.conversation, alice)) == [
        "When is it open?", "And on Saturdays?", "And on Sundays?",
    ]  # fmt: skip


def test_what_was_said_on_another_branch_is_neither_searched_with_nor_shown_to_the_model(
    alice: User, policies: Collection, leave: Document, settings: LazySettings
) -> None:
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        first = answered(alice, policies, "How many days of paid leave do full-time staff have?")
        answered(alice, policies, "Does the portal take requests for leave?", after=first)
        other = produced(
            asked(alice, policies, "When must carried leave be used?", first.conversation, version_of=first)
        )
        follow_up = produced(asked(alice, policies, "And how many?", first.conversation, after=other))
        sent = str(server.requests[-1]["messages"])
    assert follow_up.together == ["When must carried leave be used?"]
    assert "When must carried leave be used?" in sent
    assert "portal take requests" not in sent
    assert "full-time staff have?" not in sent


def test_asked_again_a_question_keeps_its_place_and_both_answers(
    alice: User, policies: Collection, as_user: SignIn
) -> None:
    first = asked(alice, policies, "When is it open?")
    second = asked(alice, policies, "And on Saturdays?", first.conversation)
    browser = as_user(alice)
    address = f"http://testserver{reverse('conversation', args=[first.conversation_id])}"
    page = browser.post(reverse("answer_again", args=[second.pk]), headers=HTMX | {"HX-Current-URL": address})
    third = Answer.objects.exclude(pk__in=[first.pk, second.pk]).get()
    assert (third.question, third.after) == ("And on Saturdays?", first)
    body = page.content.decode()
    assert page["HX-Retarget"] == "#thread"
    assert body.count("<article") == 2
    assert "2/2" in body
    assert f'value="{third.pk}"' in body  # what is asked next follows it
    elsewhere = browser.post(
        reverse("answer_again", args=[second.pk]), headers=HTMX | {"HX-Current-URL": "http://testserver/answers/x/"}
    )
    assert "HX-Redirect" in elsewhere


def test_an_empty_edit_changes_nothing_and_says_so(alice: User, policies: Collection, as_user: SignIn) -> None:
    first = asked(alice, policies, "When is it open?")
    browser = as_user(alice)
    response = browser.post(reverse("answer_edit", args=[first.pk]), {"question": "  "}, follow=True)
    assert Answer.objects.count() == 1
    assert "Type a question first." in response.content.decode()


def test_a_question_follows_no_answer_of_another_conversation(
    alice: User, bob: User, policies: Collection, as_user: SignIn
) -> None:
    foreign = asked(bob, policies, "What is bob's?")
    mine = asked(alice, policies, "When is it open?")
    as_user(alice).post(
        reverse("conversation", args=[mine.conversation_id]), {"question": "And then?", "after": foreign.pk}
    )
    assert Answer.objects.get(question="And then?").after == mine


def test_answers_from_before_there_were_branches_follow_each_other_in_time(alice: User, policies: Collection) -> None:
    from importlib import import_module

    from django.apps import apps

    first = asked(alice, policies, "One?")
    second, third = (asked(alice, policies, question, first.conversation) for question in ("Two?", "Three?"))
    alone = asked(alice, policies, "Alone?")
    Answer.objects.update(after=None)
    import_module("rag.migrations.0014_what_follows_what").fill(apps, None)
    found = dict(Answer.objects.values_list("pk", "after_id"))
    assert found == {first.pk: None, second.pk: first.pk, third.pk: second.pk, alone.pk: None}


# --- Long threads and lists


def test_a_thread_of_two_hundred_answers_is_read_a_page_at_a_time_with_a_fixed_number_of_queries(
    alice: User, policies: Collection, as_user: SignIn
) -> None:
    short = asked(alice, policies, "A short one?")
    thread = asked(alice, policies, "Question 0?").conversation
    before = thread.answers.get()
    for number in range(1, 200):
        before = Answer.objects.create(
            conversation=thread, after=before, question=f"Question {number}?", state=AnswerState.FINISHED
        )
    browser = as_user(alice)

    def queries(conversation: Conversation) -> int:
        with CaptureQueriesContext(
            connection,
        ) as context:
            assert browser.get(reverse("conversation", args=[conversation.pk])).status_code == 200
        return len(context)

    assert queries(thread) <= queries(short.conversation) + 6
    shown = thread_view.thread(thread, alice)
    seen: list[str] = []
    while True:
        seen = questions(shown) + seen
        assert len(shown.answers) <= thread_view.PAGE
        if not shown.earlier_url:
            break
        until = shown.answers[0].id
        shown = thread_view.thread(thread, alice, at=before.pk, until=until)
    assert seen == [f"Question {number}?" for number in range(200)]
    middle = Answer.objects.get(question="Question 70?")
    at = thread_view.thread(thread, alice, at=middle.pk)
    assert "Question 70?" in questions(at)
    assert at.later_url
    page = browser.get(at.later_url).content.decode()
    assert "Question 90?" in page


def test_a_thousand_conversations_are_listed_by_the_page(alice: User, as_user: SignIn) -> None:
    Conversation.objects.bulk_create(Conversation(owner=alice, title=f"Matter {number}") for number in range(1000))
    browser = as_user(alice)
    assert browser.get(reverse("ask")).content.decode().count("conversation__title") == conversation_list.RECENT
    first = browser.get(reverse("conversations")).content.decode()
    assert first.count("conversation__title") == conversation_list.ROWS
    assert "Page 1 of 20" in first
    assert "Page 20 of 20" in browser.get(reverse("conversations"), {"page": "20"}).content.decode()
    assert browser.get(reverse("conversations"), {"page": "x"}).status_code == 200


def test_a_pinned_conversation_comes_first_until_it_is_unpinned(
    alice: User, policies: Collection, as_user: SignIn
) -> None:
    old, new = asked(alice, policies, "Old?").conversation, asked(alice, policies, "New?").conversation
    browser = as_user(alice)
    browser.post(reverse("conversation_pin", args=[old.pk]), {"pinned": "yes"})
    assert conversation_list.recent(alice)[0] == old
    browser.post(reverse("conversation_pin", args=[old.pk]), {"pinned": "no"})
    assert conversation_list.recent(alice)[0] == new


# --- Finding


def found(user: User, words: str) -> list[str]:
    return [each.conversation.title for each in conversation_list.find(user, words)]


def test_conversations_are_found_by_titles_questions_and_answers(
    alice: User, policies: Collection, leave: Document, as_user: SignIn
) -> None:
    answer = answered(alice, policies, "How many days of paid leave do full-time staff have?")
    conversations.rename(answer.conversation, title="Urlaub für Ältere")
    assert found(alice, "ältere URLAUB") == ["Urlaub für Ältere"]
    assert found(alice, "paid staff") == ["Urlaub für Ältere"]
    assert found(alice, "27 days") == ["Urlaub für Ältere"]  # said in the answer alone
    assert found(alice, "27 galaxies") == []
    assert found(alice, "  ") == []
    browser = as_user(alice)
    page = browser.post(reverse("conversations"), {"q": "27"}).content.decode()
    assert "<mark>27</mark>" in page
    assert f"?at={answer.pk}" in page
    listed = browser.post(reverse("conversations"), {"q": "27"}, headers=HTMX).content.decode()
    assert 'id="conversation-list"' in listed
    assert (
        "None of your conversations"
        in browser.post(reverse("conversations"), {"q": "galaxies"}, headers=HTMX).content.decode()
    )


def test_nobody_finds_another_s_conversations(alice: User, bob: User, policies: Collection, leave: Document) -> None:
    answered(alice, policies, "How many days of paid leave do full-time staff have?")
    assert found(bob, "paid leave") == []


def test_words_of_an_answer_that_its_asker_may_no_longer_read_find_nothing(
    alice: User, bob: User, policies: Collection, leave: Document
) -> None:
    answered(bob, policies, "How many days of paid leave do full-time staff have?")
    assert found(bob, "portal") or found(bob, "27")
    Membership.objects.filter(user=bob).delete()
    assert found(bob, "27") == []
    assert found(bob, "paid leave")  # bob's own words


def test_words_of_a_deleted_document_find_nothing_in_the_same_second(
    alice: User, policies: Collection, leave: Document
) -> None:
    answered(alice, policies, "How many days of paid leave do full-time staff have?")
    library.delete_document(alice, leave)
    assert found(alice, "27") == []


# --- Deleting


def test_a_deleted_conversation_is_gone_at_once_and_can_be_taken_back_for_an_hour(
    alice: User, policies: Collection, leave: Document, as_user: SignIn
) -> None:
    answer = answered(alice, policies, "How many days of paid leave do full-time staff have?")
    thread = answer.conversation
    browser = as_user(alice)
    after = browser.post(reverse("conversation_delete", args=[thread.pk]), follow=True).content.decode()
    assert "Undo" in after
    addresses = [reverse("conversation", args=[thread.pk]), reverse("answer", args=[answer.pk])]
    assert [browser.get(address).status_code for address in addresses] == [404, 404]
    assert found(alice, "leave") == []
    assert conversations.purge_deleted() == 0
    browser.post(reverse("conversation_restore", args=[thread.pk]))
    assert [browser.get(address).status_code for address in addresses] == [200, 200]
    actions = AuditEvent.objects.filter(subject_id=str(thread.pk)).values_list("action", flat=True)
    assert list(actions) == ["conversation.deleted", "conversation.restored"]


def test_after_that_hour_it_is_removed_with_everything_in_it(
    alice: User, policies: Collection, leave: Document, as_user: SignIn
) -> None:
    answer = answered(alice, policies, "How many days of paid leave do full-time staff have?")
    asked(alice, policies, "And then?", answer.conversation)
    conversations.delete(alice, answer.conversation)
    late = timezone.now() - conversations.UNDO - timedelta(seconds=1)
    Conversation.objects.update(deleted=late)
    assert conversation_list.deleted(alice) == []
    assert conversations.purge_deleted() == 1
    assert not Answer.objects.exists()
    assert as_user(alice).post(reverse("conversation_restore", args=[answer.conversation_id])).status_code == 404


def test_deleting_ends_the_answer_that_is_being_written(alice: User, policies: Collection) -> None:
    answer = asked(alice, policies, "When is it open?")
    conversations.delete(alice, answer.conversation)
    answer.refresh_from_db()
    assert answer.stop_asked


# --- Feedback


def test_a_thumb_down_takes_a_reason_that_can_be_changed_and_goes_with_it(
    alice: User, policies: Collection, as_user: SignIn
) -> None:
    answer = asked(alice, policies, "When is it open?")
    Answer.objects.update(state=AnswerState.FINISHED)
    browser, address = as_user(alice), reverse("answer_feedback", args=[answer.pk])
    page = browser.post(address, {"value": "down"}, headers=HTMX).content.decode()
    assert "What was wrong?" in page
    browser.post(address, {"value": "why", "kind": "incomplete", "reason": "The holidays are missing."})
    given = Feedback.objects.get()
    assert (given.helpful, given.kind, given.reason) == (False, "incomplete", "The holidays are missing.")
    page = browser.post(address, {"value": "why", "kind": "wrong", "reason": ""}, headers=HTMX).content.decode()
    assert "Kept." in page
    given.refresh_from_db()
    assert (given.kind, given.reason) == ("wrong", "")
    browser.post(address, {"value": "why", "kind": "nonsense"})
    given.refresh_from_db()
    assert given.kind == "wrong"
    browser.post(address, {"value": "up"})
    given.refresh_from_db()
    assert (given.helpful, given.kind) == (True, "")
    browser.post(address, {"value": "why", "kind": "wrong"})  # there is nothing to explain about a good one
    given.refresh_from_db()
    assert given.kind == ""
    browser.post(address, {"value": "up"})
    assert not Feedback.objects.exists()
