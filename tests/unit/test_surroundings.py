from hypothesis import given
from hypothesis import strategies as st

from rag.domain.surroundings import Neighbour, reach, room, tokens

HEADINGS = [(), ("A",), ("A", "A.1"), ("A", "A.2"), ("B",)]
documents = st.lists(st.tuples(st.sampled_from(HEADINGS), st.integers(1, 9)), min_size=1, max_size=12).map(
    lambda rows: {number: Neighbour(heading, length) for number, (heading, length) in enumerate(rows)}
)


def of(*passages: tuple[tuple[str, ...], int]) -> dict[int, Neighbour]:
    return {number: Neighbour(heading, length) for number, (heading, length) in enumerate(passages)}


@given(documents, st.data())
def test_what_is_reached_holds_the_passage_fits_and_takes_from_nobody(
    passages: dict[int, Neighbour], data: st.DataObject
) -> None:
    found = data.draw(st.sampled_from(sorted(passages)))
    taken = data.draw(st.sets(st.sampled_from(sorted(passages)))) | {found}
    extra = data.draw(st.integers(0, 60))
    first, last = reach(found, passages, taken=taken, extra=extra)
    others = set(range(first, last + 1)) - {found}
    assert first <= found <= last
    assert sum(passages[number].length for number in others) <= extra
    assert not others & taken
    path = passages[found].heading
    section = path[:-1] if len(path) > 1 else path
    assert all(passages[number].heading[: len(section)] == section for number in others)


@given(documents, st.data())
def test_with_room_for_all_a_section_is_read_whole(passages: dict[int, Neighbour], data: st.DataObject) -> None:
    found = data.draw(st.sampled_from(sorted(passages)))
    first, last = reach(found, passages, taken={found}, extra=1000)
    path = passages[found].heading
    section = path[:-1] if len(path) > 1 else path
    for beside in (first - 1, last + 1):
        assert beside not in passages or passages[beside].heading[: len(section)] != section


def test_the_section_around_is_read_where_it_fits_and_otherwise_its_own() -> None:
    passages = of((("A",), 5), (("A", "A.1"), 5), (("A", "A.1"), 5), (("A", "A.2"), 5), (("B",), 5))
    assert reach(1, passages, taken={1}, extra=15) == (0, 3)
    assert reach(1, passages, taken={1}, extra=14) == (1, 2)
    assert reach(1, passages, taken={1}, extra=4) == (1, 1)


def test_of_a_section_that_does_not_fit_the_nearest_are_read_and_what_follows_first() -> None:
    passages = of(*((("A",), 5) for _ in range(9)))
    assert reach(4, passages, taken={4}, extra=5) == (4, 5)
    assert reach(4, passages, taken={4}, extra=14) == (3, 5)
    assert reach(4, passages, taken={4, 5}, extra=14) == (2, 4)


def test_one_that_does_not_fit_is_never_passed_over() -> None:
    passages = of((("A",), 5), (("A",), 5), (("A",), 30), (("A",), 5))
    assert reach(1, passages, taken={1}, extra=12) == (0, 1)


def test_the_room_is_a_share_of_what_the_model_reads_up_to_a_measure() -> None:
    assert room(2048, 512) == 1152
    assert room(262_144, 512) == room(131_072, 512)


def test_characters_of_three_bytes_are_tokens_of_their_own() -> None:
    assert tokens("合同期限") == 4
    assert tokens("The term of this agreement") == 9
    assert tokens("\ud800") > 0  # half a character, as a broken file may hold
