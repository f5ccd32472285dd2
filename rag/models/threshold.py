"""How much evidence a collection wants before a question is answered, where its own questions taught it."""

from django.db import models

from rag.models.library import Collection


class EvidenceThreshold(models.Model):
    """The score below which questions to a collection are refused, in place of the shipped one.

    Measured on the collection's kept questions: `wrongly` and `rightly` are the shares of the answerable and the unanswerable
    ones that it refused, `area` is the area under the ROC curve. `basis` names the vectors and the weights of the evidence that
    it was measured with: with others it does not hold.
    """

    collection = models.OneToOneField(Collection, on_delete=models.CASCADE, related_name="evidence_threshold")
    value = models.FloatField()
    basis = models.CharField(max_length=150)
    answerable = models.PositiveIntegerField()
    unanswerable = models.PositiveIntegerField()
    wrongly = models.FloatField()
    rightly = models.FloatField()
    area = models.FloatField()
    made = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.collection_id}: {self.value:.3f}"

    @property
    def rightly_refused(self) -> int:
        """How many of the unanswerable questions it refused."""
        return round(self.rightly * self.unanswerable)

    @property
    def wrongly_refused(self) -> int:
        """How many of the answerable questions it refused."""
        return round(self.wrongly * self.answerable)
