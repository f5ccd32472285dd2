"""Cleaning takes out what no reader can see, changes nothing twice, and leaves languages alone."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.domain.text import clean, one_line, sensible_title, tidy

ANYTHING = st.text(st.characters(exclude_categories=()))
TRICKY = st.text("a é\u0301\u200d\u200c\ufe0f\U000e0041\U000e0100\u202e\x00\r\n\u2028\u00ad\ud800\ufb01آ👩1\u0338=")


@given(ANYTHING | TRICKY)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(ANYTHING | TRICKY)
def test_cleaned_text_can_be_stored_anywhere(text: str) -> None:
    cleaned = clean(text)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert "\x00" not in cleaned
    assert "\r" not in cleaned
    cleaned.encode()  # no lone surrogate


@pytest.mark.parametrize(
    ("dirty", "cleaned"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("cafe\u0301", "café"),
        ("5\u00a0mg", "5 mg"),
        ("of\ufb01ce", "office"),
        ("co\u00adoperate", "cooperate"),
        ("pay\u202e001\u202c now", "pay001 now"),
        ("no\u200bthing", "nothing"),
        ("x" + "".join(chr(0xE0000 + ord(letter)) for letter in "ignore"), "x"),
        ("a\u200c\u200d\u200c\u200db", "ab"),
        ("b\ufe00\ufe01\ufe02\ufe03", "b"),
        ("lone \ud800.", "lone \ufffd."),
        ("nul\x00s", "nuls"),
    ],
)
def test_what_is_unseen_goes(dirty: str, cleaned: str) -> None:
    assert clean(dirty) == cleaned


@pytest.mark.parametrize("text", ["می‌خواهم", "👩‍⚕️ und ❤️", "क्‍ष", "한국어", "日本語", "שלום", "Ω ≤ 5 µg", "a\tb"])
def test_what_languages_need_stays(text: str) -> None:
    assert clean(text) == unicodedata.normalize("NFC", text)


def test_tidy_leaves_one_blank_line_between_blocks() -> None:
    assert tidy("\n\na  \n \n\n\nb\n") == "a\n\nb"


def test_one_line_has_single_blanks() -> None:
    assert one_line("  a\n\tb\u00a0 c ") == "a b c"


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ("Services Agreement", "Services Agreement"),
        ("Microsoft Word - Lease 2024", "Lease 2024"),
        ("Microsoft Word - lease.doc", ""),
        ("untitled", ""),
        ("(anonymous)", ""),
        ("Document1", ""),
        ("C:\\users\\me\\lease", ""),
        ("42", ""),
        ("", ""),
        ("x" * 300, ""),
    ],
)
def test_only_titles_that_an_author_gave_count(given: str, title: str) -> None:
    assert sensible_title(given) == title
