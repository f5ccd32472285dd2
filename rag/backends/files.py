"""Folders that appear whole or not at all, and that notice when a byte of them has changed.

Why: an index is disposable, but a damaged one that still opens would give wrong evidence. A folder is written beside
its place, synced, read back, and only then renamed; what is read later is compared with the sums stored with it.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag.backends.errors import Damaged
from rag.domain.errors import Retryable

META = "meta.json"
PARTIAL = ".partial"
FULL = "The disk is full. Free some space; the work goes on by itself."
_FULL_CODES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Sink = Callable[[bytes], object]


@contextmanager
def full_disk_is_retryable() -> Iterator[None]:
    """A full disk or an exhausted quota becomes `Retryable`; every other OSError passes as it is."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_CODES:
            raise Retryable(FULL) from error
        raise


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Makes the bytes of `path` durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """The file's sha256 in hex, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A sibling to fill: when the block ends well it is synced and renamed to `folder`, otherwise it is removed.

    Raises FileExistsError when `folder` exists already and `Retryable` when the disk is full.
    """
    if folder.exists():
        raise FileExistsError(errno.EEXIST, "An index is published into a new folder.", str(folder))
    with full_disk_is_retryable():
        folder.parent.mkdir(parents=True, exist_ok=True)
        sibling = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{PARTIAL}")
        sibling.mkdir()
        try:
            yield sibling
            for path in sibling.iterdir():
                sync_file(path)
            sync_folder(sibling)
            sibling.rename(folder)
        except BaseException:
            shutil.rmtree(sibling, ignore_errors=True)
            raise
        sync_folder(folder.parent)


def remove_partials(parent: Path) -> int:
    """Removes what crashed writers left beside the folders in `parent`, and counts it. Only while nobody writes."""
    left = [path for path in parent.glob(f".*{PARTIAL}") if path.is_dir()]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return len(left)


def publish(folder: Path, name: str, write: Callable[[Sink], None], *, kind: str, **facts: Any) -> str:
    """The sha256 of the one file `name` that `write` filled in the new folder `folder`, after reading it back.

    `kind` and `facts` go into meta.json beside it. A crash leaves either no `folder` or a whole one.
    """
    with new_folder(folder) as sibling:
        path = sibling / name
        wanted = hashlib.sha256()
        with path.open("wb") as file:

            def sink(block: bytes) -> None:
                wanted.update(block)
                file.write(block)

            write(sink)
            file.flush()
            os.fsync(file.fileno())
        digest = wanted.hexdigest()
        if sha256(path) != digest:
            raise OSError(errno.EIO, "The disk gave back other bytes than were written.", str(path))
        seal(sibling, {"kind": kind, "file": name, "size": path.stat().st_size, "sha256": digest, **facts})
    return digest


def seal(folder: Path, meta: dict[str, Any], name: str = META) -> None:
    """Writes `meta` as JSON with a sum over itself, durably and in one step."""
    text = json.dumps({**meta, "seal": _sum(meta)}, sort_keys=True, separators=(",", ":"))
    sibling = folder / f".{name}.{secrets.token_hex(4)}"
    with sibling.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    sibling.rename(folder / name)
    sync_folder(folder)


def unseal(folder: Path, name: str = META) -> dict[str, Any]:
    """What `seal` wrote; raises `Damaged` when it is missing or altered."""
    try:
        meta = json.loads((folder / name).read_text(encoding="utf-8"))
        stored = meta.pop("seal")
        intact = stored == _sum(meta)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"{name} is missing or cannot be read") from error
    if not intact:
        raise Damaged(f"{name} has been altered")
    return dict(meta)


def verified(folder: Path, name: str, *, kind: str) -> dict[str, Any]:
    """The meta.json of a folder that `publish` wrote, after comparing the file `name` with it byte for byte."""
    meta = unseal(folder)
    if meta.get("kind") != kind or meta.get("file") != name:
        raise Damaged(f"the folder holds an index of another kind ({meta.get('kind')})")
    try:
        size = (folder / name).stat().st_size
        intact = size == meta.get("size") and sha256(folder / name) == meta.get("sha256")
    except OSError as error:
        raise Damaged(f"{name} is missing or cannot be read") from error
    if not intact:
        raise Damaged(f"{name} is truncated or has been altered")
    return meta


def _sum(meta: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
