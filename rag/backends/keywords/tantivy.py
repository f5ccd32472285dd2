"""BM25 over one collection with tantivy.

Scores are tantivy's BM25 (k1 = 1.2, b = 0.75, with Lucene's idf) summed over three fields: `text` (English stems),
`plain` (words as they stand, so that names, identifiers and other languages match) and `context` (title and headings,
worth less). Removed chunks count in the word statistics, and their words stay on disk, until their segment is merged.

Why a seal: tantivy sums every segment file but not its own meta.json. After each change the sums of its two JSON files
are written beside them. While a writer is at work, or after one was killed, the seal says "writing" and only the
segments' own sums vouch.
Why ids twice: deleting by an integer term silently deletes nothing, so a raw text field is for deleting and filtering,
and a fast integer column for reading ids back (1,000 in .06 ms; stored documents take a thousand times that).
Why a manual reader: each open index costs a thread either way, but nothing changes under a search.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import tantivy
from tantivy import Occur, Query

from rag.backends import files
from rag.backends.errors import Damaged
from rag.backends.keywords.base import Entry, KeywordIndex
from rag.backends.keywords.words import ANALYZERS, PLAIN, STEMMED, Weights, clean, query_for
from rag.domain.errors import Retryable
from rag.domain.types import Allowed, Everything, Except, Hit, Only, allowed_ids

KIND = "tantivy/2"  # raise the number when fields, word rules or the context change: older folders are then rebuilt
SEAL = "footnote.json"
LOCK = ".footnote.lock"
WEIGHTS = Weights()

_HEAP = 15_000_000  # bytes; the least that tantivy takes for a writing thread
_FILTER_IDS = 1_000  # up to here a filter inside the index is quicker than fetching more and dropping
_OVERFETCH = (1_000, 5_000)
_DECIMALS = 4  # BM25 is a float32 sum whose order varies; this is finer than any difference that means something
_COMPONENTS = frozenset({"idx", "pos", "term", "store", "fast", "fieldnorm"})
_FOOTER_MAGIC = 1337
_TAIL = struct.Struct("<II")
_BLOCK = 1 << 20
_ATTEMPTS = 10

logger = logging.getLogger(__name__)


class TantivyIndex(KeywordIndex):
    """Searching from several threads is safe, also while another process changes the folder."""

    def __init__(self, folder: Path, index: Any) -> None:
        self._folder = folder
        self._index = index
        self._searcher: Any = None

    @classmethod
    def create(cls, folder: Path) -> Self:
        with files.new_folder(folder) as sibling, _failed_write_is_retryable(sibling):
            tantivy.Index(_schema(), path=str(sibling), reuse=False)
            _seal(sibling)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        _check(folder)
        with _damage("the index cannot be read"):
            index = tantivy.Index.open(str(folder))
            index.config_reader(reload_policy="manual")
            for name, analyzer in ANALYZERS.items():
                index.register_tokenizer(name, analyzer)
        opened = cls(folder, index)
        opened.refresh()
        return opened

    def change(self, *, add: Sequence[Entry], remove: Sequence[int]) -> None:
        last = {entry.chunk_id: entry for entry in add}
        if min(last, default=0) < 0:
            raise ValueError("ids must not be negative")
        with self._writer() as writer:
            for number in {*remove, *last}:
                writer.delete_documents_by_term("number", str(number))
            for entry in last.values():
                writer.add_document(_document(entry))
            writer.commit()
            # Merges end here, and with them the last change to meta.json.
            writer.wait_merging_threads()
            _seal(self._folder)

    def search(self, question: str, *, limit: int, allowed: Allowed) -> list[Hit]:
        query = query_for(question, self._index.schema, WEIGHTS)
        searcher = self._searcher
        if query is None or limit <= 0 or not searcher.num_docs:
            return []
        if isinstance(allowed, Everything):
            return _best(searcher, query, limit)
        if isinstance(allowed, Only) and not allowed.ids:
            return []
        if isinstance(allowed, Except) or len(allowed.ids) > _FILTER_IDS:
            hits = _overfetched(searcher, query, limit, allowed)
            if hits is not None:
                return hits
        return _best(searcher, self._inside(query, allowed), limit)

    def refresh(self) -> None:
        with _damage("the index cannot be read"):
            self._index.reload()
            self._searcher = self._index.searcher()

    def ids(self) -> frozenset[int]:
        searcher = self._searcher
        if not searcher.num_docs:
            return frozenset()
        with _damage("the ids cannot be read"):
            found = searcher.search(Query.all_query(), limit=searcher.num_docs, count=False).hits
            return frozenset(searcher.fast_field_values("chunk", [address for _, address in found]))

    def __len__(self) -> int:
        return int(self._searcher.num_docs)

    def _inside(self, query: Any, allowed: Only | Except) -> Any:
        members = Query.term_set_query(self._index.schema, "number", [str(number) for number in allowed.ids])
        if isinstance(allowed, Except):
            return Query.boolean_query([(Occur.Must, query), (Occur.MustNot, members)])
        return Query.boolean_query([(Occur.Must, query), (Occur.Must, Query.const_score_query(members, 0.0))])

    @contextmanager
    def _writer(self) -> Iterator[Any]:
        """A writer, closed afterwards; what was not committed by then is forgotten and its files are removed."""
        with _damage("the index cannot be changed"), _alone(self._folder):
            done = False
            with _failed_write_is_retryable(self._folder):
                # Before the first document: the list of files grows with each new segment, not only at the commit.
                files.seal(self._folder, {"kind": KIND, "state": "writing"}, SEAL)
                writer = self._index.writer(heap_size=_HEAP, num_threads=1)
                try:
                    yield writer
                    done = True
                finally:
                    if not done:
                        _abandon(writer)
                        self._collect_garbage()

    def _collect_garbage(self) -> None:
        """Frees what a failed change has written: on a full disk the next change could not succeed otherwise."""
        try:
            writer = self._index.writer(heap_size=_HEAP, num_threads=1)
            writer.garbage_collect_files()
            _abandon(writer)
            _seal(self._folder)
        except (ValueError, RuntimeError, OSError) as error:
            logger.warning("the files of a failed change stay until the next one: %s", error)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the folder's write lock, which ends with the process; raises `Retryable` while somebody else does."""
    # tantivy's own lock ends before the seal is written.
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Retryable("This collection's index is being changed; the next try follows by itself.") from error
        yield


@contextmanager
def _failed_write_is_retryable(folder: Path) -> Iterator[None]:
    """A commit either happens or leaves the last one as it was; tantivy does not say why its writing thread stopped."""
    try:
        with files.full_disk_is_retryable():
            yield
    except (ValueError, RuntimeError) as error:
        full = shutil.disk_usage(folder).free < 2 * _HEAP
        raise Retryable(files.FULL if full else "The index could not be written; it is tried again.") from error


def _abandon(writer: Any) -> None:
    try:
        writer.wait_merging_threads()
    except (ValueError, RuntimeError) as error:
        # Expected where the writer failed before; its lock is released all the same.
        logger.debug("the index writer had stopped already: %s", error)


def _schema() -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("number", tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("chunk", fast=True)
    builder.add_text_field("text", tokenizer_name=STEMMED)
    builder.add_text_field("plain", tokenizer_name=PLAIN, index_option="freq")
    builder.add_text_field("context", tokenizer_name=STEMMED, index_option="freq")
    return builder.build()


def _document(entry: Entry) -> Any:
    document = tantivy.Document()
    document.add_text("number", str(entry.chunk_id))
    document.add_unsigned("chunk", entry.chunk_id)
    text = clean(entry.text)
    document.add_text("text", text)
    document.add_text("plain", text)
    document.add_text("context", clean(entry.context))
    return document


def _best(searcher: Any, query: Any, limit: int) -> list[Hit]:
    """The `limit` best hits, ties by smaller id: where a tie crosses the limit, all of its members are fetched."""
    total = int(searcher.num_docs)
    wanted = min(limit, total)
    fetched = min(wanted + 1, total)
    while True:
        scores, numbers = _fetch(searcher, query, fetched)
        if len(scores) < fetched or fetched == total or scores[-1] < scores[wanted - 1]:
            return sorted(map(Hit, numbers, scores), key=_order)[:wanted]
        fetched = min(fetched * 4, total)


def _overfetched(searcher: Any, query: Any, limit: int, allowed: Only | Except) -> list[Hit] | None:
    """The `limit` best allowed hits out of more than that, or None when too few of them are allowed to be sure."""
    for fetched in _OVERFETCH:
        scores, numbers = _fetch(searcher, query, max(fetched, limit + 1))
        passed = frozenset(allowed_ids(allowed, numbers))
        kept = [Hit(number, score) for number, score in zip(numbers, scores, strict=True) if number in passed]
        if len(scores) < fetched or (len(kept) >= limit and scores[-1] < kept[limit - 1].score):
            return sorted(kept, key=_order)[:limit]
    return None


def _fetch(searcher: Any, query: Any, limit: int) -> tuple[list[float], list[int]]:
    """Scores, best first, and ids of the `limit` best."""
    with _damage("the index cannot be searched"):
        found = searcher.search(query, limit=limit, count=False).hits
        numbers = searcher.fast_field_values("chunk", [address for _, address in found]) if found else []
    return [round(float(score), _DECIMALS) for score, _ in found], [int(number) for number in numbers]


def _order(hit: Hit) -> tuple[float, int]:
    return -hit.score, hit.chunk_id


@contextmanager
def _damage(sentence: str) -> Iterator[None]:
    """Whatever tantivy says of files that it cannot read becomes `Damaged`."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        raise Damaged(sentence) from error
    except BaseException as error:
        # A corrupt segment makes Rust panic, and that class derives from BaseException and cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise Damaged(sentence) from error


def _seal(folder: Path) -> None:
    files.seal(folder, {"kind": KIND, "state": "sealed", "sums": _sums(folder)}, SEAL)


def _sums(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("meta.json", ".managed.json")}


def _check(folder: Path) -> None:
    """Raises `Damaged` unless every file that the index consists of is there and gives the sum stored with it.

    A writer may replace files meanwhile, so a fault counts only when the seal is the same before and after.
    """
    for attempt in range(_ATTEMPTS):
        seal = files.unseal(folder, SEAL)
        if seal.get("kind") != KIND:
            raise Damaged(f"the folder holds an index of another kind ({seal.get('kind')})")
        try:
            if seal.get("state") == "sealed" and _sums(folder) != seal.get("sums"):
                raise Damaged("meta.json or .managed.json has been altered")
            _check_segments(folder)
            return
        except (Damaged, OSError, ValueError, KeyError, TypeError) as error:
            steady = seal.get("state") == "sealed" and files.unseal(folder, SEAL) == seal
            if steady or attempt == _ATTEMPTS - 1:
                raise Damaged(f"the index is incomplete or has been altered: {error}") from error
        time.sleep(0.05 * attempt)


def _check_segments(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    for segment in meta["segments"]:
        stem = segment["segment_id"].replace("-", "")
        for component in sorted(_COMPONENTS):
            _check_sum(folder / f"{stem}.{component}")
        if segment["deletes"]:
            _check_sum(folder / f"{stem}.{segment['deletes']['opstamp']}.del")


def _check_sum(path: Path) -> None:
    """Raises ValueError unless the file agrees with tantivy's footer: a sum as JSON, its length, a magic number."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        if end < _TAIL.size:
            raise ValueError(f"{path.name} is truncated")
        file.seek(end - _TAIL.size)
        length, magic = _TAIL.unpack(file.read(_TAIL.size))
        body = end - _TAIL.size - length
        if magic != _FOOTER_MAGIC or body < 0:
            raise ValueError(f"{path.name} is truncated or has been altered")
        file.seek(body)
        wanted = json.loads(file.read(length))["crc"]
        file.seek(0)
        found, left = 0, body
        while left:
            block = file.read(min(left, _BLOCK))
            found = zlib.crc32(block, found)
            left -= len(block)
    if found != wanted:
        raise ValueError(f"{path.name} has been altered")
