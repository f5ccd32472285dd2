"""`manage.py evaluate parsers FOLDER`: measures what the product promises and prints it as tables."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Measures the product on files whose right results are known, and prints tables."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One subcommand for each thing that is measured."""
        kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
        parsers = kinds.add_parser("parsers", help="read a folder of files and say what was read of each")
        parsers.add_argument("folder", type=Path, help="a folder of files, best with a manifest.jsonl")
        parsers.add_argument("--only", default="", metavar="TEXT", help="only files whose path holds this")
        parsers.add_argument("--alone", action="store_true", help="leave out the other extractors that are installed")
        parsers.add_argument("--json", type=Path, metavar="FILE", help="write the result of each file here")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ends with an error when a file broke its parser."""
        self._parsers(**{name: options[name] for name in ("folder", "only", "alone", "json")})

    def _parsers(self, *, folder: Path, only: str, alone: bool, json: Path | None) -> None:
        from rag.evaluation import parsers
        from rag.evaluation.expectations import expected

        if not folder.is_dir():
            raise CommandError(f"There is no folder {folder}.")
        try:
            files = [item for item in expected(folder) if only in item.file.relative_to(folder).as_posix()]
        except ValueError as error:
            raise CommandError(f"The manifest cannot be read: {error}") from None
        if not files:
            raise CommandError(f"No files to read in {folder}.")
        results = []
        for result in parsers.evaluate(files, others=[] if alone else parsers.installed()):
            results.append(result)
            if self.stderr.isatty() and result.extractor == parsers.OURS:
                self.stderr.write(f"\r{len(results)} {result.file[:60]:60}", ending="")
        if json:
            _write_json(json, parsers.as_json(results))
        self._table(parsers.rows(results))
        for name, (count, words, least_words, order, least_order) in parsers.likenesses(results).items():
            self.stdout.write(
                f"{name}: {count} whole texts, words {words:.4f} (least {least_words:.4f}), "
                f"neighbouring words in order {order:.4f} (least {least_order:.4f})"
            )
        lines = parsers.complaints(results)
        self.stdout.write("\n".join(["", f"{len(lines)} complaints:" if lines else "No complaints.", *lines]))
        if any(result.outcome is parsers.Outcome.BROKE for result in results if result.extractor == parsers.OURS):
            raise CommandError("A file broke its parser.")

    def _table(self, rows: Any) -> None:
        head = ["folder", "by", "files", "read", "protected", "refused", "broke", "expected texts", "pages"]
        head += ["by OCR", "unread", "seconds"]
        self.stdout.write("| " + " | ".join(head) + " |")
        self.stdout.write("|" + "---|" * len(head))
        for row in rows:
            texts = f"{row.found} of {row.expected}" if row.expected else "–"
            cells = (row.folder or ".", row.extractor, row.files, row.read, row.protected, row.refused, row.broke)
            rest = (texts, row.pages, row.recognised, row.unread, f"{row.seconds:.1f}")
            self.stdout.write("| " + " | ".join(str(cell) for cell in (*cells, *rest)) + " |")


def _write_json(file: Path, results: list[dict[str, Any]]) -> None:
    file.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
