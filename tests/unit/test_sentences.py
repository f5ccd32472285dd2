"""Where sentences end."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.domain.sentences import sentences


def split(text: str, *, wrapped: bool = True) -> list[str]:
    return [text[start:end] for start, end in sentences(text, wrapped=wrapped)]


@pytest.mark.parametrize(
    "whole",
    [
        "Dr. Weber and Prof. Klein met Mrs. Stone.",
        "The fee is 3.5 % of $4.50, i.e. little.",
        "See No. 5 of Art. 12 and Sec. 3, e.g. Monday.",
        "J. R. Tolkien wrote to C. S. Lewis.",
        "Er zahlt z. B. am 3. März 2024 gem. § 4.2 Abs. 1 BGB.",
        "Der 3. Senat entschied am 12. Januar.",
        "Die Miete beträgt ca. 1.000 Euro, d.h. 12.000 Euro im Jahr.",
        "It cost 2.5 million, approx. Half was paid.",
        "Acme Inc. Paid Bravo Ltd. Yesterday.",
        "It was closed at 5 p.m. yesterday.",
        'She said "Stop." and went.',
        "Version 2.0.1 of footnote.py runs.",
    ],
)
def test_an_abbreviation_does_not_end_a_sentence(whole: str) -> None:
    assert split(whole) == [whole]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It rains. It pours.", ["It rains.", "It pours."]),
        ("Really? Yes! Go on… Then stop.", ["Really?", "Yes!", "Go on…", "Then stop."]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("It began in 2018. The end came later.", ["It began in 2018.", "The end came later."]),
        ("Pay Acme Inc. The rest is free.", ["Pay Acme Inc.", "The rest is free."]),
        ("Take vitamin C. It helps.", ["Take vitamin C.", "It helps."]),
        ("Siehe § 4.2. Der Mieter zahlt.", ["Siehe § 4.2.", "Der Mieter zahlt."]),
        ("Äpfel, Birnen usw. Die Liste ist lang.", ["Äpfel, Birnen usw.", "Die Liste ist lang."]),
        ("これは文です。次の文です。", ["これは文です。", "次の文です。"]),
        ("(It rains.) It pours.", ["(It rains.)", "It pours."]),
    ],
)
def test_a_full_stop_before_a_new_beginning_ends_it(text: str, found: list[str]) -> None:
    assert split(text) == found


def test_a_line_break_inside_a_paragraph_is_a_blank() -> None:
    text = "The agreement runs for three years from the day on which\nit was signed. It ends by\nitself."
    assert len(split(text)) == 2


def test_headings_items_and_rows_stand_alone() -> None:
    text = (
        "4.2. Notice\nEither party may end this agreement with three months' notice to the end of\na month.\n\n"
        "You need:\n- your card\n- a letter. Sealed.\n1. First\n2) Second\n(a) third\n\n| Test | Fee |\n| Blood | 24 |"
    )
    assert split(text) == [
        "4.2. Notice",
        "Either party may end this agreement with three months' notice to the end of\na month.",
        "You need:",
        "- your card",
        "- a letter.",
        "Sealed.",
        "1. First",
        "2) Second",
        "(a) third",
        "| Test | Fee |",
        "| Blood | 24 |",
    ]


def test_a_short_line_before_a_paragraph_is_a_heading() -> None:
    text = "Opening hours\nThe clinic is open from nine to five on all working days of the week."
    assert split(text)[0] == "Opening hours"


def test_in_a_narrow_column_lines_are_no_headings() -> None:
    text = "Die Kündigung des\nMietvertrags durch den\nVermieter bedarf der\nSchriftform."
    assert len(split(text)) == 1


def test_in_an_answer_every_line_ends_a_sentence() -> None:
    assert split("one\ntwo", wrapped=False) == ["one", "two"]
    assert split("one\ntwo") == ["one\ntwo"]


@given(st.text(alphabet="aB1 .!?\n\t-|)(\"'§Dr…。", max_size=80), st.booleans())
def test_spans_are_ordered_disjoint_trimmed_and_lose_no_word(text: str, wrapped: bool) -> None:
    spans = sentences(text, wrapped=wrapped)
    before = 0
    for start, end in spans:
        assert before <= start < end
        assert text[before:start].strip() == ""
        assert text[start:end] == text[start:end].strip()
        before = end
    assert text[before:].strip() == ""


@pytest.mark.parametrize("unit", [".", '."', "1.", "((", "\t", "a. ", "Dr. Weber met No. 5. ", "a\n", "| ", " "])
def test_megabytes_take_seconds_whatever_they_hold(unit: str) -> None:
    text = unit * (2_000_000 // len(unit))
    began = time.perf_counter()
    sentences(text)
    assert time.perf_counter() - began < 15
