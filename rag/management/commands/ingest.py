"""`manage.py ingest PATH … --collection NAME`: files and folders of this machine become documents."""

import hashlib
import os
import re
import stat
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files import File
from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat
from django.urls import reverse

from core import redis_server
from core.models import User
from rag.access import Need, may
from rag.backends.parsers import HEAD, parser_for
from rag.domain.errors import Permanent, RagError
from rag.models import Batch, Collection, Document
from rag.models.imports import Origin
from rag.services import imports, library, sources, uploads
from rag.services.attempts import is_disk_full
from rag.services.quotas import OverQuota

_TOLD_EVERY = 1.0  # seconds between two lines of progress where nobody watches a terminal, a tenth where somebody does
_ASKED_EVERY = 1.0  # seconds between two looks at how far the reading is
_NAMED = 20  # refused files that are named; the receipt has all of them


class WhenTaken(Enum):
    """What becomes of a file at whose path another one is."""

    REFUSE = "refuse"
    REPLACE = "replace"
    KEEP_BOTH = "keep-both"


@dataclass(frozen=True, slots=True)
class Found:
    """A file of this machine, and where it goes in the collection."""

    file: Path
    path: str
    size: int


@dataclass
class Search:
    """What lies under the given paths; `skipped` says what was left out, and why."""

    found: list[Found] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, given: Path) -> None:
        """A file by its name, or all files of a folder by their places in it. Raises CommandError where there is nothing."""
        start = Path(os.path.realpath(given))
        if start.is_file():
            self._add(start, start.name)
        elif start.is_dir():
            for file, path in self._files(start):
                self._add(file, path)
        else:
            raise CommandError(f"There is no file or folder {given}.")

    def _files(self, start: Path) -> Iterator[tuple[Path, str]]:
        def unreadable(error: OSError) -> None:
            self.skipped.append(f"{error.filename}: {error.strerror}")

        for where, folders, files in os.walk(start, onerror=unreadable):
            here = Path(where)
            for name in sorted(folders):
                if (here / name).is_symlink() or name.startswith("."):
                    self._skip(here / name)
            folders[:] = sorted(n for n in folders if not n.startswith(".") and not (here / n).is_symlink())
            for name in sorted(files):
                if name.startswith(".") or (here / name).is_symlink():
                    self._skip(here / name)
                else:
                    yield here / name, (Path(start.name) / here.relative_to(start) / name).as_posix()

    def _skip(self, path: Path) -> None:
        why = "links are not followed" if path.is_symlink() else "hidden"
        self.skipped.append(f"{path}: {why}")

    def _add(self, file: Path, path: str) -> None:
        try:
            found = file.stat()
        except OSError as error:
            self.skipped.append(f"{file}: {error.strerror}")
            return
        if stat.S_ISREG(found.st_mode):
            self.found.append(Found(file, path, found.st_size))
        else:
            self.skipped.append(f"{file}: not a file")


class Command(BaseCommand):
    help = "Adds files and folders of this machine to a collection. Run again, it goes on where it stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to add, where, as whom, and what to do about files that are there."""
        parser.add_argument(
            "paths", nargs="+", metavar="PATH", type=Path, help="files and folders; a folder keeps its structure"
        )
        parser.add_argument("--collection", required=True, metavar="NAME|ID", help="where they go")
        parser.add_argument("--as", dest="user", metavar="USER", help="who adds them: somebody who may write there")
        taken = parser.add_mutually_exclusive_group()
        taken.add_argument(
            "--replace",
            dest="when_taken",
            action="store_const",
            const=WhenTaken.REPLACE,
            default=WhenTaken.REFUSE,
            help="a file whose path is taken becomes the next revision there",
        )
        taken.add_argument(
            "--keep-both",
            dest="when_taken",
            action="store_const",
            const=WhenTaken.KEEP_BOTH,
            help="it goes beside the other, under a new name",
        )
        parser.add_argument("--wait", action="store_true", help="until everything has been read")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")

    def handle(self, *args: Any, **options: Any) -> None:
        """Exits with 1 when a file was refused or could not be read, with 130 after Ctrl-C."""
        os.umask(0o077)  # originals are for this user's eyes
        if settings.DATA_DIR.stat().st_uid != os.getuid():
            raise CommandError("Run this as the user that Footnote runs as: it could not read the files otherwise.")
        actor, collection = _where(options["collection"], options["user"])
        search = Search()
        for path in options["paths"]:
            search.add(path)
        for line in search.skipped:
            self.stderr.write(f"Left out: {_printable(line)}")
        if not search.found:
            raise CommandError("There is nothing to add.")
        if options["dry_run"]:
            sys.exit(self._told(collection, search.found, options["when_taken"]))
        if not redis_server.answers(settings.REDIS_URL):
            raise CommandError("Footnote is not running. Start it with python3 manage.py up, then run this again.")
        sys.exit(self._done(actor, collection, search.found, options["when_taken"], wait=options["wait"]))

    # --- Without doing anything

    def _told(self, collection: Collection, found: Sequence[Found], when_taken: WhenTaken) -> int:
        refused, there = 0, set(uploads.taken(collection, [each.path for each in found]))
        for each in found:
            try:
                _check(each)
            except (Permanent, OSError) as error:
                refused += 1
                self._refused(each.path, error, refused)
        total = filesizeformat(sum(each.size for each in found)).replace("\xa0", " ")
        self.stdout.write(f"{len(found) - refused} of {len(found)} files ({total}) would go to “{collection.name}”.")
        if there:
            does = {
                WhenTaken.REFUSE: "are refused where their bytes differ: see --replace and --keep-both",
                WhenTaken.REPLACE: "become new revisions where their bytes differ",
                WhenTaken.KEEP_BOTH: "go beside the others where their bytes differ",
            }
            self.stdout.write(f"{len(there)} of their paths are taken; these files {does[when_taken]}.")
        return int(bool(refused))

    # --- Doing it

    def _done(
        self, actor: User, collection: Collection, found: Sequence[Found], when_taken: WhenTaken, *, wait: bool
    ) -> int:
        batch = imports.open_batch(actor, collection, Origin.COMMAND, len(found))
        progress = _Progress(self)
        try:
            try:
                refused = self._taken(actor, batch, found, when_taken, progress)
            finally:
                imports.close_batch(batch)
            if wait:
                self._wait(batch, progress)
        except KeyboardInterrupt:
            progress.end()
            self.stdout.write(f"Stopped. {_receipt(batch).sentence}. The same command goes on from there.")
            return 130
        progress.end()
        receipt = _receipt(batch)
        self.stdout.write(f"{receipt.sentence}.")
        self.stdout.write(settings.SITE_URL + reverse("import", args=[collection.pk, batch.pk]))
        return int(bool(refused or receipt.failed))

    def _taken(
        self, actor: User, batch: Batch, found: Sequence[Found], when_taken: WhenTaken, progress: "_Progress"
    ) -> int:
        """How many were refused."""
        refused = 0
        for number, each in enumerate(found, start=1):
            try:
                _add(actor, batch, each, when_taken)
            except OSError as error:
                if is_disk_full(error):
                    raise _disk_full() from None
                imports.note_refused(batch, _printable(each.path), f"{error.strerror}.")
                refused += 1
                progress.end()
                self._refused(each.path, error, refused)
            except uploads.Full:
                raise _disk_full() from None
            except RagError as error:
                refused += 1
                progress.end()
                self._refused(each.path, error, refused)
            progress.say(
                f"{number} of {len(found)} taken" if not refused else f"{number} of {len(found)}, {refused} refused"
            )
        return refused

    def _wait(self, batch: Batch, progress: "_Progress") -> None:
        while (receipt := _receipt(batch)).in_work:
            progress.say(receipt.sentence)
            time.sleep(_ASKED_EVERY)

    def _refused(self, path: str, error: Exception, number: int) -> None:
        if number <= _NAMED:
            said = error.message if isinstance(error, RagError) else getattr(error, "strerror", None) or str(error)
            self.stderr.write(f"{_printable(path)}: {said}")
        elif number == _NAMED + 1:
            self.stderr.write("… and more, which the receipt names.")


class _Progress:
    """One line that is written over on a terminal, and now and then a line of its own elsewhere."""

    def __init__(self, command: BaseCommand) -> None:
        self._out = command.stdout
        self._terminal = bool(self._out.isatty())
        self._said = time.monotonic()
        self._open = False

    def say(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said < (_TOLD_EVERY / 10 if self._terminal else _TOLD_EVERY * 5):
            return
        self._said = now
        self._open = self._terminal
        self._out.write(f"\r\033[K{text}" if self._terminal else text, ending="" if self._terminal else "\n")
        self._out.flush()

    def end(self) -> None:
        """Leaves the line as it is."""
        if self._open:
            self._out.write("\r\033[K", ending="")


def _add(actor: User, batch: Batch, found: Found, when_taken: WhenTaken) -> None:
    collection, path = batch.collection, found.path
    try:
        uploads.check_size(path, found.size)
    except Permanent as error:
        imports.note_refused(batch, _printable(path), error.message)
        raise
    uploads.require_disk(found.size)
    with found.file.open("rb") as opened:
        file, replaces = File(opened), when_taken is WhenTaken.REPLACE
        try:
            sources.take(actor, collection, file, path=path, replaces=replaces, batch=batch)
        except library.Exists as error:
            if when_taken is not WhenTaken.KEEP_BOTH:
                imports.note_refused(batch, path, error.message)
                raise
            _add_beside(actor, batch, file, found)
        except OverQuota as error:
            imports.note_refused(batch, path, error.message)
            raise


def _add_beside(actor: User, batch: Batch, file: File, found: Found) -> None:  # type: ignore[type-arg]
    """Adds the file under the first free name, unless an earlier run did: "name (2).pdf" with these bytes is no news."""
    collection, clean = batch.collection, PurePosixPath(library.clean_path(found.path))
    with found.file.open("rb") as again:
        digest = hashlib.file_digest(again, "sha256").hexdigest()
    same = Document.objects.live().filter(collection=collection, latest__sha256=digest)
    beside = same.filter(path__startswith=str(clean.with_suffix(""))).values_list("path", flat=True)
    if any(re.fullmatch(r" \(\d+\)", _between(each, clean)) for each in beside):
        imports.note_unchanged(batch)
        return
    sources.take(actor, collection, file, path=library.free_path(collection, found.path), replaces=False, batch=batch)


def _between(path: str, clean: PurePosixPath) -> str:
    """What `path` has between the stem and the suffix of the other."""
    return path.removeprefix(str(clean.with_suffix(""))).removesuffix(clean.suffix)


def _check(found: Found) -> None:
    """Raises Permanent where the file's size, name or beginning says that it cannot be read."""
    uploads.check_size(found.path, found.size)
    with found.file.open("rb") as opened:
        parser_for(library.clean_path(found.path), opened.read(HEAD))


def _disk_full() -> CommandError:
    return CommandError("The disk is full. What was taken is kept; the same command goes on from there.")


def _receipt(batch: Batch) -> imports.Receipt:
    batch.refresh_from_db()
    return imports.receipt(batch)


def _printable(text: str) -> str:
    """The text as a terminal can take it: names on a disk are any bytes, escapes and line breaks among them."""
    plain = text.encode(errors="replace").decode()
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in plain)


# --- Where, and as whom


def _where(name: str, username: str | None) -> tuple[User, Collection]:
    """Who adds, and to which collection; raises CommandError where that is not clear or not allowed."""
    live = Collection.objects.filter(deleted__isnull=True, private=False)
    found = [each for each in live if _is(each, name)]
    if username is not None:
        actor = User.objects.filter(username=username, is_active=True).first()
        if actor is None:
            raise CommandError(f"There is no active user {username!r}.")
        found = [each for each in found if may(actor, each, need=Need.WRITE)]
        return actor, _only(found, f"There is no collection {name!r} that {username} may add documents to.")
    collection = _only(found, f"There is no collection {name!r}.")
    return _manager(collection), collection


def _only(found: Sequence[Collection], otherwise: str) -> Collection:
    if not found:
        raise CommandError(otherwise)
    if len(found) > 1:
        ids = ", ".join(str(each.pk) for each in found)
        raise CommandError(f"{len(found)} collections are called so. Give the id of one of them: {ids}")
    return found[0]


def _manager(collection: Collection) -> User:
    """The only one who manages the collection, or the only administrator among them."""
    people = User.objects.filter(is_active=True, memberships__team__grants__collection=collection).distinct()
    managers = [person for person in people if may(person, collection, need=Need.MANAGE)]
    administrators = [person for person in managers if person.is_superuser]
    for few in (managers, administrators):
        if len(few) == 1:
            return few[0]
    names = ", ".join(sorted(person.get_username() for person in managers)) or "nobody manages this collection"
    raise CommandError(f"Say who adds them: --as USER ({names}).")


def _is(collection: Collection, name: str) -> bool:
    try:
        return collection.name == name or collection.pk == UUID(name)
    except ValueError:
        return False
