"""What the readers of spreadsheets have in common."""

from dataclasses import dataclass, field

from rag.backends.parsers._table import Row
from rag.domain.errors import Permanent

MOST_CELLS = 2_000_000


@dataclass(slots=True)
class Sheet:
    """One sheet as read: filled cells alone, as they are shown."""

    name: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # comments, text boxes: a block each
    hidden: bool = False
    hidden_cells: bool = False  # rows or columns of it are
    uncalculated: int = 0  # formulas without a stored result
    images: int = 0  # pictures on it
    gap: str = ""  # what is missing, as a sentence


@dataclass(slots=True)
class Workbook:
    sheets: list[Sheet]
    properties: dict[str, str] = field(default_factory=dict)
    unread: int = 0  # objects of other programs


class Count:
    """Counts the cells of a file; raises `Permanent` above the most that are read."""

    def __init__(self) -> None:
        self._cells = 0

    def add(self, cells: int) -> None:
        self._cells += cells
        if self._cells > MOST_CELLS:
            raise Permanent("This file has more than 2 million filled cells; split it, or save the part that matters.")
