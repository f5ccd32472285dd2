"""Conversations that others may read: what they see, what is withheld, and what happens when rights change in between."""

import random
from collections.abc import Callable

import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse

from core.models import AuditEvent, Membership, Role, Team, User
from rag.domain.errors import Permanent
from rag.models import Answer, AnswerSource, Collection, Conversation, Document, Grant, Share
from rag.models.conversation import AnswerState
from rag.services import conversations, library, sharing
from tests.flows.test_one_question import LEAVE, answered, ask, produced, use
from tests.scripted_ollama import ScriptedOllama

pytestmark = pytest.mark.django_db(transaction=True)
AddText = Callable[..., Document]
SignIn = Callable[[User | None], Client]
WITHHELD = "This answer is not shown: it was made from documents that you may not all read."
QUESTION = "How many days of paid leave do full-time staff have?"


@pytest.fixture
def leave(alice: User, policies: Collection, add_text: AddText) -> Document:
    return add_text(alice, policies, "leave.md", LEAVE)


@pytest.fixture
def pay(alice: User) -> Collection:
    """A collection that alice can read, and bob cannot."""
    team = Team.objects.create(name="Pay office")
    Membership.objects.create(team=team, user=alice, role=Role.MANAGER)
    collection = Collection.objects.create(name="Pay")
    Grant.objects.create(collection=collection, team=team, role=Role.MANAGER)
    return collection


def seen(browser: Client, thread: Conversation) -> str:
    response = browser.get(reverse("shared", args=[thread.pk]))
    return response.content.decode() if response.status_code == 200 else ""


def given(owner: User, answer: Answer, other: User | Team) -> Conversation:
    """The conversation up to the answer, shared."""
    sharing.share(owner, answer.conversation, answer, other=other)
    return answer.conversation


# --- Giving and taking back


def test_whom_it_is_shared_with_reads_questions_sentences_and_citations_and_opens_the_cited_page(
    alice: User, bob: User, policies: Collection, leave: Document, settings: LazySettings, as_user: SignIn
) -> None:
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        answer = answered(alice, policies, QUESTION)
    browser = as_user(bob)
    assert browser.get(reverse("shared", args=[answer.conversation_id])).status_code == 404
    as_user(alice).post(reverse("conversation_share", args=[answer.conversation_id]), {"people": [bob.pk]})
    page = seen(browser, answer.conversation)
    assert QUESTION in page
    assert "27 days" in page
    assert "Written by a machine" in page
    assert 'class="chip"' in page
    assert "Ask this yourself" in page
    assert not {"data-stream", "answer_edit", "thumbs"} & set(page.split('"'))
    address = page.partition('class="chip" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "27 days" in browser.get(address).content.decode()
    assert answer.conversation.title in browser.get(reverse("conversations")).content.decode()
    actions = list(
        AuditEvent.objects.filter(subject_id=str(answer.conversation_id)).values_list("action", "actor_name")
    )
    assert ("conversation.shared", "alice") in actions
    assert ("conversation.opened", "bob") in actions


def test_the_other_can_do_nothing_in_it_but_read(
    alice: User, bob: User, policies: Collection, leave: Document, as_user: SignIn
) -> None:
    answer = answered(alice, policies, QUESTION)
    thread = given(alice, answer, bob)
    browser = as_user(bob)
    assert browser.post(reverse("conversation", args=[thread.pk]), {"question": "And?"}).status_code == 404
    for name in ("answer_again", "answer_edit", "answer_feedback", "answer_stop"):
        assert browser.post(reverse(name, args=[answer.pk]), {"question": "And?"}).status_code == 404
    for name in ("conversation_share", "conversation_rename", "conversation_delete", "conversation_pin"):
        assert browser.post(reverse(name, args=[thread.pk]), {"title": "Mine"}).status_code == 404
    assert browser.get(reverse("answer", args=[answer.pk])).status_code == 404
    assert Answer.objects.count() == 1


def test_taken_back_it_is_gone_at_the_next_request(
    alice: User, bob: User, policies: Collection, leave: Document, as_user: SignIn
) -> None:
    thread = given(alice, answered(alice, policies, QUESTION), bob)
    browser = as_user(bob)
    assert seen(browser, thread)
    as_user(alice).post(reverse("conversation_unshare", args=[thread.pk, Share.objects.get().pk]))
    assert not seen(browser, thread)
    assert AuditEvent.objects.filter(action="conversation.unshared").count() == 1


def test_a_team_reads_it_as_long_as_one_belongs_to_it(
    alice: User, bob: User, charlie: User, policies: Collection, leave: Document, as_user: SignIn
) -> None:
    clinic = Team.objects.get(name="Clinic")
    thread = given(alice, answered(alice, policies, QUESTION), clinic)
    assert "27 days" in seen(as_user(bob), thread)
    assert not seen(as_user(charlie), thread)
    Membership.objects.create(team=clinic, user=charlie, role=Role.READER)
    assert "27 days" in seen(as_user(charlie), thread)
    Membership.objects.filter(user=bob).delete()
    assert not seen(as_user(bob), thread)


def test_only_people_and_teams_that_one_belongs_together_with_can_be_chosen(
    alice: User, bob: User, charlie: User, policies: Collection, secrets: Collection, leave: Document, as_user: SignIn
) -> None:
    answer = answered(alice, policies, QUESTION)
    browser, address = as_user(alice), reverse("conversation_share", args=[answer.conversation_id])
    page = browser.get(address).content.decode()
    assert "bob" in page
    assert "charlie" not in page.lower()
    foreign = Team.objects.get(name="Charlie's")
    for form in ({"people": [charlie.pk]}, {"teams": [foreign.pk]}, {}):
        assert browser.post(address, form).status_code == 422
    with pytest.raises(Permanent):
        sharing.share(alice, answer.conversation, answer, other=charlie)
    assert not Share.objects.exists()


def test_later_questions_and_other_versions_are_not_shared_until_it_is_shared_again(
    alice: User, bob: User, policies: Collection, leave: Document, as_user: SignIn
) -> None:
    first = answered(alice, policies, QUESTION)
    thread = given(alice, first, bob)
    second = ask(alice, policies, "And what about my illness?", first)
    assert "illness" not in seen(as_user(bob), thread)
    sharing.share(alice, thread, second, other=bob)
    assert "illness" in seen(as_user(bob), thread)
    assert Share.objects.count() == 1


def test_a_deleted_conversation_and_one_of_a_deactivated_owner_are_gone_for_the_others_too(
    alice: User, bob: User, policies: Collection, leave: Document, as_user: SignIn
) -> None:
    thread = given(alice, answered(alice, policies, QUESTION), bob)
    browser = as_user(bob)
    conversations.delete(alice, thread)
    assert not seen(browser, thread)
    thread.refresh_from_db()
    conversations.restore(alice, thread)
    assert seen(browser, thread)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert not seen(browser, thread)


# --- What is withheld


def test_an_answer_from_a_document_that_the_other_may_not_read_is_withheld_whole_and_names_nothing(
    alice: User, bob: User, policies: Collection, pay: Collection, leave: Document, add_text: AddText, as_user: SignIn
) -> None:
    add_text(
        alice, pay, "Bonus scheme.md", "# Bonus scheme\n\nFull-time staff with 27 days of paid leave get MARZIPAN."
    )
    answer = answered(alice, policies, QUESTION)
    both = ask(alice, policies, "What do full-time staff with paid leave get?", answer)
    both.conversation.collections.set([policies, pay])
    both = produced(both)
    assert AnswerSource.objects.filter(answer=both, document__collection=pay).exists()
    page = seen(as_user(bob), given(alice, both, bob))
    assert page.count(WITHHELD) == 1
    assert "27 days" in page  # the first answer, from what both may read
    for word in ("MARZIPAN", "Bonus", "Pay office", "bonus"):
        assert word not in page


def test_what_a_model_wrote_after_a_withheld_answer_is_withheld_too(
    alice: User, bob: User, policies: Collection, pay: Collection, leave: Document, add_text: AddText,
    settings: LazySettings, as_user: SignIn,
) -> None:  # fmt: skip
    add_text(alice, pay, "bonus.md", "The bonus of full-time staff is 4,000 euros a year.")
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        secret = answered(alice, pay, "What is the bonus of full-time staff?")
        after = answered(alice, policies, QUESTION, secret)
    assert set(after.sources.values_list("document__collection__name", flat=True)) == {"Policies"}
    page = seen(as_user(bob), given(alice, after, bob))
    assert page.count(WITHHELD) == 2
    assert "27 days" not in page


def test_an_answer_whose_document_was_deleted_is_withheld_in_the_same_second(
    alice: User, bob: User, policies: Collection, leave: Document, as_user: SignIn
) -> None:
    thread = given(alice, answered(alice, policies, QUESTION), bob)
    assert "27 days" in seen(as_user(bob), thread)
    library.delete_document(alice, leave)
    page = seen(as_user(bob), thread)
    assert WITHHELD in page
    assert "27 days" not in page


def test_an_answer_that_is_still_being_written_shows_nothing_yet(
    alice: User, bob: User, policies: Collection, leave: Document, as_user: SignIn
) -> None:
    answer = ask(alice, policies, QUESTION)
    Answer.objects.update(state=AnswerState.ANSWERING, text="Half a sentence about 27 days")
    page = seen(as_user(bob), given(alice, answer, bob))
    assert "still being written" in page
    assert "27 days" not in page


@pytest.mark.parametrize("seed", [random.randrange(2**32)])
def test_whatever_changes_in_between_nobody_reads_an_answer_made_from_what_they_may_not_read(
    seed: int, alice: User, bob: User, policies: Collection, pay: Collection, add_text: AddText, as_user: SignIn
) -> None:
    """Rights come and go between openings; `seed` is in the test's name. Each document has a word of its own."""
    rng = random.Random(seed)
    shelves = {policies: "PLUM", pay: "CHERRY"}
    for shelf, word in shelves.items():
        add_text(alice, shelf, f"{word}.md", f"The desk for visitors opens at nine: {word}.")
    first = answered(alice, policies, "When does the desk for visitors open?")
    second = answered(alice, pay, "When does the desk for visitors open?", first)
    thread = given(alice, second, bob)
    browser, clinic = as_user(bob), Team.objects.get(name="Clinic")
    Membership.objects.filter(user=bob).delete()
    for _round in range(25):
        grant = {"collection": rng.choice(list(shelves)), "team": clinic}
        change = rng.randrange(4)
        if change == 0:
            Grant.objects.get_or_create(**grant, defaults={"role": rng.choice(Role.values)})
        elif change == 1:
            Grant.objects.filter(**grant).delete()
        elif change == 2:
            Membership.objects.get_or_create(user=bob, team=clinic, defaults={"role": Role.READER})
        else:
            Membership.objects.filter(user=bob).delete()
        inside = Membership.objects.filter(user=bob, team=clinic).exists()
        page = seen(browser, thread)
        assert page
        for shelf, word in shelves.items():
            may = inside and Grant.objects.filter(collection=shelf, team=clinic).exists()
            assert (word in page) == may
