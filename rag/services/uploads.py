"""Files on their way in: sent piece by piece (tus 1.0), or at once by a form, until they are documents.

Why the bytes lie beside the database: a piece is written under the lock of its upload's row, at the offset that the row names, and
only then the row's offset grows. What a killed process left behind that offset is cut off by the next piece. A file that is
complete and still here waits for an answer: another one is at its path.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.core.files import File
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from core.models import User
from rag.backends.parsers import HEAD, parser_for
from rag.config import rag_config
from rag.domain.errors import Permanent, RagError, Retryable
from rag.models import Batch, Collection, Document, Upload
from rag.services import imports, library, quotas
from rag.services.library import Added

KEPT = timedelta(hours=24)  # how long an upload waits for its next piece, or for an answer
_RESERVE = 64 * 1024 * 1024  # bytes of the disk that uploads leave free: the database needs them to go on
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CHECKSUMS = ("sha1", "sha256")  # tus asks for SHA-1


class WhenTaken(Enum):
    """What becomes of a file at whose path another one is already."""

    ASK = "ask"  # it is kept until somebody says
    REPLACE = "replace"  # it becomes the next revision
    BOTH = "both"  # it goes to a free path beside it
    SKIP = "skip"  # it is thrown away


class WrongOffset(Permanent):
    """The piece does not begin where the upload stands."""


class TooLarge(Permanent):
    """The file, or what was sent of it, is more than was announced or is allowed."""


class WrongChecksum(Permanent):
    """The piece is not what its checksum says; it was not kept."""


class Gone(Permanent):
    """The upload was left for too long, or its bytes are lost: it begins anew."""


class Full(Retryable):
    """The disk has no room; what was sent before is kept."""


class Busy(Retryable):
    """Another request is storing this very file."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A file that somebody means to send: its path as they name it, its size in bytes, when it was changed (ms since 1970)."""

    path: str
    size: int
    modified: int = 0
    when_taken: WhenTaken = WhenTaken.ASK


@dataclass(frozen=True, slots=True)
class Checksum:
    """The digest that a piece must have; `algorithm` is one of "sha1" and "sha256"."""

    algorithm: str
    digest: bytes

    def __post_init__(self) -> None:
        if self.algorithm not in _CHECKSUMS:
            raise Permanent(_("Checksums are SHA-1 or SHA-256."))


def folder() -> Path:
    """Where the bytes of unfinished uploads lie."""
    return rag_config().data / "tmp" / "uploads"


def _file(upload_id: UUID) -> Path:
    return folder() / str(upload_id)


def open_upload(actor: User, collection: Collection, announced: Announced, *, batch: Batch | None) -> Upload:
    """A new upload without any bytes. The caller has checked that `actor` may write to `collection`.

    Raises TooLarge or Full, and Permanent where the name says that it cannot be read; a batch keeps the reason.
    """
    try:
        path = library.clean_path(announced.path)
        check_size(path, announced.size)
        # Judged again when it is here; a document that it replaces is none more.
        quotas.require_room(collection, actor, size=announced.size, documents=0 if taken(collection, [path]) else 1)
    except Permanent as error:
        imports.note_refused(batch, announced.path, error.message)
        raise
    require_disk(announced.size)
    if announced.when_taken is WhenTaken.BOTH:
        path = library.free_path(collection, path)
    upload = Upload(
        id=uuid4(),
        collection=collection,
        actor=actor,
        batch=batch,
        path=path,
        size=announced.size,
        modified=announced.modified,
        replaces=announced.when_taken is WhenTaken.REPLACE,
    )
    folder().mkdir(parents=True, exist_ok=True)
    _file(upload.pk).touch(mode=0o600)
    upload.save(force_insert=True)
    return upload


def check_size(path: str, size: int) -> None:
    """Raises Permanent for an empty file, and TooLarge for one of more bytes than one file may have."""
    name = PurePosixPath(path).name
    if size <= 0:
        raise Permanent(_("“%(name)s” is empty.") % {"name": name})
    if size > settings.UPLOAD_LIMIT:
        sentence = _("“%(name)s” is larger than the %(limit)d MB that one file may have.")
        raise TooLarge(sentence % {"name": name, "limit": settings.UPLOAD_LIMIT // (1024 * 1024)})


def require_disk(size: int) -> None:
    """Raises Full where the disk has no room for so many bytes."""
    if shutil.disk_usage(rag_config().data).free - _RESERVE < size:
        raise _full()


def _full() -> Full:
    return Full(_("The server's disk is full. What was sent is kept; the upload goes on once there is room."))


def upload_of(actor: User, upload_id: UUID) -> Upload | None:
    """The person's own unfinished upload, or None. Raises Gone when it was left for too long, or its bytes are lost."""
    found = Upload.objects.select_related("collection", "batch").filter(pk=upload_id, actor=actor).first()
    if found is not None and found.changed < timezone.now() - KEPT:
        raise _gone()
    if found is not None:
        _shorten(found)
    return found


def _gone() -> Gone:
    return Gone(_("This upload was left for too long. Send the file again."))


def expires(upload: Upload) -> datetime:
    """When an upload that gets no further piece is given up."""
    return upload.changed + KEPT


def unfinished(actor: User, collection: Collection) -> list[Upload]:
    """The person's uploads into this collection that broke off, the newest first."""
    return [upload for upload in _kept(actor, collection) if upload.offset < upload.size]


def undecided(actor: User, collection: Collection) -> list[Upload]:
    """The person's files that are here whole and wait for an answer: another file is at each one's path."""
    return [upload for upload in _kept(actor, collection) if upload.offset == upload.size]


def _kept(actor: User, collection: Collection) -> Iterable[Upload]:
    fresh = Upload.objects.filter(actor=actor, collection=collection, changed__gte=timezone.now() - KEPT)
    return fresh.select_related("collection", "batch").order_by("-created", "path")[:2000]


def append(upload: Upload, blocks: Iterable[bytes], *, offset: int, checksum: Checksum | None = None) -> Upload:
    """The upload with these bytes behind those that it has; all of them are kept, or none.

    Raises WrongOffset, TooLarge, WrongChecksum, Gone, Full; and Permanent, throwing the upload away, when the beginning of the file
    shows that it cannot be read.
    """
    with transaction.atomic():
        held = Upload.objects.select_for_update().filter(pk=upload.pk).first()
        if held is None:
            raise _gone()
        _shorten(held)
        if held.offset != offset:
            raise WrongOffset(_("%(offset)d bytes are here.") % {"offset": held.offset})
        held.offset += _write(held, blocks, checksum)
        held.save(update_fields=["offset", "changed"])
    if offset < HEAD <= held.offset or held.offset == held.size:
        _check_kind(held)
    return held


def _shorten(held: Upload) -> None:
    """After a power cut the file may be shorter than its row says: then it goes on from there."""
    try:
        held.offset = min(held.offset, _file(held.pk).stat().st_size)
    except FileNotFoundError:
        raise _gone() from None


def _write(held: Upload, blocks: Iterable[bytes], checksum: Checksum | None) -> int:
    digest = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum is not None else None
    written = 0
    with _file(held.pk).open("r+b") as file:
        try:
            file.seek(held.offset)
            file.truncate()
            for block in blocks:
                written += len(block)
                if held.offset + written > held.size:
                    raise TooLarge(_("More was sent than the %(size)d bytes announced.") % {"size": held.size})
                file.write(block)
                if digest is not None:
                    digest.update(block)
            file.flush()
            if held.offset + written == held.size:
                os.fsync(file.fileno())
            if digest is not None and checksum is not None and digest.digest() != checksum.digest:
                raise WrongChecksum(_("This piece arrived damaged. Send it again."))
        except BaseException as error:
            with suppress(
                OSError
            ):  # what could not be flushed is tried once more here; the next piece cuts it off anyway
                file.truncate(held.offset)
            if isinstance(error, OSError) and error.errno in _FULL:
                raise _full() from None
            raise
    return written


def _check_kind(held: Upload) -> None:
    """Refuses what cannot be read as soon as its beginning is here: nobody sends 2 GB for nothing."""
    with _file(held.pk).open("rb") as file:
        head = file.read(HEAD)
    try:
        parser_for(held.path, head)
    except Permanent as error:
        imports.note_refused(held.batch, held.path, error.message)
        discard(held)
        raise


def finish(upload: Upload, when_taken: WhenTaken | None = None) -> Added:
    """The document that a complete upload became; the upload is gone then. Safe to repeat after a kill.

    `when_taken` is the answer to "another file is at this path"; without one the upload's own holds. Raises library.Exists when that
    is to be asked: the upload stays. Raises Busy, Gone, and Permanent for a file that is refused: the upload is thrown away.
    """
    replaces = upload.replaces if when_taken is None else when_taken is WhenTaken.REPLACE
    path = library.free_path(upload.collection, upload.path) if when_taken is WhenTaken.BOTH else upload.path
    with _claimed(upload.pk) as file:
        try:
            added = imports.take(
                upload.actor, upload.collection, file, path=path, replaces=replaces, batch=upload.batch
            )
        except library.Exists:
            raise
        except Permanent:
            discard(upload)
            raise
        discard(upload)
    return added


def taken(collection: Collection, paths: Iterable[str]) -> list[str]:
    """Those of these paths, as they were given, at which a live document of the collection is already."""
    clean: dict[str, list[str]] = {}
    for path in paths:
        with suppress(Permanent):  # a name of nothing but dots is refused when it comes
            clean.setdefault(library.clean_path(path), []).append(path)
    names = list(clean)
    found: list[str] = []
    for start in range(0, len(names), 500):  # SQLite takes a few hundred values in one statement
        live = Document.objects.live().filter(collection=collection, path__in=names[start : start + 500])
        found += [given for path in live.values_list("path", flat=True) for given in clean[path]]
    return sorted(found)


def decide(waiting: Iterable[Upload], answer: WhenTaken) -> dict[str, Any]:
    """Ends uploads that waited because another file is at their path: how many are `stored` and `skipped`, why others are `refused`."""
    stored, skipped, refused = 0, 0, []
    for upload in waiting:
        if answer is WhenTaken.SKIP:
            withdraw(upload)
            skipped += 1
            continue
        try:
            finish(upload, answer)
            stored += 1
        except RagError as error:
            refused.append(f"{upload.path}: {error.message}")
    return {"stored": stored, "skipped": skipped, "refused": refused}


class _Arrived(File):  # type: ignore[type-arg]  # File[bytes] at run time is not subscriptable
    """An upload's file as the storage takes it: moved, not copied. A second link is what moves, so that nothing is lost on the way."""

    def __init__(self, opened: Any, path: Path) -> None:
        super().__init__(opened, name=path.name)
        self._path = path

    def temporary_file_path(self) -> str:
        """A second name of the file, for whoever wants to move it."""
        link = self._path.with_suffix(".link")
        link.unlink(missing_ok=True)
        link.hardlink_to(self._path)
        return str(link)


class _Copied(File):  # type: ignore[type-arg]
    """An upload's file where the disk knows no second names: it is copied."""


@contextmanager
def _claimed(upload_id: UUID) -> Iterator[File]:  # type: ignore[type-arg]
    """The upload's file, for one process alone; the kernel gives the claim back when that dies. Raises Busy, Gone."""
    path = _file(upload_id)
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        raise _gone() from None
    with opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(_("This file is just being stored.")) from None
        if not path.exists():  # somebody finished it between the two lines
            raise _gone()
        file = _Arrived(opened, path)
        try:
            Path(file.temporary_file_path()).unlink()
        except OSError:
            yield _Copied(opened, name=path.name)
        else:
            yield file
        path.with_suffix(".link").unlink(missing_ok=True)


def keep_whole(actor: User, collection: Collection, file: File, announced: Announced, *, batch: Batch) -> Upload:  # type: ignore[type-arg]
    """A form's file as an upload that has all its bytes. Raises what open_upload and append raise."""
    upload = open_upload(actor, collection, announced, batch=batch)
    try:
        return append(upload, file.chunks(), offset=0)
    except Full:
        discard(upload)
        raise


def withdraw(upload: Upload) -> None:
    """Gives the upload up, as its sender wished; its batch counts one file less."""
    discard(upload)
    imports.withdraw(upload.batch)


def discard(upload: Upload) -> None:
    """Forgets the upload and removes its bytes; doing it twice is doing it once."""
    Upload.objects.filter(pk=upload.pk).delete()
    for path in (_file(upload.pk), _file(upload.pk).with_suffix(".link")):
        path.unlink(missing_ok=True)


def remove_expired() -> int:
    """Removes uploads that got no piece for a day, and bytes without a row; how many."""
    old = timezone.now() - KEPT
    expired = list(Upload.objects.filter(changed__lt=old).select_related("batch"))
    for upload in expired:
        withdraw(upload)
    if not folder().exists():
        return len(expired)
    for path in folder().iterdir():
        known = Upload.objects.filter(pk=path.stem).exists() if _is_id(path.stem) else False
        if not known and path.stat().st_mtime < old.timestamp():
            path.unlink(missing_ok=True)
    return len(expired)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
