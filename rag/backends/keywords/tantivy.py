"""BM25 over one collection with tantivy.

Scores are tantivy's BM25 (k1 = 1.2, b = 0.75, with Lucene's idf) summed over four fields: `text` (words without their
endings, by the rules of the passage's language), `context` (title and headings, worth less), `pieces` (parts of words, in
all languages but English) and `whole` (identifiers, by their rarity alone). Removed chunks count in the word statistics, and
their words stay on disk, until their segment is merged.

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
import re
import shutil
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import tantivy
from tantivy import Occur, Query, TextAnalyzerBuilder, Tokenizer

from rag.backends import files
from rag.backends.errors import Damaged
from rag.backends.keywords.asking import (
    CONTEXT,
    MARK,
    PIECES,
    TEXT,
    WHOLE,
    Asked,
    asked,
    query_for,
    query_of_lengths,
    query_of_quotations,
)
from rag.backends.keywords.base import Entry, KeywordIndex
from rag.backends.keywords.words import clean, pieces, treated_as, words
from rag.domain.errors import Retryable
from rag.domain.identifiers import identifiers
from rag.domain.pooling import Statistics, Term, saturation
from rag.domain.types import Allowed, Everything, Except, Hit, Only, allowed_ids

KIND = "tantivy/4"  # raise the number when fields, word rules or the context change: older folders are then rebuilt
SEAL = "footnote.json"
LOCK = ".footnote.lock"

_GIVEN = "footnote_given"  # the words are made here, not by tantivy
_FIELD = re.compile(r"field=(\d+)")
_HEAP = 15_000_000  # bytes; the least that tantivy takes for a writing thread
# What a passage more costs, in microseconds: named in a filter inside the index, and fetched to be dropped where it is not allowed.
_NAMED, _FETCHED = 2.2, 0.6
_SPARE = 1.5  # times as many are fetched as should do: those allowed are not spread evenly over the hits
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
        self._measured: _Measured | None = None

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
            index.register_tokenizer(_GIVEN, TextAnalyzerBuilder(Tokenizer.whitespace()).build())
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

    def search(self, question: str, *, limit: int, allowed: Allowed, pool: Statistics | None = None) -> list[Hit]:
        searcher = self._searcher
        if limit <= 0 or not searcher.num_docs:
            return []
        with _damage("the index cannot be searched"):
            if pool is None:
                wanted = asked(question, self.languages())
                own = Statistics(int(searcher.num_docs), {}, _holding(searcher, wanted))
            else:
                wanted, own = self._measure(searcher, question, pool.languages)
            query = query_for(wanted, self._index.schema, own=own, pool=pool or own)
        if query is None:
            return []
        if isinstance(allowed, Everything):
            return _best(searcher, query, limit)
        if isinstance(allowed, Only) and not allowed.ids:
            return []
        hits = _overfetched(searcher, query, limit, allowed)
        return _best(searcher, self._inside(query, allowed), limit) if hits is None else hits

    def scores(self, question: str, *, ids: frozenset[int], pool: Statistics) -> list[Hit]:
        searcher = self._searcher
        with _damage("the index cannot be searched"):
            wanted, own = self._measure(searcher, question, pool.languages)
            query = query_for(wanted, self._index.schema, own=own, pool=pool)
            if query is None or not ids:
                return []
            lengths = query_of_lengths(wanted, self._index.schema, own=own, pool=pool)
            found = searcher.search(self._inside(query, Only(ids)), limit=len(ids), count=False).hits
            numbers = searcher.fast_field_values("chunk", [address for _, address in found]) if found else []
            corrected = [score + self._lengthened(lengths, searcher, address, pool) for score, address in found]
        hits = (Hit(int(number), round(score, _DECIMALS)) for number, score in zip(numbers, corrected, strict=True))
        return sorted(hits, key=_order)

    def statistics(self, question: str, *, languages: frozenset[str]) -> Statistics:
        with _damage("the index cannot be searched"):
            return self._measure(self._searcher, question, languages)[1]

    def languages(self) -> frozenset[str]:
        with _damage("the index cannot be searched"):
            return frozenset(term.removeprefix(MARK) for term, _ in self._searcher.terms_with_prefix(TEXT, MARK))

    def quoting(self, question: str, *, allowed: Allowed) -> frozenset[int]:
        searcher = self._searcher
        query = query_of_quotations(question, self._index.schema, self.languages())
        if query is None or not searcher.num_docs:
            return frozenset()
        _, numbers = _fetch(searcher, query, int(searcher.num_docs))
        return frozenset(allowed_ids(allowed, numbers))

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

    def _measure(self, searcher: Any, question: str, languages: frozenset[str]) -> tuple[Asked, Statistics]:
        """What the question asks for, and the statistics for it; kept, because a pooled search needs them three times."""
        kept = self._measured
        if kept is None or kept.searcher is not searcher or (kept.question, kept.languages) != (question, languages):
            wanted = asked(question, languages)
            kept = _Measured(searcher, question, languages, wanted, self._statistics(searcher, wanted))
            self._measured = kept
        return kept.asked, kept.statistics

    def _statistics(self, searcher: Any, wanted: Asked) -> Statistics:
        languages = self.languages()
        schema = self._index.schema
        marks = [(TEXT, MARK + language) for language in languages] + [(CONTEXT, MARK)]
        marked = Query.boolean_query([(Occur.Should, Query.term_query(schema, *mark)) for mark in marks])
        found = searcher.search(marked, limit=1, count=False).hits
        if not found:
            return Statistics(0, {}, {})
        # tantivy tells its totals only in explaining a score.
        explained = list(_explained(marked, searcher, found[0][1]))
        passages = explained[0].passages
        lengths = {self._field(term): term.mean * passages for term in explained}
        return Statistics(passages, lengths, _holding(searcher, wanted), languages)

    def _lengthened(self, lengths: Any, searcher: Any, address: Any, pool: Statistics) -> float:
        """What a score gains when a passage's length is measured by the mean of `pool`."""
        return sum(
            term.score
            * (saturation(term.times, term.length, pool.mean_length(self._field(term))) / term.saturation - 1)
            for term in _explained(lengths, searcher, address)
        )

    @staticmethod
    def _field(term: "_Explained") -> str:
        return _FIELDS[term.field]

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


_FIELDS = ("number", "chunk", TEXT, CONTEXT, PIECES, WHOLE)  # in the schema's order, by which tantivy names them


def _schema() -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("number", tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("chunk", fast=True)
    builder.add_text_field(TEXT, tokenizer_name=_GIVEN)
    builder.add_text_field(CONTEXT, tokenizer_name=_GIVEN)
    builder.add_text_field(PIECES, tokenizer_name=_GIVEN, index_option="freq")
    builder.add_text_field(WHOLE, tokenizer_name=_GIVEN, index_option="basic")
    return builder.build()


def _document(entry: Entry) -> Any:
    language = treated_as(entry.language)
    text, context = clean(entry.text), clean(entry.context)
    stems, named = words(text, language), words(context, language)
    document = tantivy.Document()
    document.add_text("number", str(entry.chunk_id))
    document.add_unsigned("chunk", entry.chunk_id)
    document.add_text(TEXT, " ".join([MARK + language, *stems]))
    document.add_text(CONTEXT, " ".join([MARK, *named]))
    document.add_text(PIECES, " ".join(pieces(stems, language)))
    document.add_text(WHOLE, " ".join(identifiers(f"{context}\n{text}")))
    return document


def _holding(searcher: Any, wanted: Asked) -> dict[Term, int]:
    return {term: count for term in wanted.terms if (count := int(searcher.doc_freq(*term)))}


class _Measured(NamedTuple):
    """A question as it was last measured, and by what."""

    searcher: Any
    question: str
    languages: frozenset[str]
    asked: Asked
    statistics: Statistics


class _Explained(NamedTuple):
    """A term's part in a passage's score: the number of its field, how often it stands there in how many words, where fields
    have `mean`, among how many passages, and BM25's saturation from it."""

    field: int
    score: float
    times: float
    length: float
    mean: float
    saturation: float
    passages: int


def _explained(query: Any, searcher: Any, address: Any) -> Iterator[_Explained]:
    """The terms of `query`, which holds nothing but terms with and without boosts, that the passage at `address` holds."""
    for node in json.loads(query.explain(searcher, address).to_json())["details"]:
        boosted = node["description"].startswith("Boost")
        term = node["details"][0] if boosted else node
        if "context" not in term:  # a part that scores nothing
            continue
        _, rarity, saturated = term["details"]
        times, _, _, length, mean = (detail["value"] for detail in saturated["details"])
        yield _Explained(
            field=int(_FIELD.search(term["context"][0]).group(1)),  # type: ignore[union-attr]
            score=node["value"],
            times=times,
            length=length,
            mean=mean,
            saturation=saturated["value"],
            passages=int(rarity["details"][1]["value"]),
        )


def _best(searcher: Any, query: Any, limit: int) -> list[Hit]:
    """The `limit` best hits, ties by smaller id: where a tie crosses the limit, all of its members are fetched."""
    total = int(searcher.num_docs)
    wanted = min(limit, total)
    fetched = min(2 * wanted + 1, total)  # a second search costs more than these: passages of like length tie often
    while True:
        scores, numbers = _fetch(searcher, query, fetched)
        if len(scores) < fetched or fetched == total or scores[-1] < scores[wanted - 1]:
            return sorted(map(Hit, numbers, scores), key=_order)[:wanted]
        fetched = min(fetched * 4, total)


def _overfetched(searcher: Any, query: Any, limit: int, allowed: Only | Except) -> list[Hit] | None:
    """The `limit` best allowed hits out of more than that; None where a filter inside the index is quicker, or too few of what
    was fetched are allowed to be sure."""
    total, ids = int(searcher.num_docs), allowed.ids
    among = len(ids) if isinstance(allowed, Only) else max(total - len(ids), 1)
    fetched = max(int(_SPARE * limit * total / among), limit + 1)
    while fetched * _FETCHED < len(ids) * _NAMED:
        with _damage("the index cannot be searched"):
            found = searcher.search(query, limit=fetched, count=False).hits
            numbers = searcher.fast_field_values("chunk", [address for _, address in found]) if found else []
        inside = isinstance(allowed, Only)
        kept = [
            Hit(number, round(score, _DECIMALS))
            for number, (score, _) in zip(numbers, found, strict=True)
            if (number in ids) is inside
        ]
        if len(found) < fetched or (len(kept) >= limit and round(found[-1][0], _DECIMALS) < kept[limit - 1].score):
            return sorted(kept, key=_order)[:limit]
        fetched *= 4
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
