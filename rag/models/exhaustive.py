"""Questions put to whole documents: every passage is read, and what was not readable is told as well."""

import uuid
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from core.models import Role
from rag.domain.types import Principal
from rag.models.content import Extraction
from rag.models.library import Document, granted


class ReadingState(models.TextChoices):
    WAITING = "waiting", _("waiting")
    READING = "reading", _("reading")
    FINISHED = "finished", _("finished")
    CANCELLED = "cancelled", _("stopped")
    FAILED = "failed", _("failed")


IN_WORK = (ReadingState.WAITING, ReadingState.READING)


class WholeReadingQuerySet(models.QuerySet["WholeReading"]):
    def of(self, principal: Principal) -> Self:
        """The person's own readings, those of which they may read a document now: of the others nothing is shown."""
        readable = ReadDocument.objects.readable_by(principal).order_by().values("reading")
        return self.filter(owner_id=principal.user_id, owner__is_active=True, pk__in=readable)


class WholeReading(models.Model):
    """A question and every passage of some documents. `attempt` is the fencing token of whoever reads."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    question = models.TextField()
    state = models.CharField(max_length=10, choices=ReadingState.choices, default=ReadingState.WAITING)
    attempt = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveSmallIntegerField(default=0)
    message = models.CharField(max_length=500, blank=True)  # why it failed, or why no model was asked; for the reader
    with_model = models.BooleanField(
        default=False
    )  # each group of passages is shown to a model; otherwise scores alone decide
    calls = models.PositiveIntegerField(default=0)  # of the model
    provider = models.CharField(max_length=20, blank=True)
    model = models.CharField(max_length=200, blank=True)
    model_digest = models.CharField(max_length=100, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    finished = models.DateTimeField(null=True, blank=True)

    objects = WholeReadingQuerySet.as_manager()

    class Meta:
        ordering = ("-created",)
        indexes = (
            models.Index(fields=("owner", "-created"), name="reading_of_owner"),
            models.Index(fields=("state", "lease_until"), name="reading_by_state"),
        )

    def __str__(self) -> str:
        return f"{self.id}: {self.state}"


class ReadDocumentQuerySet(models.QuerySet["ReadDocument"]):
    def readable_by(self, principal: Principal) -> Self:
        """Those of live documents that this person may read now."""
        return self.filter(
            granted(principal, role=Role.READER, prefix="document__collection__"), document__deleted__isnull=True
        )


class ReadDocument(models.Model):
    """One document of a reading, pinned to the extraction that is read, and how far that is.

    `tiles` has a letter for each page (domain.exhaustive.Tile), or for each passage where the document has no pages.
    """

    reading = models.ForeignKey(WholeReading, on_delete=models.CASCADE, related_name="documents")
    ordinal = models.PositiveIntegerField()
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="+")
    extraction = models.ForeignKey(Extraction, on_delete=models.CASCADE, related_name="+")
    revision = models.PositiveIntegerField()
    paged = models.BooleanField(default=True)
    tiles = models.TextField()
    passages = models.PositiveIntegerField()
    done = models.PositiveIntegerField(default=0)  # passages read, from the first

    objects = ReadDocumentQuerySet.as_manager()

    class Meta:
        ordering = ("reading", "ordinal")
        constraints = (models.UniqueConstraint(fields=("reading", "document"), name="document_read_once"),)

    def __str__(self) -> str:
        return f"{self.reading_id}: {self.document_id}"


class FoundPassage(models.Model):
    """A passage that answers, or one of the nearest. Pinned like a citation: pages, offsets and a hash, no words.

    `quote_start` and `quote_end` count code points in the passage's own text; `place` is the page on which the quote begins.
    """

    read = models.ForeignKey(ReadDocument, on_delete=models.CASCADE, related_name="found")
    ordinal = models.PositiveIntegerField()  # the passage's
    answers = models.BooleanField()
    strength = models.FloatField()  # 0 to 1
    place = models.PositiveIntegerField()
    page_from = models.PositiveIntegerField()
    page_to = models.PositiveIntegerField()
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    quote_start = models.PositiveIntegerField()
    quote_end = models.PositiveIntegerField()
    heading = models.JSONField(default=list)
    sha256 = models.CharField(max_length=64)  # of the passage's text

    class Meta:
        ordering = ("read", "ordinal")
        constraints = (
            models.UniqueConstraint(fields=("read", "ordinal"), name="passage_found_once"),
            models.CheckConstraint(condition=Q(quote_end__gte=models.F("quote_start")), name="quote_in_order"),
        )

    def __str__(self) -> str:
        return f"{self.read_id} passage {self.ordinal}: {self.strength:.2f}"
