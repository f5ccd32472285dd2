"""Measures how fast a collection is searched, and what memory and disk its indexes take, beside other ways to search vectors.

    .venv/bin/python -m tests.benchmarks.search [--sizes N …] [--peers-up-to N] [--extra-path FOLDER] [--minutes N] [--write]

The collections are made up. Vectors lie in documents of twenty passages and topics of four hundred, with distances as MiniLM gives on
public test sets (best passage .65 from the question, the tenth .43, the hundredth .31); words are as frequent as words are. "Hybrid" is
all that a search does between the question's vector and the order of the candidates: both indexes, what either list lacks, ranking.
The others get the same vectors in the same run, are asked for the ten nearest, one question after another, and filter by a column.
`--extra-path` is a folder of packages to import from, such as one with sqlite-vec. `--write` puts the tables into docs/search-speed.md.
"""

import argparse
import importlib
import json
import os
import re
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from core import testing
from rag.backends.keywords.base import Entry
from rag.backends.keywords.tantivy import TantivyIndex
from rag.backends.vectors.base import VectorIndex
from rag.domain.ranking import best_first, gather, prior
from rag.domain.types import Allowed, Everything, Only, Vectors
from tests.benchmarks.installation import machine
from tests.installed import REPOSITORY

DIMENSION = 384
DEPTH = 100  # hits taken of each list, as rag.services.retrieve does
QUESTIONS = 60
WARM = 10  # questions before the clock starts
SHARES = (1.0, 0.1, 0.01, 0.001)  # of the passages that may be read
BUCKETS = 1000
WORDS, QUESTION_WORDS, VOCABULARY = 45, 7, 60_000
BLOCK = 20_000
KINDS = {"FaissIndex": "32-bit floats", "HalfIndex": "16-bit floats", "RabitqIndex": "1-bit codes, 16-bit floats"}
Buckets = NDArray[np.int64]
Times = list[float]


# --- What is searched


@dataclass(frozen=True, slots=True)
class Made:
    """A made-up collection; passage `i` has the id `i`. `buckets` are 0 to 999: who may read a share reads those below it."""

    rows: Vectors
    buckets: Buckets
    questions: Vectors
    asked: list[int]  # the passage that each question is near to

    def readable(self, share: float) -> NDArray[np.bool_]:
        readable: NDArray[np.bool_] = self.buckets < round(share * BUCKETS)
        return readable

    def allowed(self, share: float) -> Allowed:
        return Everything() if share == 1 else Only(frozenset(np.flatnonzero(self.readable(share)).tolist()))

    def nearest(self, share: float) -> list[set[int]]:
        """The ten nearest readable passages of each question, exactly."""
        readable = np.flatnonzero(self.readable(share))
        scores = np.concatenate(
            [self.questions @ self.rows[readable[start : start + BLOCK]].T for start in range(0, len(readable), BLOCK)],
            axis=1,
        )
        return [set(readable[np.argsort(-row)[:10]].tolist()) for row in scores]


def made(count: int) -> Made:
    chance = np.random.default_rng(count)
    spread = ((np.arange(DIMENSION) + 2.0) ** -0.4).astype(np.float32)
    spread /= np.linalg.norm(spread)
    documents = chance.standard_normal((count // 20 + 1, DIMENSION), dtype=np.float32)
    topics = chance.standard_normal((count // 400 + 1, DIMENSION), dtype=np.float32)
    topic_of = chance.integers(0, len(topics), len(documents))
    rows = np.empty((count, DIMENSION), dtype=np.float32)
    for start in range(0, count, BLOCK):
        document = np.arange(start, min(start + BLOCK, count)) // 20
        own = chance.standard_normal((len(document), DIMENSION), dtype=np.float32)
        block = spread * (0.59 * topics[topic_of[document]] + 0.5 * documents[document] + 0.63 * own)
        block[:, 0] += 0.25
        rows[start : start + len(document)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    asked = chance.integers(0, count, QUESTIONS)
    questions = rows[asked] + 1.1 * spread * chance.standard_normal((QUESTIONS, DIMENSION), dtype=np.float32)
    questions /= np.linalg.norm(questions, axis=1, keepdims=True)
    buckets = chance.permutation(count) % BUCKETS
    return Made(rows, buckets, np.ascontiguousarray(questions), asked.tolist())


class Texts:
    """The words of each passage, made when they are asked for: the hundredth word of a language is a hundredth as frequent."""

    def __init__(self) -> None:
        chance = np.random.default_rng(7)
        syllables = [
            first + second for first in "bdfgklmnprstvz" for second in ("a", "e", "i", "o", "u", "an", "er", "is")
        ]
        self._vocabulary = [
            "".join(syllables[place] for place in chance.integers(0, len(syllables), 2 + number % 3))
            for number in range(VOCABULARY)
        ]
        frequency = 1 / (np.arange(VOCABULARY) + 2.7)
        self._until = np.cumsum(frequency / frequency.sum())

    def block(self, start: int, count: int) -> list[list[str]]:
        """The words of the passages from `start`, the same at every call for the same `start`."""
        chance = np.random.default_rng(start)
        places = np.minimum(np.searchsorted(self._until, chance.random((count, WORDS))), VOCABULARY - 1)
        return [[self._vocabulary[place] for place in row] for row in places.tolist()]

    def question(self, passage: int) -> str:
        start = passage // BLOCK * BLOCK
        words = self.block(start, passage - start + 1)[-1]
        return " ".join(words[:: WORDS // QUESTION_WORDS][:QUESTION_WORDS])


# --- Footnote


class Ours:
    """Both indexes as the product writes and opens them."""

    def __init__(self, kind: type[VectorIndex], folder: Path) -> None:
        self.folder = folder
        self.kind = kind

    def build(self, collection: Made, texts: Texts) -> tuple[float, float]:
        """Seconds for the vectors and for the words."""
        begun = time.perf_counter()
        index = self.kind.create(dimension=DIMENSION)
        for start in range(0, len(collection.rows), BLOCK):
            block = collection.rows[start : start + BLOCK]
            index.add(range(start, start + len(block)), block)
        index.publish(self.folder / "vectors")
        del index
        between = time.perf_counter()
        words = TantivyIndex.create(self.folder / "words")
        for start in range(0, len(collection.rows), BLOCK):
            many = min(BLOCK, len(collection.rows) - start)
            words.change(
                add=[Entry(start + i, " ".join(each)) for i, each in enumerate(texts.block(start, many))], remove=()
            )
        self.open()
        return between - begun, time.perf_counter() - between

    def open(self) -> None:
        self.vectors = self.kind.open(self.folder / "vectors", dimension=DIMENSION)
        self.words = TantivyIndex.open(self.folder / "words")

    def hybrid(self, vector: Vectors, text: str, allowed: Allowed) -> list[int]:
        dense = self.vectors.search(vector, limit=DEPTH, allowed=allowed)
        keyword = self.words.search(text, limit=DEPTH, allowed=allowed)
        liked, worded = ({hit.chunk_id for hit in hits} for hits in (dense, keyword))
        unlike, unworded = frozenset(worded - liked), frozenset(liked - worded)
        cosines = self.vectors.search(vector, limit=len(unlike), allowed=Only(unlike))
        words = self.words.search(text, limit=len(unworded), allowed=Only(unworded))
        found = gather(dense, keyword, cosines, words)
        return [int(found.ids[place]) for place in best_first(found, prior(found))]

    def near(self, vector: Vectors, allowed: Allowed) -> list[int]:
        return [hit.chunk_id for hit in self.vectors.search(vector, limit=10, allowed=allowed)]


def look(folder: Path, module: str, name: str) -> None:
    """Prints, as JSON, by how many kilobytes this process's own memory grows by opening the vectors and asking them."""
    kind: type[VectorIndex] = getattr(importlib.import_module(module), name)
    questions = np.load(folder / "questions.npy")
    small = kind.create(dimension=DIMENSION)
    small.add([1], questions[:1])
    small.search(questions[0], limit=1, allowed=Everything())  # what the libraries take once is not the collection's
    before = own_memory()
    index = kind.open(folder / "vectors", dimension=DIMENSION)
    for _ in range(5):
        for question in questions:
            index.search(question, limit=DEPTH, allowed=Everything())
    print(json.dumps(own_memory() - before))


def own_memory() -> int:
    """Kilobytes that belong to this process alone and to no file (RssAnon)."""
    found = re.search(r"^RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


# --- The others


class Peer(ABC):
    """Another way to find the ten nearest."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def build(self, collection: Made) -> None: ...

    @abstractmethod
    def near(self, vector: Vectors, share: float) -> list[int]: ...

    @abstractmethod
    def size(self) -> str:
        """What it takes, in words."""

    @abstractmethod
    def close(self) -> None:
        """Ends whatever it has running."""


class FaissFlat(Peer):
    name = "FAISS flat"

    def build(self, collection: Made) -> None:
        faiss.omp_set_num_threads(1)
        self._index = faiss.IndexFlatIP(DIMENSION)
        self._index.add(collection.rows)
        self._chosen = {
            share: faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.flatnonzero(collection.readable(share))))
            for share in SHARES
            if share < 1
        }

    def near(self, vector: Vectors, share: float) -> list[int]:
        found: list[int] = self._index.search(vector.reshape(1, -1), 10, params=self._chosen.get(share))[1][0].tolist()
        return found

    def size(self) -> str:
        return f"{self._index.ntotal * DIMENSION * 4 / 1e6:.0f} MB of memory"

    def close(self) -> None:
        del self._index


def extensible() -> Any:
    """A sqlite3 module that can load extensions where there is one: not every Python is built so."""
    try:
        return importlib.import_module("pysqlite3")
    except ImportError:
        return sqlite3


class SqliteVec(Peer):
    name = "sqlite-vec"

    def build(self, collection: Made) -> None:
        extension: Any = importlib.import_module("sqlite_vec")
        self._path = self.folder / "peer.sqlite3"
        self._database = extensible().connect(self._path, isolation_level=None)
        self._database.enable_load_extension(True)
        extension.load(self._database)
        self._database.execute(
            f"CREATE VIRTUAL TABLE p USING vec0(id INTEGER PRIMARY KEY, v FLOAT[{DIMENSION}], bucket INTEGER)"
        )
        self._database.execute("BEGIN")
        rows = zip(range(len(collection.rows)), collection.rows, collection.buckets.tolist(), strict=True)
        self._database.executemany("INSERT INTO p VALUES (?, ?, ?)", ((i, row.data, each) for i, row, each in rows))
        self._database.execute("COMMIT")

    def near(self, vector: Vectors, share: float) -> list[int]:
        # Of unit vectors the nearest by distance are those with the largest inner product.
        more, values = ("", ()) if share == 1 else (" AND bucket < ?", (round(share * BUCKETS),))
        rows = self._database.execute(f"SELECT id FROM p WHERE v MATCH ? AND k = 10{more}", (vector.data, *values))
        return [number for (number,) in rows]

    def size(self) -> str:
        return f"{self._path.stat().st_size / 1e6:.0f} MB of disk"

    def close(self) -> None:
        self._database.close()


class Pgvector(Peer):
    name = "pgvector, HNSW"

    def build(self, collection: Made) -> None:
        import psycopg

        self._server = testing.postgresql(self.folder)
        self._connection = psycopg.connect(self._server.__enter__(), autocommit=True)
        for statement in (
            "CREATE EXTENSION vector",
            f"CREATE TABLE p (id integer PRIMARY KEY, bucket integer, v vector({DIMENSION}))",
            "SET maintenance_work_mem = '1GB'",
            "SET hnsw.ef_search = 100",
            "SET hnsw.iterative_scan = strict_order",  # without it a filter leaves fewer than ten
        ):
            self._connection.execute(statement)
        with self._connection.cursor().copy("COPY p FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for start in range(0, len(collection.rows), BLOCK):
                copy.write(_pg_rows(collection, start))
            copy.write(b"\xff\xff")
        self._connection.execute("CREATE INDEX ON p (bucket)")
        self._connection.execute("CREATE INDEX near ON p USING hnsw (v vector_ip_ops)")
        self._connection.execute("ANALYZE p")

    def near(self, vector: Vectors, share: float) -> list[int]:
        text = "[" + ",".join(map(str, vector.tolist())) + "]"
        more = "" if share == 1 else f"WHERE bucket < {round(share * BUCKETS)}"
        rows = self._connection.execute(f"SELECT id FROM p {more} ORDER BY v <#> %s::vector LIMIT 10", (text,))
        return [number for (number,) in rows]

    def size(self) -> str:
        row = self._connection.execute(
            "SELECT pg_table_size('p') + pg_indexes_size('p'), pg_relation_size('near')"
        ).fetchone()
        assert row is not None
        return f"{row[0] / 1e6:.0f} MB of disk, {row[1] / 1e6:.0f} of it the index"

    def close(self) -> None:
        self._connection.close()
        self._server.__exit__(None, None, None)


def _pg_rows(collection: Made, start: int) -> bytes:
    """Rows as COPY takes them in binary: the number of fields, and each field after its length, all big-endian."""
    block = collection.rows[start : start + BLOCK]
    lengths = [("fields", ">i2"), ("l1", ">i4"), ("id", ">i4"), ("l2", ">i4"), ("bucket", ">i4"), ("l3", ">i4")]
    kind = np.dtype([*lengths, ("dimension", ">i2"), ("unused", ">i2"), ("v", ">f4", (DIMENSION,))])
    rows = np.zeros(len(block), dtype=kind)
    rows["fields"], rows["l1"], rows["l2"], rows["l3"] = 3, 4, 4, 4 + 4 * DIMENSION
    rows["id"] = np.arange(start, start + len(block))
    rows["bucket"], rows["dimension"], rows["v"] = collection.buckets[start : start + len(block)], DIMENSION, block
    return rows.tobytes()


# --- Measuring


def timed(work: Callable[[int], object], many: int = QUESTIONS) -> Times:
    """Milliseconds of `work` for each question, after some that do not count."""
    for number in range(min(WARM, many)):
        work(number)
    taken = []
    for number in range(many):
        begun = time.perf_counter()
        work(number)
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


def shown(taken: Times) -> str:
    """The median and the time that 19 of 20 stay under."""
    return f"{statistics.median(taken):.1f} / {statistics.quantiles(taken, n=20)[-1]:.1f}"


def recall(found: Sequence[Sequence[int]], wanted: Sequence[set[int]]) -> float:
    return sum(len(best.intersection(ids)) for ids, best in zip(found, wanted, strict=True)) / sum(map(len, wanted))


class Figures:
    """The tables, and the time that is left to fill them."""

    def __init__(self, until: float, peers_up_to: int) -> None:
        self.until = until
        self.peers_up_to = peers_up_to
        self.hybrid: list[tuple[object, ...]] = []
        self.near: list[tuple[object, ...]] = []

    def measure(self, count: int, folder: Path) -> None:
        from rag.services.generations import kind_for

        collection, texts = made(count), Texts()
        wanted = {share: collection.nearest(share) for share in SHARES}
        allowed = {share: collection.allowed(share) for share in SHARES}
        ours = Ours(kind_for(count), folder)
        seconds = ours.build(collection, texts)
        asked = [texts.question(passage) for passage in collection.asked]
        cells = [
            shown(timed(lambda i, share=share: ours.hybrid(collection.questions[i], asked[i], allowed[share])))  # type: ignore[misc]
            for share in SHARES
        ]
        np.save(folder / "questions.npy", collection.questions)
        own, shared, disk = sizes(ours, count)
        label = f"{count:,}"
        say(f"{label}: hybrid {cells}; vectors written in {seconds[0]:.0f} s, words in {seconds[1]:.0f} s")
        self.hybrid.append(
            (
                label,
                KINDS[ours.kind.__name__],
                *cells,
                f"{own:.0f} + {shared:.0f}",
                f"{disk:.0f}",
                f"{size_of(folder / 'words'):.0f}",
            )
        )
        self._near(
            label,
            "Footnote",
            f"{disk:.0f} MB of disk",
            seconds[0],
            wanted,
            collection,
            lambda v, s: ours.near(v, allowed[s]),
        )
        for peer in (FaissFlat, SqliteVec, Pgvector):
            self._peer(peer, count, folder, wanted, collection)

    def _peer(
        self, kind: type[Peer], count: int, folder: Path, wanted: dict[float, list[set[int]]], collection: Made
    ) -> None:
        label = f"{count:,}"
        missing = why_not(kind, count, self.peers_up_to, self.until)
        if missing:
            self.near.append((label, kind.name, missing, *[""] * 6))
            say(f"{label}: {kind.name}: {missing}")
            return
        place = folder / kind.__name__
        place.mkdir()
        peer = kind(place)
        try:
            begun = time.perf_counter()
            peer.build(collection)
            self._near(label, kind.name, peer.size(), time.perf_counter() - begun, wanted, collection, peer.near)
        finally:
            peer.close()

    def _near(  # one row
        self,
        label: str,
        name: str,
        size: str,
        seconds: float,
        wanted: dict[float, list[set[int]]],
        collection: Made,
        near: Callable[[Vectors, float], list[int]],
    ) -> None:
        cells, shares = [], []
        for share in SHARES:
            found: dict[int, list[int]] = {}

            def ask(number: int, share: float = share, found: dict[int, list[int]] = found) -> None:
                found[number] = near(collection.questions[number], share)

            begun = time.perf_counter()
            ask(0)
            slow = time.perf_counter() - begun > 0.2
            many = 10 if slow else QUESTIONS
            cells.append(shown(timed(ask, many)))
            shares.append(recall([found[number] for number in range(many)], wanted[share][:many]))
        self.near.append((label, name, *cells, f"{shares[0]:.3f}", f"{min(shares):.3f}", size, f"{seconds:.0f}"))
        say(
            f"{label}: {name}: {cells}, recall {[f'{each:.3f}' for each in shares]}, {size}, written in {seconds:.0f} s"
        )

    def tables(self) -> str:
        head = ["all", *[f"{share:.1%}".replace(".0%", "%").replace("%", " %") for share in SHARES[1:]]]
        return "\n".join(
            [
                table(("Passages", "Vectors in", *head, "Memory", "Vectors", "Words"), self.hybrid),
                "",
                table(("Passages", "", *head, "Found of all", "Found at worst", "Size", "Written in s"), self.near),
            ]
        )


def why_not(kind: type[Peer], count: int, most: int, until: float) -> str:
    """Why this one is not measured at this size, or ""."""
    if kind is SqliteVec:
        try:
            importlib.import_module("sqlite_vec")
        except ImportError:
            return "not installed"
        if not hasattr(extensible().Connection, "enable_load_extension"):
            return "not measured: this Python's SQLite takes no extensions"
    if kind is Pgvector and count > most:
        return "not measured: its index takes too long to build"
    # Slowest seen for a million: sqlite-vec with three minutes, pgvector for 100,000 with two.
    if kind is not FaissFlat and time.monotonic() + (count / 1e6 * 180 if kind is SqliteVec else 120) > until:
        return "not measured: no time was left"
    return ""


def sizes(ours: Ours, count: int) -> tuple[float, float, float]:
    """Megabytes of the vectors' index: what each process has to itself, what all share and every search reads, and on disk."""
    kind = ours.kind
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.search",
        "--look",
        str(ours.folder),
        kind.__module__,
        kind.__name__,
    ]
    looked = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    disk = size_of(ours.folder / "vectors")
    candidates = 2 * DIMENSION * count / 1e6 if kind.__name__ == "RabitqIndex" else 0  # read by the thousand only
    return json.loads(looked.stdout) * 1024 / 1e6, disk - candidates, disk


def size_of(folder: Path) -> float:
    """Megabytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---", "---", *["--:"] * (len(head) - 2)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def write(text: str) -> None:
    """Puts the tables between their marks in docs/search-speed.md."""
    page = REPOSITORY / "docs" / "search-speed.md"
    changed, count = re.subn(
        r"(<!-- figures -->\n).*?(<!-- /figures -->)",
        lambda marks: f"{marks[1]}{text}\n{marks[2]}",
        page.read_text(),
        flags=re.S,
    )
    assert count == 1, "docs/search-speed.md has lost the marks around its figures"
    page.write_text(changed)


@contextmanager
def installed() -> Iterator[Path]:
    """A temporary folder, and Django set up with a data folder in it: the sizes from which each kind is used are settings."""
    import django

    with tempfile.TemporaryDirectory(prefix="footnote-measure-") as folder:
        (Path(folder) / "data" / "tmp").mkdir(parents=True)
        os.environ |= {"FOOTNOTE_DATA": f"{folder}/data", "FOOTNOTE_SECRET_KEY": secrets.token_urlsafe(50)}
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")
        django.setup()
        yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures how fast collections are searched on this machine.")
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000, 1_000_000], metavar="N")
    parser.add_argument(
        "--peers-up-to", type=int, default=100_000, metavar="N", help="passages up to which HNSW is built"
    )
    parser.add_argument("--extra-path", metavar="FOLDER", help="a folder with further packages")
    parser.add_argument("--minutes", type=float, default=9.5, help="after which no other is begun")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/search-speed.md")
    parser.add_argument("--look", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        look(Path(options.look[0]), *options.look[1:])
        return
    if options.extra_path:
        sys.path.append(options.extra_path)
    line = f"{machine()}; {os.getloadavg()[0]:.1f} processes busy with other work at the start."
    figures = Figures(time.monotonic() + options.minutes * 60, options.peers_up_to)
    with installed() as folder:
        for count in options.sizes:
            place = folder / str(count)
            place.mkdir()
            figures.measure(count, place)
    text = f"{line}\n\n{figures.tables()}"
    print(text)
    if options.write:
        write(text)


if __name__ == "__main__":
    main()
