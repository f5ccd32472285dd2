import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rag.domain.ranking import Named, Spread, best_first, gather, prior, share_of_best, trust
from rag.domain.types import Hit

hits = st.lists(
    st.builds(Hit, st.integers(0, 30), st.floats(0, 1, width=32)), max_size=20, unique_by=lambda hit: hit.chunk_id
)


def order(
    dense: list[Hit], keyword: list[Hit], *, cosines: list[Hit] | None = None, words: list[Hit] | None = None
) -> list[int]:
    found = gather(dense, keyword, cosines or [], words or [])
    return [int(found.ids[i]) for i in best_first(found, prior(found))]


def test_a_passage_that_both_lists_put_first_is_first() -> None:
    assert order([Hit(1, 0.8), Hit(2, 0.5)], [Hit(1, 9.0), Hit(3, 8.0)])[0] == 1


def test_the_exact_cosine_of_a_passage_that_only_words_found_decides_its_place() -> None:
    dense, keyword = [Hit(1, 0.8), Hit(2, 0.4)], [Hit(3, 9.0), Hit(1, 8.5)]
    assert order(dense, keyword, cosines=[Hit(3, 0.79)])[0] == 3
    assert order(dense, keyword, cosines=[Hit(3, 0.1)])[0] == 1


def test_the_exact_bm25_of_a_passage_that_only_meaning_found_decides_its_place() -> None:
    dense, keyword = [Hit(1, 0.80), Hit(2, 0.79)], [Hit(3, 9.0)]
    assert order(dense, keyword, words=[Hit(2, 8.0)]).index(2) < order(dense, keyword).index(2)


def test_a_bad_last_hit_changes_nothing_above_it() -> None:
    dense, keyword = [Hit(1, 0.7), Hit(2, 0.65)], [Hit(2, 5.0), Hit(1, 4.2)]
    before = order(dense, keyword)
    assert order([*dense, Hit(9, -0.5)], [*keyword, Hit(9, 0.01)])[:2] == before


def test_without_words_the_order_is_that_of_likeness() -> None:
    assert order([Hit(1, 0.5), Hit(2, 0.9)], []) == [2, 1]


def test_without_vectors_the_order_is_that_of_words() -> None:
    assert order([], [Hit(1, 3.0), Hit(2, 9.0)]) == [2, 1]


def test_cosines_of_a_language_that_the_model_spells_leave_the_order_to_words() -> None:
    dense, keyword = [Hit(1, 0.9), Hit(2, 0.8), Hit(3, 0.2)], [Hit(3, 9.0), Hit(2, 1.0)]
    for fluency, first in ((4.4, 1), (3.5, 1), (0.1, 3)):
        found = gather(dense, keyword, [], [], trust=trust(fluency))
        assert int(found.ids[best_first(found, prior(found))[0]]) == first
    nothing = gather(dense, [], [], [], trust=trust(0.0))
    assert [int(nothing.ids[i]) for i in best_first(nothing, prior(nothing))] == [1, 2, 3]


@given(st.floats(0, 50))
def test_trust_is_a_share_that_grows_with_fluency(fluency: float) -> None:
    assert 0 < trust(fluency) <= trust(fluency + 1) <= 1


def test_nothing_found_has_no_order() -> None:
    assert order([], []) == []


def test_equals_stand_by_number() -> None:
    assert order([Hit(5, 0.5), Hit(2, 0.5), Hit(9, 0.5)], []) == [2, 5, 9]


@given(hits, hits)
def test_every_hit_of_either_list_is_ranked_once(dense: list[Hit], keyword: list[Hit]) -> None:
    ranked = order(dense, keyword)
    assert sorted(ranked) == sorted({hit.chunk_id for hit in (*dense, *keyword)})


@given(hits, hits, st.floats(0.1, 100))
def test_the_order_does_not_depend_on_the_unit_of_bm25(dense: list[Hit], keyword: list[Hit], unit: float) -> None:
    found = gather(dense, keyword, [], [])
    other = gather(dense, [Hit(hit.chunk_id, hit.score * unit) for hit in keyword], [], [])
    assert np.allclose(prior(found), prior(other))


def test_places_in_both_lists_are_kept() -> None:
    found = gather([Hit(4, 0.9), Hit(7, 0.8)], [Hit(7, 3.0)], [], [])
    assert found.places == {4: {"dense": 1}, 7: {"dense": 2, "keyword": 1}}


def test_a_named_document_comes_before_a_likelier_passage_of_another() -> None:
    found = gather([Hit(1, 0.70), Hit(2, 0.62)], [Hit(1, 5.0), Hit(2, 4.0)], [], [])
    named = Named(fit=np.array([0.0, 1.0]), cosine=np.array([0.6, 0.6]), keyword=np.array([2.0, 2.0]))
    assert best_first(found, prior(found)) == [0, 1]
    assert best_first(found, prior(found, named)) == [1, 0]


def test_inside_a_named_document_what_is_asked_decides() -> None:
    found = gather([Hit(1, 0.70), Hit(2, 0.66)], [Hit(1, 5.0), Hit(2, 4.5)], [], [])
    named = Named(fit=np.ones(2), cosine=np.array([0.2, 0.6]), keyword=np.array([1.0, 3.0]))
    assert best_first(found, prior(found, named)) == [1, 0]


def test_a_naming_that_fits_no_candidate_changes_nothing() -> None:
    found = gather([Hit(1, 0.7), Hit(2, 0.6)], [Hit(2, 4.0)], [], [])
    named = Named(fit=np.array([0.1, 0.2]), cosine=np.array([0.1, 0.9]), keyword=np.array([0.0, 9.0]))
    assert np.array_equal(prior(found), prior(found, named))


def test_a_share_of_nothing_is_nothing() -> None:
    assert share_of_best(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    assert share_of_best(np.zeros(0)).tolist() == []


NOTICE = "Either party may end this agreement by giving the other at least thirty days' notice in writing before the end of a month."


def test_a_near_copy_adds_nothing_and_a_changed_figure_in_a_short_passage_does() -> None:
    spread = Spread()
    assert spread.adds(NOTICE)
    assert not spread.adds(NOTICE.upper())
    assert not spread.adds(NOTICE.removesuffix(" of a month."))
    assert spread.adds(NOTICE.replace("thirty", "ninety"))


def test_a_changed_figure_in_a_long_passage_adds_something() -> None:
    spread = Spread()
    words = " ".join(first + second for first in "abcdefghijkl" for second in "mnopqrstuvwxyz")
    clause = f"{words} The fee is 1,200 euros a year."
    assert spread.adds(clause)
    assert not spread.adds(clause.removesuffix("."))
    assert spread.adds(clause.replace("1,200", "1,300"))


def test_a_copy_crowds_out_nothing_however_often_it_comes() -> None:
    spread = Spread()
    more = "The fee is due on the first working day of each quarter and is raised with the index every May."
    let_through = [text for text in [*[NOTICE] * 30, more, *[f"  {NOTICE.upper()}"] * 30] if spread.adds(text)]
    assert let_through == [NOTICE, more]


def test_a_longer_passage_that_holds_an_earlier_one_still_adds_the_rest() -> None:
    spread = Spread()
    assert spread.adds(NOTICE)
    more = "The fee is due on the first working day of each quarter and is raised with the index of consumer prices every May."
    assert spread.adds(f"{NOTICE} {more}")


def test_passages_without_five_words_are_compared_whole() -> None:
    spread = Spread()
    assert spread.adds("Opening hours")
    assert spread.adds("Opening days")
    assert not spread.adds("opening  hours")
