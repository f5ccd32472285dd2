"""Which models embed: the one in use, and those that stand beside it with vectors of their own."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class EmbeddingState(models.TextChoices):
    IMPORTED = "imported", _("imported")  # it embeds nothing
    EMBEDDING = "embedding", _("embedding")  # every passage gets its vector, new ones too
    PAUSED = "paused", _("paused")
    FAILED = "failed", _("failed")
    REMOVING = "removing", _("being removed")


def is_kept_up() -> Q:
    """The condition of `EmbeddingModelQuerySet.kept_up`, for claiming one of them in the same UPDATE."""
    return Q(in_use=True) | Q(state=EmbeddingState.EMBEDDING)


class EmbeddingModelQuerySet(models.QuerySet["EmbeddingModel"]):
    def kept_up(self) -> "EmbeddingModelQuerySet":
        """Those by which every passage is to be embedded: the one in use, and those beside it that were not paused."""
        return self.filter(is_kept_up())


class EmbeddingModel(models.Model):
    """A model that can embed passages and questions. At most one is in use; with none it is the one that came with Footnote.

    `folder` names its files below the folder of imported models; "" for the one that came with Footnote, which has a row only
    once there is another. `attempt` is the fencing token of whoever embeds with it.
    """

    name = models.CharField(max_length=100, unique=True)
    digest = models.CharField(max_length=64, unique=True)  # of all that decides the vectors
    folder = models.CharField(max_length=140, blank=True)
    dimension = models.PositiveIntegerField()
    max_tokens = models.PositiveIntegerField()
    licence = models.CharField(max_length=200, blank=True)
    size = models.BigIntegerField(default=0)  # bytes of its files
    facts = models.JSONField(default=dict)  # pooling, prompts … as they were read at the import
    exported = models.BooleanField(default=True)  # False: only torch can run it
    state = models.CharField(max_length=12, choices=EmbeddingState.choices, default=EmbeddingState.IMPORTED)
    in_use = models.BooleanField(default=False)
    left = models.DateTimeField(null=True, blank=True)  # when another took its place
    seen = models.BigIntegerField(default=0)  # chunks up to this id were looked at
    attempt = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveSmallIntegerField(default=0)
    message = models.CharField(max_length=500, blank=True)
    imported = models.DateTimeField(auto_now_add=True)
    imported_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    objects = EmbeddingModelQuerySet.as_manager()

    class Meta:
        ordering = ("imported", "id")
        constraints = (
            models.UniqueConstraint(fields=("in_use",), condition=Q(in_use=True), name="one_embedding_model_in_use"),
        )

    def __str__(self) -> str:
        return self.name
