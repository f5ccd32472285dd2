"""The process that becomes LibreOffice: it takes away from itself what converting a file does not need, then starts it.

Started by `rag.backends.convert` as `python -m rag.backends.convert_child PROGRAM SOURCE TARGET SECONDS MEMORY`, in a
session of its own, with the password on its standard input. Its exit code is an `Ending`, or LibreOffice's own.
"""

import sys
from enum import IntEnum


class Ending(IntEnum):
    """What the exit code says; LibreOffice's own codes are others."""

    PROTECTED = 120
    OTHER = 121  # no document of the kind that the name says
    SLOW = -24  # SIGXCPU: the limit of processor time


def main() -> None:
    sys.exit(Ending.OTHER)


if __name__ == "__main__":
    main()
