"""Counts and places the tokens of a text with a model's own tokenizer, without the model."""

import math
import re
import unicodedata
from collections import deque
from collections.abc import Iterator
from typing import Any

from rag.backends.embedders.weights import model_folder
from rag.domain.errors import Permanent

# A tokenizer holds some 200 bytes a token while it works: a text of many megabytes is taken in pieces of this many
# code points.
_PIECE = 1 << 16


# One of these says as much as several letters of an alphabet.
_SYLLABLE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_LETTERS_A_SYLLABLE = 3
_LEAST_LETTERS = 4  # of a word that tells: any vocabulary may hold "der", and "I" is no spelling
_UNKNOWN = ("[UNK]", "<unk>")


def fluency(tokenizer: Any, text: str) -> float:
    """See `Embedder.fluency`: the letters in pieces of several letters, over all pieces, in words of four letters or more.

    A vocabulary made of English text knows words and syllables of it, and single letters of everything else: Arabic, Greek or Thai
    become rows of letters, or of pieces unknown, and the vectors say next to nothing.
    """
    words = deque(match.span() for match in re.finditer(r"\S+", text) if _letters(match.group()) >= _LEAST_LETTERS)
    unknown = {tokenizer.token_to_id(name) for name in _UNKNOWN}
    found = tokenizer.encode(text, add_special_tokens=False)
    pieces = read = 0
    for number, (start, end) in zip(found.ids, found.offsets, strict=True):
        while words and words[0][1] <= start:
            words.popleft()
        letters = sum(map(str.isalpha, text[start:end]))
        if not letters or not words or start < words[0][0]:
            continue
        pieces += 1
        if letters > 1 and number not in unknown:
            read += letters + (_LETTERS_A_SYLLABLE - 1) * len(_SYLLABLE.findall(text, start, end))
    return read / pieces if pieces else math.inf


def _letters(word: str) -> int:
    """The letters of a word and the signs on them."""
    signs = sum(unicodedata.category(character)[0] in "LM" for character in word)
    return signs + (_LETTERS_A_SYLLABLE - 1) * len(_SYLLABLE.findall(word))


class TokenCounter:
    """The word pieces of a text, without special tokens and never cut.

    `folder` is a model folder, by default the bundled one; raises `Permanent` when it has no tokenizer.json.
    """

    def __init__(self, folder: str = "") -> None:
        # Imported here so that naming this class costs nothing.
        from tokenizers import Tokenizer

        file = model_folder(folder) / "tokenizer.json"
        if not file.is_file():
            raise Permanent(f"{file.parent.name} is not a complete sentence-transformers model folder.")
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Where each word piece stands in `text`, as [start, end) in code points."""
        spans: list[tuple[int, int]] = []
        for start, piece in _pieces(text):
            found = self._tokenizer.encode(piece, add_special_tokens=False).offsets
            spans.extend((start + first, start + last) for first, last in found)
        return spans

    def count(self, text: str) -> int:
        """How many word pieces `text` has."""
        return sum(len(self._tokenizer.encode(piece, add_special_tokens=False)) for _, piece in _pieces(text))


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """`text` in pieces with their starts, cut before a blank, where no word piece can span the cut."""
    start = 0
    while len(text) - start > _PIECE:
        end = start + _PIECE
        while end > start and not text[end].isspace():
            end -= 1
        # 65,536 characters without a blank are not words; a piece that is torn there costs nothing.
        end = end if end > start else start + _PIECE
        yield start, text[start:end]
        start = end
    if start < len(text):
        yield start, text[start:]
