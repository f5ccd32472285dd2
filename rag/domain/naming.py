"""Which documents a question names, by their titles and by the parties, places and dates at their heads. Pure.

Why: a passage of a contract seldom repeats whose contract it is, so neither its words nor its meaning tell it from the same
clause in the next one. Where a question says which document is meant, those words choose the document, and the others
choose the passage in it.
"""

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, Self, TypeVar

from rag.domain.marks import is_mark, marks
from rag.domain.words import STOPWORDS, WORD, stem, word_set

HEAD = 2_500  # characters from a document's beginning in which its names are looked for
MOST = 400  # characters of names kept of one document

D = TypeVar("D", bound=Hashable)

_PARTS = re.compile(
    r"[_\-–—.,;:/\\()\[\]{}#+~]+|(?<=[a-zà-ÿ])(?=[A-ZÀ-Ý])|(?<=[A-Za-z])(?=\d{4})|(?<=\d)(?=[A-Za-z]{2})"
)
_PARAGRAPHS = re.compile(r"\n\s*\n")
# File endings, and what filing systems write into names.
_FILE_PARTS = re.compile(r"_+|\s+[-–—]\s+|(?<=\d)-|-(?=\d)|\s*[()\[\]]\s*")
# A title in words is one name: "Toll-like receptor-3 (TLR3)" is not called "3", nor "Step Back (album)" an album.
_TITLE_PARTS = re.compile(r"\s+[-–—]\s+")
_TITLE_NOISE = word_set("pdf docx doc odt rtf txt html htm md xlsx xls pptx eml msg epub ex exhibit scan copy final")
_CAPITAL = r"(?:[A-ZÀ-Ý][\w&'’]*(?:[.-]\w+)*\.?)"
_NAME = re.compile(
    rf"{_CAPITAL}(?:,?[ ]+(?:(?:of|and|the|de|der|du|für|und|for|&|et)[ ]+)?(?:{_CAPITAL}|\d{{1,4}}\b))+"
)
_DATE = re.compile(
    r"\b(?:\d{1,2}(?:st|nd|rd|th|\.)?[ ]+(?:day[ ]+of[ ]+)?[A-ZÀ-Ý][a-zà-ÿ]+,?[ ]+\d{4}|[A-Z][a-z]+[ ]+\d{1,2},[ ]*\d{4}"
    r"|\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4})\b"
)
# Capitalised in most documents without naming any.
_BOILERPLATE = word_set(
    """
    agreement article annex appendix board chapter clause company confidential contents contract corporation date dated
    document draft effective execution exhibit figure introduction none note notice number page part parties party
    recitals schedule section table terms title version whereas witnesseth
    """
)
_LEAST_WORDS, _MOST_WORDS = 2, 10  # of a name in running text
_BETWEEN = re.compile(r"\b(?:between|among|zwischen)\b", re.IGNORECASE)
_BETWEEN_WITHIN = 200  # characters
_NEXT = re.compile(r"[,\s]*([\w.]+)")
_CALLED = re.compile(r"[^.;]{0,80}\([^)]{0,30}[\"“„']")  # … a Delaware corporation ("Supplier")
# What follows a company's name by law and is left out when people speak of it.
_LEGAL_FORMS = word_set(
    "ag bv co company corp corporation ev gmbh inc incorporated kg limited llc llp lp ltd nv plc sa sarl se"
)

SAID = 0.6  # share of a name's words that says it: "Acme Supply" for "Acme Supply International"
ENOUGH = 0.4  # rarity that names a document: 1 is a word of one among many
COMMON = 0.25  # a word in the names of a larger share of the documents names a kind ("agreement"), not a document
CROWD = 0.1  # share of the documents from which "named" means nothing
OTHER_NUMBER = 0.4  # what is left of a fit without the year or version that the question says of another document
MOST_NAMED = 3  # documents named side by side


def plain_title(title: str) -> str:
    """A title or file name as words: split where it is joined by case, underscores or hyphens, and without filing noise."""
    parts: list[str] = []
    at = 0
    for mark in marks(title):
        parts += _PARTS.sub(" ", title[at : mark.start]).split()
        parts.append(title[mark.start : mark.end])  # "v3.1" is not two words
        at = mark.end
    parts += _PARTS.sub(" ", title[at:]).split()
    return " ".join(part for part in parts if part.casefold() not in _TITLE_NOISE)


def names(title: str, head: str) -> str:
    """What a document may be called: its title as words, then the names and dates in `head`, parted by "; "; at most MOST characters.

    `head` is the beginning of its text; what lies past HEAD characters is not looked at.
    """
    found = {part.casefold(): part[:MOST] for part in map(plain_title, _title_parts(title)) if part}
    # A name goes on over the end of a line, not over that of a paragraph.
    paragraphs = [" ".join(part.split()) for part in _PARAGRAPHS.split(head[:HEAD])]
    dates = [match.group() for match in _DATE.finditer(" | ".join(paragraphs))]
    for name in [*(name for paragraph in paragraphs for name in _proper(paragraph)), *dates]:
        found.setdefault(name.casefold(), name)
    kept: list[str] = []
    room = MOST
    for name in found.values():
        if name and len(name) <= room:
            kept.append(name)
            room -= len(name) + 2
    return "; ".join(kept)


def _title_parts(title: str) -> list[str]:
    """The names that a file system joined to one, by underscores, hyphens or brackets; a date is one of them."""
    split = _FILE_PARTS if "_" in title or " " not in title.strip() else _TITLE_PARTS
    parts: list[str] = []
    at = 0
    for mark in marks(title):
        if len(mark.words) > 1:
            parts += [*split.split(title[at : mark.start]), title[mark.start : mark.end]]
            at = mark.end
    return parts + split.split(title[at:])


def _proper(paragraph: str) -> Iterator[str]:
    """Runs of at least two capitalised words that name the document, less the boilerplate in front.

    In running text those are its parties: with a legal form, said to be "between", or given a short name. Whoever else is
    spoken of there names what the document is about, and many more are about that.
    """
    heading = len(paragraph.split()) <= _MOST_WORDS + 2 and not paragraph.endswith((".", "!", "?"))
    for match in _NAME.finditer(paragraph):
        words = match.group().strip(" ,.").split()
        while words and _says_nothing(words[0]):
            words.pop(0)
        while words and words[-1].casefold() in STOPWORDS:
            words.pop()
        if not _LEAST_WORDS <= len(words) <= _MOST_WORDS or all(map(_says_nothing, words)):
            continue
        if heading or _is_party(paragraph, match):
            yield " ".join(words)


def _is_party(paragraph: str, match: re.Match[str]) -> bool:
    next_word = _NEXT.match(paragraph, match.end())
    words = [*match.group().split(), next_word.group(1) if next_word else ""]
    return bool(
        _LEGAL_FORMS.intersection(word.replace(".", "").strip(",").casefold() for word in words)
        or _BETWEEN.search(paragraph[max(0, match.start() - _BETWEEN_WITHIN) : match.start()])
        or _CALLED.match(paragraph, match.end())
    )


def _says_nothing(word: str) -> bool:
    folded = word.strip(".,'’").casefold()
    return folded in STOPWORDS or folded in _BOILERPLATE or not any(c.isalnum() for c in folded)


@dataclass(frozen=True, slots=True)
class _Called:
    """A document's names as they are compared: the stems of each, and of all."""

    names: tuple[frozenset[str], ...]
    words: frozenset[str]


@lru_cache(maxsize=4096)
def _called(named: str) -> _Called:
    each: list[frozenset[str]] = []
    for name in named.split("; "):
        stems = frozenset(token.word for token in _tokens(name))
        if stems:
            each.append(stems)
    return _Called(tuple(dict.fromkeys(each)), frozenset().union(*each))


@dataclass(frozen=True, slots=True)
class _Token:
    """A word that may name, at [start, end) of its text; `marked`: written with a capital inside the sentence, or a number."""

    start: int
    end: int
    word: str
    marked: bool


def _tokens(text: str) -> list[_Token]:
    """The words of a text that may name something: dates and versions as `rag.domain.marks` has them, of the others the stems."""
    tokens: list[_Token] = []
    at = 0
    for mark in marks(text):
        tokens += _words(text, at, mark.start)
        tokens += [_Token(mark.start, mark.end, word, marked=True) for word in mark.words]
        at = mark.end
    return tokens + _words(text, at, len(text))


def _words(text: str, start: int, end: int) -> list[_Token]:
    return [
        _Token(*match.span(), stem(match.group()), _marked(match))
        for match in WORD.finditer(text, start, end)
        if (folded := match.group().casefold()) not in STOPWORDS and folded not in _LEGAL_FORMS
    ]


@dataclass(frozen=True, slots=True)
class Meant(Generic[D]):
    """The documents that a question names, each with how well the naming fits it, in (0, 1]; `question` is what it asks of them.

    Where it names none, `documents` is empty and `question` is the question itself.
    """

    question: str
    documents: Mapping[D, float] = field(default_factory=dict)


def meant(question: str, documents: Mapping[D, str]) -> Meant[D]:
    """The documents that `question` names, out of `documents`, each with its names as `names` gives them.

    A word of a name weighs the more the fewer of `documents` bear it. A question that fits many of them names none.
    """
    if len(documents) < 2:
        return Meant(question)
    asked = _Question.of(question)
    called = {document: _called(named) for document, named in documents.items()}
    holding = Counter(word for each in called.values() for word in each.words & asked.words)
    full = math.log(len(documents) + 1)
    rarity = {word: 1 - math.log(holding[word] + 1) / full for word in asked.words}
    common = frozenset(word for word in asked.words if holding[word] > max(COMMON * len(documents), 1))
    most = max(2, CROWD * len(documents))

    fits: dict[D, float] = {}
    said: set[str] = set()
    left = asked.words
    first = 0.0
    for _ in range(MOST_NAMED):
        matched = {document: _matched(asked, each, left, common) for document, each in called.items()}
        weights = {document: sum(rarity[word] for word in words) for document, words in matched.items() if words}
        best = max(weights.values(), default=0.0)
        chosen = [document for document, weight in weights.items() if weight >= 0.9 * best]
        if best < max(ENOUGH, first / 2) or len(chosen) > most:
            break
        first = first or best
        numbers = {word for document in chosen for word in matched[document] if is_mark(word)}
        for document, weight in weights.items():
            fit = (weight / best) ** 2
            if numbers - matched[document]:
                fit *= OTHER_NUMBER
            fits[document] = max(fits.get(document, 0.0), fit)
        # "How do A and B differ": once A's words are taken, B is the best named by the rest.
        used = frozenset().union(*(matched[document] for document in chosen))
        said |= used
        left -= used - common
    return Meant(asked.without(said), fits) if fits else Meant(question)


def _matched(asked: "_Question", called: _Called, left: frozenset[str], common: frozenset[str]) -> frozenset[str]:
    """The question's words that name this document: those of the names that it says (nearly) in full, and then every
    number and capitalised word that stands in some name. None where it says no name."""
    said: set[str] = set()
    for name in called.names:
        shared = name & left
        if not any(map(_tells, shared)):
            continue
        if len(shared) >= SAID * len(name) and shared - common and asked.together(shared):
            said |= shared
    return frozenset(said | (called.words & asked.marked & left)) if said else frozenset()


def _tells(word: str) -> bool:
    """Whether a word may name a document by itself: a version or a small number says which of several, not of what."""
    return not (word.startswith("v") and is_mark(word)) and not (word.isdigit() and len(word) < 4)


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    spans: tuple[tuple[int, int], ...]
    stems: tuple[str, ...]
    marked: frozenset[str]  # written with a capital inside the sentence, or with a digit

    @classmethod
    def of(cls, text: str) -> Self:
        found = _tokens(text)
        return cls(
            text=text,
            spans=tuple((token.start, token.end) for token in found),
            stems=tuple(token.word for token in found),
            marked=frozenset(token.word for token in found if token.marked),
        )

    @property
    def words(self) -> frozenset[str]:
        return frozenset(self.stems)

    def together(self, words: Set[str]) -> bool:
        """Whether these stand side by side, in any order; a single one must be marked."""
        if len(words) == 1:
            return words <= self.marked
        run: set[str] = set()
        for word in self.stems:
            run = run | {word} if word in words else set()
            if len(run) == len(words):
                return True
        return False

    def without(self, said: Set[str]) -> str:
        """The question less these words; the whole of it where no word of meaning would be left."""
        if said >= self.words:
            return self.text
        kept: list[str] = []
        at = 0
        for (start, end), word in zip(self.spans, self.stems, strict=True):
            if word in said and start >= at:  # a date is several words in one place
                kept.append(self.text[at:start])
                at = end
        return " ".join("".join([*kept, self.text[at:]]).split())


def _marked(match: re.Match[str]) -> bool:
    word = match.group()
    return any(map(str.isdigit, word)) or (match.start() > 0 and any(map(str.isupper, word)))
