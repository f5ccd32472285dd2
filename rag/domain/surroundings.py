"""How far a found passage may be read around: whole neighbouring passages of its section, as many as a measure allows. Pure.

Why the passage alone is searched, and more is read: a short passage about one thing is found by its own words, but "except as
provided in (b)" is only understood beside (b).
Why whole passages: they are cut at paragraphs and sentences, and nobody is shown half of one.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from rag.domain.types import Source

# A model's tokens for so many bytes of UTF-8. English, German and French text has 4 bytes a token or more with the vocabularies of
# current models, Chinese and Japanese 3 to 4; tables of figures come down to 2.5. Nothing is lost where it is too few: what does
# not fit the prompt is left out whole, and its page says so.
BYTES_A_TOKEN = 3

SHARE = 0.75  # of the context beside the answer, for all passages together: rules and history need the rest
MOST = 3_000  # tokens of all passages together: reading a thousand tokens takes a small machine half a minute
EACH = 600  # tokens of one passage with its surroundings


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A passage of the same document: its path of headings, and its length in code points."""

    heading: tuple[str, ...]
    length: int


def room(context_tokens: int, answer_tokens: int) -> int:
    """The tokens that all passages with their surroundings may have together, for a model of such a context."""
    return min(MOST, int(SHARE * (context_tokens - answer_tokens)))


def tokens(text: str) -> int:
    """About so many tokens a model has for `text`; seldom fewer."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN)


def reach(found: int, passages: Mapping[int, Neighbour], *, taken: Collection[int], extra: int) -> tuple[int, int]:
    """The first and the last ordinal of what is read with the passage `found`: never one of `taken`, nor one beyond them.

    All of the section around its own if that adds at most `extra` code points; else all of its own; else the passages next to it
    in its own, the one after it first, as long as they fit.
    """
    path = passages[found].heading
    own = _section(found, passages, path, taken)
    if len(path) > 1:
        around = _section(found, passages, path[:-1], taken)
        if _added(around, found, passages) <= extra:
            return around[0], around[-1]
    if _added(own, found, passages) <= extra:
        return own[0], own[-1]
    first = last = found
    after, before = iter(range(found + 1, own[-1] + 1)), iter(range(found - 1, own[0] - 1, -1))
    sides = [after, before]
    while sides:
        side = sides.pop(0)
        number = next(side, None)
        if number is None or passages[number].length > extra:
            continue
        extra -= passages[number].length
        first, last = min(first, number), max(last, number)
        sides.append(side)
    return first, last


def _section(found: int, passages: Mapping[int, Neighbour], path: Sequence[str], taken: Collection[int]) -> list[int]:
    """The ordinals around `found` that stand under `path`, without a gap."""

    def belongs(number: int) -> bool:
        return number in passages and number not in taken and passages[number].heading[: len(path)] == tuple(path)

    before = list(takewhile(belongs, range(found - 1, -1, -1)))
    after = list(takewhile(belongs, range(found + 1, max(passages) + 1)))
    return [*reversed(before), found, *after]


def _added(ordinals: Sequence[int], found: int, passages: Mapping[int, Neighbour]) -> int:
    return sum(passages[number].length for number in ordinals if number != found)


def as_found(source: Source) -> Source:
    """The source with no more than the words that were searched; its places on pages stay those of all that is read."""
    return source if source.found is None else replace(source, text=source.text[slice(*source.found)], found=None)
