"""Whose turn it is: nobody waits for another person's second question, nobody waits for ever, nothing is held by the dead."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.domain.turns import LEASE_SECONDS, WAITING_MOST, Turns

PEOPLE = "abcde"


class Play:
    """A list in use, with a clock that stands still unless it is moved."""

    def __init__(self, limit: int = 1) -> None:
        self.turns, self.limit, self.now, self.count = Turns(), limit, 0.0, 0

    def ask(self, asker: str, *, background: bool = False) -> str:
        self.count += 1
        ticket = f"{asker}{self.count}"
        self.turns.join(ticket, asker=asker, background=background, holds=False, now=self.now)
        self.turns.grant(self.limit)
        return ticket

    def end(self, ticket: str) -> None:
        self.turns.leave(ticket)
        self.turns.grant(self.limit)

    @property
    def answered(self) -> list[str]:
        return [ticket for ticket, place in self.turns.places().items() if not place]

    def served(self) -> list[str]:
        """Ends whatever is being answered until nobody waits; the order in which they had their turns."""
        order: list[str] = []
        while len(self.turns):
            order += self.answered
            for ticket in self.answered:
                self.end(ticket)
        return order


def test_one_person_s_ten_questions_do_not_make_another_wait_for_ten() -> None:
    play = Play()
    mine = [play.ask("alice") for _ in range(10)]
    theirs = play.ask("bob")
    assert play.turns.places()[theirs] == 1
    assert play.served() == [mine[0], theirs, *mine[1:]]


def test_people_take_turns_whatever_the_order_in_which_they_asked() -> None:
    play = Play()
    for asker in "aaaabbbccd":
        play.ask(asker)
    assert [ticket[0] for ticket in play.served()] == list("abcdabcaba")


def test_who_was_just_answered_goes_behind_who_waited_meanwhile() -> None:
    play = Play()
    first, second = play.ask("alice"), play.ask("alice")
    play.ask("bob")
    play.end(first)
    assert [ticket[0] for ticket in play.answered] == ["b"]
    assert play.turns.places()[second] == 1


def test_places_say_how_many_answers_have_to_end_before() -> None:
    play = Play()
    asked = [play.ask(asker) for asker in "abc"]
    assert [play.turns.places()[ticket] for ticket in asked] == [0, 1, 2]


def test_people_go_before_what_runs_in_the_background_and_keep_one_of_several_places() -> None:
    play = Play(limit=2)
    measured = [play.ask("alice", background=True) for _ in range(3)]
    assert play.answered == measured[:1]
    asked = play.ask("bob")
    assert play.answered == [measured[0], asked]
    later = play.ask("bob")
    play.end(measured[0])
    assert set(play.answered) == {asked, later}


def test_what_runs_in_the_background_has_the_only_place_when_nobody_waits() -> None:
    play = Play()
    assert play.answered == [] and play.ask("alice", background=True) in play.answered


def test_one_person_may_have_so_many_waiting_and_no_more() -> None:
    play = Play()
    for _ in range(1 + WAITING_MOST):  # one of them is being answered
        play.ask("alice")
    assert not play.turns.join("more", asker="alice", background=False, holds=False, now=0)
    assert "more" not in play.turns
    assert play.turns.join("other", asker="bob", background=False, holds=False, now=0)
    assert play.turns.join("measured", asker="alice", background=True, holds=False, now=0)


def test_what_nobody_renews_is_free_and_what_is_renewed_is_not() -> None:
    play = Play()
    dead, alive = play.ask("alice"), play.ask("bob")
    play.turns.join(alive, asker="bob", background=False, holds=False, now=LEASE_SECONDS / 2)
    play.turns.expire(LEASE_SECONDS)
    play.turns.grant(1)
    assert dead not in play.turns
    assert play.answered == [alive]


def test_a_lost_list_is_made_again_by_those_who_stood_in_it() -> None:
    again = Turns()
    again.join("held", asker="alice", background=False, holds=True, now=0)
    again.join("waiting", asker="bob", background=False, holds=False, now=0)
    again.grant(1)
    assert again.places() == {"held": 0, "waiting": 1}


@pytest.mark.parametrize("limit", [1, 3])
def test_it_reads_what_it_wrote(limit: int) -> None:
    play = Play(limit)
    for asker in "aabbc":
        play.ask(asker, background=asker == "c")
    assert Turns.from_json(play.turns.as_json()).as_json() == play.turns.as_json()


STEPS = st.lists(st.one_of(st.sampled_from(PEOPLE), st.integers(0, 5)), max_size=60)


@given(STEPS, st.integers(1, 4))
def test_whatever_happens_a_first_question_waits_for_at_most_one_answer_of_each_other_person(
    steps: list[str | int], limit: int
) -> None:
    """Letters ask, numbers end one of the answers under way. Watched: who had nothing in the list and asks."""
    play = Play(limit)
    watched: dict[str, Counter[str]] = {}  # a first question, and whose answers began while it waited
    for step in steps:
        before = set(play.answered)
        if isinstance(step, str):
            fresh = not any(ticket[0] == step for ticket in play.turns.places())
            ticket = play.ask(step)
            if fresh and ticket in play.turns and ticket not in play.answered:
                watched[ticket] = Counter()
        elif before:
            play.end(sorted(before)[step % len(before)])
        began = set(play.answered) - before
        for ticket, others in watched.items():
            if ticket not in began:
                others.update(other[0] for other in began)
        for ticket in began & set(watched):
            others = watched.pop(ticket)
            assert not others or max(others.values()) <= 1, (ticket, others)
        # Never more than may be, never a place left empty while somebody waits.
        assert len(play.answered) <= limit
        assert len(play.answered) == min(limit, len(play.turns))
    waiting = set(play.turns.places())
    assert set(play.served()) == waiting, "everybody has their turn"
