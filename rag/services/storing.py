"""Writes what was read of a revision: extraction, pages and passages in one transaction, from whose end on its words are found."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import TypeVar

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from rag.domain import boxes, chunking
from rag.domain.errors import Permanent
from rag.domain.pages import split_long
from rag.domain.types import Page, ParsedDocument, Passage, Reading
from rag.models import Chunk, Document, Extraction, IngestRun, PageDraft, Revision
from rag.models import Page as StoredPage
from rag.models.index import RunState
from rag.services import fields
from rag.services.attempts import IN_WORK, superseded
from rag.services.children import Inside
from rag.services.coverage import Coverage, covered, settled
from rag.services.embedding import ask_for, carry_over
from rag.services.leases import Lease
from rag.services.library import next_version, remove_chunks
from rag.slots import token_counter

_PAGES, _CHUNKS = 50, 500  # rows of one INSERT: what of a long document is held as rows at a time

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class _Content:
    """What is stored of one reading."""

    pages: tuple[Page, ...]
    passages: list[Passage]
    coverage: Coverage
    parser: str
    inside: Inside


def store_readable(revision: Revision, parsed: ParsedDocument, inside: Inside, lease: Lease) -> bool:
    """Stores what could be read without recognising pictures, for searching until that is done; whether there was any.

    It stays as an extraction of its own: answers that cite it keep their places.
    """
    content = _content(parsed, parsed.pages, inside, recognised=False)
    if not content.passages:
        return False
    with _writing(revision, lease) as version:
        _write(revision, parsed, content, version)
        lease.write(searchable=True)
    return True


def store(revision: Revision, parsed: ParsedDocument, pages: Sequence[Page], inside: Inside, lease: Lease) -> None:
    """Stores the whole reading and queues the embedding; a file whose words are all in files inside it is ready.

    Raises Permanent when there is nothing to be found in the file, and Superseded when a newer one has taken its place.
    """
    recognised = any(page.reading is Reading.OCR for page in pages)
    content = _content(parsed, pages, inside, recognised=recognised)
    if not content.passages and not inside.taken:
        raise _nothing(content)
    ready = {"state": RunState.READY, "finished": timezone.now()}
    embedding = {"state": RunState.EMBEDDING, "queued": timezone.now(), "started": None}
    with _writing(revision, lease) as version:
        bulk = lease.rows().values_list("bulk", flat=True).get()
        _write(revision, parsed, content, version)
        PageDraft.objects.filter(revision=revision).delete()
        lease.release(
            **(embedding if content.passages else ready),
            searchable=bool(content.passages),
            gaps=content.coverage.gaps,
            done=0,
            total=len(content.passages),
            failures=0,
            message="",
        )
        if content.passages:
            ask_for(revision.pk, passages=len(content.passages), bulk=bulk)


def _content(parsed: ParsedDocument, pages: Sequence[Page], inside: Inside, *, recognised: bool) -> _Content:
    pages = split_long(settled(pages))
    passages = chunking.chunk(pages, token_counter().offsets)
    parser = f"{parsed.parser}+ocr" if recognised else parsed.parser
    return _Content(pages, passages, covered(pages), parser, inside)


def _nothing(content: _Content) -> Permanent:
    if content.inside.left_out:
        path, sentence = content.inside.left_out[0]
        facts = {"path": path, "sentence": sentence, "count": len(content.inside.left_out)}
        if len(content.inside.left_out) == 1:
            return Permanent(
                _("It holds no text, and the file inside it was left out: “%(path)s”. %(sentence)s") % facts
            )
        text = _("It holds no text, and all %(count)d files inside it were left out, such as “%(path)s”. %(sentence)s")
        return Permanent(text % facts)
    if content.coverage.pages_unread or content.coverage.images:
        return Permanent(_("No text was found in this file, and nothing could be recognised in its pictures."))
    return Permanent(_("No text was found in this file."))


@contextmanager
def _writing(revision: Revision, lease: Lease) -> Iterator[int]:
    """A transaction in which this revision's words may take the place of others; the collection's version that they get.

    The collection is locked first and the run second, as whoever adds or deletes documents does.
    """
    document = revision.document
    with transaction.atomic():
        version = next_version(document.collection_id)
        with lease.guarded():
            if not Document.objects.live().filter(pk=document.pk, latest=revision).exists():
                raise superseded()
            yield version


def _write(revision: Revision, parsed: ParsedDocument, content: _Content, version: int) -> None:
    document = revision.document
    title = parsed.title.strip()[:300] or PurePosixPath(document.path).stem[:300]
    extraction = Extraction.objects.create(
        revision=revision,
        parser=content.parser[:40],
        title=title,
        warnings=list(parsed.warnings),
        properties=dict(parsed.properties),
        attachments=content.inside.taken,
        left_out=[list(pair) for pair in content.inside.left_out],
        **content.coverage.fields(),
    )
    for batch in _batches(_pages(extraction, content.pages), _PAGES):
        StoredPage.objects.bulk_create(batch)
    # Runs of earlier revisions first: what still embeds one of them writes nothing more once its passages are gone.
    IngestRun.objects.filter(revision__document=document, state__in=IN_WORK).exclude(revision=revision).update(
        state=RunState.CANCELLED, attempt=F("attempt") + 1, lease_until=None, message=superseded().message
    )
    for rows in _batches(_chunks(extraction, document, version, content.passages), _CHUNKS):
        Chunk.objects.bulk_create(rows)
    # Whatever an earlier revision or an earlier reading of this one left to be searched goes in the same moment; what it
    # left of vectors stays with the passages that say the same.
    old = Chunk.objects.for_maintenance().filter(document=document).exclude(extraction=extraction)
    carry_over(extraction, old)
    remove_chunks(document.collection_id, old)
    Document.objects.filter(pk=document.pk).update(title=title, current=revision)
    fields.fill(document, extraction)


def _pages(extraction: Extraction, pages: Iterable[Page]) -> Iterator[StoredPage]:
    for place, page in enumerate(pages):
        yield StoredPage(
            extraction=extraction,
            place=place,
            number=page.number,
            label=page.label[:40],
            text=page.text,
            headings=[[heading.start, heading.level, heading.text] for heading in page.headings],
            boxes=boxes.pack(page.boxes),
            width=page.width,
            height=page.height,
            reading=page.reading.value,
            confidence=page.confidence,
            images=page.images,
            gap=page.gap[:200],
        )


def _chunks(extraction: Extraction, document: Document, version: int, passages: Iterable[Passage]) -> Iterator[Chunk]:
    for passage in passages:
        yield Chunk(
            extraction=extraction,
            document=document,
            collection_id=document.collection_id,
            version=version,
            ordinal=passage.ordinal,
            page_from=passage.page_from,
            page_to=passage.page_to,
            start=passage.start,
            end=passage.end,
            heading=list(passage.heading),
            text=passage.text,
        )


def _batches(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while batch := list(islice(rows, size)):
        yield batch
