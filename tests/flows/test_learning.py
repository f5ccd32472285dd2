"""Learning to rank: measured in a worker, proposed, switched on and off by whoever manages the collection, and no other's."""

from collections.abc import Callable

import pytest

from core.models import AuditEvent, Membership, Role, Team, User
from rag import tasks
from rag.access import scope_for
from rag.domain.errors import Permanent
from rag.domain.learning import FEATURES, FEWEST
from rag.models import Collection, Document, Grant, KeptQuestion, Ranker
from rag.models.ranking import RankerKind, RankerState
from rag.services import kept_questions, learning, rankers, retrieve
from rag.services.indexing import current_digest

AddText = Callable[..., Document]
pytestmark = pytest.mark.django_db

TOPICS = [f"{first}{second}" for first in ("amber", "basalt", "cobalt", "dolomite", "emerald") for second in "abcdef"]


def fill(actor: User, collection: Collection, add_text: AddText, topics: list[str], *, unlike: str = "") -> None:
    """For each topic a note that repeats the question's words and a long text that answers it; `unlike` sets their words apart."""
    for topic in topics:
        add_text(actor, collection, f"{topic} note.txt", f"What is {topic} good for: {topic} {unlike}.")
        words = " ".join(f"and {topic[::-1]}{number} {unlike} of its use" for number in range(9))
        add_text(actor, collection, f"{topic} text.txt", f"The use of {topic} is told here, {words}.")


def question(topic: str) -> str:
    return f"What is {topic} good for?"


def ask_for_long_texts(actor: User, collection: Collection, topics: list[str]) -> None:
    lines = [f"{question(topic)},{topic} text.txt" for topic in topics]
    taken = kept_questions.upload(actor, collection, "\n".join(["question,document", *lines]).encode())
    assert not taken.wrong


def switched_on(collection: Collection, **weights: float) -> Ranker:
    """Weights that are on, as if measured: by feature, blanks as underscores."""
    values = dict.fromkeys(FEATURES, 0.0) | {name.replace("_", " "): value for name, value in weights.items()}
    return Ranker.objects.create(
        collection=collection, kind=RankerKind.WEIGHTS, state=RankerState.ON, values=values, basis=current_digest()
    )


def titles(actor: User, text: str, *collections: Collection) -> list[str]:
    found = retrieve.search(text, scope_for(actor, asked=[each.pk for each in collections]))
    return [source.title for source in found.sources]


def test_what_questions_teach_is_measured_proposed_and_switched_on_and_off(
    alice: User, policies: Collection, add_text: AddText
) -> None:
    fill(alice, policies, add_text, TOPICS)
    ask_for_long_texts(alice, policies, TOPICS[1:])
    before = titles(alice, question(TOPICS[0]), policies)
    assert before[0] == f"{TOPICS[0]} note"

    ranker = learning.ask_to_learn(alice, policies)
    assert learning.ask_to_learn(alice, policies) == ranker  # one at a time
    tasks.learn(ranker.pk)
    ranker.refresh_from_db()
    assert (ranker.state, ranker.message) == (RankerState.PROPOSED, "")
    assert len(ranker.figures) == len(TOPICS) - 1
    assert sum(row[2] - row[1] for row in ranker.figures) / len(ranker.figures) > 0.2
    assert titles(alice, question(TOPICS[0]), policies) == before  # proposed is not on

    rankers.switch_on(alice, ranker)
    assert titles(alice, question(TOPICS[0]), policies)[0] == f"{TOPICS[0]} text"
    rankers.switch_off(alice, ranker)
    assert titles(alice, question(TOPICS[0]), policies) == before
    actions = AuditEvent.objects.filter(action__startswith="ranking.").values_list("action", flat=True)
    assert sorted(actions) == ["ranking.asked", "ranking.switched_off", "ranking.switched_on"]


def test_questions_that_teach_nothing_are_not_proposed(alice: User, policies: Collection, add_text: AddText) -> None:
    fill(alice, policies, add_text, TOPICS[:FEWEST])
    lines = [f"{question(topic)},{topic} note.txt" for topic in TOPICS[:FEWEST]]
    kept_questions.upload(alice, policies, "\n".join(["question,document", *lines]).encode())
    ranker = learning.ask_to_learn(alice, policies)
    learning.measure(ranker.pk)
    ranker.refresh_from_db()
    assert ranker.state == RankerState.REJECTED
    assert ranker.message
    with pytest.raises(Permanent):
        rankers.switch_on(alice, ranker)


def test_too_few_questions_say_how_many_are_needed(alice: User, policies: Collection, add_text: AddText) -> None:
    fill(alice, policies, add_text, TOPICS[:2])
    ask_for_long_texts(alice, policies, TOPICS[:2])
    ranker = learning.ask_to_learn(alice, policies)
    learning.measure(ranker.pk)
    ranker.refresh_from_db()
    assert ranker.state == RankerState.FAILED
    assert ranker.message == "At least 20 questions whose passage is found are needed; there are 2."


def test_whoever_lost_the_collection_measures_nothing(alice: User, policies: Collection) -> None:
    ranker = learning.ask_to_learn(alice, policies)
    Membership.objects.filter(user=alice).update(role=Role.READER)
    learning.measure(ranker.pk)
    ranker.refresh_from_db()
    assert ranker.state == RankerState.FAILED


def test_measuring_twice_is_measuring_once_and_a_lost_message_is_sent_again(
    alice: User, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = learning.ask_to_learn(alice, policies)
    sent: list[int] = []
    monkeypatch.setattr(tasks, "send", lambda _task, ranker_id: sent.append(ranker_id))
    learning.resume()
    assert sent == [ranker.pk]
    learning.measure(ranker.pk)
    learning.measure(ranker.pk)
    learning.resume()
    ranker.refresh_from_db()
    assert (sent, ranker.attempt) == ([ranker.pk], 1)


def test_what_kills_its_worker_again_and_again_fails(alice: User, policies: Collection) -> None:
    ranker = learning.ask_to_learn(alice, policies)
    Ranker.objects.update(attempt=learning.ATTEMPTS_MOST)
    learning.resume()
    ranker.refresh_from_db()
    assert ranker.state == RankerState.FAILED


def test_switching_on_another_goes_back_to_it_and_off_leaves_what_is_shipped(alice: User, policies: Collection) -> None:
    first, second = switched_on(policies, length=1.0), switched_on_later(policies)
    rankers.switch_on(alice, second)
    first.refresh_from_db()
    assert first.state == RankerState.OFF
    rankers.switch_on(alice, first)
    second.refresh_from_db()
    assert second.state == RankerState.OFF
    assert set(rankers.weights_of([policies.pk], basis=current_digest())) == {policies.pk}


def switched_on_later(collection: Collection) -> Ranker:
    values = dict.fromkeys(FEATURES, 0.0)
    return Ranker.objects.create(
        collection=collection,
        kind=RankerKind.WEIGHTS,
        state=RankerState.PROPOSED,
        values=values,
        basis=current_digest(),
    )


def test_weights_of_other_vectors_or_features_do_not_serve(alice: User, policies: Collection) -> None:
    ranker = switched_on(policies, length=1.0)
    assert rankers.serves(ranker)
    Ranker.objects.update(basis="other weights")
    assert not rankers.weights_of([policies.pk], basis=current_digest())
    Ranker.objects.update(basis=current_digest(), values={"length": 1.0})
    assert not rankers.weights_of([policies.pk], basis=current_digest())
    Ranker.objects.update(state=RankerState.OFF)
    with pytest.raises(Permanent):
        rankers.switch_on(alice, ranker)


@pytest.fixture
def notices(clinic: Team) -> Collection:
    """A second collection of the team Clinic."""
    collection = Collection.objects.create(name="Notices")
    Grant.objects.create(collection=collection, team=clinic)
    return collection


def test_weights_of_one_collection_leave_another_as_it_is(
    alice: User, policies: Collection, notices: Collection, add_text: AddText
) -> None:
    fill(alice, policies, add_text, TOPICS[:3])
    fill(alice, notices, add_text, TOPICS[:3], unlike="elsewhere")
    shipped = titles(alice, question(TOPICS[0]), notices)
    together = retrieve.search(question(TOPICS[0]), scope_for(alice, asked=[policies.pk, notices.pk]))
    switched_on(policies, length=20.0)
    assert titles(alice, question(TOPICS[0]), policies) != shipped
    assert titles(alice, question(TOPICS[0]), notices) == shipped

    changed = retrieve.search(question(TOPICS[0]), scope_for(alice, asked=[policies.pk, notices.pk]))
    places = [source.collection_id for source in together.sources]
    assert [source.collection_id for source in changed.sources] == places
    of_notices = [source.chunk_id for source in together.sources if source.collection_id == notices.pk]
    assert [source.chunk_id for source in changed.sources if source.collection_id == notices.pk] == of_notices
    of_policies = [source.title for source in changed.sources if source.collection_id == policies.pk]
    assert of_policies.index(f"{TOPICS[0]} text") < of_policies.index(f"{TOPICS[0]} note")
    assert [source.score for source in changed.sources] == [source.score for source in together.sources]


def test_learning_uses_the_questions_and_passages_of_its_own_collection_alone(
    alice: User, policies: Collection, notices: Collection, add_text: AddText
) -> None:
    fill(alice, policies, add_text, TOPICS)
    ask_for_long_texts(alice, policies, TOPICS)
    ranker = learning.ask_to_learn(alice, policies)
    learning.measure(ranker.pk)
    alone = Ranker.objects.get(pk=ranker.pk)
    fill(alice, notices, add_text, TOPICS)
    lines = [f"{question(topic)},{topic} note.txt" for topic in TOPICS]
    kept_questions.upload(alice, notices, "\n".join(["question,document", *lines]).encode())
    again = learning.ask_to_learn(alice, policies)
    learning.measure(again.pk)
    again.refresh_from_db()
    assert (again.values, again.figures) == (alone.values, alone.figures)
    own = set(KeptQuestion.objects.filter(collection=policies).values_list("pk", flat=True))
    assert {row[0] for row in again.figures} == own


def test_deleting_a_collection_takes_its_rankers_and_questions_along(alice: User, policies: Collection) -> None:
    switched_on(policies, length=1.0)
    KeptQuestion.objects.create(collection=policies, text="One?", origin="uploaded")
    policies.delete()
    assert (Ranker.objects.count(), KeptQuestion.objects.count()) == (0, 0)
