"""What is taken for a citation, and to which sentence it belongs."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.domain.citations import AnswerBuilder, AnswerSentence, CitationScanner, sentence_at, split_sentences
from rag.domain.events import Cited, Event, Token

OFFERED = {1, 2, 3}


def scan(*pieces: str, offered: set[int] = OFFERED) -> tuple[str, int]:
    """The events as text, citations in angle brackets, and the number of wrong citations."""
    scanner = CitationScanner(offered)
    found: list[Event] = []
    for piece in pieces:
        found += scanner.feed(piece)
    found += scanner.finish()
    return written(found), scanner.unknown


def written(events: list[Event]) -> str:
    return "".join(e.text if isinstance(e, Token) else f"<{e.number}>" for e in events if isinstance(e, (Token, Cited)))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("A [1].", "A<1>."),
        ("A[1][2].", "A<1><2>."),
        ("A [1] [2].", "A<1><2>."),
        ("A [1, 2].", "A<1><2>."),
        ("A [1,2].", "A<1><2>."),
        ("A [1 and 2].", "A<1><2>."),
        ("A [1-3].", "A<1><2><3>."),
        ("A [^1].", "A<1>."),
        ("A [[1]].", "A<1>."),
        ("A 【1】.", "A<1>."),
        ("A 【2†source】.", "A<2>."),
        ("A [Source 2].", "A<2>."),
        ("A [source: 2].", "A<2>."),
        ("A (source 1).", "A<1>."),
        ("A (Sources 1 and 2).", "A<1><2>."),
        ("A (see [1]).", "A<1>."),
        ("A ([1], [2]).", "A<1><2>."),
        ("A [Quelle 3].", "A<3>."),
        ("A [1][1].", "A<1>."),
        ("A.[1]Then", "A.<1> Then"),
        ("A. [1] Then", "A.<1> Then"),
    ],
)
def test_a_marker_in_any_form_becomes_a_citation(text: str, shown: str) -> None:
    assert scan(text) == (shown, 0)


@pytest.mark.parametrize(
    "text",
    [
        "In [2024] it was.",
        "A [a] b.",
        "A [5 mg] b.",
        "(1) First (2) second",
        "A [ ] b",
        "x [1.5] y",
        "(see section 4)",
        "A (documented) b",
        "[citation needed] x",
        "range [100, 200]",
    ],
)
def test_other_brackets_stay_text(text: str) -> None:
    assert scan(text) == (text, 0)


@pytest.mark.parametrize(("text", "unknown"), [("A [7].", 1), ("A [0].", 1), ("A [Source 120].", 1), ("A [8, 9].", 2)])
def test_a_number_that_was_not_offered_is_dropped_and_counted(text: str, unknown: int) -> None:
    assert scan(text) == ("A.", unknown)


def test_of_several_numbers_the_offered_ones_stay() -> None:
    assert scan("A [1, 9].") == ("A<1>.", 1)


@pytest.mark.parametrize("half", ["A [1", "A [", "A [Sour", "A [[1]", "A 【1†so", "A (source 1", "A [1, "])
def test_a_marker_broken_off_by_the_end_is_never_shown(half: str) -> None:
    assert scan(half)[0] == "A"


def test_text_is_not_held_back_longer_than_it_must_be() -> None:
    scanner = CitationScanner(OFFERED)
    assert written(scanner.feed("Fine (see the annex")) == "Fine (see the annex"
    assert written(scanner.feed(" [x")) == " [x"
    assert written(scanner.feed(" [1")) == ""
    assert written(scanner.feed("]")) == "<1>"


PARTS = st.sampled_from(
    ["[1]", "[", "]", "1", "2", "[7]", " ", "\n", ".", ". ", "Word", "the ", "[Source 2]", "(source 1)", "(", ")", "【1】", "†",
     "[^3]", ",", "[2024]", "Dr. ", "- ", "and ", "[[1]]", "?"]
)  # fmt: skip
TEXTS = st.lists(PARTS, max_size=25).map("".join)


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted({place for place in places if place < len(text)}), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def merged(events: list[Event]) -> list[Event]:
    """The same events with neighbouring tokens joined: where the stream was cut shows in nothing else."""
    out: list[Event] = []
    for event in events:
        if out and isinstance(event, Token) and isinstance(last := out[-1], Token):
            out[-1] = Token(last.text + event.text)
        else:
            out.append(event)
    return out


@settings(max_examples=400)
@given(TEXTS, st.lists(st.integers(0, 200), max_size=30))
def test_however_the_stream_is_cut_the_result_is_the_same(text: str, places: list[int]) -> None:
    whole, parts = CitationScanner(OFFERED), CitationScanner(OFFERED)
    in_one = merged([*whole.feed(text), *whole.finish()])
    in_parts: list[Event] = []
    builder = AnswerBuilder()
    built: list[AnswerSentence] = []
    for piece in cut(text, places):
        events = parts.feed(piece)
        in_parts += events
        built += builder.feed(events)
    last = parts.finish()
    in_parts += last
    built += [*builder.feed(last), *builder.finish()]
    assert merged(in_parts) == in_one
    assert parts.unknown == whole.unknown
    assert built == split_sentences(in_one)


@given(TEXTS)
def test_no_offered_marker_is_left_in_the_text_and_every_citation_has_a_sentence(text: str) -> None:
    scanner = CitationScanner(OFFERED)
    events = [*scanner.feed(text), *scanner.finish()]
    tokens = [event.text for event in events if isinstance(event, Token)]
    assert not any(
        marker in token for token in tokens for marker in ("[1]", "[7]", "【1】", "[Source 2]", "(source 1)")
    )
    found = split_sentences(events)
    if found:
        assert {event.number for event in events if isinstance(event, Cited)} == {
            number for sentence in found for number in sentence.citations
        }


def answer(text: str) -> list[tuple[str, tuple[int, ...]]]:
    scanner = CitationScanner(OFFERED)
    return [(s.text, s.citations) for s in split_sentences([*scanner.feed(text), *scanner.finish()])]


def test_a_citation_belongs_to_the_sentence_it_stands_in_or_behind() -> None:
    assert answer("One [1]. Two. [2] Three.[3][1] Four") == [
        ("One.", (1,)),
        ("Two.", (2,)),
        ("Three.", (3, 1)),
        ("Four", ()),
    ]


def test_a_citation_that_opens_a_line_belongs_to_that_line() -> None:
    assert answer("Intro.\n[2] Two is here.\nThree.\n[3]\n") == [
        ("Intro.", ()),
        ("Two is here.", (2,)),
        ("Three.", (3,)),
    ]


def test_list_items_are_sentences_with_their_own_citations() -> None:
    assert answer("You need:\n- a card [1]\n- a letter [2]\n") == [
        ("You need:", ()),
        ("- a card", (1,)),
        ("- a letter", (2,)),
    ]


def test_a_sentence_is_given_out_once_the_next_has_begun() -> None:
    scanner, builder = CitationScanner(OFFERED), AnswerBuilder()
    assert builder.feed(scanner.feed("It rains. ")) == []
    assert builder.feed(scanner.feed("[1] It")) == []
    (first,) = builder.feed(scanner.feed(" pours"))
    assert (first.text, first.citations) == ("It rains.", (1,))


def test_offsets_point_into_the_answer_without_markers() -> None:
    scanner, builder = CitationScanner(OFFERED), AnswerBuilder()
    found = builder.feed([*scanner.feed("One [1]. Two follows [2]. Three"), *scanner.finish()]) + builder.finish()
    assert [builder.text[sentence.start : sentence.end] for sentence in found] == [s.text for s in found]
    assert sentence_at(found, builder.text.index("follows")) == found[1]
    assert sentence_at(found, found[0].end) is None
