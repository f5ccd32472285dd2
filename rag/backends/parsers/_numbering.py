"""The numbers that Word draws before paragraphs and stores nowhere: "4.2", "(b)", "iii."."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"))
_ROMAN_SMALL = ((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))
BULLET = "•"


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a list: its first number, how it is written, and the label's pattern ("%1.%2")."""

    start: int = 1
    style: str = "decimal"
    pattern: str = ""
    plain: bool = False  # all numbers of the label as decimals ("legal" numbering)


@dataclass(slots=True)
class Numbering:
    """Counts the paragraphs of every list as they come.

    `lists` maps a list's id to (the id of its definition, its levels): lists of one definition count on together.
    """

    lists: Mapping[str, tuple[str, Mapping[int, Level]]]
    _counts: dict[str, dict[int, int]] = field(default_factory=dict)
    _restarted: set[str] = field(default_factory=set)
    restarts: Mapping[str, Mapping[int, int]] = field(default_factory=dict)  # first numbers of a list of its own

    def label(self, list_id: str, depth: int) -> str:
        """The label of the next paragraph of this list at `depth` (0 is the outermost); "" where there is none."""
        if list_id not in self.lists:
            return ""
        definition, levels = self.lists[list_id]
        level = levels.get(depth)
        if level is None or level.style == "none":
            return ""
        counts = self._counts.setdefault(definition, {})
        if list_id not in self._restarted:
            self._restarted.add(list_id)
            for deep, first in self.restarts.get(list_id, {}).items():
                counts[deep] = first - 1
        counts[depth] = counts.get(depth, level.start - 1) + 1
        for deeper in [deep for deep in counts if deep > depth]:
            del counts[deeper]
        if level.style == "bullet":
            return BULLET
        return self._filled(level, levels, counts)

    @staticmethod
    def _filled(level: Level, levels: Mapping[int, Level], counts: dict[int, int]) -> str:
        text = level.pattern
        for deep in range(9):
            mark = f"%{deep + 1}"
            if mark in text:
                other = levels.get(deep, Level())
                number = counts.setdefault(deep, other.start)
                text = text.replace(mark, number_text(number, "decimal" if level.plain else other.style))
        return text.strip()


def number_text(number: int, style: str) -> str:
    """`number` as Word writes it in a style; styles unknown here give decimals."""
    return _STYLES.get(style, str)(number)


def _roman(number: int) -> str:
    if not 0 < number < 4000:
        return str(number)
    text = ""
    for value, letters in _ROMAN + _ROMAN_SMALL:
        text += letters * (number // value)
        number %= value
    return text


def _letters(number: int) -> str:
    """a … z, aa … zz, aaa …, as Word counts."""
    return chr(97 + (number - 1) % 26) * min((number - 1) // 26 + 1, 10) if number > 0 else str(number)


_STYLES: Mapping[str, Callable[[int], str]] = {
    "lowerRoman": _roman,
    "upperRoman": lambda number: _roman(number).upper(),
    "lowerLetter": _letters,
    "upperLetter": lambda number: _letters(number).upper(),
    "decimalZero": lambda number: f"{number:02}",
}
