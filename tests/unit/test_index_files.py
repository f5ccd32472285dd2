"""Publishing a folder: whole or not at all, in an order that survives a power cut."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rag.backends import files
from rag.backends.errors import Damaged
from rag.backends.locks import ReadWriteLock
from rag.backends.vectors.base import VectorIndex
from rag.backends.vectors.faiss import FaissIndex
from rag.backends.vectors.half import HalfIndex
from rag.backends.vectors.rabitq import RabitqIndex
from rag.domain.errors import Retryable

PUBLISH_FOR_EVER = """
import importlib, sys
from pathlib import Path
import numpy as np
kind = getattr(importlib.import_module(sys.argv[2]), sys.argv[3])
index = kind.create(dimension=64)
index.add(range(20_000), np.ones((20_000, 64), dtype=np.float32))
print("ready", flush=True)
for number in range(100_000):
    index.publish(Path(sys.argv[1]) / str(number))
    print(number, flush=True)
"""

ON_A_SMALL_DISK = """
import importlib, resource, sys
from pathlib import Path
import numpy as np
from rag.domain.errors import Retryable
kind = getattr(importlib.import_module(sys.argv[2]), sys.argv[3])
index = kind.create(dimension=64)
index.add(range(20_000), np.random.default_rng(1).standard_normal((20_000, 64)).astype(np.float32))
index.publish(Path(sys.argv[1]) / "1")
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
try:
    index.publish(Path(sys.argv[1]) / "2")
except Retryable as error:
    print(error, *sorted(path.name for path in Path(sys.argv[1]).iterdir()), sep="|")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
index.publish(Path(sys.argv[1]) / "3")
"""
KINDS: list[type[VectorIndex]] = [FaissIndex, HalfIndex, RabitqIndex]
each_kind = pytest.mark.parametrize("kind", KINDS)
REPOSITORY = Path(__file__).resolve().parents[2]


def published(folder: Path, content: bytes = b"content") -> str:
    def write(sink: files.Sink) -> None:
        sink(content)

    return files.publish(folder, "data", write, kind="test", count=1)


def test_each_step_of_publishing_is_durable_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, str]] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(handle: int) -> None:
        steps.append(("sync", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def noted_rename(path: Path, target: Path) -> Path:
        steps.append(("rename", target.name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    published(tmp_path / "parent" / "1")
    place = steps.index(("rename", "1"))
    before, after = steps[:place], steps[place + 1 :]
    sibling = before[-1][1]
    assert sibling.endswith(files.PARTIAL)
    assert ("sync", "data") in before
    assert before.index(("sync", "data")) < before.index(("rename", "meta.json"))
    assert ("sync", "meta.json") in before
    assert after == [("sync", "parent")]


def test_bytes_that_the_disk_gives_back_differently_are_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = files.sha256

    def forgetful(path: Path) -> str:
        if path.name == "data":
            path.write_bytes(b"contend")
        return honest(path)

    monkeypatch.setattr(files, "sha256", forgetful)
    with pytest.raises(OSError, match="other bytes"):
        published(tmp_path / "1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_worth_another_try_and_leaves_nothing(tmp_path: Path, code: int) -> None:
    def write(sink: files.Sink) -> None:
        sink(b"half")
        raise OSError(code, os.strerror(code))

    with pytest.raises(Retryable, match="disk is full"):
        files.publish(tmp_path / "1", "data", write, kind="test")
    assert list(tmp_path.iterdir()) == []


@each_kind
def test_where_the_disk_takes_no_more_the_last_index_stays_and_the_next_try_succeeds(
    kind: type[VectorIndex], tmp_path: Path
) -> None:
    # A limit on the size of files is to a process what a full disk is: the kernel refuses the write.
    run = subprocess.run(
        [sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path), kind.__module__, kind.__name__],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == f"{files.FULL}|1", run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"1", "3"}
    for name in ("1", "3"):
        assert len(kind.open(tmp_path / name, dimension=64)) == 20_000


@each_kind
def test_a_killed_writer_leaves_whole_folders_only(kind: type[VectorIndex], tmp_path: Path) -> None:
    finished = 0
    for attempt in range(6):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        child = subprocess.Popen(
            [sys.executable, "-c", PUBLISH_FOR_EVER, str(folder), kind.__module__, kind.__name__],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        if attempt == 5:
            assert child.stdout.readline() == "0\n"  # one was published, however slow the machine
            finished += 1
        time.sleep(0.05 + 0.037 * attempt)
        child.send_signal(signal.SIGKILL)
        said = child.stdout.read().split()
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
        names = {path.name for path in folder.iterdir() if not path.name.endswith(files.PARTIAL)}
        assert names >= set(said)
        for name in names:
            assert len(kind.open(folder / name, dimension=64)) == 20_000
        finished += len(names)
        files.remove_partials(folder)
        assert {path.name for path in folder.iterdir()} == names
    assert finished > 0


def test_a_seal_that_was_edited_is_noticed(tmp_path: Path) -> None:
    files.seal(tmp_path, {"kind": "test", "count": 5})
    assert files.unseal(tmp_path) == {"kind": "test", "count": 5}
    path = tmp_path / files.META
    path.write_text(path.read_text().replace("5", "6", 1))
    with pytest.raises(Damaged):
        files.unseal(tmp_path)


def test_a_writer_waits_for_readers_and_goes_before_new_ones() -> None:
    lock = ReadWriteLock()
    order: list[str] = []
    reading, release = threading.Event(), threading.Event()

    def first_reader() -> None:
        with lock.reading():
            reading.set()
            release.wait(5)
            order.append("first reader")

    def writer() -> None:
        with lock.writing():
            order.append("writer")

    def late_reader() -> None:
        with lock.reading():
            order.append("late reader")

    threads = [threading.Thread(target=run) for run in (first_reader, writer, late_reader)]
    for thread in threads:
        thread.start()
        assert reading.wait(5)
        time.sleep(0.05)
    release.set()
    for thread in threads:
        thread.join(5)
    assert order == ["first reader", "writer", "late reader"]
