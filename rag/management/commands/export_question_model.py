"""`manage.py export_question_model`: makes the files with which questions are embedded without torch."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from rag.backends.embedders.openvino import export
from rag.backends.embedders.weights import find_weights
from rag.config import rag_config
from rag.domain.errors import RagError


class Command(BaseCommand):
    help = "Exports the embedding weights for questions; `manage.py prepare` calls this in a process of its own."

    def handle(self, *args: Any, **options: Any) -> None:
        """Does nothing when a whole export of these weights is there."""
        config = rag_config()
        try:
            export(find_weights(config.embedder_folder), config.export_folder)
        except RagError as error:
            raise CommandError(error.message) from error
