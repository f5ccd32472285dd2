"""Watched folders: files that settle in a folder of the server become documents and are moved to its `done` or `failed` folder.

| where a file is | what is true of it                                                                   |
|-----------------|--------------------------------------------------------------------------------------|
| the folder      | nobody has taken it, or somebody was killed right after: the same bytes are no news  |
| reading/        | it is a document; what becomes of that is not known yet                              |
| done/<date>/    | its document was read                                                                |
| failed/         | it became no document, or could not be read; `<name>.txt` beside it says why         |

Why nothing else is remembered: the places of the files and the rows of their documents say everything, so a look that is
killed at any moment is simply made again. Files are only ever renamed within one disk, never copied, overwritten or deleted.

Why by descriptors: whoever can write to the folder could put a link in the place of a folder between two calls and have any file
of the server taken. Each folder is opened below the one before it, without following links, and names are looked up in there.
"""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

import structlog
from django.conf import settings
from django.core.cache import cache
from django.core.files import File
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core import audit
from core.models import User
from rag.config import rag_config
from rag.domain.errors import Permanent, RagError
from rag.models import Collection, Document, WatchedFolder
from rag.models.imports import Origin
from rag.models.index import RunState
from rag.services import imports, library, sources, uploads
from rag.services.attempts import is_disk_full
from rag.services.leases import Lease, LeaseLost
from rag.services.quotas import OverQuota

log = structlog.get_logger(__name__)

SETTLED = 5.0  # seconds during which a file did not change
_EMPTY_SETTLED = 60.0  # an empty one: some programs make the file long before they fill it
READING, DONE, FAILED = "reading", "done", "failed"
_OWN = (READING, DONE, FAILED)
_TAKING = 10.0  # seconds of one look: the worker has other things to do; the next look goes on
_DEPTH_MOST = 40  # folders inside folders
_REMEMBERED_MOST = 20_000  # files that a look remembers for the next one; the others' turn comes
_STATES_AT_ONCE = 500  # paths in one query: SQLite takes a few hundred values
_ENDS = (".part", ".partial", ".crdownload", ".download", ".tmp", ".temp", ".swp", ".lock", "~")
_NAMES = {"desktop.ini", "thumbs.db", "ehthumbs.db", "icon\r"}


# --- What a manager does


def root() -> Path | None:
    """The folder below which folders may be watched; None: the operator has not switched this on."""
    text = rag_config().watch_root
    return Path(text).expanduser().resolve() if text else None


@transaction.atomic
def watch(actor: User, collection: Collection, *, path: str) -> WatchedFolder:
    """Watches the folder from now on; `path` is taken from the root. The caller has checked that `actor` manages `collection`.

    Raises Permanent where this folder cannot be watched.
    """
    folder = _allowed(path)
    _require_alone(folder, WatchedFolder.objects.exclude(collection=collection))
    held = WatchedFolder.objects.select_for_update().filter(collection=collection).first()
    found = held or WatchedFolder(collection=collection)
    found.path, found.actor, found.enabled, found.message, found.looked = str(folder), actor, True, "", None
    found.attempt, found.lease_until = found.attempt + 1, None
    found.save()
    audit.record("watched_folder.changed", actor=actor, subject=found, path=str(folder), collection=str(collection.pk))
    return found


@transaction.atomic
def switch_off(actor: User | None, watched: WatchedFolder, *, reason: str = "") -> None:
    """Looks into the folder no longer; the files in it stay where they are."""
    # Whoever looks into it right now loses the lease and takes nothing more.
    changes = {"enabled": False, "message": reason[:300], "attempt": F("attempt") + 1, "lease_until": None}
    WatchedFolder.objects.filter(pk=watched.pk).update(**changes)
    audit.record("watched_folder.off", actor=actor, subject=watched, path=watched.path, reason=reason)


def _allowed(given: str) -> Path:
    top = root()
    if top is None:
        raise Permanent(_("Watching folders is not switched on for this installation."))
    try:
        folder = (top / given.strip()).resolve()
    except (OSError, RuntimeError):  # links that lead in a circle
        raise Permanent(_("Only folders below %(root)s can be watched.") % {"root": top}) from None
    if top not in folder.parents:
        raise Permanent(_("Only folders below %(root)s can be watched.") % {"root": top})
    data = Path(settings.DATA_DIR).resolve()
    if folder == data or data in folder.parents or folder in data.parents:
        raise Permanent(_("Footnote's own files are there."))
    if len(str(folder)) > 500:
        raise Permanent(_("The name of this folder is too long."))
    _require_usable(folder)
    return folder


def _require_usable(folder: Path) -> None:
    if not os.access(folder.parent, os.X_OK) or not folder.is_dir():
        raise Permanent(_("There is no folder %(path)s. Make it on the server first.") % {"path": folder})
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise Permanent(_("Footnote may not read and change the folder %(path)s.") % {"path": folder})


def _require_alone(folder: Path, others: QuerySet[WatchedFolder]) -> None:
    """Raises Permanent where a folder of `others` is this one, in it or around it: they would take each other's files."""
    for path in others.filter(collection__deleted__isnull=True).values_list("path", flat=True):
        theirs = Path(path)
        if theirs == folder or theirs in folder.parents or folder in theirs.parents:
            raise Permanent(_("This folder, or one in it or around it, is watched for another collection."))


# --- A look


def due() -> list[int]:
    """The ids of the folders that are to be looked into."""
    if root() is None:
        return []
    live = WatchedFolder.objects.filter(enabled=True, collection__deleted__isnull=True)
    return list(live.values_list("pk", flat=True))


def look(watched_id: int) -> int:
    """Takes what has settled in the folder and moves what has been read; how many files were taken.

    Does nothing where the folder is switched off, gone, or in somebody else's hands. What is wrong is written in its message.
    """
    rows = WatchedFolder.objects.select_related("collection", "actor")
    watched = rows.filter(pk=watched_id, enabled=True, collection__deleted__isnull=True).first()
    lease = Lease.take(WatchedFolder, watched_id, Q(enabled=True)) if watched is not None else None
    if watched is None or lease is None:
        return 0
    taken = 0
    try:
        with lease:
            if watched.actor is None or not sources.may_add(watched.actor, watched.collection):
                _stop(watched)
                return 0
            try:
                with _opened(_still_allowed(watched)) as top:
                    found = _Look(watched, watched.actor, lease, top)
                    message = found.run()
                    taken = found.taken
            except RagError as error:
                message = error.message
            except OSError as error:
                message = _sentence(error)
                log.warning("watch.failed", folder=watched.pk, error=type(error).__name__)
            lease.release(looked=timezone.now(), message=message[:300])
    except LeaseLost:
        log.info("watch.lost", folder=watched_id)  # switched off or changed meanwhile
    return taken


def _stop(watched: WatchedFolder) -> None:
    name = watched.actor.get_username() if watched.actor else _("Whoever switched it on")
    said = _("%(name)s may no longer add documents here. Somebody else can switch it on again.") % {"name": name}
    switch_off(None, watched, reason=f"{_('Switched off:')} {said}")


def _still_allowed(watched: WatchedFolder) -> Path:
    """The folder as it was chosen; raises Permanent when the root, the folder or a link in its place says otherwise today."""
    folder = _allowed(watched.path)
    if str(folder) != watched.path:
        raise Permanent(_("A link is now in the place of %(path)s. Choose the folder again.") % {"path": watched.path})
    _require_alone(folder, WatchedFolder.objects.filter(pk__lt=watched.pk))
    return folder


def _disk_full() -> str:
    return _("The server's disk is full. The files wait where they are.")


def _sentence(error: OSError) -> str:
    if is_disk_full(error):
        return _disk_full()
    if isinstance(error, PermissionError):
        return _("Footnote may not read and change everything in this folder.")
    return _("The folder could not be looked into: %(reason)s.") % {"reason": error.strerror or type(error).__name__}


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _below(top: int, parts: tuple[str, ...]) -> Iterator[int]:
    """The folder of these names below `top`, made where it is missing; no link is followed."""
    descriptor = os.dup(top)
    try:
        for part in parts:
            with suppress(FileExistsError):
                os.mkdir(part, mode=0o770, dir_fd=descriptor)
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Place:
    """A file below the watched folder: the open folder that it is in, its name there, and its path from the top."""

    folder: int
    name: str
    path: PurePosixPath


@dataclass(slots=True)
class _Seen:
    """How a file was at an earlier look, and since when it is so (seconds since 1970)."""

    size: int
    changed: int
    since: float


@dataclass
class _Look:
    """One look into one folder. `top` is its descriptor."""

    watched: WatchedFolder
    actor: User
    lease: Lease
    top: int
    taken: int = 0
    waiting: int = 0  # files that have not settled, or whose turn comes at the next look
    links: int = 0
    unreadable: list[str] = field(default_factory=list)
    reading: set[PurePosixPath] = field(default_factory=set)

    def run(self) -> str:
        """Does everything; what whoever manages the collection should know, or ""."""
        for name in _OWN:
            with _below(self.top, (name,)):
                pass
        self._settle()
        try:
            self._take_all()
        except OverQuota as error:
            return _("%(reason)s The files wait where they are.") % {"reason": error.message}
        except uploads.Full:
            return _disk_full()
        if not self.waiting:
            sources.close_batches(self.watched.collection, Origin.FOLDER)
        return self._message()

    def _message(self) -> str:
        if self.unreadable:
            count, name = len(self.unreadable), self.unreadable[0]
            return ngettext(
                "“%(name)s” could not be opened or moved: Footnote needs the right to read and change it.",
                "%(count)d files could not be opened or moved, such as “%(name)s”: Footnote needs the right to change them.",
                count,
            ) % {"count": count, "name": name[:150]}
        if self.links:
            return ngettext("%d link was left where it is.", "%d links were left where they are.", self.links) % (
                self.links
            )
        return ""

    # --- Files on their way in

    def _take_all(self) -> None:
        key = f"watched-folder:{self.watched.pk}"
        seen: dict[str, _Seen] = cache.get(key, {})
        now_seen: dict[str, _Seen] = {}
        complete = False
        until = time.monotonic() + _TAKING
        try:
            for place in self._files():
                if time.monotonic() > until or len(now_seen) >= _REMEMBERED_MOST:
                    self.waiting += 1
                    break
                before = self._consider(place, seen.get(str(place.path)))
                if before is not None:
                    self.waiting += 1
                    now_seen[str(place.path)] = before
            else:
                complete = True
        finally:
            cache.set(key, now_seen if complete else {**seen, **now_seen}, timeout=3600)

    def _consider(self, place: _Place, seen: _Seen | None) -> _Seen | None:
        """Takes the file if it has settled; otherwise how it is now."""
        try:
            found = os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(found.st_mode):
            self.links += 1
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        now = time.time()
        if seen is None or (seen.size, seen.changed) != (found.st_size, found.st_mtime_ns):
            return _Seen(found.st_size, found.st_mtime_ns, now)
        if now - seen.since < (SETTLED if found.st_size else _EMPTY_SETTLED) or place.path in self.reading:
            return seen
        return None if self._take(place) else _Seen(found.st_size, found.st_mtime_ns, now)

    def _take(self, place: _Place) -> bool:
        """Makes the file a document and moves it; False when it was written to meanwhile and stays for another look."""
        try:
            descriptor = os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place.folder)
        except OSError:
            self.unreadable.append(_shown(place))
            return True
        self.lease.write()  # raises LeaseLost when the folder was switched off
        with os.fdopen(descriptor, "rb") as opened:
            before = os.fstat(descriptor)
            reason = self._added(place, opened, before.st_size) if stat.S_ISREG(before.st_mode) else ""
            after = os.fstat(descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            return False
        try:
            there = os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)
            if (there.st_dev, there.st_ino) != (before.st_dev, before.st_ino):
                return False  # another file has come in its place
            if reason:
                self._move(place, (FAILED, *place.path.parent.parts), reason)
            else:
                self._move(place, (READING, *place.path.parent.parts))
        except OSError:
            self.unreadable.append(_shown(place))
        return True

    def _added(self, place: _Place, opened: IO[bytes], size: int) -> str:
        """Why the file became no document, or ""."""
        collection, reason = self.watched.collection, ""
        batch = sources.batch_under_way(self.actor, collection, Origin.FOLDER)
        try:
            path = library.clean_path(str(place.path))
            uploads.check_size(path, size)
        except Permanent as error:
            imports.note_refused(batch, _shown(place), error.message)
            reason = error.message
        else:
            uploads.require_disk(size)
            try:
                sources.take(self.actor, collection, File(opened), path=path, replaces=True, batch=batch)
                self.taken += 1
            except OverQuota:
                raise
            except Permanent as error:
                reason = error.message
        sources.announce(batch)
        return reason

    # --- Files whose documents are being read

    def _settle(self) -> None:
        """Moves the files whose documents have been read, or cannot be."""
        with _below(self.top, (READING,)) as folder:
            # Collected first: renaming while listing would confuse the listing.
            paths = [place.path for place in self._files(folder, own=True)]
            for start in range(0, len(paths), _STATES_AT_ONCE):
                places = [_Place(folder, path.name, path) for path in paths[start : start + _STATES_AT_ONCE]]
                ends = self._ends(places)
                for place in places:
                    end = ends.get(place.path)
                    if end is None:
                        self.reading.add(place.path)
                        continue
                    self._end(place, end)
            if len(self.reading) < len(paths):
                _remove_empty(folder)

    def _end(self, place: _Place, reason: str) -> None:
        parents = place.path.parent.parts
        try:
            with _below(place.folder, parents) as inside:
                found = _Place(inside, place.name, place.path)
                if reason:
                    self._move(found, (FAILED, *parents), reason)
                else:
                    self._move(found, (DONE, timezone.localdate().isoformat(), *parents))
        except OSError:
            self.unreadable.append(_shown(place))

    def _ends(self, places: list[_Place]) -> dict[PurePosixPath, str]:
        """What is known of these files: "" for read, a sentence for why not; those that are in work are missing."""
        by_path: dict[str, list[PurePosixPath]] = {}
        for place in places:
            with suppress(Permanent):  # somebody put a file without a proper name there: it stays
                by_path.setdefault(library.clean_path(str(place.path)), []).append(place.path)
        live = Document.objects.live().filter(collection=self.watched.collection, path__in=list(by_path))
        rows = live.values_list("path", "latest__run__state", "latest__run__message")
        found = {path: (state, message) for path, state, message in rows}
        ends: dict[PurePosixPath, str] = {}
        for clean, paths in by_path.items():
            state, message = found.get(clean, ("", _("Its document was deleted before it was read.")))
            if state == RunState.READY:
                ends |= dict.fromkeys(paths, "")
            elif state in {"", RunState.FAILED, RunState.CANCELLED}:
                ends |= dict.fromkeys(paths, message or _("Somebody stopped the reading of this file."))
        return ends

    # --- Names

    def _files(self, folder: int | None = None, *, own: bool = False) -> Iterator[_Place]:
        """Every file below; hidden and temporary names, other disks and (unless `own`) this program's own folders left out."""
        device = os.fstat(self.top).st_dev
        start = self.top if folder is None else folder

        def unreadable(error: OSError) -> None:
            self.unreadable.append(str(error.filename or ".").encode(errors="replace").decode())

        for where, folders, files, descriptor in os.fwalk(".", dir_fd=start, onerror=unreadable):
            here = PurePosixPath(where)
            if os.fstat(descriptor).st_dev != device or len(here.parts) >= _DEPTH_MOST:
                folders.clear()
                continue
            folders[:] = sorted(
                name for name in folders if not _ignored(name) and (own or here.parts or name not in _OWN)
            )
            for name in sorted(files):
                if not _ignored(name):
                    yield _Place(descriptor, name, here / name)

    def _move(self, place: _Place, parts: tuple[str, ...], reason: str = "") -> None:
        """Moves the file into this folder below the top, under a free name; with a reason, that lies beside it."""
        with _below(self.top, parts) as target:
            name = _free(target, place.name, with_reason=bool(reason))
            if reason:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                with os.fdopen(os.open(f"{name}.txt", flags, 0o660, dir_fd=target), "w", encoding="utf-8") as beside:
                    beside.write(f"{reason}\n")
            os.rename(place.name, name, src_dir_fd=place.folder, dst_dir_fd=target)


def _shown(place: _Place) -> str:
    """The path as people and databases can take it: names on a disk are any bytes."""
    return str(place.path).encode(errors="replace").decode()


def _ignored(name: str) -> bool:
    lower = name.lower()
    return lower.startswith((".", "~")) or lower.endswith(_ENDS) or lower in _NAMES


def _free(folder: int, name: str, *, with_reason: bool) -> str:
    """The name, numbered where the folder has one of that name: "scan (2).pdf"."""
    pure, number, found = PurePosixPath(name), 1, name
    while _is_there(folder, found) or (with_reason and _is_there(folder, f"{found}.txt")):
        number += 1
        found = f"{pure.stem} ({number}){pure.suffix}"
    return found


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _remove_empty(top: int) -> None:
    """Removes the empty folders below; one that is not empty refuses."""
    for _where, folders, _files, descriptor in os.fwalk(".", topdown=False, dir_fd=top):
        for name in folders:
            with suppress(OSError):
                os.rmdir(name, dir_fd=descriptor)
