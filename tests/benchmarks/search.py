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
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rag.backends.keywords.base import Entry
from rag.backends.keywords.tantivy import TantivyIndex
from rag.backends.vectors.base import VectorIndex
from rag.domain.ranking import best_first, gather, prior
from rag.domain.types import Allowed, Everything, Hit, Only, Vectors
from tests.benchmarks.collections import BLOCK, DIMENSION, QUESTIONS, Made, Texts, made
from tests.benchmarks.installation import machine
from tests.benchmarks.peers import SHARES, FaissFlat, Peer, Pgvector, SqliteVec, extensible
from tests.installed import REPOSITORY

DEPTH = 100  # hits taken of each list, as rag.services.retrieve does
WARM = 10  # questions before the clock starts
KINDS = {"FaissIndex": "32-bit floats", "HalfIndex": "16-bit floats", "RabitqIndex": "1-bit codes, 16-bit floats"}
Times = list[float]


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
        dense, keyword = self.by_meaning(vector, allowed), self.by_words(text, allowed)
        liked, worded = ({hit.chunk_id for hit in hits} for hits in (dense, keyword))
        unlike, unworded = frozenset(worded - liked), frozenset(liked - worded)
        cosines = self.vectors.search(vector, limit=len(unlike), allowed=Only(unlike))
        words = self.words.search(text, limit=len(unworded), allowed=Only(unworded))
        found = gather(dense, keyword, cosines, words)
        return [int(found.ids[place]) for place in best_first(found, prior(found))]

    def by_meaning(self, vector: Vectors, allowed: Allowed) -> list[Hit]:
        return self.vectors.search(vector, limit=DEPTH, allowed=allowed)

    def by_words(self, text: str, allowed: Allowed) -> list[Hit]:
        return self.words.search(text, limit=DEPTH, allowed=allowed)

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
        for share in SHARES:
            meaning = timed(lambda i, among=allowed[share]: ours.by_meaning(collection.questions[i], among))  # type: ignore[misc]
            words = timed(lambda i, among=allowed[share]: ours.by_words(asked[i], among))  # type: ignore[misc]
            say(f"{count:,}, {share:.1%} readable: by meaning {shown(meaning)}, by words {shown(words)}")
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
