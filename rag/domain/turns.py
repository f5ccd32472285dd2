"""Whose turn it is with one slow model: who is answered now, who waits, and in which order.

The order: what people wait for goes before what runs in the background, and people take turns, like a ring. Whoever is being answered
or was just answered goes behind everybody who was waiting then, however many questions of theirs wait. So a person's first
question waits for at most one answer of each other person, and nobody waits for ever.

A ticket ends by itself when its holder does not renew it: a process that died gives its places back.
"""

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from typing import Any

# Questions of one person. More are refused: nobody waits for eleven answers that come minutes apart.
WAITING_MOST = 10
LEASE_SECONDS = 10.0  # renewed every second; what a dead process held is free after these


@dataclass(frozen=True, slots=True)
class Ticket:
    """One question's place. `since` is a number that grows, not a time; at `until`, in seconds, it ends unless it is renewed."""

    id: str
    asker: str
    background: bool
    since: int
    until: float
    holds: bool = False


class Turns:
    """All tickets of one model. Plain values, no clock of its own: every method takes what time it is, in seconds."""

    def __init__(self, tickets: Iterable[Ticket] = ()) -> None:
        self._tickets = {ticket.id: ticket for ticket in tickets}

    def __len__(self) -> int:
        return len(self._tickets)

    def __contains__(self, ticket_id: str) -> bool:
        return ticket_id in self._tickets

    def join(self, ticket_id: str, *, asker: str, background: bool, holds: bool, now: float) -> bool:
        """Takes the ticket in, or renews it where it is in; False when its asker has as many waiting as one may have.

        `holds` says that the model is already answering it, as after the list was lost: it is taken in as such.
        """
        until = now + LEASE_SECONDS
        if known := self._tickets.get(ticket_id):
            self._tickets[ticket_id] = replace(known, until=until, holds=known.holds or holds)
            return True
        if not holds and not background and self._waiting_of(asker) >= WAITING_MOST:
            return False
        self._tickets[ticket_id] = Ticket(ticket_id, asker, background, self._next(), until, holds)
        return True

    def leave(self, ticket_id: str) -> None:
        """Gives the place back; an asker whose answer has ended goes behind everybody who waits. Nothing for one that is gone."""
        gone = self._tickets.pop(ticket_id, None)
        if gone is None or not gone.holds:
            return
        for ticket in sorted(self._tickets.values(), key=lambda other: other.since):
            if ticket.asker == gone.asker and not ticket.holds:
                self._tickets[ticket.id] = replace(ticket, since=self._next())

    def expire(self, now: float) -> None:
        """Drops what nobody has renewed, oldest first."""
        for ticket in sorted(self._tickets.values(), key=lambda other: other.until):
            if ticket.until <= now:
                self.leave(ticket.id)

    def grant(self, limit: int) -> None:
        """Gives free places, of `limit` in all, to who is next. Background work leaves one of several places to people."""
        for ticket in self._waiting():
            held = [other for other in self._tickets.values() if other.holds]
            if len(held) >= limit:
                return
            if ticket.background and sum(other.background for other in held) >= max(1, limit - 1):
                continue
            self._tickets[ticket.id] = replace(ticket, holds=True)

    def places(self) -> dict[str, int]:
        """How many answers have to end before each ticket's turn comes; 0 for those being answered."""
        places = {ticket.id: 0 for ticket in self._tickets.values() if ticket.holds}
        return places | {ticket.id: place for place, ticket in enumerate(self._waiting(), start=1)}

    def as_json(self) -> list[list[Any]]:
        """The tickets as `from_json` reads them."""
        return [[t.id, t.asker, t.background, t.since, t.until, t.holds] for t in self._tickets.values()]

    @classmethod
    def from_json(cls, data: Iterable[Iterable[Any]]) -> "Turns":
        """What `as_json` gave."""
        return cls(Ticket(*fields) for fields in data)

    def only(self, ids: Container[str]) -> "Turns":
        """These tickets alone."""
        return Turns(ticket for ticket in self._tickets.values() if ticket.id in ids)

    def _waiting(self) -> list[Ticket]:
        """Who waits, next first: an asker's first question before anybody's second, and so on; whoever came first among equals."""
        rounds = Counter((ticket.asker, ticket.background) for ticket in self._tickets.values() if ticket.holds)
        order = []
        waiting = (ticket for ticket in self._tickets.values() if not ticket.holds)
        for ticket in sorted(waiting, key=lambda other: other.since):
            order.append((ticket.background, rounds[ticket.asker, ticket.background], ticket.since, ticket))
            rounds[ticket.asker, ticket.background] += 1
        return [ticket for *_key, ticket in sorted(order, key=lambda entry: entry[:3])]

    def _waiting_of(self, asker: str) -> int:
        return sum(t.asker == asker and not t.holds and not t.background for t in self._tickets.values())

    def _next(self) -> int:
        return 1 + max((ticket.since for ticket in self._tickets.values()), default=0)
