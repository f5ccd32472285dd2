"""Which model answers: the one picked for the question, else its collection's, else the usual one; and who is told where it is."""

from collections.abc import Callable

import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse

from core.models import AuditEvent, User
from core.registry import State
from rag.domain.errors import Permanent
from rag.models import Answer, Collection, Document, LanguageModel
from rag.models.conversation import AnswerState
from rag.models.language_model import model_key
from rag.services import answering, language_models, models_admin
from tests.conftest import forget_everything
from tests.contracts.llms import nobody
from tests.flows.test_one_question import LEAVE, QUESTION, produced
from tests.scripted_ollama import ScriptedOllama
from tests.scripted_openai import KEY as OPENAI_KEY
from tests.scripted_openai import MODEL as OPENAI_MODEL
from tests.scripted_openai import ScriptedOpenAI
from tests.scripted_replicate import KEY as REPLICATE_KEY
from tests.scripted_replicate import MODEL as REPLICATE_MODEL
from tests.scripted_replicate import VERSION, ScriptedReplicate

pytestmark = pytest.mark.django_db(transaction=True)
AsUser = Callable[[User | None], Client]
OLLAMA, OPENAI, REPLICATE = "ollama", "openai_compatible", "replicate"
OTHER = "scripted-ok:latest"


@pytest.fixture
def leave(alice: User, policies: Collection, add_text: Callable[..., Document]) -> Document:
    return add_text(alice, policies, "leave.md", LEAVE)


@pytest.fixture
def configure(settings: LazySettings) -> Callable[..., None]:
    """Changes what the environment says about model servers."""

    def change(**values: object) -> None:
        settings.RAG = settings.RAG | {"FIRST_TOKEN_SECONDS": 2} | values
        forget_everything()

    return change


def asked(user: User, collection: Collection, *, model: str = "", after: Answer | None = None) -> Answer:
    """The answer of the model that was picked, to its end."""
    thread = after.conversation if after else None
    return produced(
        answering.open_answer(user, question=QUESTION, conversation=thread, collections=[collection], model=model)
    )


def test_the_question_goes_before_the_collection_and_that_before_the_installation(
    dana: User, bob: User, alice: User, policies: Collection, leave: Document, configure: Callable[..., None]
) -> None:
    with ScriptedOllama() as server, ScriptedOpenAI() as other:
        configure(OLLAMA_URL=server.url, OPENAI_URLS=(f"{other.url}/v1",), OPENAI_KEY=OPENAI_KEY)
        models_admin.choose(dana, server.model)
        models_admin.offer(dana, OTHER)
        models_admin.offer(dana, OPENAI_MODEL, provider=OPENAI)
        assert next(offer.name for offer in language_models.offered()) == server.model
        first = asked(bob, policies)
        assert (first.provider, first.model, first.model_digest) == (OLLAMA, server.model, server.digest)
        models_admin.choose_for(alice, policies, model_key(OPENAI, OPENAI_MODEL))
        second = asked(bob, policies, after=first)
        assert (second.provider, second.model, second.state) == (OPENAI, OPENAI_MODEL, AnswerState.FINISHED)
        third = asked(bob, policies, model=model_key(OLLAMA, OTHER), after=second)
        assert (third.model, third.state) == (OTHER, AnswerState.FINISHED)
        assert [third.wanted_model, second.wanted_model] == [model_key(OLLAMA, OTHER), ""]
    # Nothing is lost by it: every answer keeps what wrote it, and the later models read what was said before.
    assert Answer.objects.filter(conversation=first.conversation).exclude(text="").count() == 3
    assert "assistant" in [message["role"] for message in server.requests[-1]["messages"]]
    assert AuditEvent.objects.filter(action="collection.model").count() == 1


def test_collections_that_name_different_models_leave_it_to_the_usual_one(
    dana: User, policies: Collection, secrets: Collection, configure: Callable[..., None]
) -> None:
    with ScriptedOllama() as server:
        configure(OLLAMA_URL=server.url)
        models_admin.choose(dana, server.model)
        models_admin.offer(dana, OTHER)
    offers = language_models.offered()
    usual, other = (next(offer for offer in offers if offer.name == name) for name in (server.model, OTHER))
    policies.language_model = other.key
    assert language_models.usual(offers, [policies, secrets]) == other
    secrets.language_model = usual.key
    assert language_models.usual(offers, [policies, secrets]) == usual
    policies.language_model = secrets.language_model = model_key(OLLAMA, "withdrawn:latest")
    assert language_models.usual(offers, [policies, secrets]) == usual


def test_a_picked_model_that_is_no_longer_on_offer_is_said_so_and_never_replaced(
    dana: User, bob: User, policies: Collection, leave: Document, configure: Callable[..., None]
) -> None:
    with ScriptedOllama() as server:
        configure(OLLAMA_URL=server.url)
        models_admin.choose(dana, server.model)
        models_admin.offer(dana, OTHER)
        key = model_key(OLLAMA, OTHER)
        opened = answering.open_answer(bob, question=QUESTION, conversation=None, collections=[policies], model=key)
        models_admin.withdraw(dana, OTHER)
        answer = produced(opened)
        assert (answer.state, answer.model) == (AnswerState.FAILED, "")
        assert "not on offer any more" in answer.message
        assert answer.quotes, "what was found stays"
        with pytest.raises(Permanent, match="not on offer"):
            answering.open_answer(bob, question=QUESTION, conversation=None, collections=[policies], model=key)
        assert asked(bob, policies).model == server.model


def test_choosing_anew_pins_the_new_digest_and_keeps_who_chose_it(
    dana: User, bob: User, alice: User, policies: Collection, leave: Document, configure: Callable[..., None]
) -> None:
    with ScriptedOllama() as server:
        configure(OLLAMA_URL=server.url)
        models_admin.choose(dana, server.model)
        models_admin.choose_for(alice, policies, model_key(OLLAMA, server.model))
        server.digests[server.model] = "e" * 64  # pulled anew
        assert "changed since" in asked(bob, policies).message
        models_admin.choose(dana, server.model)
        answer = asked(bob, policies)
    assert (answer.state, answer.model_digest) == (AnswerState.FINISHED, "e" * 64)
    assert LanguageModel.objects.count() == 1


def test_a_passage_of_the_prompt_before_stands_first_and_citations_are_those_that_readers_see(
    dana: User, bob: User, policies: Collection, leave: Document, alice: User, add_text: Callable[..., Document],
    configure: Callable[..., None],
) -> None:  # fmt: skip
    add_text(alice, policies, "parking.md", "# Parking\n\nStaff park in yard B. A permit costs 12 euros a month.")
    with ScriptedOllama() as server:
        configure(OLLAMA_URL=server.url)
        models_admin.choose(dana, server.model)
        first = asked(bob, policies)
        opened = answering.open_answer(
            bob,
            question="What does a permit for parking cost?",
            conversation=first.conversation,
            collections=[policies],
        )
        second = produced(opened)
    before, after = (
        [
            row.chunk_id
            for row in sorted(answer.sources.all(), key=lambda row: answer.parameters["order"].index(row.number))
        ]
        for answer in (first, second)
    )
    kept = [chunk for chunk in before if chunk in after]
    assert kept and after[: len(kept)] == kept
    assert [row.number for row in second.sources.order_by("number")] == [1, 2]
    for sentence in second.sentences.prefetch_related("citations__source__document"):
        (citation,) = sentence.citations.all()
        about_parking = any(word in sentence.text.lower() for word in ("permit", "park"))
        assert citation.source.document is not None
        assert about_parking == (citation.source.document.path == "parking.md")


@pytest.mark.parametrize("read", [40, None])
def test_a_server_that_read_less_than_it_was_sent_is_marked_on_the_answer(
    read: int | None, dana: User, bob: User, policies: Collection, leave: Document, configure: Callable[..., None],
    as_user: AsUser,
) -> None:  # fmt: skip
    with ScriptedOllama() as server:
        server.reads = read
        configure(OLLAMA_URL=server.url)
        models_admin.choose(dana, server.model)
        answer = asked(bob, policies)
    assert answer.state == AnswerState.FINISHED
    assert answer.parameters.get("cut", False) is (read is not None)
    shown = as_user(bob).get(reverse("answer", args=[answer.pk])).content.decode()
    assert ("read only part of what it was sent" in shown) is (read is not None)


# --- Several hosts


def test_a_dead_host_is_passed_over_and_the_other_answers(
    dana: User, bob: User, policies: Collection, leave: Document, configure: Callable[..., None]
) -> None:
    with ScriptedOllama() as server:
        configure(OLLAMA_URL=server.url, OLLAMA_MORE_URLS=(nobody(),))
        models_admin.choose(dana, server.model)
        assert [asked(bob, policies).state for _ in range(2)] == [AnswerState.FINISHED] * 2
        finding = models_admin.finding()
        assert (finding.state, "on 1 of 2 hosts" in finding.found) == (State.OK, True)
    assert "cannot be reached" in asked(bob, policies).message


def test_an_ollama_that_leaks_prompts_is_not_asked(
    dana: User, bob: User, policies: Collection, leave: Document, configure: Callable[..., None]
) -> None:
    with ScriptedOllama() as server:
        configure(OLLAMA_URL=server.url)
        models_admin.choose(dana, server.model)
        server.version = "0.17.0"
        assert "leaks prompts" in asked(bob, policies).message
        assert server.requests == []


# --- Services outside


def test_a_service_outside_is_asked_only_where_its_very_host_is_allowed_and_then_every_page_says_so(
    dana: User, bob: User, policies: Collection, leave: Document, configure: Callable[..., None], as_user: AsUser
) -> None:
    with ScriptedReplicate() as service:
        names = {"REPLICATE_URL": service.url, "REPLICATE_KEY": REPLICATE_KEY, "REPLICATE_MODELS": (REPLICATE_MODEL,)}
        configure(OLLAMA_URL=nobody(), **names, OUTSIDE_HOSTS=("streaming.example.com",))
        with pytest.raises(Permanent, match=r"FOOTNOTE_ALLOW_OUTSIDE_HOST=127\.0\.0\.1"):
            models_admin.choose(dana, REPLICATE_MODEL, provider=REPLICATE)
        LanguageModel.objects.create(provider=REPLICATE, name=REPLICATE_MODEL, digest=VERSION)  # from an earlier time
        assert language_models.offered() == []
        assert asked(bob, policies).provider == "extractive"
        assert service.paths == []
        page = as_user(bob).get("/").content.decode()
        assert "outside this machine" not in page

        configure(OUTSIDE_HOSTS=("127.0.0.1",))
        models_admin.choose(dana, REPLICATE_MODEL, provider=REPLICATE)
        answer = asked(bob, policies)
        assert (answer.provider, answer.model_digest, answer.state) == (REPLICATE, VERSION, AnswerState.FINISHED)
        for user, path in ((bob, "/"), (bob, "/search/"), (dana, "/models/"), (bob, "/nowhere/"), (None, "/sign-in/")):
            shown = as_user(user).get(path, follow=True).content.decode()
            assert "Answers can be written by <strong>127.0.0.1</strong>, outside this machine" in shown, path
        assert "127.0.0.1" in models_admin.finding().found


def test_the_composer_offers_what_is_on_offer_and_keeps_what_was_picked(
    dana: User,
    bob: User,
    policies: Collection,
    leave: Document,
    configure: Callable[..., None],
    as_user: AsUser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ScriptedOllama() as server:
        configure(OLLAMA_URL=server.url)
        models_admin.choose(dana, server.model)
        models_admin.offer(dana, OTHER)
        first = asked(bob, policies, model=model_key(OLLAMA, OTHER))
    client = as_user(bob)
    fresh, thread = (
        client.get(url).content.decode() for url in ("/", reverse("conversation", args=[first.conversation_id]))
    )
    picked = f'value="{model_key(OLLAMA, OTHER)}" checked'
    assert model_key(OLLAMA, server.model) in fresh and picked not in fresh
    assert picked in thread
    refused = client.post("/", {"question": QUESTION, "model": "ollama:nobody"})
    assert refused.status_code == 422 and "not on offer" in refused.content.decode()
    monkeypatch.setattr("rag.views.answers.start", lambda answer_id: None)
    again = reverse("answer_again", args=[first.pk])
    for posted, wanted in (({}, first.wanted_model), ({"model": ""}, ""), ({"model": "ollama:nobody"}, None)):
        before = Answer.objects.count()
        client.post(again, posted)
        newest = Answer.objects.order_by("created").last()
        assert newest is not None
        assert (newest.wanted_model if Answer.objects.count() > before else None) == wanted


def test_a_manager_says_which_model_answers_from_a_collection(
    alice: User, bob: User, dana: User, policies: Collection, configure: Callable[..., None], as_user: AsUser
) -> None:
    with ScriptedOllama() as server:
        configure(OLLAMA_URL=server.url)
        models_admin.choose(dana, server.model)
    url, key = reverse("collection_modes", args=[policies.pk]), model_key(OLLAMA, server.model)
    assert as_user(bob).post(url, {"model": key}).status_code == 404
    as_user(alice).post(url, {"model": key})
    policies.refresh_from_db()
    assert policies.language_model == key
    assert f'value="{key}" selected' in as_user(alice).get(reverse("collection", args=[policies.pk])).content.decode()
    as_user(alice).post(url, {"model": "ollama:nobody"})
    as_user(alice).post(url, {})
    policies.refresh_from_db()
    assert policies.language_model == key
    as_user(alice).post(url, {"model": ""})
    policies.refresh_from_db()
    assert policies.language_model == ""


def test_a_small_model_gets_a_short_prompt_and_the_page_says_how_many_passages_it_was_not_sent(
    dana: User, bob: User, alice: User, policies: Collection, add_text: Callable[..., Document],
    configure: Callable[..., None], as_user: AsUser,
) -> None:  # fmt: skip
    for n in range(5):
        add_text(alice, policies, f"leave-{n}.md", LEAVE.replace("27 days", f"2{n} days"))
    with ScriptedOllama() as server:
        configure(OLLAMA_URL=server.url)
        assert models_admin.choose(dana, server.model).billions == 1.2
        answer = asked(bob, policies)
        configure(PROMPT="full")
        whole = asked(bob, policies)
    assert (answer.parameters["profile"], answer.dropped, len(answer.parameters["order"])) == ("short", 2, 3)
    assert (whole.parameters["profile"], whole.dropped) == ("full", 0)
    assert [row.offered for row in answer.sources.order_by("number")] == [True, True, True, False, False]
    shown = as_user(bob).get(reverse("answer", args=[answer.pk])).content.decode()
    assert "It was not sent 2 of the passages" in shown
