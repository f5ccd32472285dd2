"""What measurings of retrieval gave, kept to be drawn over time."""

from django.db import models

from rag.models.library import Collection


class Evaluation(models.Model):
    """One measuring: of a collection on its own kept questions, or of a public set (`collection` is None).

    `stages` is a list, in the order of the way: {"stage", "means": {measure: mean}, "intervals": {measure: [low, high]},
    "difference": [mean, low, high] of nDCG@10 to the better of meaning and words alone}. `timings` is {step: [p50, p95]} in
    milliseconds. Neither holds a question or a passage.
    """

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, null=True, related_name="evaluations")
    name = models.CharField(max_length=200)  # of the set, or the collection's at that time
    made = models.DateTimeField(auto_now_add=True)
    questions = models.PositiveIntegerField()
    passages = models.PositiveIntegerField()
    left_out = models.PositiveIntegerField(default=0)  # passages of the set that were not searched, to be quicker
    embedder = models.CharField(max_length=80)  # digest of the weights and of what is embedded
    indexes = models.JSONField(default=dict)  # kind by leg: {"vectors": …, "keywords": …}
    code = models.CharField(max_length=40)  # version of the product
    stages = models.JSONField(default=list)
    timings = models.JSONField(default=dict)

    class Meta:
        ordering = ("-made", "-pk")
        indexes = (models.Index(fields=("collection", "name", "made"), name="evaluation_by_time"),)

    def __str__(self) -> str:
        return f"{self.name}, {self.made:%Y-%m-%d %H:%M}"
