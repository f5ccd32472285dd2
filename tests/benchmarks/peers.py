"""Other ways to find the nearest vectors, as their documentation says to use them."""

import importlib
import sqlite3
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from core import testing
from rag.domain.types import Vectors
from tests.benchmarks.collections import BLOCK, BUCKETS, DIMENSION, Made

SHARES = (1.0, 0.1, 0.01, 0.001)  # of the passages that may be read


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
