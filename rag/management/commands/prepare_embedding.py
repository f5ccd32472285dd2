"""`manage.py prepare_embedding`: makes the files with which texts are embedded without torch, and finds the fastest way."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from rag.backends.embedders.openvino import export
from rag.backends.embedders.selftest import choose, chosen
from rag.backends.embedders.weights import find_weights
from rag.config import rag_config
from rag.domain.errors import RagError
from rag.services.preparation import self_test_texts


class Command(BaseCommand):
    help = (
        "Exports the embedding weights and measures what is fastest here; `prepare` calls this in a process of its own."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Does nothing when a whole export of these weights is there and was measured on this processor."""
        config = rag_config()
        try:
            weights = find_weights(config.embedder_folder)
            export(weights, config.export_folder)
            if chosen(weights, config.export_folder, config.embed_threads) is None:
                passages, questions = self_test_texts()
                choose(weights, config.export_folder, config.embed_threads, passages=passages, questions=questions)
        except RagError as error:
            raise CommandError(error.message) from error
