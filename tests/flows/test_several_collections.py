"""Several collections are searched as one would be that holds all of them, and others' words count for nothing."""

import random
from collections.abc import Callable

import pytest

from core.models import User
from rag.access import scope_for, scope_for_all
from rag.models import Collection, Document, Grant
from rag.services import indexing, retrieve
from tests.access.test_isolation import stored

pytestmark = pytest.mark.django_db
Texts = dict[str, str]
QUESTION = "the notice that ends a lease"
COMMON = ("rent", "term", "fee", "tenant", "visit", "key", "invoice", "clause")


@pytest.fixture
def texts() -> Texts:
    """Long ones, in which "lease" is on every page, and short ones, in which it is rare."""
    chance = random.Random(4)
    long = {f"long {n}": " ".join(["lease", *chance.choices(COMMON, k=50), f"number {n}"]) for n in range(12)}
    short = {f"short {n}": " ".join([*chance.choices(COMMON, k=6), f"number {n}"]) for n in range(12)}
    return long | short | {"long 3": long["long 3"] + " notice", "short 5": short["short 5"] + " lease notice"}


def shelf(owner: Collection, name: str) -> Collection:
    """A collection that the same teams may use."""
    made = Collection.objects.create(name=name)
    for grant in Grant.objects.filter(collection=owner):
        Grant.objects.create(collection=made, team=grant.team, role=grant.role)
    return made


def filled(collection: Collection, texts: Texts) -> Collection:
    for name, text in texts.items():
        stored(collection, name, text)
    indexing.sync(collection.pk)
    return collection


def scored(user: User, *collections: Collection) -> dict[str, float]:
    scope = scope_for(user, asked=[each.pk for each in collections])
    return {source.title: source.score for source in retrieve.search(QUESTION, scope, limit=24).sources}


def test_two_collections_rank_as_one_that_holds_both(bob: User, policies: Collection, texts: Texts) -> None:
    one = filled(shelf(policies, "Long"), {name: text for name, text in texts.items() if name.startswith("long")})
    other = filled(shelf(policies, "Short"), {name: text for name, text in texts.items() if name.startswith("short")})
    both = filled(shelf(policies, "Both"), texts)
    together, whole = scored(bob, one, other), scored(bob, both)
    assert together == pytest.approx(whole, rel=1e-3, abs=1e-3)
    assert list(together)[:5] == list(whole)[:5]
    assert len(together) == len(whole) > 10


def test_a_collection_that_one_may_not_read_or_did_not_ask_changes_no_score(
    bob: User, policies: Collection, secrets: Collection, texts: Texts
) -> None:
    one = filled(policies, {name: text for name, text in texts.items() if name.startswith("long")})
    other = filled(shelf(policies, "Short"), {name: text for name, text in texts.items() if name.startswith("short")})
    before = scored(bob, one, other)
    filled(secrets, {f"secret {n}": "notice that ends a lease " * 5 for n in range(6)})
    assert scored(bob, one, other, secrets) == before
    assert scored(bob, one, other) == before
    filled(shelf(policies, "Third"), {f"third {n}": "notice that ends a lease " * 5 for n in range(6)})
    assert scored(bob, one, other) == before


def test_quoted_words_are_insisted_on_where_any_passage_holds_them(bob: User, policies: Collection) -> None:
    other = shelf(policies, "Other")
    stored(policies, "cause", "An employee may be dismissed for good cause at any time.")
    stored(policies, "near", "There is good reason to ask what cause an employee was dismissed for.")
    stored(other, "more", "Dismissal without good causes is void.")
    stored(other, "far", "Employees may be dismissed at the end of a month.")
    for collection in (policies, other):
        indexing.sync(collection.pk)

    def found(question: str) -> set[str]:
        return {source.title for source in retrieve.search(question, scope_for_all(bob)).sources}

    assert found('Who is dismissed for "good cause"?') == {"cause", "more"}
    assert found("Who is dismissed for “good cause” “at any time”?") == {"cause"}
    assert found('Who is dismissed for "gross negligence"?') == found("Who is dismissed for gross negligence?")
    assert len(found('Who is dismissed for "gross negligence"?')) == 4


def test_a_document_is_indexed_by_the_rules_of_its_language(
    alice: User, policies: Collection, add_text: Callable[..., Document]
) -> None:
    add_text(alice, policies, "miete.txt", "Die Kündigungsfristen der Wohnungen betragen für alle Mieter drei Monate.")
    indexing.sync(policies.pk)
    assert indexing.reader(policies.pk).languages() == {"de"}
