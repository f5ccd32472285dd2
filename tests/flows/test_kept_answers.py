"""The asker's consent: a question is kept only when they say so, is shown without their name, and goes when they say so."""

import hashlib
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from core.models import AuditEvent, User
from rag.access import scope_for
from rag.models import Answer, AnswerSource, Chunk, Collection, Conversation, Document, JudgedPlace, KeptQuestion
from rag.models.conversation import EXTRACTIVE, AnswerState
from rag.models.ranking import QuestionOrigin
from rag.services import conversations, kept_questions, library

AddText = Callable[..., Document]
AsUser = Callable[[User | None], Client]
pytestmark = pytest.mark.django_db

QUESTION = "When is the desk open?"
HOURS = "The desk is open from eight to five."


@pytest.fixture
def hours(alice: User, policies: Collection, add_text: AddText) -> Document:
    return add_text(alice, policies, "hours.txt", HOURS)


def answered(user: User, *documents: Document) -> Answer:
    """An answer of the user's that quotes the first words of each document, as one that no model wrote does."""
    thread = Conversation.objects.create(owner=user, title="Hours")
    answer = Answer.objects.create(
        conversation=thread, question=QUESTION, state=AnswerState.FINISHED, provider=EXTRACTIVE
    )
    for number, document in enumerate(documents, start=1):
        chunk = Chunk.objects.get(document=document)
        thread.collections.add(document.collection)
        AnswerSource.objects.create(
            answer=answer,
            number=number,
            document=document,
            extraction_id=chunk.extraction_id,
            revision=1,
            chunk_id=chunk.pk,
            page_from=chunk.page_from,
            page_to=chunk.page_to,
            start=chunk.start,
            end=chunk.end,
            sha256=hashlib.sha256(chunk.text.encode()).hexdigest(),
            score=1.0,
        )
        answer.quotes = [*answer.quotes, {"number": number, "start": 0, "end": 16}]
    answer.save()
    return answer


def rate(client: Client, answer: Answer, value: str) -> str:
    response = client.post(
        reverse("answer_feedback", args=[answer.pk]), {"value": value}, headers={"HX-Request": "true"}
    )
    return response.content.decode()


def keep(client: Client, answer: Answer, **more: str) -> str:
    response = client.post(reverse("answer_keep", args=[answer.pk]), more, headers={"HX-Request": "true"})
    assert response.status_code == 200
    return response.content.decode()


def test_a_thumb_up_keeps_nothing_and_offers_to(bob: User, hours: Document, as_user: AsUser) -> None:
    client, answer = as_user(bob), answered(bob, hours)
    shown = rate(client, answer, "up")
    assert "Keep this question" in shown
    assert "not your name" in shown
    assert KeptQuestion.objects.count() == 0
    assert "Keep this question" not in rate(client, answer, "down")


def test_the_asker_keeps_a_question_with_what_its_answer_cites_and_takes_it_back(
    bob: User, alice: User, policies: Collection, hours: Document, as_user: AsUser
) -> None:
    client, answer = as_user(bob), answered(bob, hours)
    rate(client, answer, "up")
    assert "Take it back" in keep(client, answer, keep="yes")
    (question,) = kept_questions.judged(policies.pk, scope_for(alice, asked=[policies.pk]))
    assert question.text == QUESTION
    assert JudgedPlace.objects.get().quote == HOURS[:16]

    page = as_user(alice).get(reverse("quality", args=[policies.pk])).content.decode()
    assert QUESTION in page
    assert "bob" not in page
    assert as_user(bob).get(reverse("quality", args=[policies.pk])).status_code == 404

    assert "Keep this question" in keep(client, answer, keep="no")
    assert KeptQuestion.objects.count() == 0
    actions = AuditEvent.objects.filter(action__startswith="question.").order_by("id")
    assert [event.action for event in actions] == ["question.kept", "question.taken_back"]
    assert all(QUESTION not in str(event.facts) for event in actions)


def test_without_a_thumb_up_nothing_is_kept(bob: User, hours: Document, as_user: AsUser) -> None:
    keep(as_user(bob), answered(bob, hours), keep="yes")
    assert KeptQuestion.objects.count() == 0


@pytest.mark.parametrize("end", ["another thumb", "deleted conversation", "deleted document"])
def test_what_was_kept_goes_with(end: str, bob: User, alice: User, hours: Document, as_user: AsUser) -> None:
    client, answer = as_user(bob), answered(bob, hours)
    rate(client, answer, "up")
    keep(client, answer, keep="yes")
    assert KeptQuestion.objects.count() == 1
    if end == "another thumb":
        rate(client, answer, "down")
    elif end == "deleted conversation":
        conversations.delete(bob, answer.conversation)
    else:
        library.delete_document(alice, hours)
    assert KeptQuestion.objects.count() == 0


def test_each_collection_keeps_its_own_part_of_an_answer(
    alice: User, charlie: User, policies: Collection, secrets: Collection, add_text: AddText, as_user: AsUser
) -> None:
    """Charlie reads both; alice, who manages one, learns nothing of the other."""
    policies.grants.create(team=secrets.grants.get().team, role=10)
    own = add_text(charlie, secrets, "secret.txt", "The secret desk opens at midnight.")
    answer = answered(charlie, add_text(alice, policies, "hours.txt", HOURS), own)
    client = as_user(charlie)
    rate(client, answer, "up")
    keep(client, answer, keep="yes")
    assert KeptQuestion.objects.count() == 2
    page = as_user(alice).get(reverse("quality", args=[policies.pk])).content.decode()
    assert HOURS[:16] in page
    assert "secret" not in page


def test_an_opened_citation_is_kept_when_its_reader_says_that_it_answers(
    bob: User, policies: Collection, hours: Document, as_user: AsUser
) -> None:
    client, answer = as_user(bob), answered(bob, hours)
    page = reverse("page", args=[hours.pk, 1, 1])
    opened = client.get(page, {"passage": "1.0-1.16", "answer": str(answer.pk)}).content.decode()
    assert "Does this passage answer it?" in opened
    assert KeptQuestion.objects.count() == 0  # opening alone keeps nothing

    target = reverse("answer_keep_passage", args=[answer.pk, hours.pk, 1])
    response = client.post(target, {"passage": "1.0-1.16", "keep": "yes"}, follow=True)
    assert "Take it back" in response.content.decode()
    kept = KeptQuestion.objects.get()
    assert (kept.collection, kept.origin, kept.keeper) == (policies, QuestionOrigin.OPENED, bob)
    assert kept.places.get().quote == HOURS[:16]
    client.post(target, {"passage": "1.0-1.16", "keep": "no"})
    assert KeptQuestion.objects.count() == 0


def test_nothing_is_offered_on_a_page_that_no_answer_of_the_readers_led_to(
    alice: User, bob: User, hours: Document, as_user: AsUser, policies: Collection, add_text: AddText
) -> None:
    of_bob = answered(bob, hours)
    page = reverse("page", args=[hours.pk, 1, 1])
    for client, query in (
        (as_user(alice), {"passage": "1.0-1.16", "answer": str(of_bob.pk)}),
        (as_user(bob), {"passage": "1.0-1.16"}),
        (as_user(bob), {"answer": str(of_bob.pk)}),
    ):
        assert "Does this passage answer it?" not in client.get(page, query).content.decode()
    other = add_text(alice, policies, "other.txt", "Other words that no answer cites.")
    response = as_user(bob).post(
        reverse("answer_keep_passage", args=[of_bob.pk, other.pk, 1]), {"passage": "1.0-1.9", "keep": "yes"}
    )
    assert response.status_code == 302
    assert KeptQuestion.objects.count() == 0


def test_a_foreign_answer_cannot_be_kept(alice: User, bob: User, hours: Document, as_user: AsUser) -> None:
    answer = answered(bob, hours)
    assert as_user(alice).post(reverse("answer_keep", args=[answer.pk])).status_code == 404
