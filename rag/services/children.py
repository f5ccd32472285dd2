"""Files inside a file (of a mail, an archive, a PDF) become documents of their own, below the path of the one they were in."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from rag.domain.errors import Permanent
from rag.domain.types import Attachment
from rag.models import Revision
from rag.services.leases import Lease
from rag.services.library import add_child, clean_path, drop_children
from rag.services.steps import step


@dataclass(frozen=True, slots=True)
class Inside:
    """How many files inside a file became documents, and which did not: (path, sentence)."""

    taken: int = 0
    left_out: tuple[tuple[str, str], ...] = ()


def take_in(revision: Revision, attachments: Iterable[Attachment], lease: Lease) -> Inside:
    """Makes the files inside this revision's file the document's children; those that are no longer in it are taken out.

    Doing it again does nothing. Raises LeaseLost when another attempt took over.
    """
    kept: dict[str, None] = {}
    left_out: list[tuple[str, str]] = []
    for attachment in attachments:
        lease.check()
        path = attachment.path
        try:
            path = _unlike(clean_path(attachment.path), kept)
            add_child(revision, path, attachment.file)
        except Permanent as error:
            left_out.append((path[:500], error.message))
        else:
            kept[path] = None
        attachment.file.unlink(missing_ok=True)  # its bytes are stored: an archive needs no space twice
        step("read:child-added")
    drop_children(revision.document, keep_paths=kept)
    return Inside(len(kept), tuple(left_out))


def _unlike(path: str, taken: Container[str]) -> str:
    """The path, numbered where the container holds another file of that name: a mail may have "scan.pdf" twice."""
    pure, number, found = PurePosixPath(path), 1, path
    while found in taken:
        number += 1
        found = str(pure.with_name(f"{pure.stem} ({number}){pure.suffix}"))
    return found
