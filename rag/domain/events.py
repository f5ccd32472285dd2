"""What happens while an answer is made, in the order in which a reader sees it. Each event is JSON in the replay log."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; `kind` names it in the log."""

    kind: ClassVar[str]

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Queued(Event):
    """The answer is waiting for the model: `position` answers have to end before its turn; 0 means that it has come.

    `busy`: the model's server has no room, though it is this answer's turn, and will be asked again.
    """

    kind: ClassVar[str] = "queued"
    position: int
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Working(Event):
    """The model is at work and has not written a word yet: "loading" into memory, or "thinking"."""

    kind: ClassVar[str] = "working"
    step: str


@dataclass(frozen=True, slots=True)
class Sources(Event):
    """The evidence is known and stored with the answer: readers render it from the database, which checks anew who may see it."""

    kind: ClassVar[str] = "sources"
    count: int


@dataclass(frozen=True, slots=True)
class Extract(Event):
    """The verbatim quotes are known and stored with the answer."""

    kind: ClassVar[str] = "extract"
    count: int


@dataclass(frozen=True, slots=True)
class Token(Event):
    """More of the text, without half a citation marker."""

    kind: ClassVar[str] = "token"
    text: str


@dataclass(frozen=True, slots=True)
class Cited(Event):
    """The text so far ends in a citation of the source with this number, one of those offered."""

    kind: ClassVar[str] = "cited"
    number: int


@dataclass(frozen=True, slots=True)
class Checked(Event):
    """Sentence `ordinal` is finished and was compared with the words it cites."""

    kind: ClassVar[str] = "checked"
    ordinal: int
    text: str
    paragraph: bool
    numbers: tuple[int, ...]
    verdict: str
    reason: str
    # The words that carry it: code points [start, end) in the text of source `number`; 0 where the check found none.
    number: int
    start: int
    end: int
    missing: tuple[tuple[int, int], ...] = ()  # stretches of the text that stand in none of its sources
    repaired: bool = False  # the model cited another source or none


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """The documents do not seem to answer; the nearest passages are stored as sources."""

    kind: ClassVar[str] = "refused"


@dataclass(frozen=True, slots=True)
class Stopped(Event):
    """The reader stopped it; what was written is kept."""

    kind: ClassVar[str] = "stopped"


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """The whole answer is stored."""

    kind: ClassVar[str] = "finished"


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """It ended in an error; `message` may be shown, and what was written is kept."""

    kind: ClassVar[str] = "failed"
    message: str


KINDS: dict[str, type[Event]] = {
    event.kind: event
    for event in (Queued, Working, Sources, Extract, Token, Cited, Checked, Refused, Stopped, Finished, Failed)
}
LAST = (Refused, Stopped, Finished, Failed)


def from_json(data: dict[str, Any]) -> Event:
    """The event that `as_json` wrote; raises KeyError for a kind that this version does not know."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    return KINDS[str(fields.pop("kind"))](**fields)
