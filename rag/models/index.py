"""Vectors (truth), index generations (caches on disk) and the runs that make them."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from rag.models.content import Chunk
from rag.models.library import Collection, Revision


class Vector(models.Model):
    """A chunk's embedding: float32, little endian, `dimension` numbers. `version`: the collection's when it came."""

    chunk = models.ForeignKey(Chunk, on_delete=models.CASCADE, related_name="vectors")
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="vectors")
    version = models.BigIntegerField()
    digest = models.CharField(max_length=80)  # the embedder's weights
    words = models.CharField(
        max_length=32, blank=True
    )  # BLAKE2b-128 of the embedded text: the same words are embedded once
    data = models.BinaryField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("chunk", "digest"), name="one_vector_per_embedder"),)
        indexes = (
            models.Index(fields=("collection", "digest", "version"), name="vector_by_version"),
            models.Index(fields=("collection", "digest", "words"), name="vector_by_words"),
        )

    def __str__(self) -> str:
        return f"{self.chunk_id} by {self.digest[:12]}"


class IndexKind(models.TextChoices):
    VECTORS = "vectors", _("vectors")
    KEYWORDS = "keywords", _("keywords")


class IndexGeneration(models.Model):
    """An index on disk that holds all of a collection up to `version`. Vector generations are immutable and replaced as a whole;
    a keyword generation is one folder that grows."""

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="generations")
    kind = models.CharField(max_length=10, choices=IndexKind.choices)
    digest = models.CharField(max_length=80, blank=True)  # the embedder's weights; empty for keywords
    dimension = models.PositiveIntegerField(default=0)
    folder = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64, blank=True)
    count = models.PositiveIntegerField(default=0)
    version = models.BigIntegerField()
    created = models.DateTimeField(auto_now_add=True)
    current = models.BooleanField(default=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("collection", "kind", "digest"), condition=Q(current=True), name="one_current_generation"
            ),
        )

    def __str__(self) -> str:
        return f"{self.collection_id} {self.kind} up to {self.version}"


class RunState(models.TextChoices):
    QUEUED = "queued", _("waiting")
    READING = "reading", _("reading")
    RECOGNISING = "recognising", _("recognising text in pictures")
    EMBEDDING = "embedding", _("embedding")
    READY = "ready", _("ready")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


class IngestRun(models.Model):
    """How far a revision has come. `attempt` is the fencing token: every write of a worker names the attempt it holds."""

    revision = models.OneToOneField(Revision, on_delete=models.CASCADE, related_name="run")
    state = models.CharField(max_length=12, choices=RunState.choices, default=RunState.QUEUED)
    attempt = models.PositiveIntegerField(default=0)
    failures = models.PositiveSmallIntegerField(default=0)  # attempts that died or failed in a way worth repeating
    lease_until = models.DateTimeField(null=True, blank=True)
    done = models.PositiveIntegerField(default=0)  # pages while reading, chunks while embedding
    total = models.PositiveIntegerField(default=0)  # 0: not known yet
    message = models.CharField(max_length=500, blank=True)  # why it failed, or what is missing; for the user
    queued = models.DateTimeField(auto_now_add=True)
    started = models.DateTimeField(null=True, blank=True)
    finished = models.DateTimeField(null=True, blank=True)
    searchable = models.BooleanField(default=False)  # by words
    gaps = models.PositiveIntegerField(default=0)  # pages that could not be read: READY with any is "ready with gaps"
    needs_password = models.BooleanField(default=False)
    bulk = models.BooleanField(default=False)  # part of a large import: waits behind what people upload one by one
    batch = models.ForeignKey("Batch", on_delete=models.SET_NULL, null=True, blank=True, related_name="runs")

    class Meta:
        indexes = (
            models.Index(fields=("state", "lease_until"), name="run_by_state"),
            models.Index(fields=("batch", "state"), name="run_of_batch"),
        )

    def __str__(self) -> str:
        return f"{self.revision_id} {self.state} (attempt {self.attempt})"


class PageDraft(models.Model):
    """A page that OCR has read while the rest of its revision is not done: a killed run goes on behind it."""

    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="drafts")
    number = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("revision", "number"), name="one_draft_per_page"),)

    def __str__(self) -> str:
        return f"{self.revision_id} page {self.number}"
