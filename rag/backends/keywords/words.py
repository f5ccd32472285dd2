"""How text becomes the words of a keyword index: the same rules for passages and questions.

Why by language: English endings folded in Russian or Arabic text cost up to .09 nDCG@10 (docs/retrieval.md).
Why pieces of four letters: they find "Frist" in "Kündigungsfrist" and endings that no stemmer knows, in languages for which
there is no stemmer as well, without a word list, and alike for the first and for the last document of a collection. A splitter
that learns from a collection's words was .009 behind them on German, and splits old passages by what it knew then.
Why pairs in languages written without blanks: a dictionary would have to be the same for years, and pairs of characters
measured as well as any other length; in Thai, Lao, Khmer and Burmese a character is a letter with the signs that belong to it.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

from rag.domain.words import word_set

# Snowball's stemmers by ISO 639-1.
_STEMMERS = {
    "ar": "arabic", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish", "fi": "finnish",
    "fr": "french", "hu": "hungarian", "it": "italian", "nb": "norwegian", "nl": "dutch", "nn": "norwegian", "no": "norwegian",
    "pt": "portuguese", "ro": "romanian", "ru": "russian", "sv": "swedish", "ta": "tamil", "tr": "turkish",
}  # fmt: skip
_STOPPED = word_set("da de es fi fr hu it nb nl nn no pt ru sv")  # those that have Snowball's stop words
UNKNOWN = "en"  # what a text whose language is not known is read as
# Languages whose words are parted inside: pairs of neighbours instead of pieces.
_SYLLABLES = "vi"
OTHER = "xx"  # every language without rules of its own

# Words that say nothing of what is sought, yet make BM25 read every passage. Snowball's English list has "no" and "not", which
# do, and no question words; its German list has no question words either.
_STOP_WORDS = {
    "en": word_set(
        """
        a an and are as at be but by can could did do does for from had has have how i if in into is it its may me my of on or
        our shall should so that the their them then there these they this those to was we were what when where which who whom
        whose why will with would you your
        """
    ),
    "de": word_set("wer was wann wo warum wieso weshalb wie welche welcher welches welchen welchem"),
}

# Invisible inside words: soft hyphen, zero-width characters, byte order mark.
_INVISIBLE = dict.fromkeys([0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF])
_SAME_LETTER = str.maketrans("ёЁ", "еЕ")

# Unicode's blocks of what is written without blanks: Chinese, Japanese, and Korean, whose words carry their particles.
_CJK = re.compile(
    "[\u3005-\u3007\u3041-\u3096\u309d-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7a3\U00020000-\U0003ffff]+"
)
_UNSPACED = re.compile("[\u0e00-\u0e4f\u0e80-\u0ecf\u0edc-\u0eff\u1000-\u103f\u1050-\u108f\u1780-\u17df]+")
# A letter with a vowel written before it and all signs that stand above, below or behind it.
_CLUSTER = re.compile(
    "[\u0e40-\u0e44\u0ec0-\u0ec4]?[^\u0e40-\u0e44\u0ec0-\u0ec4](?:[\u0e30-\u0e3a\u0e45\u0e47-\u0e4e\u0eb0-\u0ebc\u0ec8-\u0ecd]"
    "|[\u102b-\u103e\u1056-\u1059\u105e-\u1060\u1062-\u1064\u1067-\u106d\u1071-\u1074\u1082-\u108d]|[\u17b4-\u17d3\u17dd])*|."
)
_PIECE = 4  # letters
_PARTS = r"[\p{L}\p{M}]+|\p{N}+"


@cache
def _rules(language: str) -> TextAnalyzer:
    # Letters and digits part, so that "5mg", "5 mg" and "12-345/A" meet whatever stands between them.
    builder = TextAnalyzerBuilder(Tokenizer.regex(_PARTS)).filter(Filter.lowercase())
    # tantivy refuses terms over 65 kB; nothing longer than this is a word.
    builder = builder.filter(Filter.remove_long(200))
    if language == UNKNOWN:
        # English loses nothing by it, and a text of unknown language meets questions typed without accents.
        builder = builder.filter(Filter.ascii_fold())
    if language in _STEMMERS:
        builder = builder.filter(Filter.stemmer(_STEMMERS[language]))
    # Elsewhere behind the stemmer, which knows endings by their accents.
    return builder.filter(Filter.ascii_fold()).build()


@cache
def _stopper(language: str) -> TextAnalyzer:
    return TextAnalyzerBuilder(Tokenizer.raw()).filter(Filter.stopword(_STEMMERS[language])).build()


_AS_WRITTEN = TextAnalyzerBuilder(Tokenizer.regex(_PARTS)).filter(Filter.lowercase()).build()


def treated_as(language: str) -> str:
    """The language by whose rules a text in `language` (ISO 639-1, or "") is read."""
    if not language:
        return UNKNOWN
    return language if language in _STEMMERS or language == _SYLLABLES else OTHER


def clean(text: str) -> str:
    """`text` with compatibility forms unified (ligatures, full-width digits) and invisible characters taken out."""
    unified = unicodedata.normalize("NFKC", text).translate(_INVISIBLE).translate(_SAME_LETTER)
    return unified.encode("utf-8", "replace").decode("utf-8")


def words(text: str, language: str) -> list[str]:
    """The words of clean `text` in order, without their endings; pairs of characters where there are no blanks."""
    return [word for word in _rules(language).analyze(_segmented(text)) if word]


def pieces(stems: Sequence[str], language: str) -> list[str]:
    """What else finds a passage with these words: their pieces, pairs of syllables, or the characters of what is read in pairs;
    in English nothing."""
    if language == "en":
        return []
    if language == _SYLLABLES:
        return [f"{one}_{other}" for one, other in pairwise(stems)]
    found: list[str] = []
    for word in stems:
        if _CJK.fullmatch(word):
            found += word
        elif len(word) > _PIECE and word[0].isalpha():
            found += (word[start : start + _PIECE] for start in range(len(word) - _PIECE + 1))
    return found


def telling(text: str, languages: Iterable[str]) -> str:
    """Clean `text` without the stop words of the language among `languages` that has most of them in it; all of it where
    nothing else would be left."""
    held = _AS_WRITTEN.analyze(text)
    empty = {language: {word for word in held if _is_stop_word(word, language)} for language in languages}
    most = max(map(len, empty.values()), default=0)
    stopped = {word for said in empty.values() if len(said) == most for word in said}
    return " ".join(word for word in held if word not in stopped) or text


def _is_stop_word(word: str, language: str) -> bool:
    if word in _STOP_WORDS.get(language, ()):
        return True
    return language in _STOPPED and not _stopper(language).analyze(word)


def _segmented(text: str) -> str:
    """The text with blanks between overlapping pairs wherever a script has none."""
    if text.isascii():
        return text
    return _UNSPACED.sub(_clusters, _CJK.sub(lambda run: _pairs(list(run.group())), text))


def _clusters(run: re.Match[str]) -> str:
    return _pairs(_CLUSTER.findall(run.group()))


def _pairs(characters: list[str]) -> str:
    return f" {' '.join(map(''.join, pairwise(characters))) or characters[0]} "
