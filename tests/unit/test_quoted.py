import re

from hypothesis import given
from hypothesis import strategies as st

from rag.domain.places import Place, Stretch
from rag.domain.quoted import Pages, overlap
from rag.domain.text import clean


def stretch(text: str) -> Stretch:
    """ "0.3-1.4" as a stretch, all counted from 0."""
    (first_page, first), (last_page, last) = (map(int, place.split(".")) for place in text.split("-"))
    return Stretch(Place(first_page, first), Place(last_page, last))


def test_words_are_found_whatever_became_of_blanks_case_and_punctuation() -> None:
    pages = Pages(["The desk is open\nfrom  Eight to five."])
    (found,) = pages.find("is open from “eight” to five")
    assert found == stretch("0.9-0.36")


def test_a_word_that_was_divided_at_a_line_end_is_found() -> None:
    assert Pages(["an infec-\ntion of the lung"]).find("infection of the lung") == [stretch("0.3-0.26")]


def test_words_across_two_pages_are_found() -> None:
    assert Pages(["ends here", "and goes on"]).find("here and") == [stretch("0.5-1.3")]


def test_every_place_is_found() -> None:
    assert Pages(["one fee", "one fee, one fee"]).find("one fee") == [
        stretch("0.0-0.7"),
        stretch("1.0-1.7"),
        stretch("1.9-1.16"),
    ]


def test_letters_that_grow_when_folded_keep_the_places_after_them() -> None:
    assert Pages(["Straße 5, Berlin"]).find("berlin") == [stretch("0.10-0.16")]
    assert Pages(["STRASSE ß"]).find("ß") == [stretch("0.8-0.9")]


def test_languages_without_blanks_are_found_too() -> None:
    assert Pages(["本契約は日本法に準拠する。"]).find("日本法に準拠") == [stretch("0.4-0.10")]


def test_what_is_not_there_or_has_no_letters_is_not_found() -> None:
    pages = Pages(["The desk is open."])
    assert pages.find("the desk is closed") == []
    assert pages.find(" … ") == []
    assert Pages([]).find("desk") == []


@given(st.lists(st.text(max_size=40).map(clean), min_size=1, max_size=4), st.data())
def test_any_word_of_a_page_is_found_where_it_stands(texts: list[str], data: st.DataObject) -> None:
    words = [(page, word) for page, text in enumerate(texts) for word in re.finditer(r"\w+", text)]
    if not words:
        return
    page, word = data.draw(st.sampled_from(words))
    wanted = Stretch(Place(page, word.start()), Place(page, word.end()))
    # Letters that the cleaning changes when they stand alone (a mark without its letter) are other letters.
    if clean(word.group()) == word.group():
        assert any(overlap(found, wanted) for found in Pages(texts).find(word.group()))


def test_stretches_overlap_when_they_share_a_letter() -> None:
    assert overlap(stretch("0.3-1.4"), stretch("1.3-1.9"))
    assert not overlap(stretch("0.3-1.4"), stretch("1.4-1.9"))
    assert not overlap(stretch("0.3-0.9"), stretch("1.0-1.9"))
