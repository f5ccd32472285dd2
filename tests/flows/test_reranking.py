"""The reranking model: measured on a collection's kept questions, on where its managers switched it on, silent where not."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse

from core.models import User
from rag.access import scope_for
from rag.backends.rerankers.base import Reranker
from rag.domain.errors import Permanent
from rag.domain.learning import FEWEST
from rag.models import Collection, Document, Ranker
from rag.models.ranking import RankerKind, RankerState
from rag.services import kept_questions, learning, rankers, reranking, retrieve
from tests.conftest import forget_everything

AddText = Callable[..., Document]
pytestmark = pytest.mark.django_db
QUESTION = "What does rule alpha say?"


class Longest(Reranker):
    """Likes long passages; remembers what it was given."""

    name, digest = "longest", "longest-1"
    read: ClassVar[list[Sequence[str]]] = []

    def __init__(self, folder: str, threads: int = 0) -> None:
        self.folder = folder

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        self.read.append(passages)
        return [float(len(passage)) for passage in passages]


@pytest.fixture
def configured(settings: LazySettings) -> None:
    settings.RAG = settings.RAG | {"RERANKER": f"{__name__}.Longest", "RERANKER_FOLDER": "somewhere"}
    forget_everything()
    Longest.read.clear()


@pytest.fixture
def rules(alice: User, policies: Collection, add_text: AddText) -> Collection:
    add_text(alice, policies, "short.txt", "Rule alpha says: what does rule alpha say?")
    add_text(alice, policies, "long.txt", "Rule alpha is told here at length, with all that belongs to it and more.")
    return policies


def switched_on(collection: Collection, basis: str = Longest.digest) -> Ranker:
    return Ranker.objects.create(collection=collection, kind=RankerKind.RERANKER, state=RankerState.ON, basis=basis)


def titles(actor: User, *collections: Collection) -> list[str]:
    found = retrieve.search(QUESTION, scope_for(actor, asked=[each.pk for each in collections]))
    return [source.title for source in found.sources]


@pytest.mark.usefixtures("configured")
def test_it_reads_only_where_it_is_switched_on(alice: User, rules: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reranking, "CLEAR", 100.0)
    assert titles(alice, rules) == ["short", "long"]
    assert Longest.read == []
    ranker = switched_on(rules)
    assert titles(alice, rules) == ["long", "short"]
    assert len(Longest.read) == 1
    Ranker.objects.update(basis="other weights")
    assert titles(alice, rules) == ["short", "long"]
    assert not rankers.serves(Ranker.objects.get(pk=ranker.pk))


@pytest.mark.usefixtures("configured")
def test_a_clear_lead_is_left_alone(alice: User, rules: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    switched_on(rules)
    monkeypatch.setattr(reranking, "CLEAR", 0.0)
    assert titles(alice, rules) == ["short", "long"]
    assert Longest.read == []


@pytest.mark.usefixtures("configured")
def test_it_reads_no_more_than_the_best_and_nothing_of_other_collections(
    alice: User, rules: Collection, add_text: AddText, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reranking, "CLEAR", 100.0)
    other = Collection.objects.create(name="Other")
    other.grants.create(team=rules.grants.get().team)
    add_text(alice, other, "other.txt", "Rule alpha of another collection says a great deal more than any rule here.")
    switched_on(rules)
    before = titles(alice, other)
    assert Longest.read == []
    together = titles(alice, rules, other)
    assert before == ["other"]
    assert sorted(together) == ["long", "other", "short"]
    assert together.index("long") < together.index("short")
    assert all("another collection" not in passage for passages in Longest.read for passage in passages)
    monkeypatch.setattr(reranking, "TOP", 1)
    assert titles(alice, rules) == ["short", "long"]


def test_without_a_model_nothing_can_be_measured(alice: User, policies: Collection) -> None:
    with pytest.raises(Permanent, match="No reranking model"):
        learning.ask_to_learn(alice, policies, RankerKind.RERANKER)


@pytest.mark.usefixtures("configured")
def test_it_is_proposed_after_it_has_ranked_kept_questions_better(
    alice: User,
    policies: Collection,
    add_text: AddText,
    as_user: Callable[[User | None], Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reranking, "CLEAR", 100.0)
    lines = ["question,document"]
    for number in range(FEWEST):
        name = f"topic{number:02}x{number * 7:03}"
        add_text(alice, policies, f"{name} note.txt", f"What is {name}: {name}?")
        add_text(
            alice, policies, f"{name} text.txt", f"The {name} " + " ".join(f"{name[::-1]}{i} of it" for i in range(6))
        )
        lines.append(f"What is {name}?,{name} text.txt")
    assert not kept_questions.upload(alice, policies, "\n".join(lines).encode()).wrong
    client = as_user(alice)
    address = reverse("quality", args=[policies.pk])
    assert "longest reads the question" in client.get(address).content.decode()
    client.post(reverse("quality_learn", args=[policies.pk]), {"kind": "reranker"})
    ranker = Ranker.objects.get()
    learning.measure(ranker.pk)
    ranker.refresh_from_db()
    assert (ranker.kind, ranker.state, ranker.basis) == (RankerKind.RERANKER, RankerState.PROPOSED, "longest-1")
    client.post(reverse("quality_switch", args=[policies.pk, ranker.pk]), {"to": "on"})
    assert rankers.reranked([policies.pk]) == {policies.pk}
