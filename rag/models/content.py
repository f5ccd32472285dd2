"""What was read from a document: immutable extractions, their pages, and the chunks that are searched."""

from typing import Self

from django.db import models
from django.db.models import F, Q

from core.models import Role
from rag.domain.types import Principal, Reading, Scope
from rag.models.library import Collection, Document, FieldValue, Revision, granted


class Extraction(models.Model):
    """One reading of one revision by one parser. Never changed: citations pin it."""

    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="extractions")
    parser = models.CharField(max_length=40)
    title = models.CharField(max_length=300, blank=True)
    warnings = models.JSONField(default=list)
    properties = models.JSONField(default=dict)  # the file's own: author, subject, created …
    language = models.CharField(max_length=8, blank=True)  # ISO 639-1, of most of the text; "" where too little tells
    # The coverage report. Pages: all = with a text layer + read by OCR + blank + unread.
    pages_in_all = models.PositiveIntegerField(default=0)
    pages_with_text = models.PositiveIntegerField(default=0)
    pages_by_ocr = models.PositiveIntegerField(default=0)
    pages_blank = models.PositiveIntegerField(default=0)
    pages_unread = models.PositiveIntegerField(default=0)
    confidence = models.FloatField(default=1)  # mean over the pages read by OCR, 0 to 1
    images = models.PositiveIntegerField(default=0)  # pictures whose content was not read
    attachments = models.PositiveIntegerField(default=0)  # files inside it that became documents
    left_out = models.JSONField(default=list)  # files inside it that did not: [path, sentence]
    characters = models.BigIntegerField(default=0)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("revision", "-id")

    def __str__(self) -> str:
        return f"{self.revision_id} by {self.parser}"


class PageQuerySet(models.QuerySet["Page"]):
    def readable_by(self, principal: Principal) -> Self:
        """Pages of live documents that this person may read now, older revisions included: what pinned citations open.

        Among them those of files in a conversation of their own.
        """
        own = Q(extraction__revision__document__in=Document.objects.private_to(principal).order_by().values("pk"))
        return self.filter(
            granted(principal, role=Role.READER, prefix="extraction__revision__document__collection__") | own,
            extraction__revision__document__deleted__isnull=True,
        )


class Page(models.Model):
    """One page of an extraction. `place` counts from 0; `number` is the page of the file, None where there are none."""

    extraction = models.ForeignKey(Extraction, on_delete=models.CASCADE, related_name="pages")
    place = models.PositiveIntegerField()
    number = models.PositiveIntegerField(null=True)
    label = models.CharField(max_length=40, blank=True)
    text = models.TextField()
    headings = models.JSONField(default=list)  # [start, level, text]
    boxes = models.BinaryField(default=bytes)  # rag.domain.boxes.pack
    width = models.FloatField(default=0)
    height = models.FloatField(default=0)
    reading = models.CharField(
        max_length=8, choices=[(reading.value, reading.value) for reading in Reading], default="text"
    )
    confidence = models.FloatField(default=1)  # mean over the words that OCR read
    images = models.PositiveIntegerField(default=0)
    gap = models.CharField(max_length=200, blank=True)  # what is missing, as a sentence

    objects = PageQuerySet.as_manager()

    class Meta:
        ordering = ("extraction", "place")
        constraints = (models.UniqueConstraint(fields=("extraction", "place"), name="page_place"),)

    def __str__(self) -> str:
        return f"{self.extraction_id} page {self.place + 1}"


class ChunkQuerySet(models.QuerySet["Chunk"]):
    def visible_to(self, scope: Scope) -> Self:
        """Chunks whose words this asker may read now: in a granted, asked-for collection, of a live document's newest reading.

        Fails closed: an empty scope, a revoked grant, a deleted document or a superseded revision finds nothing. The scope's
        filters narrow what is left, each one further; the files of the conversation that is asked have no fields, and stay.
        """
        allowed, own = granted(scope.principal, role=Role.READER, prefix="collection__"), Q()
        if scope.conversation is not None:
            files = Document.objects.private_to(scope.principal, scope.conversation)
            own = Q(document__in=files.order_by().values("pk"))
            allowed |= own
        found = self.filter(
            allowed,
            collection_id__in=scope.collections,
            document__deleted__isnull=True,
            document__current=F("extraction__revision"),
        )
        for condition in scope.filters:
            matching = FieldValue.objects.matching(condition).values("document_id")
            found = found.filter(Q(document_id__in=matching) | own if own else Q(document_id__in=matching))
        return found

    def for_maintenance(self) -> Self:
        """Every chunk, whoever may read it: for syncing indexes and for embedding, never for answering."""
        return self.all()


class Chunk(models.Model):
    """A passage as it is searched. `start` counts code points in page `page_from`, `end` in page `page_to` (places, from 0).

    `version` is the collection's version at which the chunk came; `collection` and `document` repeat what the extraction
    knows so that a search filters without joins.
    """

    extraction = models.ForeignKey(Extraction, on_delete=models.CASCADE, related_name="chunks")
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="chunks")
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="chunks")
    version = models.BigIntegerField()
    ordinal = models.PositiveIntegerField()
    page_from = models.PositiveIntegerField()
    page_to = models.PositiveIntegerField()
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    heading = models.JSONField(default=list)
    text = models.TextField()

    objects = ChunkQuerySet.as_manager()

    class Meta:
        ordering = ("extraction", "ordinal")
        constraints = (models.UniqueConstraint(fields=("extraction", "ordinal"), name="chunk_ordinal"),)
        indexes = (models.Index(fields=("collection", "version"), name="chunk_by_version"),)

    def __str__(self) -> str:
        return f"{self.extraction_id} chunk {self.ordinal}"


class Removal(models.Model):
    """A chunk that left its collection at `version`: readers and indexes that are older take it out.

    Not a foreign key: the chunk's own row may be gone already.
    """

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="removals")
    version = models.BigIntegerField()
    chunk_id = models.BigIntegerField()

    class Meta:
        indexes = (models.Index(fields=("collection", "version"), name="removal_by_version"),)

    def __str__(self) -> str:
        return f"{self.collection_id} {self.version} without {self.chunk_id}"
