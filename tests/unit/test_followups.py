import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.domain.followups import (
    ANSWER,
    ANSWER_MOST,
    DECAY,
    QUESTION,
    QUESTIONS,
    STANDING,
    Lean,
    Turn,
    earlier,
    lean,
    on_topic,
    standalone,
)

HOURS = Turn("What are the opening hours of the library?", "The library opens at nine on weekdays.")
NEAR, MIDDLE, FAR = np.array([1.0, 0.0]), np.array([0.15, 0.9887]), np.array([0.0, 1.0])

LEANING = [
    "How long is it?",
    "And on Saturdays?",
    "What about the fees?",
    "What does it say about illness?",
    "Do they apply to part-time staff?",
    "How old was he when he died?",
    "Is that the same for contractors?",
    "What are the exceptions to this rule?",
    "Which one is cheaper?",
    "The other one, please",
    "I meant for Mars",
    "no, the notice of the tenant",
    "But who pays then?",
    "Can I have the latter by mail?",
    "Is there anything else?",
    "Und am Samstag?",
    "Was ist mit den Gebühren?",
    "Gilt das auch für Auszubildende?",
    "Wie lange dauert er?",
    "Wer bezahlt dafür?",
    "Ich meinte die Frist des Mieters",
    "Welche Fristen gelten dabei?",
    "Haben sie Anspruch auf Urlaub?",
    "Was sagt seine Satzung?",
]
WHOLE = [
    "What is a polder?",
    "What are sandboxes?",
    "Who wrote Pride and Prejudice?",
    "How many days of leave do full-time staff have?",
    "Is it true that leave can be carried over to the next year?",
    "Is it possible to carry leave over to the next year?",
    "How much does it cost to register a trade mark?",
    "What is a health care proxy and what are their duties?",
    "Does the Prince of Wales have his own source of income?",
    "Are there rules for the use of private cars?",
    "What are the rules that apply to private cars?",
    "How can one upgrade the database to a newer version?",
    "What is the difference between this year's and last year's travel policy rules?",
    "Gibt es eine Pflicht zur Aufbewahrung von Rechnungen?",
    "Ist es erlaubt, private Geräte im Labor zu benutzen?",
    "Was ist eine Patientenverfügung?",
    "Können Sie die Kündigungsfrist der Mitarbeiter nennen?",
    "Wie viele Urlaubstage haben Auszubildende im ersten Jahr?",
]


@pytest.mark.parametrize("question", LEANING)
def test_a_question_that_points_back_or_goes_on_leans(question: str) -> None:
    assert lean(question) is Lean.CLEARLY


@pytest.mark.parametrize("question", WHOLE)
def test_a_question_that_says_what_it_is_about_stands_alone(question: str) -> None:
    assert lean(question) is Lean.NOT


@pytest.mark.parametrize("question", ["Probate?", "The size", "Can you travel abroad?", "Gebühren?"])
def test_a_question_of_few_words_may_lean(question: str) -> None:
    assert lean(question) is Lean.MAYBE


@pytest.mark.parametrize(
    "question",
    ["Another question: who approves it?", "On a different topic, what is a polder?", "Neues Thema: wer zahlt es?"],
)
def test_who_says_that_the_topic_changes_is_believed(question: str) -> None:
    assert lean(question) is Lean.NEVER
    assert earlier(question, [HOURS]) == []
    assert standalone(question, [HOURS]) == question


def test_a_follow_up_in_words_carries_the_question_that_it_goes_on_from() -> None:
    assert standalone("And on Saturdays?", [HOURS]) == f"And on Saturdays? ({HOURS.question})"


def test_a_question_that_stands_alone_stays_as_it_is() -> None:
    assert standalone(WHOLE[3], [HOURS]) == WHOLE[3]


def test_the_topic_outlasts_several_follow_ups_and_what_is_said_between() -> None:
    turns = [HOURS, Turn("And on Saturdays?"), Turn("Thank you, that is great!"), Turn("What about its car park?")]
    assert standalone("How much is it?", turns) == f"How much is it? ({HOURS.question})"


def test_a_new_topic_replaces_the_old_one() -> None:
    turns = [HOURS, Turn("Who approves invoices above a thousand euros?")]
    assert standalone("And below that?", turns) == "And below that? (Who approves invoices above a thousand euros?)"


def test_a_first_question_has_nothing_before_it() -> None:
    assert standalone("How long is it?", []) == "How long is it?"
    assert earlier("How long is it?", []) == []


def test_the_last_answer_counts_most_and_each_question_half_as_much_as_the_one_after_it() -> None:
    turns = [Turn("Where is the library?"), Turn("Who runs the library?"), HOURS]
    found = earlier("And on Saturdays?", turns)
    assert [each.text for each in found] == [HOURS.question, "Who runs the library?", HOURS.answer][: QUESTIONS + 1]
    assert [each.weight for each in found] == pytest.approx([QUESTION, QUESTION * DECAY, ANSWER])
    assert sum(each.weight for each in found) < 1


def test_beside_a_question_that_stands_alone_the_same_counts_less() -> None:
    leaning = earlier("And on Saturdays?", [HOURS])
    alone = earlier("Who approves invoices above a thousand euros?", [HOURS])
    assert [each.text for each in alone] == [each.text for each in leaning]
    assert [each.weight for each in alone] == pytest.approx([STANDING * each.weight for each in leaning])


def test_thanks_and_praise_count_nothing() -> None:
    found = earlier("And on Saturdays?", [HOURS, Turn("Thank you very much!", "You are welcome.")])
    assert "Thank you very much!" not in [each.text for each in found]


def test_only_the_last_answer_counts_and_only_its_beginning() -> None:
    turns = [Turn("Where is it?", "In Harbour Street."), Turn("Since when?", "Since the year 1904. " * 100)]
    texts = [each.text for each in earlier("Why?", turns)]
    assert "In Harbour Street." not in texts
    assert len(texts[-1]) <= ANSWER_MOST
    assert texts[-1].endswith(("Since", "the", "year", "1904."))


def test_what_was_said_counts_for_a_leaning_question_however_unlike_it_is() -> None:
    assert on_topic("And on Saturdays?", NEAR, [FAR]) == 1


def test_what_was_said_counts_nothing_beside_a_question_about_something_else() -> None:
    question = "Who approves invoices above a thousand euros?"
    assert on_topic(question, NEAR, [FAR]) == 0
    assert 0 < on_topic(question, NEAR, [FAR, MIDDLE]) < 1
    assert on_topic(question, NEAR, [FAR, NEAR]) == 1


@given(st.text(max_size=200), st.lists(st.builds(Turn, st.text(max_size=80), st.text(max_size=400)), max_size=5))
def test_any_conversation_has_bounded_weights(question: str, turns: list[Turn]) -> None:
    found = earlier(question, turns)
    assert sum(each.weight for each in found) < 1
    assert all(each.text.strip() for each in found)
    assert standalone(question, turns).startswith(question)


def test_another_model_s_cosines_are_judged_on_the_common_scale() -> None:
    question, elsewhere = np.array([1.0, 0.0], dtype=np.float32), np.array([0.8, 0.6], dtype=np.float32)
    asked = "Which forms does the laboratory accept for blood samples?"
    assert on_topic(asked, question, [elsewhere]) == 1
    assert on_topic(asked, question, [elsewhere], likeness=lambda cosine: 4 * cosine - 3.2) == 0
