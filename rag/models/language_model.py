"""Which language model writes the answers."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Provider(models.TextChoices):
    OLLAMA = "ollama", _("Ollama")
    OPENAI = "openai_compatible", _("OpenAI-compatible server")
    REPLICATE = "replicate", _("Replicate")
    LLAMACPP = "llamacpp", _("model file")


def model_key(provider: str, name: str) -> str:
    """How a collection and a question name a model: it stays true when the model is chosen anew with another digest."""
    return f"{provider}:{name}"


class LanguageModel(models.Model):
    """A model that an administrator chose, pinned by its digest where its provider has digests.

    Those that are `available` can be picked for a question or a collection. The one `in_use` answers where nothing else was
    picked; with none, answers are verbatim extracts.
    """

    provider = models.CharField(max_length=20, choices=Provider.choices)
    name = models.CharField(max_length=200)
    digest = models.CharField(max_length=100, blank=True)
    billions = models.FloatField(default=0)  # of parameters; 0: not known
    context_limit = models.PositiveIntegerField(default=0)  # tokens it was trained for; 0: not known
    available = models.BooleanField(default=True)
    in_use = models.BooleanField(default=True)
    chosen = models.DateTimeField(auto_now=True)
    chosen_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ("provider", "name")
        constraints = (
            models.UniqueConstraint(fields=("in_use",), condition=Q(in_use=True), name="one_model_in_use"),
            models.UniqueConstraint(fields=("provider", "name"), name="one_model_of_a_name"),
            models.CheckConstraint(condition=Q(in_use=False) | Q(available=True), name="model_in_use_is_available"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        return model_key(self.provider, self.name)
