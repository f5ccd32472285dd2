"""Measures how fast documents become searchable in a real installation on this machine, and what memory that takes.

    .venv/bin/python -m tests.benchmarks.ingestion [--only NAME …] [--file PATH …] [--many N] [--write]

Starts `manage.py up` in a temporary folder and sends it files over HTTP as a browser does. What the embedder alone could do with
the same passages is measured right before and right after, while the workers rest; the share is what the pipeline reached of it.
On a busy machine the seconds say little. Processor seconds are Footnote's alone, by part: "of these" is what the embedder alone needs
for the same passages, so it is the share that could at best be reached where nothing waits for anything.
`--many` sends N small files in rounds of 500 and prints the memory after each. `--write` puts the table into docs/ingestion.md.
"""

import argparse
import os
import re
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from rag.backends.embedders.passages import PassageEmbedder
from tests.benchmarks import made
from tests.benchmarks.installation import MEGABYTE, machine, memory, processor_seconds
from tests.installed import REPOSITORY, Installed, Person

ROUND = 500  # files between two looks at the memory
ALONE = 800  # passages that the embedder is given alone
REST = 10.0  # seconds of quiet before memory is read
MOST = 3600.0  # seconds after which a measurement is given up
COLUMNS = (
    "What",
    "Documents/s",
    "Pages/s",
    "Passages/s",
    "Embedder alone",
    "Share",
    "By words",
    "Ready",
    "Processor",
    "Of these",
    "Peak",
)
PARTS = {"worker that embeds": "embeds", "worker that reads": "reads", "document reader": "parses", "web server": "web"}
Files = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds from the first byte sent until all of it was found by its words, and until all of it was ready."""

    words: float
    ready: float


class Peak:
    """The most memory that each part held while the block ran, looked at twice a second."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.parts: dict[str, int] = {}

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            for name, size in memory(self._root).items():
                self.parts[name] = max(self.parts.get(name, 0), size)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def sentence(self) -> str:
        """The parts that work on documents, in MB."""
        return ", ".join(f"{short} {self.parts.get(name, 0) / MEGABYTE:.0f}" for name, short in PARTS.items()) + " MB"


class Database:
    """Looks into a running installation's database, writing nothing."""

    def __init__(self, data: Path) -> None:
        self._uri = f"file:{data / 'footnote.sqlite3'}?mode=ro"

    def rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self._uri, uri=True, timeout=30)) as database:
            return database.execute(sql, values).fetchall()

    def number(self, sql: str, *values: object) -> int:
        return int(str(self.rows(sql, *values)[0][0]))

    def in_work(self) -> int:
        return self.number("SELECT count(*) FROM rag_ingestrun WHERE state NOT IN ('ready', 'failed', 'cancelled')")

    def last_revision(self) -> int:
        return self.number("SELECT coalesce(max(id), 0) FROM rag_revision")

    def not_by_words(self, after: int) -> int:
        """Revisions after `after` that a search by words cannot find."""
        return self.number(
            "SELECT count(*) FROM rag_revision r WHERE r.id > ? AND NOT EXISTS (SELECT 1 FROM rag_chunk c "
            "JOIN rag_extraction e ON e.id = c.extraction_id JOIN rag_indexgeneration g ON g.collection_id = c.collection_id "
            "WHERE e.revision_id = r.id AND g.kind = 'keywords' AND g.current AND g.version >= c.version)",
            after,
        )

    def failures(self, after: int) -> list[str]:
        found = self.rows(
            "SELECT message FROM rag_ingestrun WHERE revision_id > ? AND state IN ('failed', 'cancelled')", after
        )
        return [str(message) for (message,) in found]

    def pages(self, after: int) -> int:
        return self.number("SELECT coalesce(sum(pages_in_all), 0) FROM rag_extraction WHERE revision_id > ?", after)

    def passages(self, after: int) -> list[str]:
        """The passages of the revisions after `after`, each under its document's title."""
        found = self.rows(
            "SELECT e.title || char(10) || c.text FROM rag_chunk c JOIN rag_extraction e ON e.id = c.extraction_id "
            "WHERE e.revision_id > ?",
            after,
        )
        return [str(text) for (text,) in found]


def send(person: Person, collection: str, files: Files) -> None:
    """Sends the files as the page does: three at a time; more than a few as one import."""
    batch = person.open_import(collection, len(files)) if len(files) > 1 else ""
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda file: person.send(collection, file[0], file[1], batch=batch), files))


def timed(site: Installed, person: Person, collection: str, files: Files) -> Times:
    """Sends the files and waits until all of them are ready."""
    database = Database(site.data)
    before = database.last_revision()
    words = 0.0
    began = time.perf_counter()
    sending = threading.Thread(target=send, args=(person, collection, files))
    sending.start()
    while True:
        time.sleep(0.2)  # looking costs the processor that the workers need
        passed = time.perf_counter() - began
        if not words and not sending.is_alive() and not database.not_by_words(before):
            words = passed
        if not sending.is_alive() and not database.in_work():
            sending.join()
            assert database.last_revision() - before == len(files), "not every file arrived"
            return Times(words or passed, passed)
        assert site.running, "somebody stopped Footnote in the middle"
        assert passed < MOST, "the workers do not come to an end"


def alone(embedder: PassageEmbedder, texts: Sequence[str]) -> tuple[float, float]:
    """Passages a second that the embedder makes of these texts while nothing else goes on, and processor seconds for each."""
    some = texts[:ALONE]
    embedder.embed_passages(some[:32])
    began, spent = time.perf_counter(), time.process_time()
    embedder.embed_passages(some)
    return len(some) / (time.perf_counter() - began), (time.process_time() - spent) / len(some)


def row(what: str, site: Installed, person: Person, files: Files) -> list[str]:
    """A line of the table."""
    database = Database(site.data)
    collection = person.collection()
    before = database.last_revision()
    earlier = processor_seconds(site.pid)
    with Peak(site.pid) as peak:
        times = timed(site, person, collection, files)
    spent = {name: total - earlier.get(name, 0) for name, total in processor_seconds(site.pid).items()}
    if failures := database.failures(before):
        return [what, f"{len(failures)} of {len(files)} failed: {failures[0]}", *[""] * (len(COLUMNS) - 2)]
    texts, pages = database.passages(before), database.pages(before)
    embedder = PassageEmbedder(export_folder=str(site.data / "models" / "question"))
    measured = [alone(embedder, texts) for _ in range(2)]
    own = statistics.mean(speed for speed, _ in measured)
    needed = statistics.mean(seconds for _, seconds in measured) * len(texts)
    reached = len(texts) / times.ready
    by_part = ", ".join(f"{short} {spent.get(name, 0):.0f}" for name, short in PARTS.items())
    return [
        what,
        f"{len(files) / times.ready:.1f}" if len(files) > 1 else "",
        f"{pages / times.ready:.1f}" if len(files) == 1 and pages > 1 else "",
        f"{reached:.1f}",
        f"{own:.1f}",
        f"{reached / own:.0%}",
        f"{times.words:.1f} s",
        f"{times.ready:.1f} s",
        f"{sum(spent.values()):.0f} s ({by_part})",
        f"{needed / sum(spent.values()):.0%}",
        peak.sentence(),
    ]


def scenarios() -> dict[str, tuple[str, Callable[[], Files]]]:
    """Name, what is measured, and the files."""
    return {
        "small": (
            "500 text files of 1.5 KB",
            lambda: [(f"small/{number}.txt", made.text(f"small {number}", 1500)) for number in range(500)],
        ),
        "text": ("One text of 5 MB", lambda: [("five-megabytes.txt", made.text("five", 5_000_000))]),
        "pdf100": ("A PDF of 100 pages", lambda: [("hundred.pdf", made.pdf("hundred", 100))]),
        "pdf200": ("A PDF of 200 pages", lambda: [("two-hundred.pdf", made.pdf("two hundred", 200))]),
        "pdf704": ("A PDF of 704 pages", lambda: [("long.pdf", made.pdf("long", 704))]),
        "scans": ("20 scanned pages", lambda: [("scans.pdf", made.scans("scans", 20))]),
    }


def many(site: Installed, person: Person, count: int) -> list[str]:
    """Sends `count` small files and says what memory each part holds after every round."""
    collection = person.collection()
    lines = [
        "| Documents | Seconds | Worker that reads | Worker that embeds | Document reader | Web server | All |",
        "|--:" * 7 + "|",
    ]
    print("\n".join(lines), flush=True)
    first: dict[str, int] = {}
    for start in range(0, count, ROUND):
        numbers = range(start, min(start + ROUND, count))
        files = [(f"many/{number}.txt", made.text(f"many {number}", 1500)) for number in numbers]
        times = timed(site, person, collection, files)
        time.sleep(REST)
        parts = memory(site.pid)
        first = first or parts
        names = ("worker that reads", "worker that embeds", "document reader", "web server")
        cells = [str(numbers.stop), f"{times.ready:.0f}", *(megabytes(parts.get(name, 0)) for name in names)]
        lines.append("| " + " | ".join([*cells, megabytes(sum(parts.values()))]) + " |")
        print(lines[-1], flush=True)
    for name in ("worker that reads", "worker that embeds"):
        lines.append("")
        lines.append(f"The {name}: {parts[name] / first[name] - 1:+.1%} from {ROUND} documents to {count}.")
        print(lines[-1], flush=True)
    return lines


def megabytes(size: int) -> str:
    return f"{size / MEGABYTE:.0f} MB"


def write(table: str) -> None:
    """Puts the table between its marks in docs/ingestion.md."""
    page = REPOSITORY / "docs" / "ingestion.md"
    text, count = re.subn(
        r"(<!-- figures -->\n).*?(<!-- /figures -->)",
        lambda marks: f"{marks[1]}{table}\n{marks[2]}",
        page.read_text(),
        flags=re.S,
    )
    assert count == 1, "docs/ingestion.md has lost the marks around its figures"
    page.write_text(text)


def main() -> None:
    known = scenarios()
    parser = argparse.ArgumentParser(description="Measures how fast documents become searchable on this machine.")
    parser.add_argument("--only", nargs="*", choices=list(known), help="only these")
    parser.add_argument("--file", nargs="*", type=Path, default=[], help="files of your own, each measured alone")
    parser.add_argument("--many", type=int, default=0, metavar="N", help="only the memory, over N small documents")
    parser.add_argument("--write", action="store_true", help="put the table into docs/ingestion.md")
    asked = parser.parse_args()
    wanted = list(known) if asked.only is None else asked.only
    lines = [
        f"{machine()}; {os.getloadavg()[0]:.1f} processes busy with other work at the start.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---" + "|--:" * (len(COLUMNS) - 4) + "|---|--:|---|",
    ]
    with tempfile.TemporaryDirectory(prefix="footnote-measure-") as folder:
        site = Installed(Path(folder) / "data")
        try:
            site.start()
            with Person(site.url) as person:
                person.wait_until_read()
                if asked.many:
                    print(lines[0], "", sep="\n", flush=True)
                    many(site, person, asked.many)
                    return
                print("\n".join(lines), flush=True)
                chosen = [known[name] for name in wanted]
                chosen += [(path.name, partial(_own, path)) for path in asked.file]
                for what, files in chosen:
                    lines.append("| " + " | ".join(row(what, site, person, files())) + " |")
                    print(lines[-1], flush=True)
        except BaseException:
            print(site.log()[-4000:], file=sys.stderr)
            raise
        finally:
            site.stop()
    if asked.write:
        write("\n".join(lines))


def _own(path: Path) -> Files:
    return [(path.name, path.read_bytes())]


if __name__ == "__main__":
    main()
