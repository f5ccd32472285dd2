"""`manage.py prepare_embedding`: makes the files with which texts are embedded without torch, and finds the fastest way."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from rag.domain.errors import RagError
from rag.services import preparation


class Command(BaseCommand):
    help = (
        "Exports the embedding weights and measures what is fastest here; `prepare` calls this in a process of its own."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Does nothing for weights of which a whole export is there that was measured on this processor."""
        try:
            preparation.prepare_all()
        except RagError as error:
            raise CommandError(error.message) from error
