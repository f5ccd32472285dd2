"""Names of files inside files, made safe to show and to keep."""

import re
from pathlib import PurePosixPath

from rag.domain.text import one_line

_LONGEST = 120  # characters of one name
_LONGEST_PATH = 400
_NOT_IN_NAMES = re.compile(r'[<>:"|?*]')
_DRIVE = re.compile(r"\A[A-Za-z]:[\\/]")


class Names:
    """Gives every file inside one container a relative path of its own."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, path: str) -> str:
        """A clean form of `path` that has not been given yet: "a.txt", then "a (2).txt"."""
        wanted = safe_path(path)
        stem, suffix = wanted[: len(wanted) - len(PurePosixPath(wanted).suffix)], PurePosixPath(wanted).suffix
        name, number = wanted, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{stem} ({number}){suffix}"
        self._taken.add(name.lower())
        return name


def safe_path(path: str) -> str:
    """`path` relative, without "..", without what file systems or readers trip over; never empty."""
    parts = [_part(part) for part in path.replace("\\", "/").split("/")]
    kept = [part for part in parts if part.strip(". ")]
    while len(kept) > 1 and len("/".join(kept)) > _LONGEST_PATH:
        kept = kept[1:]
    return "/".join(kept) or "unnamed"


def leads_outside(path: str) -> bool:
    """Whether an archive's member asks for a place outside the folder that it is unpacked into."""
    plain = path.replace("\\", "/")
    return plain.startswith("/") or bool(_DRIVE.match(path)) or ".." in plain.split("/")


def _part(text: str) -> str:
    name = _NOT_IN_NAMES.sub("_", one_line(text))
    if len(name) <= _LONGEST:
        return name
    suffix = PurePosixPath(name).suffix[:20]
    return name[: _LONGEST - len(suffix)] + suffix
