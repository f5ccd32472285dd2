"""A measure over time as a small picture: where its points, their intervals and the lines of its scale lie. The page draws it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 320, 130
LEFT, RIGHT, TOP, BOTTOM = 38, 8, 10, 24  # around the field of the points
STEPS = (1, 2, 5)  # between two lines of a scale, times a power of ten
LINES_MOST = 5
LEAST_SPAN = 0.02  # of a scale: smaller differences are none


@dataclass(frozen=True, slots=True)
class Value:
    """What was measured once, in its own unit. `between` is the interval in which it would lie again; `new` where what was measured
    is not what was measured before it, so that the two compare with care; `label` says when."""

    at: float
    label: str
    between: tuple[float, float] | None = None
    new: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of the picture; its interval reaches from `low` to `high` (y, downwards)."""

    x: float
    y: float
    low: float
    high: float
    value: Value


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the scale, with what it stands for."""

    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture of WIDTH by HEIGHT units; `path` leads through the dots (SVG)."""

    name: str
    called: str
    dots: Sequence[Dot]
    lines: Sequence[Line]
    path: str
    digits: int  # behind the point

    @property
    def first(self) -> Dot:
        return self.dots[0]

    @property
    def last(self) -> Dot:
        return self.dots[-1]


def plot(name: str, called: str, values: Sequence[Value], *, digits: int, least: float | None = None) -> Plot:
    """A picture of at least one value, oldest first, one beside the other however long lay between. Its scale begins at `least`,
    otherwise a step under the smallest."""
    ends = [end for value in values for end in (value.between or (value.at, value.at))]
    step, marks = _scale(min(ends) if least is None else least, max(*ends, values[0].at))
    bottom, top = marks[0] * step, marks[-1] * step

    def y(at: float) -> float:
        share = (at - bottom) / (top - bottom)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    field = WIDTH - LEFT - RIGHT
    dots = []
    for place, value in enumerate(values):
        low, high = value.between or (value.at, value.at)
        x = LEFT + field * (place + 0.5) / len(values)
        dots.append(Dot(round(x, 1), y(value.at), y(low), y(high), value))
    lines = [Line(y(mark * step), f"{mark * step:.{_digits(step)}f}") for mark in marks]
    path = "M" + "L".join(f"{dot.x} {dot.y}" for dot in dots)
    return Plot(name, called, dots, lines, path, digits)


def _scale(low: float, high: float) -> tuple[float, range]:
    """The finest step of a scale that has at most LINES_MOST lines, and how many steps from nought each of them lies."""
    high = max(high, low + LEAST_SPAN)
    power = math.floor(math.log10(high - low)) - 1
    while True:
        for unit in STEPS:
            step = unit * 10.0**power
            marks = range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)
            if len(marks) <= LINES_MOST:
                return step, marks
        power += 1


def _digits(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))
