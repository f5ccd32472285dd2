"""`manage.py reindex [COLLECTION …]`: writes the indexes anew from the database, without embedding anything again."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from rag.models import Collection
from rag.services import indexing


class Command(BaseCommand):
    help = "Writes the vector and keyword indexes anew from the database. Searches go on meanwhile."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Names or ids of collections; none for all."""
        parser.add_argument("collections", nargs="*", metavar="COLLECTION", help="name or id; all when none is given")

    def handle(self, *args: Any, **options: Any) -> None:
        """One line for each collection."""
        found = list(Collection.objects.filter(deleted__isnull=True))
        if wanted := options["collections"]:
            missing = [name for name in wanted if not any(_is(collection, name) for collection in found)]
            if missing:
                raise CommandError(f"There is no collection {missing[0]!r}.")
            found = [collection for collection in found if any(_is(collection, name) for name in wanted)]
        for collection in found:
            indexing.rebuild(collection.pk)
            self.stdout.write(f"{collection.name}: up to date")


def _is(collection: Collection, name: str) -> bool:
    try:
        return collection.name == name or collection.pk == UUID(name)
    except ValueError:
        return False
