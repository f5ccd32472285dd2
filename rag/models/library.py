"""Collections, who may read them, and the documents in them."""

import uuid
from datetime import date, timedelta
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core.models import Role, Team
from rag.config import rag_config
from rag.domain.types import Filter, Principal


def granted(principal: Principal, *, role: int, prefix: str) -> Q:
    """The one SQL condition that says which collections a person may use at `role` or above, evaluated at each reading.

    `prefix` leads from the queried table to the collection ("", "collection__", "document__collection__"). The membership and
    the grant must each reach `role`: a team that was granted reading has no writers there, whatever they are in the team.
    Deactivated people may use nothing.
    """
    collections = Grant.objects.filter(
        role__gte=role,
        team__memberships__role__gte=role,
        team__memberships__user_id=principal.user_id,
        team__memberships__user__is_active=True,
    ).values("collection_id")
    return Q(**{f"{prefix}id__in": collections}) & Q(**{f"{prefix}deleted__isnull": True, f"{prefix}private": False})


class CollectionQuerySet(models.QuerySet["Collection"]):
    def usable_by(self, principal: Principal, *, role: int) -> Self:
        """Collections that this person may use at `role` or above; files of a conversation are none."""
        return self.filter(granted(principal, role=role, prefix=""))

    def of_conversation(self, principal: Principal, conversation: uuid.UUID) -> Self:
        """The files of a conversation of this person's own: at most one collection."""
        return self.filter(
            private=True,
            deleted__isnull=True,
            conversation_id=conversation,
            conversation__owner_id=principal.user_id,
            conversation__owner__is_active=True,
            conversation__deleted__isnull=True,
        )


class Collection(models.Model):
    """A shelf of documents that teams are given. `version` grows with every change of what can be searched; readers follow it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=100)
    description = models.CharField(_("description"), max_length=300, blank=True)
    version = models.BigIntegerField(default=0)
    # models.language_model.model_key of the one that answers here; "": the installation's
    language_model = models.CharField(max_length=230, blank=True)
    quotes_only = models.BooleanField(default=False)  # no answer from it holds a generated sentence
    # The files of one conversation, its owner's alone: granted to nobody, listed nowhere. Without its conversation it is swept.
    private = models.BooleanField(default=False)
    conversation = models.OneToOneField(
        "Conversation", on_delete=models.SET_NULL, null=True, blank=True, related_name="private_files"
    )
    created = models.DateTimeField(auto_now_add=True)
    deleted = models.DateTimeField(null=True, blank=True)

    objects = CollectionQuerySet.as_manager()

    class Meta:
        ordering = ("name", "created")

    def __str__(self) -> str:
        return self.name


class Grant(models.Model):
    """A team's leave to use a collection, at most at `role`."""

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="grants")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="grants")
    role = models.PositiveSmallIntegerField(_("role"), choices=Role.choices, default=Role.MANAGER)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("collection", "team"), name="one_grant_per_team"),)
        indexes = (models.Index(fields=("team", "role", "collection"), name="grant_of_team"),)

    def __str__(self) -> str:
        return f"{self.collection_id} to {self.team_id}: {self.get_role_display()}"


class DocumentQuerySet(models.QuerySet["Document"]):
    def live(self) -> Self:
        """Documents that nobody has deleted."""
        return self.filter(deleted__isnull=True, collection__deleted__isnull=True)

    def usable_by(self, principal: Principal, *, role: int) -> Self:
        """Live documents that this person may use at `role` or above."""
        return self.filter(granted(principal, role=role, prefix="collection__"), deleted__isnull=True)

    def private_to(self, principal: Principal, conversation: uuid.UUID | None = None) -> Self:
        """Files that this person dropped into a conversation of their own, or into that one, and whose time is not over."""
        found = self.filter(
            deleted__isnull=True,
            created__gt=timezone.now() - timedelta(hours=rag_config().private_file_hours),
            collection__private=True,
            collection__deleted__isnull=True,
            collection__conversation__owner_id=principal.user_id,
            collection__conversation__owner__is_active=True,
            collection__conversation__deleted__isnull=True,
        )
        return found if conversation is None else found.filter(collection__conversation_id=conversation)

    def superseded(self, today: date) -> Self:
        """Documents whose place another live document has taken that is itself in force by `today`."""
        return self.filter(
            Q(superseded_by__valid_from__isnull=True) | Q(superseded_by__valid_from__lte=today),
            superseded_by__isnull=False,
            superseded_by__deleted__isnull=True,
        )

    def not_yet_in_force(self, today: date) -> Self:
        """Documents whose first day is still to come."""
        return self.filter(valid_from__gt=today)

    def due_for_review(self, today: date) -> Self:
        """Live documents that should have been looked at again by `today`, unless another has taken their place."""
        return self.live().filter(review_by__lte=today, superseded_by__isnull=True)


class Document(models.Model):
    """A place in a collection, its path, that holds one revision after another. Among live documents the place is unique."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="documents")
    path = models.CharField(max_length=500)
    title = models.CharField(max_length=300)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    # `latest` is what was uploaded last; `current` is what is searched: the newest revision that has been read.
    latest = models.ForeignKey("Revision", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    current = models.ForeignKey("Revision", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)
    deleted = models.DateTimeField(null=True, blank=True)
    # The mail or archive that it came in; it goes when that goes.
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="children")
    # In force from its first day on, until another document takes its place; to be looked at again by `review_by`.
    valid_from = models.DateField(null=True, blank=True)
    review_by = models.DateField(null=True, blank=True)
    superseded_by = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="supersedes"
    )

    objects = DocumentQuerySet.as_manager()

    class Meta:
        ordering = ("title", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("collection", "path"), condition=Q(deleted__isnull=True), name="one_live_document_per_path"
            ),
        )
        indexes = (
            models.Index(fields=("collection", "deleted", "title"), name="document_by_title"),
            models.Index(fields=("collection", "deleted", "-created"), name="document_by_date"),
            # Few documents have these; each question asks for them.
            # With `deleted`: SQLite otherwise takes one that has it, and reads every document of a collection at each search.
            models.Index(
                fields=("collection", "deleted"), condition=Q(superseded_by__isnull=False), name="document_superseded"
            ),
            models.Index(
                fields=("collection", "valid_from"), condition=Q(valid_from__isnull=False), name="document_by_first_day"
            ),
            models.Index(
                fields=("collection", "review_by"), condition=Q(review_by__isnull=False), name="document_by_review"
            ),
        )

    def __str__(self) -> str:
        return self.title


class Revision(models.Model):
    """The bytes that a document had from a moment on. `file` is a name of our own making, never the uploader's."""

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    media_type = models.CharField(max_length=120)
    file = models.FileField(max_length=200)  # revisions of one collection with the same bytes share it
    secret = models.TextField(blank=True)  # the password that opens it, encrypted with the site's key
    uploader = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("document", "-number")
        constraints = (models.UniqueConstraint(fields=("document", "number"), name="revision_number"),)
        indexes = (models.Index(fields=("sha256",), name="revision_by_bytes"),)

    def __str__(self) -> str:
        return f"{self.document_id} revision {self.number}"


class Unrelated(models.Model):
    """Two documents of which a person said that neither takes the other's place; `first` has the smaller id."""

    first = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="+")
    second = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("first", "second"), name="one_pair"),)

    def __str__(self) -> str:
        return f"{self.first_id} and {self.second_id}"


class FieldKind(models.TextChoices):
    TEXT = "text", _("text")
    DATE = "date", _("date")


class CollectionField(models.Model):
    """A field of a collection's own: client, matter, type … `source` says what fills it when nobody does by hand:
    "folder:1" (the first folder of the path), "property:author" (the file's own), or "" (the form or a CSV alone)."""

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="fields")
    key = models.SlugField(max_length=40)
    label = models.CharField(_("name"), max_length=60)
    kind = models.CharField(_("kind"), max_length=8, choices=FieldKind.choices, default=FieldKind.TEXT)
    source = models.CharField(_("filled from"), max_length=60, blank=True)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ("position", "id")
        constraints = (models.UniqueConstraint(fields=("collection", "key"), name="one_field_per_key"),)

    def __str__(self) -> str:
        return self.label


class FieldValueQuerySet(models.QuerySet["FieldValue"]):
    def matching(self, condition: Filter) -> Self:
        """Values that fulfil the condition; one without fields or without any bound is fulfilled by nothing."""
        found = self.filter(field_id__in=condition.fields).exclude(value="")
        if condition.values:
            return found.filter(value__in=condition.values)
        if condition.since:
            found = found.filter(value__gte=condition.since)
        if condition.until:
            found = found.filter(value__lte=condition.until)
        return found if condition.since or condition.until else found.none()


class FieldValue(models.Model):
    """What a document has in a field; dates as ISO 8601. `by_hand`: a person or a CSV wrote it, so sources leave it alone."""

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="values")
    field = models.ForeignKey(CollectionField, on_delete=models.CASCADE, related_name="values")
    value = models.CharField(max_length=200)
    by_hand = models.BooleanField(default=False)

    objects = FieldValueQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("document", "field"), name="one_value_per_field"),)
        indexes = (models.Index(fields=("field", "value"), name="value_of_field"),)

    def __str__(self) -> str:
        return self.value
