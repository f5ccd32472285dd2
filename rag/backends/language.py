"""The language of a text, from its bytes: py3langid, whose model comes in its package."""

import threading
from functools import lru_cache
from typing import Any

_LEAST = 40  # letters under which nothing is said
_NONE = ("zxx", "und", "mul")  # no words of a language, any, several
_SURE = 0.5  # probability under which nothing is said
_PIECES, _PIECE = 6, 2_000  # stretches of a long text that are looked at, and their length in characters
_loading = threading.Lock()


def language_of(text: str) -> str:
    """The ISO 639 code of the language that most of the text is in ("en"), or "" where too little of it tells.

    The first call takes a second and 75 MB, which this process keeps.
    """
    sample = _sample(text)
    if sum(map(str.isalpha, sample)) < _LEAST:
        return ""
    with _loading:
        identifier = _identifier()
    code, probability = identifier.classify(sample)
    return str(code) if probability >= _SURE and code not in _NONE else ""


def _sample(text: str) -> str:
    """Stretches from all over the text, each line once: a repeated line says no more than the first time."""
    step = max(_PIECE, len(text) // _PIECES)
    pieces = [text[start : start + _PIECE] for start in range(0, len(text), step)][: _PIECES + 1]
    lines = "\n".join(pieces).splitlines()
    return "\n".join(dict.fromkeys(line.strip() for line in lines if not line.isspace()))


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
