"""Words as the extractive answerer and the checker compare them: folded, stripped of endings, English and German."""

import re
import unicodedata
from functools import lru_cache


def word_set(text: str) -> frozenset[str]:
    """The words of a list written as prose, for tables of words that read well."""
    return frozenset(text.split())


WORD = re.compile(r"\w+(?:['’]\w+)*")

STOPWORDS = word_set(
    """
    a about above after again all also am an and any are as at be because been before being below between both but by
    can could did do does doing down during each few for from further had has have having he her here hers him his how
    i if in into is it its itself just me more most my no nor not now of off on once only or other our ours out over own
    same she should so some such than that the their theirs them then there these they this those through to too under
    until up us very was we were what when where which while who whom whose why will with would you your yours
    may might must shall please tell give name many much does did
    aber alle als also am an auch auf aus bei beim bin bis bist da damit dann das dass daß dem den denn der des deshalb
    die dies diese diesem diesen dieser dieses doch dort du durch ein eine einem einen einer eines er es etwa für hat
    hatte haben hier ich ihr ihre im in ist ja jede jeder jedes kann kein keine können man mehr mein mit muss nach nicht
    noch nur ob oder ohne sehr sein seine sich sie sind so soll sollen über um und uns unter vom von vor war waren was
    weil welche welcher welches wenn wer wird wie wir wo worden wurde wurden zu zum zur zwischen
    """
)

# Longest first; what stays must keep four letters, so that "rates" and "rate" meet but "bus" stays itself.
_ENDINGS = tuple(
    sorted(word_set("ungen ation ings ung ing ied ies ern est ed es en er em ly e s n y"), key=lambda e: (-len(e), e))
)


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The word folded (case, accents, possessive) and without its most common English or German ending.

    Words that share a stem are taken as the same word; a stem is not meant to be read.
    """
    folded = word.casefold().replace("’", "'").removesuffix("'s").replace("'", "")
    folded = "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
    for _ in range(2):
        for ending in _ENDINGS:
            if folded.endswith(ending) and len(folded) - len(ending) >= 4:
                folded = folded.removesuffix(ending)
                break
        else:
            break
    if len(folded) > 4 and folded[-1] == folded[-2] and folded[-1] not in "aeiou0123456789":
        folded = folded[:-1]
    return folded


def content_stems(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order, repeated where the text repeats them."""
    return [stem(word) for word in WORD.findall(text) if word.casefold() not in STOPWORDS]
