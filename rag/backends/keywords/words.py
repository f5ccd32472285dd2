"""How text becomes words for keyword search, and how a question becomes a query: the same rules on both sides."""

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise

from tantivy import Filter, Occur, Query, Schema, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

# Languages written without blanks have a token per character; a run of them is searched as pairs. In everything else
# letters and digits part, so that "5mg", "5 mg" and "12-345/A" meet whatever stands between them.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_PIECES = rf"[{_UNSPACED}]|[\p{{L}}\p{{M}}&&[^{_UNSPACED}]]+|\p{{N}}+"
_WHOLE = rf"[{_UNSPACED}]|[\p{{L}}\p{{M}}\p{{N}}&&[^{_UNSPACED}]]+"

# Invisible inside words: soft hyphen, zero-width characters, byte order mark.
_INVISIBLE = dict.fromkeys([0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF])
_PHRASE = re.compile(r"[\"“„«]([^\"“”„«»]+)[\"”“»]")

# Words that every English question holds. They say nothing of what is sought, yet make BM25 read every passage.
_STOP_WORDS = """
a an and are as at be but by can could did do does for from had has have how i if in into is it its may me my of on or
our shall should so that the their them then there these they this those to was we were what when where which who whom
whose why will with would you your
"""
_STOP = frozenset(_STOP_WORDS.split())
MOST_TERMS = 200  # a whole document pasted as a question must not cost more than a long question


def _analyzer(pattern: str, *, stem: bool) -> TextAnalyzer:
    builder = TextAnalyzerBuilder(Tokenizer.regex(pattern)).filter(Filter.lowercase()).filter(Filter.ascii_fold())
    # tantivy refuses terms over 65 kB; nothing longer than this is a word.
    builder = builder.filter(Filter.remove_long(200))
    return (builder.filter(Filter.stemmer("english")) if stem else builder).build()


STEMMED = "footnote_stemmed"
PLAIN = "footnote_plain"
ANALYZERS = {STEMMED: _analyzer(_PIECES, stem=True), PLAIN: _analyzer(_WHOLE, stem=False)}


def clean(text: str) -> str:
    """`text` with compatibility forms unified (ligatures, full-width digits) and invisible characters taken out."""
    unified = unicodedata.normalize("NFKC", text).translate(_INVISIBLE)
    return unified.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class Weights:
    """What a match is worth in each field, relative to a stemmed word of the text."""

    plain: float = 0.2
    context: float = 0.7
    pair: float = 0.3
    phrase: float = 2.0


def query_for(question: str, schema: Schema, weights: Weights) -> Query | None:
    """The query for `question`, or None when there is no word in it. Nothing in a question is syntax but double quotes,
    which ask for the words together, more strongly than one by one."""
    text = clean(question)
    stems = _without_stop_words(ANALYZERS[STEMMED].analyze(text))
    plain = _without_stop_words(ANALYZERS[PLAIN].analyze(text))
    parts: list[Query] = []
    for term in _distinct(stems):
        parts.append(Query.term_query(schema, "text", term))
        parts.append(Query.boost_query(Query.term_query(schema, "context", term), weights.context))
    for term in _distinct(plain):
        parts.append(Query.boost_query(Query.term_query(schema, "plain", term), weights.plain))
    for pair in _distinct_pairs(ANALYZERS[STEMMED].analyze(text)):
        parts.append(Query.boost_query(Query.phrase_query(schema, "text", list(pair)), weights.pair))
    for quoted in _PHRASE.findall(text)[:20]:
        words = ANALYZERS[STEMMED].analyze(quoted)[:50]
        if len(words) > 1:
            parts.append(Query.boost_query(Query.phrase_query(schema, "text", words), weights.phrase))
    if not parts:
        return None
    return Query.boolean_query([(Occur.Should, part) for part in parts])


def _without_stop_words(terms: list[str]) -> list[str]:
    return [term for term in terms if term not in _STOP] or terms


def _distinct(terms: list[str]) -> list[str]:
    return list(dict.fromkeys(terms))[:MOST_TERMS]


def _distinct_pairs(terms: list[str]) -> list[tuple[str, str]]:
    """Neighbours of which one is a number or a character of an unspaced script: apart they say little."""
    return list(dict.fromkeys(pair for pair in pairwise(terms) if any(map(_weak, pair))))[:MOST_TERMS]


def _weak(term: str) -> bool:
    return term[0].isnumeric() or (len(term) == 1 and ord(term) > 0x0E00)
