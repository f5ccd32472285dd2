"""What a follow-up question takes from the conversation before it: which earlier texts, how much of each, and in words. Pure.

Why weights instead of a rewritten sentence: rules cannot tell for sure what "it" means, and a wrong word in a rewritten question
spoils the search. Earlier texts that count a little put the right passages ahead where the question says little itself, and
change next to nothing where it says enough. docs/conversations.md has the figures.

| the question | counts beside it |
|---|---|
| leans ("How long is it?", "And on Saturdays?") | the two questions before, the second half as much; the last answer |
| stands alone | the same, less than half as much |
| stands alone and is about something else | nothing |
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from rag.domain.types import Vectors
from rag.domain.words import content_stems, stem, word_set

# Weights beside the question's own 1. Chosen on two sets of conversations together; those chosen on one alone cost the other
# .01 to .02 nDCG@10.
QUESTION, ANSWER = 0.3, 0.2
DECAY = 0.5  # of a question's weight for each one that was asked since
QUESTIONS = 2  # earlier ones that count
ANSWER_MOST = 300  # characters of the last answer: what it is about stands at its beginning
STANDING = 0.45  # of the weights for a question that stands alone

# Below the first cosine to all that was said before, a question that stands alone is about something else; above the second it
# surely is not. Of questions put behind another conversation 93 % lie below .2, of those in their own 8 %.
OTHER_TOPIC, SAME_TOPIC = 0.1, 0.2

_SHORT = 2  # content words up to which a question is taken for the rest of the one before
_ANTECEDENT = 2  # content words before a pronoun from which it means one of them

# Whatever stands before them, these point out of the question.
_POINTING = re.compile(
    r"\b(?:this|these|those)\b(?!\s+(?:is|are|year|month|week|summer|winter|spring|autumn|morning|time)\b)"
    r"|\b(?:is|are|was|were|does|did|do|about|like|than|after|before|for|with|of|why|how|what's)\s+(?:that|this|those|these)\b"
    r"|\b(?:which|this|that|each|another|other|first|second|last|regular|new|old)\s+ones?\b"
    r"|\bthe\s+(?:same|former|latter|above|others?)\b(?!\s+(?:as|time|hand|than)\b)"
    r"|\b(?:aforementioned|else|instead|otherwise)\b|(?:^|\s)then\s*(?:[?.!]|$)|\bthere\s*[?.!]*$"
    r"|\b(?:diese[mnrs]?|dies|jene[mnrs]?|dasselbe|dieselbe[mn]?|letztere[mnrs]?|obige[mnrs]?|ebenfalls|stattdessen|sonst"
    r"|dort|davon|dazu|dafür|dabei|daran|darauf|darin|darüber|dagegen|danach|daraus|hierzu|hierfür)\b",
    re.IGNORECASE,
)
# These may mean a word before them in the question itself: one of its content words, in German a noun, which has a capital.
_PRONOUN = re.compile(r"\b(?:it|its|they|them|their|theirs|he|him|his|she|her|hers)\b", re.IGNORECASE)
_GERMAN_PRONOUN = re.compile(
    # "Sie" and "Ihr" are "you" and "your", whatever they mean without their capital.
    r"\b(?:er|es|sie|ihr|ihn|ihm|ihnen|ihre[mnrs]?|[sS]eine?[mnrs]?|[dD]eren|[dD]essen)\b"
)
_NOUN = re.compile(r"(?<=[^\W\d_] )[A-ZÄÖÜ]\w+")
# "it" that means nothing: "Is it possible to …", "Gibt es …", "Wie viele sind es?" does not.
_EMPTY_IT = re.compile(
    r"\b(?:is|was|isn't|will|would)\s+it\s+(?:\w+\s+)?(?:true|possible|necessary|allowed|legal|important|safe|better|ok|okay|mandatory)\b"
    r"|\bit\s+(?:is|was|isn't|would be)\s+(?:\w+\s+)?(?:true|possible|necessary|allowed|legal|important|mandatory)\b"
    r"|\bdoes\s+it\s+(?:take|cost|pay)\s+to\b|\b(?:gibt|gab|gäbe)\s+es\b|\bes\s+(?:gibt|gab|ist\s+möglich)\b|\bist\s+es\s+(?:möglich|erlaubt|nötig|wahr)\b",
    re.IGNORECASE,
)
_CONTINUING = re.compile(
    r"^\W*(?:and|or|but|also|so|then|plus|what about|how about|what if|why not|even if|same for|no|nope|yes|sorry|wait"
    r"|und|oder|aber|also|auch|dann|sowie|nein|doch|was ist mit|wie ist es (?:mit|bei)|wie sieht es|und wenn|gilt das|warum nicht)\b"
    r"|\bi (?:mean|meant|was asking|am asking|am referring)\b|\bich (?:meine|meinte)\b",
    re.IGNORECASE,
)
# "What is a polder?" is short and whole.
_WHOLE = re.compile(
    r"^\W*(?:what|who|where)(?:'s|\s+(?:is|are|was|were))\b|^\W*(?:was|wer|wo)\s+(?:ist|sind|war|waren)\b"
    r"|^\W*(?:define|definition of)\b",
    re.IGNORECASE,
)
_NEW_TOPIC = re.compile(
    r"\b(?:another|a different|a new|an unrelated|next) (?:question|topic|subject)\b|\b(?:change|changing) (?:the )?(?:topic|subject)\b"
    r"|\bsomething (?:else|different) (?:entirely|altogether)\b"
    r"|\b(?:andere|neue|weitere) frage\b|\b(?:anderes|neues) thema\b|\bthemenwechsel\b|\betwas (?:ganz )?anderes\b",
    re.IGNORECASE,
)
# What is said between questions.
_MANNERS = frozenset(
    map(
        stem,
        word_set(
            """
            thank thanks thx okay ok great good nice fine sure yes yeah no wow cool awesome perfect excellent interesting got
            right see know understand help welcome please sorry hello hi hey bye glad sounds amazing impressive bad
            danke dank schön gut super prima toll ja nein verstehe verstanden klar alles genau bitte hallo tschüss interessant
            """
        ),
    )
)


class Lean(Enum):
    """How much a question depends on what was said before it."""

    CLEARLY = "clearly"  # it points back, goes on, or corrects
    MAYBE = "maybe"  # it is too short to say for itself what it is about
    NOT = "not"
    NEVER = "never"  # it says that it is about something else


@dataclass(frozen=True, slots=True)
class Turn:
    """A question of the conversation, and what was answered, as far as the asker may read it."""

    question: str
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A text that a question is searched together with, and its weight beside the question's own 1."""

    text: str
    weight: float


def lean(question: str) -> Lean:
    """Whether the question depends on what was said before it, by its words, English and German."""
    if _NEW_TOPIC.search(question):
        return Lean.NEVER
    plain = _EMPTY_IT.sub(" ", question)
    if _CONTINUING.search(plain) or _POINTING.search(plain):
        return Lean.CLEARLY
    if (found := _PRONOUN.search(plain)) and len(content_stems(plain[: found.start()])) < _ANTECEDENT:
        return Lean.CLEARLY
    if (found := _GERMAN_PRONOUN.search(plain)) and not _NOUN.search(plain[: found.start()]):
        return Lean.CLEARLY
    if len(set(content_stems(question))) <= _SHORT and not _WHOLE.search(question):
        return Lean.MAYBE
    return Lean.NOT


def standalone(question: str, turns: Sequence[Turn]) -> str:
    """The question in words that can be read alone: itself, or followed by the question, in brackets, that it goes on from.

    `turns` are the conversation's, oldest first.
    """
    if lean(question) in (Lean.NOT, Lean.NEVER):
        return question
    topic = _topic(turns)
    return f"{question} ({topic})" if topic else question


def _topic(turns: Sequence[Turn]) -> str:
    """The last question that stands alone; where none does, the last that says anything."""
    said = [turn.question for turn in turns if _says_something(turn.question)]
    alone = [question for question in said if lean(question) in (Lean.NOT, Lean.NEVER)]
    return (alone or said or [""])[-1]


def earlier(question: str, turns: Sequence[Turn]) -> list[Earlier]:
    """The texts before a question that count in its search, with their weights as far as words tell them.

    `turns` are the conversation's, oldest first. What is to be weighed by likeness too, see `on_topic`.
    """
    how = lean(question)
    if how is Lean.NEVER or not turns:
        return []
    share = STANDING if how is Lean.NOT else 1.0
    asked = [turn.question for turn in reversed(turns) if _says_something(turn.question)][:QUESTIONS]
    found = [Earlier(text, share * QUESTION * DECAY**place) for place, text in enumerate(asked)]
    # An answer before the last tells of what the conversation has left since.
    if turns[-1].answer.strip():
        found.append(Earlier(_beginning(turns[-1].answer), share * ANSWER))
    return found


def on_topic(
    question: str, vector: Vectors, before: Sequence[Vectors], *, likeness: Callable[[float], float] = float
) -> float:
    """The share of the weights that stays, by the likeness of what was said before: 1 where the question clearly leans or is about
    the same, 0 where it is about something else. All vectors have length 1; `likeness` brings the cosines of another model to the
    scale on which the bounds were chosen."""
    if not before or lean(question) is Lean.CLEARLY:
        return 1.0
    nearest = likeness(max(float(np.dot(vector, other)) for other in before))
    return min(max((nearest - OTHER_TOPIC) / (SAME_TOPIC - OTHER_TOPIC), 0.0), 1.0)


def _says_something(question: str) -> bool:
    return any(word not in _MANNERS for word in content_stems(question))


def _beginning(answer: str) -> str:
    """The first ANSWER_MOST characters, to the end of a word."""
    text = " ".join(answer.split())
    return text if len(text) <= ANSWER_MOST else text[:ANSWER_MOST].rpartition(" ")[0]
