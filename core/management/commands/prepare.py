"""`manage.py prepare`: what has to be there before web and workers start, for containers; `up` does it too."""

import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from core import installation
from core.registry import registry


class Command(BaseCommand):
    help = "Makes the data folder, migrates, collects static files, prepares models and makes the first administrator."
    requires_system_checks = ()  # the key may not exist yet; the checks run below

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--no-samples", action="store_true", help="do not load the sample collection on the first start"
        )
        parser.add_argument(
            "--models-only", action="store_true", help="prepare models, without a database (image builds)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        os.umask(0o077)
        installation.make_folders(settings.DATA_DIR)
        if options["models_only"]:
            for name, run in registry.preparations.items():
                self.stdout.write(f"Preparing: {name}")
                run()
            return
        installation.ensure_secret_key(settings.DATA_DIR)
        self.check(display_num_errors=False)
        administrator = installation.prepare(self.stdout.write)
        if administrator:
            installation.make(administrator, samples=not options["no_samples"])
            self.stdout.write(installation.introduce(administrator))
        installation.load_pending_samples(self.stdout.write)
