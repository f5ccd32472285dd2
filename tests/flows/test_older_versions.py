"""The newest version answers, unless the question asks for an older one."""

import pytest

from core.models import User
from rag.models import Collection, Document
from tests.access.test_isolation import stored
from tests.flows.test_validity import change, titles

pytestmark = pytest.mark.django_db
TAXIS = "Taxis are paid up to {} euros a day on business travel."


@pytest.fixture
def policies_by_year(alice: User, policies: Collection) -> dict[int, Document]:
    """Three travel policies, each of which took the place of the one before it."""
    found = {
        year: stored(policies, f"Travel policy {year}.md", TAXIS.format(year % 100)) for year in (2015, 2019, 2024)
    }
    change(alice, found[2015], superseded_by=found[2019])
    change(alice, found[2019], superseded_by=found[2024])
    return found


@pytest.mark.parametrize(
    ("question", "year"),
    [
        ("How much is paid for taxis?", 2024),
        ("How much does the travel policy pay for taxis?", 2024),
        ("How much does the 2024 travel policy pay for taxis?", 2024),
        ("How much did the 2019 travel policy pay for taxis?", 2019),
        ("How much was paid for taxis in the 2015 version of the travel policy?", 2015),
    ],
)
def test_the_version_that_is_asked_for_answers_alone(
    question: str, year: int, alice: User, policies_by_year: dict[int, Document]
) -> None:
    assert titles(alice, question) == [policies_by_year[year].title]


def test_all_versions_answer_a_question_for_what_was(alice: User, policies_by_year: dict[int, Document]) -> None:
    found = titles(alice, "How much did the previous version of the travel policy pay for taxis?")
    assert set(found) == {document.title for document in policies_by_year.values()}


def test_versions_that_are_compared_both_answer(alice: User, policies_by_year: dict[int, Document]) -> None:
    found = titles(alice, "How do the previous 2019 policy and the 2024 travel policy differ on taxis?")
    assert {policies_by_year[2019].title, policies_by_year[2024].title} <= set(found)


def test_a_year_that_no_version_bears_asks_for_none(alice: User, policies_by_year: dict[int, Document]) -> None:
    assert titles(alice, "Up to how many euros a day were taxis paid on business travel in 2012?") == [
        policies_by_year[2024].title
    ]


def test_a_stranger_asks_for_an_older_version_in_vain(charlie: User, policies_by_year: dict[int, Document]) -> None:
    assert titles(charlie, "How much did the 2019 travel policy pay for taxis?") == []
