"""Takes the citations out of a model's streamed text, and finds the sentences that they belong to. Pure.

What is taken for a citation:

| text | offered 1-3 | becomes |
|---|---|---|
| `[1]` `[^1]` `[#1]` `【1】` `【1†source】` `[[1]]` `[Source 1]` `(source: 1)` | yes | a citation of 1 |
| `[1][2]` `[1, 2]` `[1,2]` `[1 and 2]` `[1-2]` | yes | citations of 1 and 2 |
| `[7]` `[0]` `[Source 120]` | no | nothing: a wrong citation, counted in `unknown` |
| `[2024]` `[a]` `[5 mg]` `(1)` `[ ]` | - | stays text |

Why: what a small model writes where a citation should stand must never reach the reader as text, and a number in
brackets above 99 is a year or a quantity, since never so many sources are offered. Every decision depends on the text
alone and not on how the stream was cut into pieces.
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from rag.domain.events import Cited, Event, Token
from rag.domain.sentences import sentences
from rag.domain.words import word_set

_KEYWORDS = word_set(
    "source sources quelle quellen citation citations document documents doc docs ref refs reference references "
    "passage passages excerpt excerpts"
)
_LEADS = word_set("see cf siehe vgl")
_JOINERS = word_set("and und no nr")
_KEYWORD = rf"(?:{'|'.join(sorted(_KEYWORDS, key=len, reverse=True))})\b"
_ONE = rf"(?:{_KEYWORD}\s*(?:no\.?|nr\.?)?\s*:?\s*)?[\^#]?\s*\d{{1,4}}"
_NUMBERS = rf"{_ONE}(?:\s*(?:,|;|&|\+|-|–|and|und)\s*{_ONE})*"
_BRACKET = rf"(?:\[\s*{_NUMBERS}\s*\])"
_MARKER = re.compile(
    rf"{_BRACKET}|\[{_BRACKET}\]|【\s*{_NUMBERS}\s*(?:†[^】]*)?】"
    rf"|\(\s*(?:(?:{'|'.join(sorted(_LEADS))})\.?:?\s*)?(?:{_BRACKET}(?:\s*(?:,|;|&|and|und)?\s*{_BRACKET})*|(?={_KEYWORD}){_NUMBERS})\s*\)",
    re.IGNORECASE,
)
_HAS_KEYWORD = re.compile(_KEYWORD, re.IGNORECASE)
_RANGE = re.compile(r"(\d{1,4})\s*[-–]\s*[\^#]?\s*(\d{1,4})|(\d{1,4})")
_LONGEST = 64  # code points that a marker may take; longer is text
_LARGEST = 99  # a bracketed number up to this, not offered, is a wrong citation; above, it is a year or a quantity
_WIDEST_RANGE = 10

# Blanks before a marker go with it, so they wait until what follows is known. Line breaks are structure and stay.
# Possessive, so that a run of blanks is read once.
_HOLD = re.compile(r"(?<![ \t])[ \t]*+[\[【(]|(?<![ \t])[ \t]++\Z")
_OPENERS = "[【("
_CLOSERS = {"[": "]", "【": "】", "(": ")"}
_LETTERS = re.compile(r"[^\W\d_]+")
# What the beginning of a marker may look like, its words aside.
_SHAPE = {
    "[": re.compile(r"[\w\s,;:&+\-–#^.]*"),
    "【": re.compile(r"[\w\s,;:&+\-–#^.]*(?:†[^】]*)?"),
    "(": re.compile(r"\s*(?:[^\W\d_][\w\s,;:&+\-–#^.]*)?(?:\[[\w\s,;:&+\-–#^.\[\]]*)?"),
}


class CitationScanner:
    """Turns pieces of model text into `Token` and `Cited` events; half a marker never leaves it."""

    def __init__(self, offered: Collection[int]) -> None:
        self._offered = frozenset(offered)
        self._held = ""
        self._last = ""  # the last code point given out
        self._after_marker = False
        self._group: set[int] = set()  # cited since the last text, so that [1][1] is one citation
        self.unknown = 0

    def feed(self, piece: str) -> list[Event]:
        """The events that are certain after `piece`."""
        self._held += piece
        return self._scan(final=False)

    def finish(self) -> list[Event]:
        """What was held back, now that nothing follows; a marker broken off by the end is dropped."""
        return self._scan(final=True)

    def _scan(self, *, final: bool) -> list[Event]:
        events: list[Event] = []
        text: list[str] = []
        held = self._held
        at = 0
        while at < len(held):
            match = _HOLD.search(held, at)
            if match is None:
                text.append(held[at:])
                at = len(held)
                break
            text.append(held[at : match.start()])
            at = match.start()
            if held[match.end() - 1] not in _OPENERS:  # blanks at the very end
                if not final:
                    break
                text.append(held[at:])
                at = len(held)
                break
            opener = match.end() - 1
            length = _marker_length(held, opener)
            if length is None and not final:
                break
            if length is None:
                if held[opener:] == "(":
                    text.append(held[at : opener + 1])
                    at = opener + 1
                    continue
                at = len(held)
                break
            numbers = self._numbers(held[opener : opener + length]) if length else None
            if numbers is None:
                text.append(held[at : opener + 1])
                at = opener + 1
                continue
            self._say(events, text)
            self._cite(events, numbers)
            at = opener + length
        self._held = held[at:]
        self._say(events, text)
        return events

    def _say(self, events: list[Event], text: list[str]) -> None:
        said = "".join(text)
        text.clear()
        if not said:
            return
        # "…ended.[1]Next": the blank that the model left out.
        if self._after_marker and said[0].isalnum() and self._last and not self._last.isspace():
            said = " " + said
        events.append(Token(said))
        self._last = said[-1]
        self._after_marker = False
        self._group.clear()

    def _cite(self, events: list[Event], numbers: list[int]) -> None:
        self._after_marker = True
        for number in numbers:
            if number not in self._offered:
                self.unknown += 1
            elif number not in self._group:
                self._group.add(number)
                events.append(Cited(number))

    def _numbers(self, marker: str) -> list[int] | None:
        """The numbers of a whole marker, or None when it is ordinary text in brackets."""
        if not _MARKER.fullmatch(marker):
            return None
        numbers: list[int] = []
        for first, last, single in _RANGE.findall(marker.partition("†")[0]):
            if single:
                numbers.append(int(single))
            elif 0 <= int(last) - int(first) <= _WIDEST_RANGE:
                numbers.extend(range(int(first), int(last) + 1))
            else:
                numbers.extend((int(first), int(last)))
        large = any(number > _LARGEST and number not in self._offered for number in numbers)
        known = any(number in self._offered for number in numbers)
        if large and not known and not _HAS_KEYWORD.search(marker):
            return None
        return numbers


def _marker_length(held: str, opener: int) -> int | None:
    """Length of the bracket that opens at `opener`: 0 when it cannot be a marker, None while that is not known."""
    kind = held[opener]
    closer, inside = _CLOSERS[kind], opener + 1
    if kind == "[" and held[inside : inside + 1] == "[":
        closer, inside = "]]", inside + 1
    end = held.find(closer, inside, opener + _LONGEST)
    if end >= 0:
        return end + len(closer) - opener
    rest = held[inside:].removesuffix("]") if closer == "]]" else held[inside:]
    return None if len(held) - opener < _LONGEST and _may_begin_marker(kind, rest) else 0


def _may_begin_marker(kind: str, inside: str) -> bool:
    """Whether some marker starts with these code points; once False, it stays False for every longer text."""
    if not _SHAPE[kind].fullmatch(inside):
        return False
    words = [match.group().lower() for match in _LETTERS.finditer(inside.partition("†")[0])]
    if not words:
        return True
    allowed = _KEYWORDS | _JOINERS | _LEADS
    *whole, last = words
    return all(word in allowed for word in whole) and any(word.startswith(last) for word in allowed)


@dataclass(frozen=True, slots=True)
class AnswerSentence:
    """A finished sentence of an answer: code points [start, end) of the answer's text, and what it cites, in order."""

    ordinal: int
    text: str
    start: int
    end: int
    citations: tuple[int, ...]


_WORD_END = re.compile(r"\s*\S+\s|\s*\n")
_MAY_END = re.compile(r"""[.!?…。！？]["'”’“»)\]」』]*\s|[。！？]|\n""")


class AnswerBuilder:
    """Collects a scanner's events into sentences; `text` is the answer so far, without markers.

    A citation belongs to the sentence it stands in or directly behind; at the start of a line that goes
    on, to that line.
    """

    def __init__(self) -> None:
        self.text = ""
        self._fed = ""  # text whose last word is not complete yet
        self._done = 0  # where the unfinished rest begins
        self._marks: list[tuple[int, int]] = []  # (offset, number), waiting for their sentence
        self._waiting: list[AnswerSentence] = []
        self._ordinal = 0

    def feed(self, events: Iterable[Event]) -> list[AnswerSentence]:
        """The sentences that are finished now: the word after them has been read, and so have their citations."""
        finished: list[AnswerSentence] = []
        for event in events:
            if isinstance(event, Cited):
                self._marks.append((len(self.text) + len(self._fed), event.number))
            elif isinstance(event, Token):
                self._fed += event.text
                while word := _WORD_END.match(self._fed):
                    self.text += word.group()
                    self._fed = self._fed[word.end() :]
                    finished.extend(self._cut(final=False))
        return finished

    def finish(self) -> list[AnswerSentence]:
        """The sentences that are left."""
        self.text += self._fed
        self._fed = ""
        return self._cut(final=True)

    def _cut(self, *, final: bool) -> list[AnswerSentence]:
        rest = self.text[self._done :]
        if not final and not _MAY_END.search(rest):
            return []
        spans = [(self._done + start, self._done + end) for start, end in sentences(rest, wrapped=False)]
        known = spans if final else spans[:-1]
        # A sentence is given out when it is certain which citations are its own: the next one has begun, and not in
        # the middle of the marks that open a line.
        finished = [self._sentence(span, following) for span, following in zip(known, [*spans[1:], None], strict=False)]
        if finished:
            self._done = spans[len(known)][0] if len(known) < len(spans) else len(self.text)
        return finished

    def _sentence(self, span: tuple[int, int], following: tuple[int, int] | None) -> AnswerSentence:
        start, end = span
        own: list[int] = []
        later: list[tuple[int, int]] = []
        for offset, number in self._marks:
            if offset <= end or following is None:
                mine = True
            elif "\n" in self.text[end:offset]:  # it opens a line: its own sentence follows, unless the line ends there
                mine = offset < following[0] and "\n" in self.text[offset : following[0]]
            else:
                mine = offset <= following[0]
            if mine:
                own.append(number)
            else:
                later.append((offset, number))
        self._marks = later
        self._ordinal += 1
        return AnswerSentence(self._ordinal - 1, self.text[start:end], start, end, tuple(dict.fromkeys(own)))


def split_sentences(events: Iterable[Event]) -> list[AnswerSentence]:
    """All sentences of a finished event stream, with their citations."""
    builder = AnswerBuilder()
    return [*builder.feed(events), *builder.finish()]


def sentence_at(found: list[AnswerSentence], offset: int) -> AnswerSentence | None:
    """The sentence that holds code point `offset` of the answer, or None between sentences."""
    place = bisect_left([sentence.end for sentence in found], offset + 1)
    return found[place] if place < len(found) and found[place].start <= offset else None
