"""Which language model writes the answers."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Provider(models.TextChoices):
    OLLAMA = "ollama", _("Ollama")
    LLAMACPP = "llamacpp", _("model file")


class LanguageModel(models.Model):
    """A model that an administrator chose, pinned by its digest. At most one is in use; with none, answers are verbatim extracts."""

    provider = models.CharField(max_length=20, choices=Provider.choices)
    name = models.CharField(max_length=200)
    digest = models.CharField(max_length=100)
    in_use = models.BooleanField(default=True)
    chosen = models.DateTimeField(auto_now_add=True)
    chosen_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ("-chosen",)
        constraints = (models.UniqueConstraint(fields=("in_use",), condition=Q(in_use=True), name="one_model_in_use"),)

    def __str__(self) -> str:
        return self.name
