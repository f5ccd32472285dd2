"""A question's whole way: asked, searched, answered apart from any request, followed, stopped, read again later."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from core.models import AuditEvent, Membership, User
from rag.domain import events
from rag.domain.errors import Permanent
from rag.domain.types import Hit
from rag.models import Answer, AnswerSource, Chunk, Collection, Document, LanguageModel
from rag.models.conversation import AnswerState
from rag.services import answer_view, answer_why, answering, library, producing, retrieve
from rag.services.replay import Hub, hub
from tests.conftest import forget_everything
from tests.scripted_ollama import ScriptedOllama

pytestmark = pytest.mark.django_db(transaction=True)
AddText = Callable[..., Document]
LEAVE = (
    "# Leave policy\n\nFull-time staff have 27 days of paid leave a year. "
    "Five days of leave may be carried over until the end of May. Leave is asked for on the staff portal."
)
QUESTION = "How many days of paid leave do full-time staff have?"


@pytest.fixture
def leave(alice: User, policies: Collection, add_text: AddText) -> Document:
    return add_text(alice, policies, "leave.md", LEAVE)


def use(settings: LazySettings, server: ScriptedOllama, mood: str = "") -> None:
    """Makes the scripted server's model the one that answers."""
    settings.RAG = settings.RAG | {"OLLAMA_URL": server.url, "FIRST_TOKEN_SECONDS": 1}
    forget_everything()
    LanguageModel.objects.all().delete()
    name = f"scripted-{mood}:latest" if mood else "scripted:latest"
    LanguageModel.objects.create(provider="ollama", name=name, digest=server.digests[name])


def ask(user: User, collection: Collection, question: str = QUESTION, after: Answer | None = None) -> Answer:
    thread = after.conversation if after else None
    return answering.open_answer(user, question=question, conversation=thread, collections=[collection])


def answered(user: User, collection: Collection, question: str = QUESTION, after: Answer | None = None) -> Answer:
    """The answer to the question, produced to its end."""
    return produced(ask(user, collection, question, after))


def produced(answer: Answer) -> Answer:
    """The answer, produced to its end in an event loop of its own."""

    async def run() -> None:
        try:
            await producing.produce(answer.pk)
        finally:
            await hub().close()

    async_to_sync(run)()
    answer.refresh_from_db()
    return answer


async def collected(answer: Answer, after: str = "") -> list[tuple[str, events.Event]]:
    async with aclosing(answering.follow(answer.pk, after=after)) as stream:
        return [entry async for entry in stream if entry is not None]


# --- Without a model


def test_without_a_model_the_answer_is_the_documents_own_words(
    alice: User, policies: Collection, leave: Document
) -> None:
    answer = answered(alice, policies)
    assert (answer.state, answer.provider, answer.model) == (AnswerState.FINISHED, "extractive", "")
    view = answer_view.view_of(answer, alice)
    assert view.quotes_only
    assert view.quotes[0].text == "Full-time staff have 27 days of paid leave a year."
    text = leave.current.extractions.get().pages.get().text if leave.current else ""
    assert all(quote.text in text for quote in view.quotes)


def test_a_question_that_nothing_speaks_to_is_refused_with_the_nearest_passages(
    alice: User, policies: Collection, leave: Document
) -> None:
    answer = answered(alice, policies, "Which galaxies collide with ours?")
    view = answer_view.view_of(answer, alice)
    assert view.state == AnswerState.REFUSED
    assert view.message
    assert not view.quotes


def test_asking_and_answering_are_audited_without_the_words(alice: User, policies: Collection, leave: Document) -> None:
    answered(alice, policies)
    rows = {row.action: row for row in AuditEvent.objects.filter(action__startswith="question.")}
    assert set(rows) == {"question.asked", "question.searched", "question.answered"}
    assert rows["question.searched"].facts["documents"] == [str(leave.pk)]
    assert "paid leave" not in str([row.facts for row in rows.values()])


@pytest.mark.parametrize("question", ["", "   ", "x" * 2001])
def test_an_empty_or_endless_question_gets_one_sentence(alice: User, policies: Collection, question: str) -> None:
    with pytest.raises(Permanent):
        ask(alice, policies, question)
    assert not Answer.objects.exists()


# --- With a model


def test_a_model_s_sentences_cite_only_offered_passages_and_their_quotes_are_stored_words(
    alice: User, policies: Collection, leave: Document, settings: LazySettings
) -> None:
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        answer = answered(alice, policies)
    view = answer_view.view_of(answer, alice)
    assert (view.state, view.model_name) == (AnswerState.FINISHED, "scripted:latest")
    assert view.sentences
    texts = {source.number: "".join(part.text for part in source.parts) for source in view.sources}
    for sentence in view.sentences:
        for chip in sentence.chips:
            assert chip.quote in texts[chip.number]
            assert "[" not in sentence.text
    assert answer.model_digest == server.digest
    assert answer.prompt_version
    assert answer.parameters["num_ctx"] == 4096
    sent = server.requests[-1]
    assert sent["options"]["num_ctx"] == 4096
    assert (sent["truncate"], sent["shift"]) == (False, False)


def test_why_this_answer_shows_the_very_prompt_that_was_sent(
    alice: User, policies: Collection, leave: Document, settings: LazySettings, as_user: Callable[[User], Client]
) -> None:
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        first = answered(alice, policies)
        answer = answered(alice, policies, "And how many may be carried over?", after=first)
        sent = server.requests[-1]["messages"]
    why = answer_why.why(answer, alice)
    assert why is not None
    assert why["prompt"] == sent
    page = as_user(alice).get(reverse("answer", args=[answer.pk])).content.decode()
    assert answer.model_digest in page


def test_the_evidence_is_told_before_the_first_word(
    alice: User, policies: Collection, leave: Document, settings: LazySettings
) -> None:
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        answer = ask(alice, policies)

        async def run() -> list[str]:
            following = asyncio.create_task(collected(answer))
            await asyncio.sleep(0)
            await producing.produce(answer.pk)
            found = await asyncio.wait_for(following, 5)
            await hub().close()
            return [event.kind for _, event in found]

        kinds = async_to_sync(run)()
    assert kinds.index("sources") < kinds.index("token")
    assert kinds.index("sources") < kinds.index("extract")
    assert kinds[-1] == "finished"
    assert "cited" in kinds
    assert "checked" in kinds


def test_two_tabs_a_reload_and_a_lost_connection_see_the_same(
    alice: User, policies: Collection, leave: Document, settings: LazySettings
) -> None:
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        answer = ask(alice, policies)

        async def run() -> tuple[list[tuple[str, events.Event]], ...]:
            first = asyncio.create_task(collected(answer))
            second = asyncio.create_task(collected(answer))
            await asyncio.sleep(0.05)
            await producing.produce(answer.pk)
            one, two = await asyncio.wait_for(asyncio.gather(first, second), 5)
            rest = await hub().logged(answer.pk, after=one[2][0])
            other = Hub()  # as another process of the same installation reads it
            elsewhere = await other.logged(answer.pk, after="")
            await other.close()
            await hub().close()
            return one, two, rest, elsewhere

        one, two, rest, elsewhere = async_to_sync(run)()
    assert one == two == elsewhere
    assert one[3:] == rest


MOODS = {
    "queue_full": AnswerState.FAILED,
    "missing": AnswerState.FAILED,
    "slow_first_token": AnswerState.FAILED,
    "error_mid_stream": AnswerState.FAILED,
    "truncated_json": AnswerState.FAILED,
    "no_done": AnswerState.FAILED,
    "thinking_only": AnswerState.FAILED,
    "empty": AnswerState.FAILED,
    "refuses": AnswerState.REFUSED,
    "wrong_citations": AnswerState.FINISHED,
    "length": AnswerState.FINISHED,
    "xss": AnswerState.FINISHED,
}


def test_each_mood_of_a_model_ends_in_a_true_message_of_its_own_with_the_quotes_kept(
    alice: User, policies: Collection, leave: Document, settings: LazySettings
) -> None:
    messages: dict[str, str] = {}
    with ScriptedOllama() as server:
        for mood, state in MOODS.items():
            use(settings, server, mood)
            answer = answered(alice, policies)
            view = answer_view.view_of(answer, alice)
            assert view.state == state, (mood, answer.message)
            assert view.quotes, mood
            if state == AnswerState.FAILED:
                messages[mood] = answer.message
                assert answer.message, mood
            if mood in {"error_mid_stream", "no_done", "truncated_json"}:
                assert answer.text, f"{mood}: what was written is kept"
            if mood == "length":
                assert "cut off" in view.notice
            if mood == "wrong_citations":
                assert not any(chip.number > 8 for sentence in view.sentences for chip in sentence.chips)
    assert len(set(messages.values())) >= len(messages) - 1, messages


def test_a_model_that_is_not_reachable_gets_its_message_and_is_not_swapped_in_silence(
    alice: User, policies: Collection, leave: Document, settings: LazySettings
) -> None:
    with ScriptedOllama() as server:
        use(settings, server)
    answer = answered(alice, policies)
    assert answer.state == AnswerState.FAILED
    assert answer.message
    assert answer_view.view_of(answer, alice).quotes


def test_a_model_that_was_changed_since_it_was_chosen_is_refused(
    alice: User, policies: Collection, leave: Document, settings: LazySettings
) -> None:
    with ScriptedOllama() as server:
        use(settings, server)
        LanguageModel.objects.update(digest="f" * 64)
        answer = answered(alice, policies)
        assert not server.requests
    assert answer.state == AnswerState.FAILED


def test_stop_ends_an_endless_answer_within_two_seconds_and_keeps_its_text(
    alice: User, policies: Collection, leave: Document, settings: LazySettings
) -> None:
    # Room for more than the test waits for: the answer's own limit must not end it first.
    settings.RAG = settings.RAG | {"CONTEXT_TOKENS": 200_000, "ANSWER_TOKENS": 150_000}
    with ScriptedOllama(mood="endless") as server:
        use(settings, server)
        answer = ask(alice, policies)

        async def run() -> float:
            work = asyncio.create_task(producing.produce(answer.pk))
            async with aclosing(answering.follow(answer.pk, after="")) as stream:
                async for entry in stream:
                    if entry is not None and isinstance(entry[1], events.Token):
                        break
            asked = time.monotonic()
            other = Hub()  # the wish comes from another process
            await sync_to_async(Answer.objects.filter(pk=answer.pk).update)(stop_asked=True)
            await other.ask_to_stop(answer.pk)
            await work
            await other.close()
            await hub().close()
            return time.monotonic() - asked

        took = async_to_sync(run)()
        assert server.wait_until_aborted()
    answer.refresh_from_db()
    assert answer.state == AnswerState.STOPPED
    assert answer.text
    assert took < 2


def test_a_follow_up_leans_on_the_question_before_and_the_model_sees_the_thread(
    alice: User, policies: Collection, leave: Document, settings: LazySettings
) -> None:
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        first = answered(alice, policies)
        second = answered(alice, policies, "And how many may be carried over?", after=first)
        messages = server.requests[-1]["messages"]
    assert QUESTION in second.standalone
    assert any(message["role"] == "assistant" for message in messages)
    assert second.conversation_id == first.conversation_id


# --- Who else


def test_only_one_process_produces_an_answer(alice: User, policies: Collection, leave: Document) -> None:
    answer = answered(alice, policies)
    before = answer.attempt
    async_to_sync(producing.produce)(answer.pk)
    answer.refresh_from_db()
    assert answer.attempt == before
    async_to_sync(producing.produce)(uuid4())  # no such answer: quiet


def test_an_answer_whose_process_died_is_ended_and_can_be_asked_again(
    alice: User, policies: Collection, leave: Document, as_user: Callable[[User], Client]
) -> None:
    answer = ask(alice, policies)
    Answer.objects.filter(pk=answer.pk).update(state=AnswerState.ANSWERING, lease_until=timezone.now())
    assert answering.sweep_stale() == 1
    answer.refresh_from_db()
    assert answer.state == AnswerState.FAILED
    assert "ask again" in answer.message
    page = as_user(alice).get(reverse("answer", args=[answer.pk])).content.decode()
    assert reverse("answer_again", args=[answer.pk]) in page


def test_an_answer_comes_to_its_end_while_redis_is_away(
    alice: User, policies: Collection, leave: Document, settings: LazySettings, tmp_path: object
) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    settings.STREAM_HEARTBEAT = 0.2
    answer = ask(alice, policies)

    async def run() -> list[tuple[str, events.Event]]:
        following = asyncio.create_task(collected(answer))
        await producing.produce(answer.pk)
        found = await asyncio.wait_for(following, 5)
        await hub().close()
        return found

    assert async_to_sync(run)() == []
    answer.refresh_from_db()
    assert answer.state == AnswerState.FINISHED


def test_a_revoked_membership_hides_what_was_answered(
    alice: User, bob: User, policies: Collection, leave: Document, settings: LazySettings
) -> None:
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        first = answered(bob, policies)
        assert answer_view.view_of(first, bob).sources[0].title
        Membership.objects.filter(user=bob).delete()
        view = answer_view.view_of(first, bob)
        assert all(source.hidden and not source.title and not source.parts for source in view.sources)
        assert all(sentence.hidden and not sentence.text for sentence in view.sentences)
        assert not view.quotes
        assert not view.partial
        assert answer_view.readable_history(bob, [first]) == []


def test_a_deleted_document_s_words_are_gone_from_old_answers(
    alice: User, policies: Collection, leave: Document, as_user: Callable[[User], Client]
) -> None:
    answer = answered(alice, policies)
    library.delete_document(alice, leave)
    view = answer_view.view_of(answer, alice)
    assert all(source.hidden and source.gone for source in view.sources)
    page = as_user(alice).get(reverse("answer", args=[answer.pk])).content.decode()
    assert "27 days" not in page
    assert "This document was deleted" in page
    library.purge_deleted(policies.pk)
    assert AnswerSource.objects.filter(answer=answer).exists()
    assert "27 days" not in as_user(alice).get(reverse("answer", args=[answer.pk])).content.decode()


def test_an_old_answer_still_opens_its_exact_words_after_a_new_revision(
    alice: User, policies: Collection, leave: Document, add_text: AddText, as_user: Callable[[User], Client]
) -> None:
    answer = answered(alice, policies)
    add_text(alice, policies, "leave.md", LEAVE.replace("27", "29"))
    view = answer_view.view_of(answer, alice)
    assert "27 days" in view.quotes[0].text
    page = as_user(alice).get(view.quotes[0].url).content.decode()
    assert "<mark>Full-time staff have 27 days of paid leave a year.</mark>" in page


def test_a_poisoned_index_that_returns_everything_leaks_nothing(
    alice: User, charlie: User, policies: Collection, secrets: Collection, leave: Document, add_text: AddText,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    add_text(charlie, secrets, "vault.txt", "Full-time staff of the vault have 99 days of paid leave: MARZIPAN.")
    everything = [Hit(chunk_id, 1.0) for chunk_id in Chunk.objects.for_maintenance().values_list("pk", flat=True)]
    monkeypatch.setattr("rag.services.indexing.Reader.dense", lambda *args, **kwargs: everything)
    monkeypatch.setattr("rag.services.indexing.Reader.keywords", lambda *args, **kwargs: everything)
    answer = answered(alice, policies)
    assert {source.document_id for source in answer.sources.all()} == {leave.pk}
    view = answer_view.view_of(answer, alice)
    assert "MARZIPAN" not in str(view)
    assert len(view.sources) <= retrieve.SOURCES
