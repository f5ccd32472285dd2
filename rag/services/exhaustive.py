"""Puts a question to whole documents: every passage is read, in order, in the background, under a lease.

A reading goes on in turns of a few seconds and waits in its queue between them, so that an upload is not behind it; whatever kills
a turn, the next one goes on after the last group of passages that was stored. Each group is read through the asker's scope
as it is then: what is taken from them in the middle ends the reading.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import numpy as np
import structlog
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Length
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core import audit
from core.db import release_connections
from core.models import User
from rag import tasks
from rag.access import scope_for
from rag.config import rag_config
from rag.domain import exhaustive
from rag.domain.errors import Permanent, RagError
from rag.domain.exhaustive import Judged, Tile
from rag.domain.places import locate
from rag.domain.types import Reading, Source, Vectors
from rag.models import Chunk, Document, Extraction, FoundPassage, Page, ReadDocument, Vector, WholeReading
from rag.models.exhaustive import IN_WORK, ReadingState
from rag.services import modes
from rag.services.exhaustive_model import Asked, ask
from rag.services.indexing import vector_digest
from rag.services.leases import Lease, LeaseLost, free
from rag.services.quoting import rarity
from rag.services.steps import step
from rag.slots import Model, embedding_model, question_embedder

log = structlog.get_logger(__name__)

QUESTION_MOST = 2000  # characters
DOCUMENTS_MOST = 100
AT_ONCE = 3  # readings of one person that may be under way
PAGE_CHARACTERS = 3000  # what counts as a page where a document has none
GROUP = 24  # passages that are judged and stored at a time; with a model one call's worth
TURN_SECONDS = 10.0
ATTEMPTS = 3
NEAREST = 3  # passages shown where none answers
CALLS_MOST = 400  # of a model, for one reading
LOST = timedelta(seconds=30)  # after which a reading that waits is sent again: its message may be lost


# --- Asking


@transaction.atomic
def open_reading(actor: User, *, question: str, documents: Sequence[Document], with_model: bool) -> WholeReading:
    """A reading of all passages of these documents, queued. The caller has checked that the actor may read them.

    Raises Permanent, in a sentence for the asker, for an empty or over-long question, for documents of which nothing was read,
    for more pages than may be read at once, and while too many of the asker's readings are under way.
    """
    question = " ".join(question.split())
    if not question:
        raise Permanent(_("Type a question first."))
    if len(question) > QUESTION_MOST:
        raise Permanent(
            _("This question has %(length)d characters; %(most)d is the most.")
            % {"length": len(question), "most": QUESTION_MOST}
        )
    User.objects.select_for_update(no_key=True).get(pk=actor.pk)  # two tabs at once would each find room
    if WholeReading.objects.filter(owner=actor, state__in=IN_WORK).count() >= AT_ONCE:
        raise Permanent(
            ngettext(
                "%d document is being read for you already. Wait for it, or stop it.",
                "%d readings for you are under way already. Wait for one of them, or stop it.",
                AT_ONCE,
            )
            % AT_ONCE
        )
    extractions = _extractions(documents)
    _require_pages(extractions)
    reading = WholeReading.objects.create(owner=actor, question=question, with_model=with_model)
    for ordinal, (document, extraction) in enumerate(extractions):
        _pin(reading, ordinal, document, extraction)
    audit.record(
        "documents.read_whole",
        actor=actor,
        subject=reading,
        documents=[str(document.pk) for document, _e in extractions],
    )
    tasks.send(tasks.read_everything, str(reading.pk))
    return reading


def _extractions(documents: Sequence[Document]) -> list[tuple[Document, Extraction]]:
    if not documents:
        raise Permanent(_("Choose at least one document."))
    if len(documents) > DOCUMENTS_MOST:
        raise Permanent(_("At most %(most)d documents are read at once.") % {"most": DOCUMENTS_MOST})
    found = []
    for document in documents:
        extraction = Extraction.objects.filter(revision=document.current_id).order_by("-id").first()
        if extraction is None:
            raise Permanent(_("“%(title)s” was not read in so far: ask again once it is.") % {"title": document.title})
        found.append((document, extraction))
    return found


def _require_pages(extractions: Sequence[tuple[Document, Extraction]]) -> None:
    most = rag_config().reading_pages
    pages = sum(max(each.pages_in_all, -(-each.characters // PAGE_CHARACTERS)) for _document, each in extractions)
    if pages > most:
        raise Permanent(
            _(
                "These are about %(pages)d pages; at most %(most)d are read whole for one question. Choose fewer documents, or search."
            )
            % {"pages": pages, "most": most}
        )


def _pin(reading: WholeReading, ordinal: int, document: Document, extraction: Extraction) -> None:
    pages = list(Page.objects.filter(extraction=extraction).order_by("place").defer("boxes", "headings"))
    last = _last_passages(extraction, len(pages))
    passages = Chunk.objects.for_maintenance().filter(extraction=extraction).count()
    paged = all(page.number is not None for page in pages) and bool(pages)
    tiles = [_tile(page, has_passages=last[place] >= 0) for place, page in enumerate(pages)]
    ReadDocument.objects.create(
        reading=reading,
        ordinal=ordinal,
        document=document,
        extraction=extraction,
        revision=document.current.number if document.current is not None else 0,
        paged=paged,
        tiles="".join(tiles) if paged else Tile.WAITING * passages,
        passages=passages,
    )


def _tile(page: Page, *, has_passages: bool) -> Tile:
    """Where a page begins. One with words of which there is no passage counts as unread: nobody will look at them."""
    if not page.text.strip():
        return Tile.UNREAD if page.gap or page.reading == Reading.UNREAD else Tile.BLANK
    if not has_passages:
        return Tile.UNREAD
    return Tile.PARTLY_WAITING if page.gap or page.reading == Reading.UNREAD else Tile.WAITING


def _last_passages(extraction: Extraction, pages: int) -> list[int]:
    """The last passage on each page, -1 where there is none."""
    last = [-1] * pages
    rows = Chunk.objects.for_maintenance().filter(extraction=extraction).values_list("ordinal", "page_from", "page_to")
    for ordinal, first, to in rows:
        for place in range(first, min(to + 1, pages)):
            last[place] = max(last[place], ordinal)
    return last


# --- Stopping, going on, deleting


@transaction.atomic
def cancel(actor: User, reading: WholeReading) -> None:
    """Stops the reading; what was found stays. Whoever reads loses the lease and writes nothing more."""
    stopped = WholeReading.objects.filter(pk=reading.pk, state__in=IN_WORK).update(
        state=ReadingState.CANCELLED, attempt=F("attempt") + 1, lease_until=None, finished=timezone.now()
    )
    if stopped:
        audit.record("reading.stopped", actor=actor, subject=reading)


@transaction.atomic
def resume(actor: User, reading: WholeReading, *, with_model: bool) -> None:
    """Goes on with a reading that was stopped or failed. One that goes on without its model begins anew: the two judge differently."""
    ended = (ReadingState.CANCELLED, ReadingState.FAILED)
    changed = WholeReading.objects.filter(pk=reading.pk, state__in=ended).update(
        state=ReadingState.WAITING, failures=0, message="", finished=None, with_model=with_model
    )
    if not changed:
        return
    if reading.with_model != with_model:
        _begin_anew(reading)
    audit.record("reading.resumed", actor=actor, subject=reading)
    tasks.send(tasks.read_everything, str(reading.pk))


def _begin_anew(reading: WholeReading) -> None:
    FoundPassage.objects.filter(read__reading=reading).delete()
    WholeReading.objects.filter(pk=reading.pk).update(calls=0, provider="", model="", model_digest="")
    begun = {Tile.READ: Tile.WAITING, Tile.FOUND: Tile.WAITING, Tile.PARTLY_READ: Tile.PARTLY_WAITING}
    begun[Tile.PARTLY_FOUND] = Tile.PARTLY_WAITING
    for part in ReadDocument.objects.filter(reading=reading):
        tiles = "".join(begun.get(Tile(tile), Tile(tile)) for tile in part.tiles)
        ReadDocument.objects.filter(pk=part.pk).update(done=0, tiles=tiles)


@transaction.atomic
def delete(actor: User, reading: WholeReading) -> None:
    """Removes the reading and what it found."""
    audit.record("reading.deleted", actor=actor, subject=reading)
    reading.delete()


# --- Reading


def run(reading_id: UUID) -> None:
    """One turn of the reading. Returns quietly when it is over, gone, or in somebody else's hands."""
    lease = Lease.take(WholeReading, reading_id, Q(state__in=IN_WORK), state=ReadingState.READING)
    if lease is None:
        return
    step("everything:claimed")
    try:
        with lease:
            _turn(lease, reading_id)
    except LeaseLost:
        return
    except RagError as error:
        _end(lease, ReadingState.FAILED, error.message)
    except Exception:
        _failed(lease)
        raise


def _turn(lease: Lease, reading_id: UUID) -> None:
    reading = WholeReading.objects.select_related("owner").get(pk=reading_id)
    end = time.monotonic() + TURN_SECONDS
    material: _Material | None = None
    while True:
        lease.check()
        _mind_locks(lease, reading)
        part = _next(reading)
        if part is None:
            return _end(lease, ReadingState.FINISHED, "")
        if material is None or material.part_id != part.pk:
            material = _Material.of(reading, part)
        _read_group(lease, reading, part, material)
        step("everything:group-stored")
        if time.monotonic() > end:
            lease.release(state=ReadingState.WAITING)
            return tasks.send(tasks.read_everything, str(reading.pk))


def _mind_locks(lease: Lease, reading: WholeReading) -> None:
    """Asks no model about collections that allow quotes only, also where that was decided a moment ago."""
    if not reading.with_model:
        return
    locked = modes.locked_among(reading.documents.values_list("document__collection", flat=True))
    if locked:
        names = ", ".join(sorted(collection.name for collection in locked))
        _without_model(lease, reading, _("Quotes only: %(names)s allows no model. Scores decided.") % {"names": names})


def _next(reading: WholeReading) -> ReadDocument | None:
    parts = reading.documents.filter(done__lt=F("passages")).select_related("document", "extraction")
    return parts.order_by("ordinal").first()


@dataclass(frozen=True, slots=True)
class _Material:
    """What is needed of a whole document to judge one of its passages."""

    part_id: int
    model: Model
    vector: Vectors  # the question, of length 1
    rare: Mapping[str, float]  # how rare each stem is among its passages
    lengths: Sequence[int]  # of its pages
    last: Sequence[int]  # the last passage of each tile

    @classmethod
    def of(cls, reading: WholeReading, part: ReadDocument) -> "_Material":
        model = embedding_model()
        rows = Page.objects.filter(extraction=part.extraction).order_by("place")
        lengths = list(rows.annotate(length=Length("text")).values_list("length", flat=True))
        sources = [_source(number, chunk) for number, chunk in enumerate(_passages(reading, part), start=1)]
        return cls(
            part_id=part.pk,
            model=model,
            vector=question_embedder(model).embed_question(reading.question),
            rare=rarity(sources),
            lengths=lengths,
            last=_last_passages(part.extraction, len(lengths)) if part.paged else range(part.passages),
        )


def _passages(reading: WholeReading, part: ReadDocument, *, start: int = 0, limit: int | None = None) -> list[Chunk]:
    """The document's passages from `start` on, as the asker may read them now. Raises Permanent when some are missing: the document
    was taken from them, was deleted, or has a newer revision by now."""
    scope = scope_for(reading.owner, asked=[part.document.collection_id])
    stop = part.passages if limit is None else min(part.passages, start + limit)
    found = Chunk.objects.visible_to(scope).filter(extraction=part.extraction, ordinal__gte=start, ordinal__lt=stop)
    chunks = list(found.select_related("document", "extraction__revision").order_by("ordinal"))
    if len(chunks) != stop - start:
        raise Permanent(_("A document can no longer be read, or has a newer revision by now. Put the question again."))
    return chunks


def _source(number: int, chunk: Chunk, cosine: float | None = None) -> Source:
    return Source(
        number=number,
        chunk_id=chunk.pk,
        document_id=chunk.document_id,
        collection_id=chunk.collection_id,
        extraction_id=chunk.extraction_id,
        revision=chunk.extraction.revision.number,
        title=chunk.document.title,
        heading=tuple(chunk.heading),
        page_from=chunk.page_from,
        page_to=chunk.page_to,
        page_label="",
        start=chunk.start,
        end=chunk.end,
        text=chunk.text,
        score=0.0,
        cosine=cosine,
    )


def _read_group(lease: Lease, reading: WholeReading, part: ReadDocument, material: _Material) -> None:
    """Reads the next passages and stores what they say, in one transaction under the lease."""
    size = exhaustive.GROUP if reading.with_model else GROUP
    judged = _judged(reading, material, _passages(reading, part, start=part.done, limit=size))
    asked: Asked | None = None
    if reading.with_model:
        if reading.calls >= CALLS_MOST:
            raise Permanent(_("The model was asked %(most)d times, the most for one question.") % {"most": CALLS_MOST})
        release_connections()  # none is held while a model thinks
        asked = ask(reading, [part.document.collection], [each.source for each in judged])
        if asked is None:
            return _without_model(lease, reading, _("No language model is connected any more. Scores decided."))
        judged = asked.verdicts(judged)
    return _store(lease, reading, part, material, judged, asked)


def _judged(reading: WholeReading, material: _Material, chunks: Sequence[Chunk]) -> list[Judged]:
    digest = vector_digest(material.model.identity.digest)
    rows = Vector.objects.filter(chunk__in=[chunk.pk for chunk in chunks], digest=digest).values_list("chunk", "data")
    vectors = {pk: np.frombuffer(bytes(data), dtype="<f4") for pk, data in rows}
    late = [chunk for chunk in chunks if chunk.pk not in vectors]  # found by words already, not embedded yet
    if late:
        made = question_embedder(material.model).embed_passages([chunk.text for chunk in late])
        vectors |= {chunk.pk: vector for chunk, vector in zip(late, made, strict=True)}
    likeness = material.model.identity.likeness
    sources = [
        _source(number, chunk, likeness(float(vectors[chunk.pk] @ material.vector)))
        for number, chunk in enumerate(chunks, start=1)
    ]
    return exhaustive.judge(reading.question, sources)


def _quoted(reading: WholeReading, material: _Material, judged: Judged) -> Judged:
    """With the sentence that speaks most to the question, where none was chosen yet."""
    texts = exhaustive.sentences_of(judged)
    if not texts or (judged.start, judged.end) != (0, len(judged.source.text)):
        return judged
    likeness = material.model.identity.likeness
    cosines = question_embedder(material.model).embed_passages(texts) @ material.vector
    return exhaustive.quoted(reading.question, judged, [likeness(float(each)) for each in cosines], idf=material.rare)


def _store(
    lease: Lease,
    reading: WholeReading,
    part: ReadDocument,
    material: _Material,
    judged: Sequence[Judged],
    asked: Asked | None,
) -> None:
    done, weakest = part.done + len(judged), _nearest_so_far(reading)
    rows = [
        _found(part, part.done + place, _quoted(reading, material, each), material.lengths)
        for place, each in enumerate(judged)
        if each.answers or each.strength > weakest
    ]
    with lease.guarded():
        FoundPassage.objects.bulk_create(rows)
        _forget_all_but_nearest(reading)
        answering = FoundPassage.objects.filter(read=part, answers=True).values_list("ordinal", "place")
        found = frozenset(place if part.paged else ordinal for ordinal, place in answering)
        tiles = exhaustive.tiles_after(part.tiles, material.last, done, found)
        ReadDocument.objects.filter(pk=part.pk).update(tiles=tiles, done=done)
        if asked is not None:
            reading.calls += len(asked.groups)
            lease.write(calls=reading.calls, provider=asked.provider, model=asked.model, model_digest=asked.digest)
        lease.write(failures=0)  # who dies now and then and gets on in between comes to the end


def _found(part: ReadDocument, ordinal: int, judged: Judged, lengths: Sequence[int]) -> FoundPassage:
    source = judged.source
    own = lengths[source.page_from : source.page_to + 1]
    return FoundPassage(
        read=part,
        ordinal=ordinal,
        answers=judged.answers,
        strength=judged.strength,
        place=locate(own, source.page_from, source.start, judged.start).page,
        page_from=source.page_from,
        page_to=source.page_to,
        start=source.start,
        end=source.end,
        quote_start=judged.start,
        quote_end=judged.end,
        heading=list(source.heading),
        sha256=hashlib.sha256(source.text.encode()).hexdigest(),
    )


def _nearest(reading: WholeReading) -> QuerySet[FoundPassage]:
    found = FoundPassage.objects.filter(read__reading=reading, answers=False)
    return found.order_by("-strength", "read__ordinal", "ordinal")


def _nearest_so_far(reading: WholeReading) -> float:
    """The strength above which a passage that does not answer is among the nearest."""
    strengths = list(_nearest(reading).values_list("strength", flat=True)[:NEAREST])
    return strengths[-1] if len(strengths) == NEAREST else -1.0


def _forget_all_but_nearest(reading: WholeReading) -> None:
    kept = list(_nearest(reading).values_list("pk", flat=True)[:NEAREST])
    FoundPassage.objects.filter(read__reading=reading, answers=False).exclude(pk__in=kept).delete()


def _without_model(lease: Lease, reading: WholeReading, message: str) -> None:
    """Begins anew without a model, and says why: what scores and what a model calls an answer are not mixed."""
    with lease.guarded():
        lease.write(with_model=False, message=message[:500])
        _begin_anew(reading)
    reading.with_model = False


def _end(lease: Lease, state: ReadingState, message: str) -> None:
    with suppress(LeaseLost), lease.guarded():
        reading = lease.rows().select_related("owner").get()
        audit.record("reading.ended", actor=reading.owner, subject=reading, state=str(state), model=reading.model)
        kept = message or reading.message
        lease.release(state=state, message=kept[:500], finished=timezone.now())


def _failed(lease: Lease) -> None:
    """Something that nobody expected: another try, and after the third none."""
    failures = lease.rows().values_list("failures", flat=True).first()
    if failures is None:
        return
    if failures + 1 >= ATTEMPTS:
        _end(
            lease, ReadingState.FAILED, _("Something went wrong on the server while this was read; its log says what.")
        )
        return
    with suppress(LeaseLost):
        lease.release(state=ReadingState.WAITING, failures=failures + 1)


def sweep_stale() -> int:
    """Goes on with readings whose process died or whose message was lost, and says how many; the third death is the last.

    Also removes those of which every document is gone: nobody can open them.
    """
    WholeReading.objects.filter(documents__isnull=True).delete()
    dead = WholeReading.objects.filter(state=ReadingState.READING, lease_until__lt=timezone.now())
    dead.filter(failures__gte=ATTEMPTS - 1).update(
        state=ReadingState.FAILED,
        lease_until=None,
        finished=timezone.now(),
        message=_("The server stopped several times while this was read. What was found until then is shown."),
    )
    dead.update(state=ReadingState.WAITING, lease_until=None, failures=F("failures") + 1)
    late = timezone.now() - LOST
    waiting = WholeReading.objects.filter(free(), state=ReadingState.WAITING, created__lt=late)
    found = list(waiting.values_list("pk", flat=True)[:100])
    for reading_id in found:
        tasks.send(tasks.read_everything, str(reading_id))
    return len(found)
