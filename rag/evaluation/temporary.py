"""A second, empty installation inside this process: where passages of public sets are searched, and nothing of it stays.

Why not a collection in the real database: what is measured must not be found by anybody, count in any quota or be left behind
by a killed run. Here the database, the indexes and everything else lie in a folder that the operating system's own
housekeeping would empty. Only the embedding models, and which of them is in use, are the installation's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from django.test.utils import override_settings

from rag.config import rag_config
from rag.models import EmbeddingModel
from rag.services import indexing, naming


@contextmanager
def temporary_installation() -> Iterator[None]:
    """Inside the block every query, and every file of an index, is that of an installation in which there is nothing.

    One at a time in a process, and not where other threads answer people.
    """
    with TemporaryDirectory(prefix="footnote-evaluation-") as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        (folder / "models").symlink_to(Path(settings.DATA_DIR) / "models")
        model = EmbeddingModel.objects.filter(in_use=True).first()
        try:
            with _database(folder / "footnote.sqlite3"), override_settings(**_settings(folder)):
                _forget()
                call_command("migrate", run_syncdb=True, verbosity=0, interactive=False)
                if model is not None:
                    model.imported_by = None
                    model.save(force_insert=True)
                yield
        finally:
            _forget()


def _settings(folder: Path) -> dict[str, Any]:
    """Tables are made as the models are now: a history of migrations would take most of the time of a small set."""
    return {"DATA_DIR": folder, "MIGRATION_MODULES": {app.label: None for app in apps.get_app_configs()}}


def _forget() -> None:
    """What this process remembers of one installation must not be taken for the other's."""
    rag_config.cache_clear()
    indexing.close_readers()
    naming.forget()


@contextmanager
def _database(file: Path) -> Iterator[None]:
    """Puts a new SQLite file in the place of the database, for this thread and for any that begins meanwhile."""
    before, described = connections[DEFAULT_DB_ALIAS], connections.settings[DEFAULT_DB_ALIAS]
    described_here: dict[str, Any] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": file,
        # Nothing here has to survive a crash.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;",
        },
    }
    connections.settings[DEFAULT_DB_ALIAS] = connections.configure_settings({DEFAULT_DB_ALIAS: described_here})[
        DEFAULT_DB_ALIAS
    ]
    here = connections.create_connection(DEFAULT_DB_ALIAS)
    connections[DEFAULT_DB_ALIAS] = here
    try:
        yield
    finally:
        here.close()
        connections.settings[DEFAULT_DB_ALIAS] = described
        connections[DEFAULT_DB_ALIAS] = before
