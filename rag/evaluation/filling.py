"""Fills a collection with passages whose judgements are known, and asks the real indexes to follow."""

import hashlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import structlog
from django.db import transaction

from core.models import Membership, Role, Team, User
from rag.access import scope_for
from rag.backends.embedders.base import Embedder
from rag.domain.types import Page, Passage, Scope, Vectors
from rag.evaluation.datasets import Text
from rag.models import Chunk, Collection, Document, Extraction, Grant, Revision, Vector
from rag.models import Page as StoredPage
from rag.services import indexing
from rag.services.coverage import covered
from rag.services.embedding import embedded_text
from rag.services.library import next_version
from rag.slots import passage_embedder

log = structlog.get_logger(__name__)

Row = TypeVar("Row")
Told = Callable[[int, int], None]  # done, of how many

_DOCUMENTS = 500  # rows of one INSERT
_BATCH = 128  # passages embedded together


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document as it is to be stored; `ids` are what the judgements call its passages, "" for one that they do not know."""

    title: str
    page: str
    passages: tuple[Passage, ...]
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Filled:
    """A collection that can be searched under `scope`; `names` are the judgements' ids by chunk."""

    scope: Scope
    names: dict[int, str]


def as_given(corpus: Sequence[Text]) -> list[Prepared]:
    """The passages of a set as documents, none of them cut anew: those of one document in their order, the others alone."""
    documents: dict[str, list[Text]] = {}
    for text in corpus:
        documents.setdefault(text.document or f"\0{text.id}", []).append(text)
    return [_joined(sorted(texts, key=lambda text: text.start)) for texts in documents.values()]


def _joined(texts: Sequence[Text]) -> Prepared:
    passages: list[Passage] = []
    start = 0
    for ordinal, text in enumerate(texts):
        end = start + len(text.text)
        passages.append(Passage(ordinal=ordinal, text=text.text, page_from=0, page_to=0, start=start, end=end))
        start = end + 2
    page = "\n\n".join(text.text for text in texts)
    return Prepared(texts[0].title, page, tuple(passages), tuple(text.id for text in texts))


def fill(
    documents: Sequence[Prepared],
    *,
    name: str,
    vectors: "VectorCache",
    told: Told,
    embedded: Callable[[str, tuple[str, ...], str], str] = embedded_text,
) -> Filled:
    """A new collection with these documents, found by words and by meaning. Belongs into a temporary installation.

    `embedded` makes what is embedded of a passage out of title, headings and words.
    """
    reader = User.objects.create(username=f"reader-{uuid.uuid4().hex}")
    team = Team.objects.create(name=name[:100])
    collection = Collection.objects.create(name=name[:100])
    Membership.objects.create(team=team, user=reader, role=Role.MANAGER)
    Grant.objects.create(collection=collection, team=team, role=Role.MANAGER)
    names: dict[int, str] = {}
    texts: list[str] = []
    with transaction.atomic():
        version = next_version(collection.pk)
        for number, batch in enumerate(_batches(iter(documents), _DOCUMENTS)):
            chunks, ids = _stored(batch, collection, version, number * _DOCUMENTS)
            names |= {chunk.pk: own for chunk, own in zip(chunks, ids, strict=True)}
            texts += [embedded(chunk.extraction.title, tuple(chunk.heading), chunk.text) for chunk in chunks]
        _store_vectors(collection, version, list(names), vectors.of(texts, passage_embedder(), told))
    indexing.rebuild(collection.pk)
    return Filled(scope_for(reader, asked=[collection.pk]), names)


def _stored(
    batch: Sequence[Prepared], collection: Collection, version: int, first: int
) -> tuple[list[Chunk], list[str]]:
    documents = Document.objects.bulk_create(
        Document(collection=collection, path=str(first + place), title=prepared.title[:300])
        for place, prepared in enumerate(batch)
    )
    revisions = Revision.objects.bulk_create(
        Revision(document=document, number=1, sha256="", size=len(prepared.page), media_type="text/plain")
        for document, prepared in zip(documents, batch, strict=True)
    )
    for document, revision in zip(documents, revisions, strict=True):
        document.latest = document.current = revision
    Document.objects.bulk_update(documents, ["latest", "current"])
    extractions = Extraction.objects.bulk_create(
        Extraction(
            revision=revision,
            parser="given/1",
            title=document.title,
            **covered([Page(number=None, text=prepared.page)]).fields(),
        )
        for document, revision, prepared in zip(documents, revisions, batch, strict=True)
    )
    StoredPage.objects.bulk_create(
        StoredPage(extraction=extraction, place=0, text=prepared.page)
        for extraction, prepared in zip(extractions, batch, strict=True)
    )
    chunks = Chunk.objects.bulk_create(
        [
            Chunk(
                extraction=extraction,
                document=document,
                collection=collection,
                version=version,
                ordinal=passage.ordinal,
                page_from=0,
                page_to=0,
                start=passage.start,
                end=passage.end,
                heading=list(passage.heading),
                text=passage.text,
            )
            for document, extraction, prepared in zip(documents, extractions, batch, strict=True)
            for passage in prepared.passages
        ],
        batch_size=_DOCUMENTS,
    )
    return chunks, [own for prepared in batch for own in prepared.ids]


def _store_vectors(collection: Collection, version: int, chunks: Sequence[int], vectors: Vectors) -> None:
    digest = indexing.vector_digest(passage_embedder().digest)
    rows = (
        Vector(chunk_id=chunk, collection=collection, version=version, digest=digest, data=row.astype("<f4").tobytes())
        for chunk, row in zip(chunks, vectors, strict=True)
    )
    for batch in _batches(rows, _DOCUMENTS):
        Vector.objects.bulk_create(batch)


def _batches(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while batch := list(islice(rows, size)):
        yield batch


class VectorCache:
    """Vectors of whole corpora on disk, by what was embedded and by whom: the second measuring of a set embeds nothing.

    Without a folder nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def of(self, texts: Sequence[str], embedder: Embedder, told: Told) -> Vectors:
        """The vectors of `texts`, float32 (len(texts), dimension); `told` hears how many are computed."""
        file = self._file(texts, embedder)
        if file is not None and file.is_file():
            try:
                kept: Vectors = np.load(file, allow_pickle=False)
            except (ValueError, OSError, EOFError):
                log.warning("evaluation.vectors_unreadable", file=file.name)
            else:
                if kept.shape == (len(texts), embedder.dimension):
                    return kept
        vectors = _embedded(texts, embedder, told)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f"{file.stem}.{uuid.uuid4().hex}.npy")
            np.save(partial, vectors)
            partial.replace(file)
        return vectors

    def _file(self, texts: Sequence[str], embedder: Embedder) -> Path | None:
        if self._folder is None:
            return None
        summed = hashlib.sha256()
        for text in texts:
            summed.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
        return self._folder / f"{embedder.digest[:16]}-{summed.hexdigest()[:32]}.npy"


def _embedded(texts: Sequence[str], embedder: Embedder, told: Told) -> Vectors:
    vectors = np.zeros((len(texts), embedder.dimension), dtype=np.float32)
    # Alike lengths share a batch: padding is wasted work.
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        vectors[batch] = embedder.embed_passages([texts[place] for place in batch])
        told(start + len(batch), len(order))
    return vectors
