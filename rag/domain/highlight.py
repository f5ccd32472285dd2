"""Cuts a text into marked and unmarked parts for showing. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from rag.domain.words import STOPWORDS, WORD, content_stems, stem


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of text, marked or not."""

    text: str
    mark: bool


def mark_spans(text: str, spans: Iterable[tuple[int, int]]) -> list[Part]:
    """The whole text in parts, those inside a span marked; spans may touch, overlap, or reach beyond the text."""
    parts: list[Part] = []
    at = 0
    for start, end in sorted(spans):
        start, end = max(start, at), min(end, len(text))
        if start >= end:
            continue
        if start > at:
            parts.append(Part(text[at:start], mark=False))
        parts.append(Part(text[start:end], mark=True))
        at = end
    if at < len(text):
        parts.append(Part(text[at:], mark=False))
    return parts


def mark_words(text: str, question: str, *, within: tuple[int, int] | None = None) -> list[Part]:
    """The whole text in parts, the words that the question also has marked, of those `within`; its little words are not."""
    wanted = set(content_stems(question))
    start, end = within or (0, len(text))
    words = (match for match in WORD.finditer(text, start, end) if match.group().casefold() not in STOPWORDS)
    return mark_spans(text, [match.span() for match in words if stem(match.group()) in wanted])
