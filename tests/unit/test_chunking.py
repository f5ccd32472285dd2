import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.domain.chunking import HEADER_MOST, MOST, Sizes, chunk, context_header, text_between
from rag.domain.types import Heading, Page


def words(text: str) -> list[tuple[int, int]]:
    """A token for each word; a long one counts as several, as word pieces do."""
    found = []
    for match in re.finditer(r"\S+", text):
        found += [(start, min(start + 8, match.end())) for start in range(match.start(), match.end(), 8)]
    return found


texts = st.text(alphabet="ab .!\nÄ—|-1", max_size=300)
pages = st.lists(texts.map(lambda text: Page(number=None, text=text)), min_size=1, max_size=3)
sizes = st.tuples(st.integers(1, 20), st.integers(0, 40), st.integers(0, 20)).map(
    lambda sides: Sizes(aim=sides[0] + sides[2], most=sides[0] + sides[1] + sides[2], least=sides[0])
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine says nothing of what is tested
@given(pages, sizes)
def test_every_word_is_in_exactly_one_passage_and_its_place_is_exact(made: list[Page], own: Sizes) -> None:
    passages = chunk(made, words, own)
    for passage in passages:
        assert passage.text == text_between(made, passage.page_from, passage.start, passage.page_to, passage.end)
    joined = "".join("".join(passage.text.split()) for passage in passages)
    assert joined == "".join("".join(page.text.split()) for page in made)
    assert [passage.ordinal for passage in passages] == list(range(len(passages)))


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine says nothing of what is tested
@given(pages, sizes)
def test_no_passage_has_more_tokens_than_the_most(made: list[Page], own: Sizes) -> None:
    for passage in chunk(made, words, own):
        assert len(words(passage.text)) <= own.most


def paragraph(word: str, count: int) -> str:
    return " ".join([word] * (count - 1)) + " end."


def test_a_passage_is_closed_at_a_paragraph_near_the_aim() -> None:
    text = "\n\n".join(paragraph(word, 60) for word in ("one", "two", "six", "ten"))
    made = chunk([Page(number=None, text=text)], words, Sizes(aim=120, most=200, least=40))
    assert [passage.text[:3] for passage in made] == ["one", "six"]


def test_a_short_paragraph_takes_in_the_next() -> None:
    text = f"{paragraph('one', 10)}\n\n{paragraph('two', 120)}"
    assert len(chunk([Page(number=None, text=text)], words, Sizes(aim=120, most=200, least=40))) == 1


def test_a_heading_opens_a_passage_and_is_its_path() -> None:
    text = f"Leave\n\n{paragraph('one', 20)}\n\nNotice\n\n{paragraph('two', 20)}"
    page = Page(number=None, text=text, headings=(Heading(0, 1, "Leave"), Heading(text.index("Notice"), 1, "Notice")))
    made = chunk([page], words)
    assert [passage.heading for passage in made] == [("Leave",), ("Notice",)]


def test_a_word_without_end_is_cut_at_tokens() -> None:
    made = chunk([Page(number=None, text="x" * 8 * MOST * 2)], words)
    assert [len(passage.text) for passage in made] == [8 * MOST] * 2


def test_a_header_is_cut_to_its_size() -> None:
    header = context_header("Title", ["Part", "word " * 200], words)
    assert header.startswith("Title › Part › word")
    assert len(words(header)) == HEADER_MOST
    assert context_header("", [], words) == ""


@pytest.mark.parametrize("text", ["", " \n\n ", "\n"])
def test_nothing_gives_no_passages(text: str) -> None:
    assert chunk([Page(number=None, text=text)], words) == []
