"""What a collection learns to rank from: its kept questions with their right places, and what came of learning."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from rag.models.conversation import Answer
from rag.models.library import Collection, Document


class QuestionOrigin(models.TextChoices):
    UPLOADED = "uploaded", _("uploaded")
    THUMBS_UP = "thumbs_up", _("from a good answer")
    OPENED = "opened", _("from an opened citation")


class KeptQuestion(models.Model):
    """A question whose right places in a collection are known, or that it has none. Whoever manages the collection sees it.

    One that came from an answer is there by its asker's consent, and goes with the answer.
    """

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="kept_questions")
    text = models.TextField()
    answerable = models.BooleanField(default=True)  # False: nothing in the documents answers it; it then has no places
    origin = models.CharField(max_length=10, choices=QuestionOrigin.choices)
    answer = models.ForeignKey(Answer, on_delete=models.CASCADE, null=True, blank=True, related_name="kept")
    keeper = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("collection", "answer", "origin"),
                condition=Q(answer__isnull=False),
                name="one_kept_question_per_answer",
            ),
        )
        indexes = (models.Index(fields=("collection", "-id"), name="question_of_collection"),)

    def __str__(self) -> str:
        return f"question {self.pk} of {self.collection_id}"


class JudgedPlace(models.Model):
    """Where a kept question is answered: in these words of a document, or, where none are quoted, anywhere in it.

    Words and not offsets, so that it outlives new revisions, other parsers and other chunk sizes.
    """

    question = models.ForeignKey(KeptQuestion, on_delete=models.CASCADE, related_name="places")
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="+")
    quote = models.TextField(blank=True)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"question {self.question_id} in {self.document_id}"


class RankerKind(models.TextChoices):
    WEIGHTS = "weights", _("learned weights")
    RERANKER = "reranker", _("reranking model")


class RankerState(models.TextChoices):
    WAITING = "waiting", _("measuring")
    PROPOSED = "proposed", _("proposed")
    ON = "on", _("on")
    OFF = "off", _("off")
    REJECTED = "rejected", _("not used")
    FAILED = "failed", _("failed")


class Ranker(models.Model):
    """A way of ranking one collection's passages, measured on its kept questions; it serves while its state is ON.

    `values` are weights by feature, for learned ones. `basis` names the vectors or the model that it was measured with:
    with others it does not serve. `figures` holds for each question its nDCG@10 and recall@10 before and after, as
    [question id, nDCG before, nDCG after, recall before, recall after]; no words.
    """

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="rankers")
    kind = models.CharField(max_length=10, choices=RankerKind.choices)
    state = models.CharField(max_length=10, choices=RankerState.choices, default=RankerState.WAITING)
    values = models.JSONField(default=dict)
    basis = models.CharField(max_length=150, blank=True)
    figures = models.JSONField(default=list)
    message = models.CharField(max_length=300, blank=True)  # why it failed or is not proposed
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)
    measured = models.DateTimeField(null=True, blank=True)
    switched = models.DateTimeField(null=True, blank=True)  # on, off or turned down, the last time
    switched_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    attempt = models.PositiveIntegerField(default=0)  # with lease_until: who measures it now (rag/services/leases.py)
    lease_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("collection", "kind"), condition=Q(state="on"), name="one_ranker_on_per_kind"
            ),
            models.UniqueConstraint(
                fields=("collection", "kind"), condition=Q(state="waiting"), name="one_ranker_measured_per_kind"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} of {self.collection_id}: {self.state}"
