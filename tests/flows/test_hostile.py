"""Every hostile file, uploaded to a running installation: nothing breaks, nothing is fetched, and the next document is read.

The files lie in `shared/hostile` beside the checkout; its manifest says what each of them tries.
"""

import base64
import gzip
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.installed import REPOSITORY, Installed, Person
from tests.pdfs import one_page_pdf
from tests.site import new_collection

HOSTILE = REPOSITORY.parent / "shared" / "hostile"
MEMORY = 1024**3  # bytes that one reading process may take
SECONDS = 60.0  # that one file may take
IN_WORK = ("queued", "reading", "recognising", "embedding")
NOT_UPLOADED = ("probes.jsonl",)
TARGET = 9  # the port on this machine that the files try to reach

pytestmark = [
    pytest.mark.once,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not HOSTILE.is_dir(), reason=f"the folder of hostile files is not at {HOSTILE}"),
]


@dataclass
class Watch:
    """What was seen while the files were read."""

    connections: int = 0
    most_memory: int = 0
    processes: set[int] = field(default_factory=set)


@contextmanager
def watched(installation: Installed) -> Iterator[Watch]:
    """Listens where the files would connect to, and looks at the memory of every process that reads one."""
    seen, over = Watch(), threading.Event()
    listener = socket.socket()
    try:
        listener.bind(("127.0.0.1", TARGET))
    except OSError as error:
        listener.close()
        pytest.skip(f"cannot listen on port {TARGET}, where the files connect to: {error}")
    listener.listen()
    listener.settimeout(0.2)

    def listen() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            connection.close()
            seen.connections += 1

    def look() -> None:
        while not over.wait(0.05):
            for pid, memory in readers(installation.pid):
                seen.processes.add(pid)
                seen.most_memory = max(seen.most_memory, memory)

    threads = [threading.Thread(target=work) for work in (listen, look)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()
        listener.close()


def readers(parent: int) -> Iterator[tuple[int, int]]:
    """The reading processes below `parent`, each with its resident bytes: the forks of the sandbox's server."""
    servers = {pid for pid in below(parent) if b"rag.backends.sandbox_server" in command(pid)}
    for pid in servers:
        for child in children(pid):
            try:
                pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
            yield child, pages * 4096


def below(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from below(child)


def children(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, file.read_text().split())
        except OSError:
            continue
    return found


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def files() -> Iterator[tuple[str, bytes]]:
    """The files as they are uploaded: those that were packed to stay small are unpacked."""
    for line in (HOSTILE / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        name, path = entry["file"], HOSTILE / entry["file"]
        if path.name in NOT_UPLOADED:
            continue
        content = path.read_bytes()
        if name.endswith(".b64"):
            name, content = name.removesuffix(".b64"), base64.b64decode(content)
        elif "gunzip before upload" in entry["what"] + entry["must_not"] + entry["expect"]:
            name, content = name.removesuffix(".gz"), gzip.decompress(content)
        yield name, content


def rows(installation: Installed, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(installation.data / "footnote.sqlite3", timeout=30)) as database:
        return database.execute(query).fetchall()


def wait(installation: Installed, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    states = ", ".join(f"'{state}'" for state in IN_WORK)
    query = (
        "select d.path from rag_ingestrun r join rag_revision v on v.id = r.revision_id "
        f"join rag_document d on d.id = v.document_id where r.state in ({states}) and d.deleted is null"
    )
    while left := rows(installation, query):
        assert time.monotonic() < deadline, f"still in work: {left}"
        time.sleep(0.5)


def test_every_hostile_file_ends_and_harms_nothing(tmp_path: Path) -> None:
    canary = Path("/tmp/zipslip_canary.txt")  # noqa: S108  (what one of the files would write)
    canary.unlink(missing_ok=True)
    host = Path("/etc/hostname").read_text().strip()
    limits = {"FOOTNOTE_PARSE_SECONDS": str(int(SECONDS)), "FOOTNOTE_PARSE_MB": str(MEMORY // 1024**2)}
    with Installed(tmp_path / "data", samples=False, environment=limits) as running, Person(running.url) as person:
        collection = new_collection(person, "Strange files")
        with watched(running) as seen:
            refused = {
                name: sentence
                for name, content in files()
                if (sentence := person.try_upload(collection, name, content)) is not None
            }
            wait(running, 900)
        person.upload(collection, "normal.pdf", one_page_pdf("The leave is thirty days a year."))
        wait(running, 120)

        runs = rows(
            running,
            "select d.path, r.state, r.message, v.size, "
            "(julianday(r.finished) - julianday(r.started)) * 86400 "
            "from rag_ingestrun r join rag_revision v on v.id = r.revision_id join rag_document d on d.id = v.document_id",
        )
        states = {str(path): (str(state), str(message)) for path, state, message, *_ in runs}
        assert states.pop("normal.pdf")[0] == "ready"
        assert set(refused) | set(states) >= {name for name, _ in files()}, "each file is named somewhere"
        assert not set(refused) & set(states)
        for name, sentence in [*refused.items(), *((n, m) for n, (state, m) in states.items() if state == "failed")]:
            assert sentence.endswith(".") and 10 < len(sentence) < 400, f"{name}: {sentence!r}"
            assert "Traceback" not in sentence
        assert len(states) < 400, "a bomb of files does not become thousands of documents"
        slow = {str(path): took for path, _, _, _, took in runs if isinstance(took, float) and took > SECONDS + 30}
        assert not slow, slow

        assert seen.connections == 0
        assert seen.processes, "the reading processes were seen"
        assert seen.most_memory < MEMORY
        assert not canary.exists()
        if len(host) > 3:
            for table, column in (
                ("page", "text"),
                ("chunk", "text"),
                ("ingestrun", "message"),
                ("extraction", "warnings"),
            ):
                found = rows(running, f"select count(*) from rag_{table} where {column} like '%{host}%'")
                assert found == [(0,)], f"{table}.{column} holds the machine's name"
        assert "normal.pdf" in person.page(collection + "?q=normal")
        log = running.log()
    for words in ("MemoryError", "Segmentation", "Worker exited prematurely", "WorkerLostError"):
        assert words not in log
    if len(host) > 8:
        assert host not in log.replace(f"@{host}", ""), "only Celery's own names of workers hold it"
