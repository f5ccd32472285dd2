"""The extractive answerer: which sentences of the passages answer the question, word for word. Pure.

Why a weighted sum and not a model: it has to answer within half a second on two cores, without weights of its own, and
every part of a score can be shown. The weights were fitted on questions with known answers (see `Weights`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log1p

from rag.domain.quantities import Kind, Quantity, quantities
from rag.domain.sentences import sentences
from rag.domain.types import Source
from rag.domain.words import STOPWORDS, WORD, content_stems, stem

Idf = Callable[[str], float] | Mapping[str, float]

LONGEST = 600  # code points of a quote: a longer "sentence" is a table or a page without punctuation
_LONGEST_LIST = 500  # an introduction with the list that it announces
_SHORT_WORDS = 4
_STUMP = 2  # words up to which a stretch without a figure says nothing by itself
_SAME = 0.8  # share of words from which two sentences say the same
_FULL_LENGTH = 20  # content words beyond which length says no more
_FOOTER = re.compile(r"\b(?:page \d+ (?:of|/) \d+|seite \d+ (?:von|/) \d+)\b", re.IGNORECASE)
_LONGEST_FOOTER = 200  # code points; a sentence that speaks of "page 3 of 7" has a full stop and more words
_UNKNOWN_IDF = 6.0  # a term of which nothing is known is taken for a rare one


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of source `number`: `text` is exactly `source.text[start:end]`. A larger `score` is better."""

    number: int
    start: int
    end: int
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stretch that may be quoted: sentence or list item [start, end) of `sources[source]`, which may be a fragment."""

    source: int
    start: int
    end: int
    text: str
    fragment: bool


@dataclass(frozen=True, slots=True)
class Weights:
    """What each sign counts.

    Fitted on one half of 1,327 questions with known answers and checked on the other: three sentences of the best three
    passages hold the answer for .91 of them, one for .63 (.90 and .63 without cosines). `coverage` and `opening` were
    held back from what that set would like, since it rewards first sentences and punishes literal matches as no contract does.
    """

    cosine: float = 1.0  # question and stretch
    coverage: float = 0.15  # share of the question's terms, by rarity, in the stretch
    context: float = 0.25  # the same with the stretch before it, the headings and the title
    passage: float = 0.3  # the same in the whole passage
    rank: float = 0.6  # 1 / place of the passage
    gap: float = 0.6  # the passage's own cosine less that of the best
    hint: float = 0.5  # holds the kind of thing that is asked for
    length: float = 0.35  # long enough to say something
    opening: float = 0.15  # near the passage's beginning
    fragment: float = 0.8  # taken off a heading or a stump


def candidates(sources: Sequence[Source]) -> list[Candidate]:
    """Every stretch of `sources` that may be quoted, in order: what a caller embeds to give `cosines`."""
    return [
        candidate
        for index, source in enumerate(sources)
        for candidate in _of(index, source.text)
        if not _is_furniture(candidate.text, source.heading)
    ]


def _is_furniture(text: str, heading: Sequence[str]) -> bool:
    """A heading of the passage, or a page's header or footer: it stands there for orientation and answers nothing."""
    words = " ".join(text.split())
    return words in heading or (len(words) < _LONGEST_FOOTER and _FOOTER.search(words) is not None)


def _of(index: int, text: str) -> Iterator[Candidate]:
    spans = sentences(text)
    at = 0
    while at < len(spans):
        start, end = spans[at]
        last = at
        if text[start:end].endswith(":"):
            # "You need:" says nothing without what it announces.
            while (
                last + 1 < len(spans)
                and spans[last + 1][1] - start <= _LONGEST_LIST
                and (last == at or _ITEM.match(text, spans[last + 1][0]))
            ):
                last += 1
            end = spans[last][1]
        for first, stop in _pieces(text, start, end):
            yield Candidate(index, first, stop, text[first:stop], _is_fragment(text[first:stop]))
        for item in range(at + 1, last + 1):  # the items stand for themselves too
            yield Candidate(index, *spans[item], text[slice(*spans[item])], _is_fragment(text[slice(*spans[item])]))
        at = last + 1


_ITEM = re.compile(r"[-*•–—▪◦·|]|[(\[]?(?:\d{1,3}|[a-z]|[ivx]{1,4})[.)]\s")


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The stretch in pieces of at most `LONGEST`, cut at blanks."""
    while end - start > LONGEST:
        cut = max(text.rfind(" ", start + LONGEST // 2, start + LONGEST), text.rfind("\n", start + 1, start + LONGEST))
        cut = cut if cut > start else start + LONGEST
        yield start, cut
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if start < end:
        yield start, end


def _is_fragment(text: str) -> bool:
    """A heading, a caption or a stump: context for what follows, and no answer by itself."""
    words = WORD.findall(text)
    if len(words) < _SHORT_WORDS and not any(c.isdigit() for c in text):
        return True
    ends = text.rstrip("\"'”’“»)]")[-1:]
    return (
        ends not in ".!?…。！？:;|" and len(words) <= 10 and not _ITEM.match(text) and not re.search(r"\d|:|\|", text)
    )


def rank_sentences(
    question: str,
    sources: Sequence[Source],
    *,
    idf: Idf,
    cosines: Sequence[float] | None,
    weights: Weights | None = None,
) -> list[Quote]:
    """Every stretch of `candidates(sources)`, best first. `sources` come best first.

    `idf` gives a stem's rarity; `cosines` the likeness of the question to each candidate, in their order, or None.
    """
    weights = weights or Weights()
    found = candidates(sources)
    if cosines is not None and len(cosines) != len(found):
        raise ValueError(f"{len(cosines)} cosines for {len(found)} candidates")
    terms = _terms(question, idf)
    hint = kind_asked(question)
    asked = frozenset(terms)
    worth = _worth(terms, sources, weights)
    quotes: list[Quote] = []
    at = -1
    for place, candidate in enumerate(found):
        if candidate.source != at:
            at = candidate.source
            source = sources[at]
            standing = frozenset(content_stems(f"{source.title} {' '.join(source.heading)}"))
            before: frozenset[str] = frozenset()
            under: frozenset[str] = frozenset()  # the last heading
            nth = 0
        own = frozenset(content_stems(candidate.text))
        nth += 1
        score = (
            worth[at]
            + weights.coverage * _coverage(terms, own)
            + weights.context * _coverage(terms, own | before | under | standing)
            + weights.length * min(1.0, log1p(len(own)) / log1p(_FULL_LENGTH))
            + weights.opening / nth
            - weights.fragment * candidate.fragment
        )
        if hint is not None:
            score += weights.hint * hint(candidate.text, asked)
        if cosines is not None:
            score += weights.cosine * float(cosines[place])
        quotes.append(Quote(source.number, candidate.start, candidate.end, candidate.text, score))
        before = own
        if candidate.fragment:
            under = own
    return sorted(quotes, key=lambda quote: -quote.score)


def _worth(terms: Mapping[str, float], sources: Sequence[Source], weights: Weights) -> list[float]:
    """What every stretch of a passage gets for the passage it stands in."""
    cosines = [source.cosine for source in sources if source.cosine is not None]
    nearest = max(cosines, default=0.0)
    return [
        weights.rank / place
        + weights.passage * _coverage(terms, frozenset(content_stems(source.text)))
        + weights.gap * ((source.cosine - nearest) if source.cosine is not None else 0.0)
        for place, source in enumerate(sources, start=1)
    ]


def choose_quotes(ranked: Sequence[Quote], sources: Sequence[Source], *, most: int = 3) -> list[Quote]:
    """At most `most` of the best quotes, none a near copy or a part of another.

    The best comes first: whoever reads one line reads the likeliest answer. A stump of a word or two is left out while
    there is anything else.
    """
    whole = [
        quote for quote in ranked if len(WORD.findall(quote.text)) > _STUMP or any(c.isdigit() for c in quote.text)
    ]
    ranked = whole or ranked
    chosen: list[Quote] = []
    stems: list[frozenset[str]] = []
    for quote in ranked:
        if len(chosen) == most:
            break
        own = frozenset(content_stems(quote.text)) or frozenset({quote.text})
        overlaps = any(q.number == quote.number and q.start < quote.end and quote.start < q.end for q in chosen)
        if overlaps or any(len(own & other) >= _SAME * min(len(own), len(other)) for other in stems):
            continue
        chosen.append(quote)
        stems.append(own)
    return chosen


def _terms(question: str, idf: Idf) -> dict[str, float]:
    rarity = idf if callable(idf) else lambda term: idf.get(term, _UNKNOWN_IDF)
    return {term: max(0.0, rarity(term)) for term in content_stems(question)}


def _coverage(terms: Mapping[str, float], there: frozenset[str]) -> float:
    total = sum(terms.values())
    return sum(weight for term, weight in terms.items() if term in there) / total if total else 0.0


_WHEN = re.compile(r"\b(?:when|what (?:year|date|day|time)|which (?:year|date|day)|since when|until when|how old"
                   r"|wann|seit wann|bis wann|welchem jahr|welches datum)\b", re.IGNORECASE)  # fmt: skip
_HOW_MUCH = re.compile(r"\b(?:how (?:much|many|long|often|high|far|big|large|tall|fast|deep)|what (?:is|was|are) the "
                       r"(?:price|fee|cost|amount|rate|number|population|salary|limit)|wie (?:viel|viele|hoch|lange|oft"
                       r"|weit|groß)|wieviele?)\b", re.IGNORECASE)  # fmt: skip
_WHO = re.compile(r"\b(?:who|whom|whose|wer|wem|wen|wessen)\b", re.IGNORECASE)
_WHERE = re.compile(
    r"\b(?:where|which (?:city|country|state)|what (?:city|country|state)|wo|wohin|woher)\b", re.IGNORECASE
)
_PLACE = re.compile(r"\b(?:in|at|near|from|on|to|into|of|aus|bei|nach|im)\s+(?:the\s+)?[A-ZÄÖÜ]\w+")
_YEAR = re.compile(r"1\d{3}|20\d{2}")

Hint = Callable[[str, frozenset[str]], float]


def kind_asked(question: str) -> Hint | None:
    """How far a sentence, beyond the stems of the question's own words, holds the kind of thing that is asked for, in [0, 1]: a time,
    an amount, a name, a place. None where the question asks for none of them.
    """
    if _WHEN.search(question):
        return _has_time
    if _HOW_MUCH.search(question):
        return _has_amount
    if _WHO.search(question):
        return _has_name
    if _WHERE.search(question):
        return lambda text, asked: 1.0 if any(_fresh(m.group(), asked) for m in _PLACE.finditer(text)) else 0.0
    return None


def _has_time(text: str, asked: frozenset[str]) -> float:
    del asked
    return 1.0 if any(_is_time(value) for value in quantities(text)) else 0.0


def _is_time(value: Quantity) -> bool:
    return value.kind is Kind.DATE or (not value.unit and bool(_YEAR.fullmatch(value.text)))


def _has_amount(text: str, asked: frozenset[str]) -> float:
    values = [v for v in quantities(text) if not _is_time(v) and v.kind is Kind.NUMBER and stem(v.text) not in asked]
    return 1.0 if any(value.unit for value in values) else 0.7 if values else 0.0


def _has_name(text: str, asked: frozenset[str]) -> float:
    names = [m.group() for m in WORD.finditer(text) if m.start() and m.group()[0].isupper() and len(m.group()) > 1]
    return min(1.0, sum(_fresh(name, asked) for name in names) / 2)


def _fresh(words: str, asked: frozenset[str]) -> bool:
    return any(stem(word) not in asked for word in WORD.findall(words) if word.casefold() not in STOPWORDS)
