import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.domain.marks import asks_for, asks_for_the_past, is_mark, marks


def words(text: str) -> list[tuple[str, ...]]:
    return [mark.words for mark in marks(text)]


@pytest.mark.parametrize(
    "text",
    ["3 March 2024", "March 3, 2024", "3rd day of March 2024", "2024-03-03", "03.03.2024", "3. März 2024", "2024/3/3"],
)
def test_a_day_is_the_same_however_it_is_written(text: str) -> None:
    assert words(f"Signed on {text}.") == [("2024", "2024-03", "2024-03-03")]


@pytest.mark.parametrize("text", ["March 2024", "März 2024", "Mar. 2024", "2024-03"])
def test_a_month_is_part_of_its_year(text: str) -> None:
    assert words(text) == [("2024", "2024-03")]


@pytest.mark.parametrize("text", ["v3", "V. 3", "Version 3", "version 3.0", "rev 3", "Fassung 3", "plan_v3_x"])
def test_a_version_is_the_same_however_it_is_written(text: str) -> None:
    assert words(text) == [("v3",)]


def test_versions_differ_by_every_part() -> None:
    assert words("version 3.1 and rev B") == [("v3.1",), ("vb",)]


@pytest.mark.parametrize("text", ["in 2019.", "acme_services_2019", "Policy-2019.pdf", "the 2019 version"])
def test_a_year_stands_alone(text: str) -> None:
    assert ("2019",) in words(text)


@pytest.mark.parametrize(
    "text", ["$2,019.50", "12019 items", "item A2019", "it may be so", "Section 3.2", "call 030 2019 1.9", "room 12.3"]
)
def test_other_numbers_are_no_marks(text: str) -> None:
    assert [found for found in words(text) if found != ("2019",)] == []


@given(st.text(max_size=300))
def test_marks_stand_in_order_and_do_not_overlap(text: str) -> None:
    at = 0
    for mark in marks(text):
        assert at <= mark.start < mark.end <= len(text)
        assert all(map(is_mark, mark.words))
        at = mark.end


@pytest.mark.parametrize(
    "question",
    [
        "What did the previous version say about leave?",
        "What was the notice in the superseded policy?",
        "How many days did the old travel policy allow?",
        "What does the original contract with Acme say?",
        "Was stand in der früheren Fassung?",
        "Was galt nach der alten Dienstanweisung?",
    ],
)
def test_a_question_for_what_was_is_known(question: str) -> None:
    assert asks_for_the_past(question)


@pytest.mark.parametrize(
    "question",
    [
        "How old must a tenant be?",
        "Who is the previous owner of the house?",
        "Which version is in force?",
        "What happens to expired cards?",
        "Wie alt muss man sein?",
        "Was ist neu?",
    ],
)
def test_a_question_for_what_is_is_no_question_for_what_was(question: str) -> None:
    assert not asks_for_the_past(question)


OLD, NEW = "Travel policy 2019", "Travel policy 2024"


@pytest.mark.parametrize(
    "question",
    [
        "What did the 2019 travel policy say about taxis?",
        "What does the policy of 2019 allow?",
        "Taxis in the 2019 version?",
        "Was erlaubt die Fassung von 2019?",
    ],
)
def test_an_older_document_is_asked_for_by_its_year(question: str) -> None:
    assert asks_for(question, OLD, NEW)


@pytest.mark.parametrize(
    "question",
    [
        "What does the travel policy say about taxis?",
        "What does the 2024 travel policy say about taxis?",
        "How do the 2019 and the 2024 travel policy differ?",
        "What happened in 2019?",
        "What did the 2018 travel policy say?",
    ],
)
def test_other_questions_do_not_ask_for_it(question: str) -> None:
    assert not asks_for(question, OLD, NEW)


def test_an_older_document_is_asked_for_by_its_version() -> None:
    assert asks_for("What notice did version 2 of the handbook give?", "Handbook_v2.pdf", "Handbook_v3.pdf")
    assert not asks_for("What notice does version 3 of the handbook give?", "Handbook_v2.pdf", "Handbook_v3.pdf")
