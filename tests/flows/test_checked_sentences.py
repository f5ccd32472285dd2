"""Checked sentences: citations that are mended, what is marked, and the passage's own words in a sentence's place."""

import asyncio
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import reverse

from core.models import AuditEvent, User
from rag.domain import events
from rag.domain.support import Verdict
from rag.domain.types import Delta, Source
from rag.models import Answer, AnswerSource, Citation, Collection, Conversation, Document, Sentence
from rag.models.conversation import AnswerState
from rag.services import answer_view
from rag.services.export.pages import _remark
from rag.services.replay import Log
from rag.services.transcript import CheckedSentence, Transcript, Written
from tests.flows.test_one_question import answered

AddText = Callable[..., Document]
LEAVE = (
    "Full-time staff have 27 days of paid leave a year. Five days of leave may be carried over until the end of May."
)
FEES = "A consultation costs €48. Invoices are due within thirty days."


class Told(Log):
    """A replay log that keeps what was written to it."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []

    async def write(self, event: events.Event) -> None:
        self.events.append(event)


def source(number: int, text: str, title: str = "") -> Source:
    return Source(number, number, uuid4(), uuid4(), 1, 1, title, (), 0, 0, "", 0, len(text), text, 1.0)


def written(
    text: str, *texts: str, question: str = "", title: str = ""
) -> tuple[list[CheckedSentence], list[events.Checked]]:
    """What becomes of a model's text when these passages were offered."""
    told, result = Told(), Written()
    sources = [source(number, each, title) for number, each in enumerate(texts, start=1)]

    async def run() -> None:
        transcript = Transcript(sources, told, result, {}, question=question)
        for at in range(0, len(text), 7):
            await transcript.take(Delta(text=text[at : at + 7]))
        await transcript.finish()

    asyncio.run(run())
    return result.sentences, [event for event in told.events if isinstance(event, events.Checked)]


def test_a_missing_citation_is_added_where_one_passage_carries_the_sentence() -> None:
    (sentence,), (event,) = written("A consultation costs €48.", LEAVE, FEES)
    assert (sentence.numbers, sentence.repaired) == ((2,), True)
    assert sentence.check.verdict is Verdict.SUPPORTED
    assert (event.numbers, event.repaired, event.number) == ((2,), True, 2)


def test_a_wrong_citation_becomes_the_right_one() -> None:
    sentences, _ = written(
        "A consultation costs €48 [1]. Full-time staff have 27 days of paid leave a year [1].", LEAVE, FEES
    )
    assert [(each.numbers, each.repaired) for each in sentences] == [((2,), True), ((1,), False)]


def test_nothing_is_mended_where_two_passages_carry_the_sentence_or_none_does() -> None:
    (sentence,), _ = written("A consultation costs €48.", FEES, FEES)
    assert (sentence.numbers, sentence.repaired) == ((), False)
    assert sentence.check.reason == "This sentence cites no source; passages 1 and 2 say it."
    assert not sentence.check.alarm
    (sentence,), _ = written("A consultation costs €58 [1].", LEAVE, FEES)
    assert (sentence.numbers, sentence.repaired) == ((1,), False)
    assert sentence.check.alarm


def test_whom_the_question_or_the_title_names_the_answer_may_name() -> None:
    text = "At Marrowby Clinic a consultation costs €48 [1]."
    assert written(text, FEES)[0][0].check.alarm
    assert not written(text, FEES, question="What does Marrowby Clinic charge?")[0][0].check.alarm
    assert not written(text, FEES, title="Fees of Marrowby Clinic")[0][0].check.alarm
    text = "A consultation costs €58 [1]."
    assert written(text, FEES, question="Does it cost €58?")[0][0].check.alarm


# --- On the page


@pytest.fixture
def wrong(bob: User, policies: Collection, alice: User, add_text: AddText) -> Answer:
    """An answer of bob's with a sentence that its source contradicts, and one with a number that stands nowhere."""
    add_text(alice, policies, "leave.md", LEAVE)
    answer = answered(bob, policies, "How many days of paid leave do full-time staff have?")
    pinned = AnswerSource.objects.get(answer=answer, number=1)
    Sentence.objects.filter(answer=answer).delete()
    text = "Full-time staff have 29 days of paid leave a year."
    reason = "The cited passage says 27 days."
    first = Sentence.objects.create(
        answer=answer, ordinal=0, text=text, verdict=Verdict.CONTRADICTED, reason=reason, missing=[[21, 28]]
    )
    second = Sentence.objects.create(
        answer=answer, ordinal=1, text="It costs $500.", verdict=Verdict.UNSUPPORTED, reason="No.", missing=[[9, 13]]
    )
    Citation.objects.create(sentence=first, source=pinned, start=0, end=50)
    Citation.objects.create(sentence=second, source=pinned, start=0, end=0, repaired=True)
    Answer.objects.filter(pk=answer.pk).update(provider="ollama", model="m", state=AnswerState.FINISHED, quotes=[])
    answer.refresh_from_db()
    return answer


def words(answer_id: UUID) -> str:
    return reverse("answer_words", args=[answer_id])


@pytest.mark.django_db(transaction=True)
def test_the_passage_s_words_take_the_sentence_s_place_in_one_click_and_can_be_taken_back(
    client: Client, bob: User, wrong: Answer
) -> None:
    client.force_login(bob)
    page = client.get(reverse("answer", args=[wrong.pk])).content.decode()
    assert '<mark class="missing">29 days</mark>' in page
    assert '<mark class="missing">$500</mark>' in page
    assert "The cited passage says 27 days." in page
    assert "Added by the check" in page
    assert page.count('name="put"') == 1

    assert client.post(words(wrong.pk), {"put": "0"}).status_code == 302
    (sentence, _) = answer_view.view_of(wrong, bob).sentences
    assert sentence.text == "Full-time staff have 27 days of paid leave a year."
    assert sentence.written == "Full-time staff have 29 days of paid leave a year."
    page = client.get(reverse("answer", args=[wrong.pk])).content.decode()
    assert "The passage's own words. The model wrote:" in page.replace("&#x27;", "'")
    assert answer_view.readable_words(bob, wrong).startswith("Full-time staff have 27 days")

    response = client.post(words(wrong.pk), {"back": "0"}, headers={"HX-Request": "true"})
    assert 'name="put"' in response.content.decode()
    assert answer_view.view_of(wrong, bob).sentences[0].text.startswith("Full-time staff have 29 days")
    actions = AuditEvent.objects.filter(action__startswith="answer.words").values_list("action", flat=True)
    assert sorted(actions) == ["answer.words_put", "answer.words_taken_back"]


@pytest.mark.django_db(transaction=True)
def test_only_what_the_check_contradicted_can_be_replaced(client: Client, bob: User, wrong: Answer) -> None:
    client.force_login(bob)
    for ordinal in ("1", "7", "x", "", "9" * 30):
        client.post(words(wrong.pk), {"put": ordinal})
    assert not Sentence.objects.filter(quoted=True).exists()


@pytest.mark.django_db(transaction=True)
def test_charlie_cannot_change_what_bob_s_answer_says(
    client: Client, charlie: User, alice: User, wrong: Answer
) -> None:
    for stranger in (charlie, alice):
        client.force_login(stranger)
        assert client.post(words(wrong.pk), {"put": "0"}).status_code == 404
    assert not Sentence.objects.filter(quoted=True).exists()
    assert not answer_view.view_of(wrong, alice).sentences[0].replaceable
    assert Conversation.objects.get(pk=wrong.conversation_id).owner_id != alice.pk


@pytest.mark.django_db(transaction=True)
def test_an_export_says_that_the_words_are_the_passage_s(client: Client, bob: User, wrong: Answer) -> None:
    client.force_login(bob)
    client.post(words(wrong.pk), {"put": "0"})
    text = "\n".join(_remark(sentence) for sentence in answer_view.view_of(wrong, bob).sentences)
    assert "The passage's own words" in text
