"""The extractive answerer: which sentences of the passages answer the question, word for word. Pure.

Why a weighted sum and not a model: it has to answer within half a second on two cores, without weights of its own, and
every part of a score can be shown. The weights were fitted on questions with known answers (see `Weights`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log1p

from rag.domain.quantities import Kind, Quantity, quantities
from rag.domain.sentences import sentences
from rag.domain.types import Source
from rag.domain.words import STOPWORDS, WORD, content_stems, stem

Idf = Callable[[str], float] | Mapping[str, float]

LONGEST = 600  # code points of a quote: a longer "sentence" is a table or a page without punctuation
_LONGEST_TOGETHER = 300  # sentences that lean on each other
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

    Fitted on 1,327 questions with known answers, and checked by leaving a quarter of them out each time: three quotes of the best
    three passages hold the answer for .93 of them, one for .69. The likelihood that was raised is that of some stretch with the
    answer among all stretches of a question (a softmax, as in `rag.domain.learning`). `opening` was held back to a third of what
    that set would like, and literal matches and lists are not punished as it would: encyclopedias are no contracts.
    """

    cosine: float = 1.2  # question and stretch
    left: float = (
        1.9  # share, by rarity, of the question's terms that are not in the title or the headings, in the stretch
    )
    context: float = 0.5  # share of all terms in the stretch with the one before it, the headings and the title
    title: float = 3.4  # the same in the headings and the title
    passage: float = 0.25  # the same in the whole passage
    rank: float = 0.75  # 1 / place of the passage
    gap: float = 16.5  # the passage's own cosine less that of the best
    hint: float = 2.5  # holds the kind of thing that is asked for
    length: float = 1.6  # long enough to say something
    opening: float = 0.4  # near the passage's beginning
    fragment: float = 1.2  # taken off a heading or a stump


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
    standing = [frozenset(content_stems(f"{source.title} {' '.join(source.heading)}")) for source in sources]
    worth = _worth(terms, sources, standing, weights)
    own = [frozenset(content_stems(candidate.text)) for candidate in found]
    quotes: list[Quote] = []
    at, nth = -1, 0
    for place, candidate in enumerate(found):
        nth = nth + 1 if candidate.source == at else 1
        at = candidate.source
        before = own[place - 1] if nth > 1 else frozenset[str]()
        score = (
            worth[at]
            + weights.left * _coverage(terms, own[place], beyond=standing[at])
            + weights.context * _coverage(terms, own[place] | before | standing[at])
            + weights.length * min(1.0, log1p(len(own[place])) / log1p(_FULL_LENGTH))
            + weights.opening / nth
            - weights.fragment * candidate.fragment
        )
        if hint is not None:
            score += weights.hint * hint(candidate.text, asked)
        if cosines is not None:
            score += weights.cosine * float(cosines[place])
        quotes.append(Quote(sources[at].number, candidate.start, candidate.end, candidate.text, score))
    return sorted(quotes, key=lambda quote: -quote.score)


def _worth(
    terms: Mapping[str, float], sources: Sequence[Source], standing: Sequence[frozenset[str]], weights: Weights
) -> list[float]:
    """What every stretch of a passage gets for the passage it stands in."""
    cosines = [source.cosine for source in sources if source.cosine is not None]
    nearest = max(cosines, default=0.0)
    return [
        weights.rank / place
        + weights.passage * _coverage(terms, frozenset(content_stems(source.text)))
        + weights.title * _coverage(terms, standing[place - 1])
        + weights.gap * ((source.cosine - nearest) if source.cosine is not None else 0.0)
        for place, source in enumerate(sources, start=1)
    ]


def choose_quotes(ranked: Sequence[Quote], sources: Sequence[Source], *, most: int = 3) -> list[Quote]:
    """At most `most` of the best quotes, none a near copy or a part of another.

    The best comes first: whoever reads one line reads the likeliest answer. A stump of a word or two is left out while
    there is anything else. A sentence that leans on the one before it ("She was …") comes with it, and with the one after it that
    leans on it, as far as both are `_LONGEST_TOGETHER` at most: alone it would speak of nobody knows whom.
    """
    texts = {source.number: source.text for source in sources}
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
        chosen.append(_with_what_it_leans_on(quote, texts[quote.number], chosen))
        stems.append(own)
    return chosen


# Begins with a word that stands for something said before.
_LEANS = re.compile(r"[\"“„(]*(?:he|she|it|they|this|these|those|his|her|its|their|that|there|such|however|but"
                    r"|er|sie|es|diese[rsmn]?|dies|dessen|deren|dort|dadurch|damit|jedoch)\b", re.IGNORECASE)  # fmt: skip


def _with_what_it_leans_on(quote: Quote, text: str, chosen: Sequence[Quote]) -> Quote:
    spans = sentences(text)
    if (quote.start, quote.end) not in spans:
        return quote  # a list, a part of a long stretch: these stand for themselves
    at = spans.index((quote.start, quote.end))
    taken = [(other.start, other.end) for other in chosen if other.number == quote.number]
    start, end = quote.start, quote.end
    if at and _LEANS.match(quote.text) and _together(text, spans[at - 1][0], end, seam=start, taken=taken):
        start = spans[at - 1][0]
    if at + 1 < len(spans) and _LEANS.match(text, spans[at + 1][0]):
        last = spans[at + 1][1]
        if _together(text, start, last, seam=spans[at + 1][0], taken=taken):
            end = last
    return replace(quote, start=start, end=end, text=text[start:end])


def _together(text: str, start: int, end: int, *, seam: int, taken: Sequence[tuple[int, int]]) -> bool:
    """Whether [start, end) may be one quote: short, of one paragraph, no item of a list, and nothing of it quoted already.
    `seam` is where its second sentence begins."""
    between = text[len(text[:seam].rstrip()) : seam]
    return (
        end - start <= _LONGEST_TOGETHER
        and "\n" not in between
        and not _ITEM.match(text, start)
        and all(end <= other[0] or other[1] <= start for other in taken)
    )


def _terms(question: str, idf: Idf) -> dict[str, float]:
    rarity = idf if callable(idf) else lambda term: idf.get(term, _UNKNOWN_IDF)
    return {term: max(0.0, rarity(term)) for term in content_stems(question)}


def _coverage(terms: Mapping[str, float], there: frozenset[str], *, beyond: frozenset[str] = frozenset()) -> float:
    """The share of the terms, by rarity, that are `there`, of those that are not among `beyond`; .5 where all of them are."""
    wanted = {term: weight for term, weight in terms.items() if term not in beyond}
    total = sum(wanted.values())
    if not total:
        return 0.5 if beyond and terms else 0.0
    return sum(weight for term, weight in wanted.items() if term in there) / total


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
