"""What is refused, what a refusal costs and shows, and where the threshold comes from."""

from collections.abc import Callable

import pytest
from django.test import Client

from core.models import AuditEvent, User
from rag.domain import evidence
from rag.models import Answer, Collection, Conversation, Document, EvidenceThreshold
from rag.models.conversation import AnswerState
from rag.services import answer_view, elsewhere, thresholds

AddText = Callable[..., Document]
AsUser = Callable[[User], Client]
pytestmark = pytest.mark.django_db

LEAVE = "Staff have 28 days of paid annual leave in each calendar year."


@pytest.fixture
def refused(alice: User, secrets: Collection, policies: Collection, add_text: AddText) -> Answer:
    """A question that was asked of one collection and answered in another."""
    add_text(alice, policies, "leave.txt", LEAVE)
    thread = Conversation.objects.create(owner=alice, title="Leave")
    thread.collections.set([secrets])
    return Answer.objects.create(
        conversation=thread,
        question="How many days of paid annual leave do staff have?",
        state=AnswerState.REFUSED,
        elsewhere=[str(policies.pk)],
    )


def test_another_collection_that_has_evidence_is_found(alice: User, refused: Answer, policies: Collection) -> None:
    named, looked_at = elsewhere.look(alice, refused.question, set())
    assert named == [policies.pk]
    assert {source.collection_id for source in looked_at} == {policies.pk}


def test_what_was_asked_already_is_not_named(alice: User, refused: Answer, policies: Collection) -> None:
    assert elsewhere.look(alice, refused.question, {policies.pk})[0] == []


def test_nothing_that_the_asker_may_not_read_is_searched_or_named(charlie: User, refused: Answer) -> None:
    assert elsewhere.look(charlie, refused.question, set()) == ([], [])


def test_a_refusal_offers_to_ask_there(alice: User, refused: Answer, policies: Collection, as_user: AsUser) -> None:
    assert answer_view.view_of(refused, alice).elsewhere == [(policies.pk, policies.name)]
    page = as_user(alice).get(f"/conversations/{refused.conversation_id}/").content.decode()
    assert f'name="collections" value="{policies.pk}"' in page


def test_a_collection_that_was_taken_from_the_asker_is_not_named_any_more(
    alice: User, refused: Answer, policies: Collection, as_user: AsUser
) -> None:
    policies.grants.all().delete()
    assert not answer_view.view_of(refused, alice).elsewhere
    assert str(policies.pk) not in as_user(alice).get(f"/conversations/{refused.conversation_id}/").content.decode()


def learned(collection: Collection) -> EvidenceThreshold | None:
    return thresholds.learn(
        collection, answerable=[0.3 + place / 100 for place in range(40)], unanswerable=[0.2, 0.31] * 10
    )


def test_a_collections_own_questions_set_its_threshold(policies: Collection, secrets: Collection) -> None:
    kept = learned(policies)
    assert kept is not None
    assert kept.value == pytest.approx(0.32)
    assert (kept.wrongly_refused, kept.rightly_refused) == (2, 20)
    assert thresholds.threshold_of(policies.pk) == kept.value
    assert thresholds.threshold_of(secrets.pk) == evidence.THRESHOLD


def test_too_few_questions_set_none(policies: Collection) -> None:
    assert thresholds.learn(policies, answerable=[0.9] * 19, unanswerable=[0.1] * 30) is None
    assert thresholds.learn(policies, answerable=[0.9] * 50, unanswerable=[0.1] * 9) is None
    assert not EvidenceThreshold.objects.exists()


def test_a_threshold_that_was_measured_with_other_vectors_does_not_hold(policies: Collection) -> None:
    learned(policies)
    EvidenceThreshold.objects.update(basis="another model")
    assert thresholds.threshold_of(policies.pk) == evidence.THRESHOLD


def test_a_manager_goes_back_to_the_shipped_one(alice: User, policies: Collection, as_user: AsUser) -> None:
    learned(policies)
    page = as_user(alice).get(f"/collections/{policies.pk}/quality/").content.decode()
    assert "It refused 20 of 20 questions that nothing answers, and 2 of 40 that something does." in page
    as_user(alice).post(f"/collections/{policies.pk}/quality/threshold/")
    assert thresholds.threshold_of(policies.pk) == evidence.THRESHOLD
    assert AuditEvent.objects.filter(action="threshold.reset").count() == 1


def test_a_reader_changes_no_threshold(bob: User, policies: Collection, as_user: AsUser) -> None:
    learned(policies)
    assert as_user(bob).post(f"/collections/{policies.pk}/quality/threshold/").status_code == 404
    assert EvidenceThreshold.objects.count() == 1
