"""What a sentence says beyond its words and values: not, unless, must, may, before and after, more and less. Pure.

Each is read together with the word that it governs, its head: "must not share passwords" denies "share". Two texts disagree when
both have the head and only one of them denies it. A paraphrase that has other words has no common head, and is left alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rag.domain.words import STOPWORDS, stem, word_set

_NEGATIONS = word_set(
    "not no never none nobody nothing neither nor cannot without unless except hardly scarcely can't don't doesn't isn't aren't won't "
    "mustn't wasn't weren't didn't hasn't haven't hadn't shouldn't couldn't wouldn't needn't shan't prohibited forbidden barred "
    "nicht kein keine keinen keinem keiner keines nie niemals niemand nichts ohne weder außer ausgenommen verboten untersagt "
    "ausgeschlossen unzulässig"
)
# They stand behind what they deny: "Smoking is prohibited".
_BEHIND = word_set("prohibited forbidden barred verboten untersagt ausgeschlossen unzulässig")
# What looks like a denial and is a bound or a manner of speaking.
_NO_DENIAL = re.compile(
    r"\b(?:no|not)\s+(?:more|less|fewer|later|earlier|longer\s+than|over|beyond|above|below|before|until|only"
    r"|just|merely|necessarily|matter)\b"
    r"|\b(?:shall|must|may|does|do|can|should|will)?\s*not\s+(?:to\s+)?exceed(?:ing)?\b|\bwhether\s+or\s+not\b"
    r"|\bno\.\s*\d"
    r"|\bnicht\s+(?:mehr|weniger|später|früher|länger)\s+als\b|\bnicht\s+(?:nur|vor|überschreiten"
    r"|übersteigen)\b|\bno\s+doubt\b",
    re.IGNORECASE,
)
_NEED_NOT = re.compile(
    r"\b(?:need(?:s)?\s+not|needn't|(?:do|does|did)(?:\s+not|n't)\s+(?:have|need)\s+to|(?:is"
    r"|are)\s+not\s+(?:required|obliged|bound)\s+to"
    r"|(?:is|are)n't\s+(?:required|obliged)\s+to|not\s+(?:mandatory|compulsory)|brauch(?:t|en)\s+nicht|(?:muss"
    r"|müssen)\s+nicht)\b",
    re.IGNORECASE,
)


class Mode(StrEnum):
    MUST = "must"
    MAY = "may"
    SHOULD = "should"
    NEED_NOT = "need not"
    MUST_NOT = "must not"  # and "may not", "cannot", which deny: see Denial


_MODES: tuple[tuple[Mode, re.Pattern[str]], ...] = (
    (Mode.NEED_NOT, _NEED_NOT),
    (
        Mode.MUST_NOT,
        re.compile(
            r"\b(?:(?:must|may|shall|can|could|might)\s+not|cannot|can't|mustn't|(?:is|are)\s+not\s+(?:allowed"
            r"|permitted|entitled|free)\s+to"
            r"|(?:darf|dürfen|kann|können)(?=[^,.;:]{0,80}\b(?:nicht|kein\w*)))\b",
            re.IGNORECASE,
        ),
    ),
    (
        Mode.MUST,
        re.compile(
            r"\b(?:must|shall|ha(?:s|ve)\s+to|needs?\s+to|(?:is|are)\s+(?:required|obliged|bound"
            r"|obligated)\s+to|(?:is|are)\s+to"
            r"|muss|müssen|musst|ist\s+verpflichtet|sind\s+verpflichtet|verpflichtet\s+sich)\b",
            re.IGNORECASE,
        ),
    ),
    (
        Mode.MAY,
        re.compile(
            r"\b(?:may|might|can|could|(?:is|are)\s+(?:allowed|permitted|entitled|free|able)\s+to|optionally"
            r"|darf|dürfen|kann|können|könnte)\b",
            re.IGNORECASE,
        ),
    ),
    (
        Mode.SHOULD,
        re.compile(
            r"\b(?:should|ought\s+to|(?:is|are)\s+(?:recommended|advised|encouraged)\s+to|soll|sollen|sollte|sollten)\b",
            re.IGNORECASE,
        ),
    ),
)  # fmt: skip
_WORD = re.compile(r"\w+(?:['’-]\w+)*|[,;:.()–—|]")
_CLAUSE = frozenset(",;:.()–—|")
_HEADS = 2  # content words behind a "not" of which the first that the other text has counts
_LIGHT = word_set(
    "be been being is are was were do does did have has had get take make longer yet ever even always "
    "further additional any werden wird wurde sein haben hat"
)

_OPPOSITES = """
increase rise raise grow gain|decrease decline reduce fall drop lower lose diminish
higher greater larger more above over|lower less fewer smaller below under
before prior|after following
within|after outside beyond
first|last
earlier|later
begin start commence|end stop cease finish expire
include|exclude
allow permit entitle|forbid prohibit ban
accept|reject refuse decline
approve grant|reject deny refuse
always|never
all every|some few
open|closed
active|inactive
maximum most|minimum least
positive|negative
internal|external
employer|employee
buyer|seller
landlord|tenant
lender|borrower
licensor|licensee
early|late
add|remove deduct
better improve|worse worsen
promote induce activate enhance stimulate upregulate|inhibit suppress block prevent impair downregulate
with|without
day|night
morning|evening afternoon
oldest|newest
hot|cold
wet|dry
left|right
full|empty
public|private confidential
paid|unpaid
succeed pass|fail
temporary|permanent
mandatory compulsory required obligatory|optional voluntary
upper|lower
summer|winter
single|double
with|against
agree|disagree
strong|weak
high|low
long|short
erhöhen steigen erhöht steigt|senken sinken verringern gesenkt sinkt
vor|nach
beginnt beginn|endet ende
mehr|weniger
Arbeitgeber|Arbeitnehmer
Vermieter|Mieter
Käufer|Verkäufer
Auftraggeber|Auftragnehmer
brutto|netto
innerhalb|außerhalb
zulässig erlaubt gestattet|unzulässig verboten
freiwillig|verpflichtend
öffentlich|vertraulich
"""
_CONDITIONS = re.compile(
    r"\b(?:unless|except(?:\s+(?:for|where|when|that))?|other\s+than|apart\s+from|provided\s+that|subject\s+to"
    r"|only\s+(?:if|when|where|with|after)"
    r"|save\s+(?:for|where)|as\s+long\s+as|es\s+sei\s+denn|außer|ausgenommen|sofern|soweit|vorausgesetzt"
    r"|mit\s+Ausnahme|nur\s+(?:wenn|mit|nach))\b",
    re.IGNORECASE,
)
_ONLY = re.compile(
    r"\b(?:only|solely|exclusively|nur|ausschließlich|lediglich|bloß)\b(?!\s+(?:if|when|wenn))", re.IGNORECASE
)


_AT_MOST = re.compile(
    r"\b(?:at\s+most|up\s+to|no\s+(?:more|later|longer)\s+than|not\s+(?:more|later|longer)\s+than"
    r"|not\s+exceed(?:ing)?|maximum|höchstens|maximal|spätestens|bis\s+zu)\b",
    re.IGNORECASE,
)
_AT_LEAST = re.compile(
    r"\b(?:at\s+least|no\s+(?:less|fewer|earlier)\s+than|not\s+(?:less|fewer|earlier)\s+than|minimum|mindestens"
    r"|wenigstens|frühestens)\b",
    re.IGNORECASE,
)


def _opposites(text: str) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for line in text.strip().splitlines():
        one, other = (frozenset(map(stem, side.split())) for side in line.split("|"))
        for mine, theirs in ((one, other), (other, one)):
            for word in mine:
                found.setdefault(word, set()).update(theirs)
    return {word: frozenset(others) for word, others in found.items()}


OPPOSITES = _opposites(_OPPOSITES)


@dataclass(frozen=True, slots=True)
class Denial:
    """A "not" and the stems of the words that it may govern, the nearest first."""

    start: int
    end: int
    heads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a sentence denies, requires and allows, and the stems of its words, in order."""

    denials: tuple[Denial, ...]
    modes: tuple[tuple[Mode, Denial], ...]
    words: frozenset[str]
    conditional: bool
    only: bool
    bounds: tuple[int, int]  # how often "at most", and how often "at least", with a number or without


def claim(text: str) -> Claim:
    """What `text`, a sentence, claims."""
    hidden = _NO_DENIAL.sub(lambda match: "_" * len(match.group()), text)
    tokens = list(_WORD.finditer(hidden))
    denials = [
        Denial(match.start(), match.end(), _heads(tokens, place, match.group().casefold()))
        for place, match in enumerate(tokens)
        if match.group().casefold().replace("’", "'") in _NEGATIONS
    ]
    taken: list[tuple[int, int]] = []
    modes = []
    for mode, pattern in _MODES:
        for match in pattern.finditer(text):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            if match.group() == "May" and match.start() > 0:
                continue  # the month
            taken.append(match.span())
            place = next((at for at, token in enumerate(tokens) if token.start() >= match.end()), len(tokens))
            modes.append((mode, Denial(match.start(), match.end(), _heads(tokens, place - 1, ""))))
    words = frozenset(stem(match.group()) for match in tokens if match.group() not in _CLAUSE)
    return Claim(
        tuple(denials),
        tuple(modes),
        words,
        bool(_CONDITIONS.search(text)),
        bool(_ONLY.search(text)),
        (len(_AT_MOST.findall(text)), len(_AT_LEAST.findall(text))),
    )


def _heads(tokens: Sequence[re.Match[str]], place: int, word: str) -> tuple[str, ...]:
    """The content words that the word at `place` governs: behind it in its clause, or before it where the clause ends there."""
    behind = _contents(tokens[place + 1 :])
    before = _contents(tokens[: max(place, 0)][::-1])
    if word in _BEHIND:
        return before[:_HEADS]
    return (*behind[:_HEADS], *(before[:1] if len(behind) < 1 or word in {"nicht"} else ()))


def _contents(tokens: Sequence[re.Match[str]]) -> tuple[str, ...]:
    found: list[str] = []
    for match in tokens:
        word = match.group()
        if word in _CLAUSE:
            break
        folded = word.casefold()
        if (folded in STOPWORDS or folded in _LIGHT or folded in _NEGATIONS or set(folded) == {"_"}) and folded not in {
            "after",
            "before",
        }:
            continue
        found.append(stem(word))
        if len(found) > _HEADS:
            break
    return tuple(found)


def denies_otherwise(mine: Claim, theirs: Claim) -> bool:
    """Whether one of the two denies what the other says in the same word. Each "not" answers one "not" of the other."""
    mine_left, theirs_left = list(mine.denials), list(theirs.denials)
    common = sorted(
        (
            (len(set(one.heads) & set(other.heads)), at, there)
            for at, one in enumerate(mine_left)
            for there, other in enumerate(theirs_left)
        ),
        key=lambda each: (-each[0], each[1], each[2]),
    )
    answered: set[int] = set()
    answering: set[int] = set()
    for shared, at, there in common:
        if shared and at not in answered and there not in answering:
            answered.add(at)
            answering.add(there)
    return any(at not in answered and _governs(one, theirs) for at, one in enumerate(mine_left)) or any(
        there not in answering and _governs(other, mine) for there, other in enumerate(theirs_left)
    )


def _governs(denial: Denial, other: Claim) -> bool:
    return bool(denial.heads) and _among(denial.heads[0], other.words)


def _among(word: str, words: Iterable[str]) -> bool:
    """Whether the word stands there, in one of its forms: "pay" and "pays"."""
    return word in words or any(_alike(word, other) for other in words)


def _alike(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return len(short) >= 3 and long[len(short) :] in _FORMS and long.startswith(short)


_FORMS = word_set("s es d ed ing t st en e er")


def required_otherwise(mine: Claim, theirs: Claim) -> tuple[Mode, Mode] | None:
    """The two modes, of the sentence and of the passage, in which they speak of one thing; None where they agree."""
    for mode, place in mine.modes:
        others = [
            other
            for other, there in theirs.modes
            if place.heads and any(_among(head, there.heads) for head in place.heads)
        ]
        if others and mode not in others and Mode.MUST_NOT not in (mode, *others):
            return mode, others[0]
    return None


def softened(mine: Claim, theirs: Claim) -> bool:
    """Whether what is certain in one is only possible in the other."""
    return any(
        mode is Mode.MAY and place.heads and _among(place.heads[0], other.words) and not other.modes
        for one, other in ((mine, theirs), (theirs, mine))
        for mode, place in one.modes
    )


def bounded_otherwise(mine: Claim, theirs: Claim) -> bool:
    """Whether an "at most" of one is an "at least" of the other."""
    (up, low), (their_up, their_low) = mine.bounds, theirs.bounds
    return (up > their_up and low < their_low) or (up < their_up and low > their_low)


def opposite(mine: Claim, theirs: Claim) -> bool:
    """Whether the sentence has a word where the passage has its opposite, and neither has both."""
    for word in mine.words - theirs.words:
        others = OPPOSITES.get(word, frozenset()) & theirs.words
        if others and not others & mine.words:
            return True
    return False
