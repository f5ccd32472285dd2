"""What takes long with the files of language models: fetching one, taking one in, trying how fast one is."""

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class JobKind(models.TextChoices):
    PULL = "pull", _("fetch from the registry")
    IMPORT = "import", _("import of a file")
    TEST = "test", _("test")


class JobState(models.TextChoices):
    RUNNING = "running", _("running")
    DONE = "done", _("done")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


class ModelJob(models.Model):
    """One such piece of work by a web process, under a lease; the next start of the server goes on with what a dead one left.

    `total` and `done` are bytes. `result` holds what a test measured. `digest` is what the model must have in the end, or
    has; "" before that.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=10, choices=JobKind.choices)
    provider = models.CharField(max_length=20)
    name = models.CharField(max_length=200)
    file = models.CharField(max_length=255, blank=True)  # of an import: its name in the folder for model files
    digest = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=10, choices=JobState.choices, default=JobState.RUNNING)
    stage = models.CharField(max_length=200, blank=True)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    result = models.JSONField(default=dict)
    message = models.CharField(max_length=500, blank=True)
    stop_asked = models.BooleanField(default=False)
    attempt = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    finished = models.DateTimeField(null=True, blank=True)
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ("-created",)
        constraints = (
            models.UniqueConstraint(
                fields=("kind", "provider", "name"), condition=models.Q(state="running"), name="one_job_of_a_kind"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
