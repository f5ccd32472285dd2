"""`manage.py models`: imports embedding models from a disk, has them embed beside the one in use, compares, switches, goes back."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from rag.domain.errors import RagError
from rag.models import EmbeddingModel
from rag.models.embedding_model import EmbeddingState
from rag.services import comparison, embedding_models
from rag.services.embedding_models import Standing, Unfit

_HELP = {
    "list": "what there is, and how far each has come",
    "import": "take a sentence-transformers folder from a disk",
    "check": "say what stands against a folder, and import nothing",
    "embed": "embed every passage by a model, beside the one in use; goes on after a pause",
    "pause": "stop that; what it has stays",
    "compare": "ask the same questions of a model and of the one in use",
    "switch": "use a model from the next question on",
    "back": "switch to the model that was in use before",
    "remove": "delete a model's vectors and files",
}
_NAMED = ("embed", "pause", "compare", "switch", "remove")


class Command(BaseCommand):
    help = "Embedding models: import one without a network, try it beside the one in use, switch to it, and go back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One word says what to do; `list` when there is none."""
        verbs = parser.add_subparsers(dest="verb", metavar="WHAT")
        parsers = {verb: verbs.add_parser(verb, help=text, description=text) for verb, text in _HELP.items()}
        for verb in ("import", "check"):
            parsers[verb].add_argument("folder", type=Path, help="the folder with modules.json in it")
        parsers["import"].add_argument("--name", default="", help="what to call it; the folder's name otherwise")
        for verb in _NAMED:
            parsers[verb].add_argument("name", help="as `models list` shows it")
        parsers["compare"].add_argument(
            "--questions", type=int, default=comparison.QUESTIONS, help="how many to ask (%(default)d)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError with a sentence, or one for each thing that stands against a folder."""
        verb = options["verb"] or "list"
        try:
            if verb == "list":
                self._list()
            elif verb == "check":
                self._check(options["folder"])
            elif verb == "import":
                self._import(options["folder"], options["name"])
            elif verb == "compare":
                self._compare(options["name"], options["questions"])
            elif verb == "remove":
                deleted = embedding_models.remove(None, options["name"], say=self.stdout.write)
                self.stdout.write(f"{options['name']} is removed, with {deleted} vectors.")
            else:
                self._change(verb, options.get("name", ""))
        except Unfit as error:
            raise CommandError(
                "\n".join(["It cannot be imported:", *(f"  {each}" for each in error.problems)])
            ) from error
        except RagError as error:
            raise CommandError(error.message) from error

    def _list(self) -> None:
        for standing in embedding_models.standings():
            row = standing.row
            self.stdout.write(f"{row.name}  {row.digest[:12]}  {row.dimension} dimensions  {row.licence}")
            self.stdout.write(f"    {said(standing)}")

    def _check(self, folder: Path) -> None:
        found, weights = embedding_models.check(folder)
        facts = found.facts()
        lines = [
            f"{weights.name}: {facts['kind']}, {weights.dimension} dimensions, {weights.pooling} pooling, "
            f"at most {weights.max_tokens} tokens",
            f"  before a question: {weights.question_prompt!r}; before a passage: {weights.passage_prompt!r}",
            f"  licence: {found.licence}",
            f"  digest: {weights.digest}",
            f"  {len(found.names)} files of {found.size / 1e6:.0f} MB are needed; left behind: "
            f"{', '.join(found.left_behind) or 'none'}",
        ]
        self.stdout.write("\n".join(lines))

    def _import(self, folder: Path, name: str) -> None:
        self._check(folder)
        row = embedding_models.add(None, folder, name=name, say=self.stdout.write)
        if not row.exported:
            self.stdout.write("It cannot be exported: questions and passages need torch, which is slower and larger.")
        beyond, looked_at = embedding_models.cut_short(row)
        if beyond:
            self.stdout.write(
                f"It does not read {beyond} of the {looked_at} longest passages to their end; what it leaves out is found by "
                "its words."
            )
        self.stdout.write(f"{row.name} is imported. Next: python3 manage.py models embed {row.name}")

    def _compare(self, name: str, questions: int) -> None:
        found = comparison.compare(name, questions=questions, say=self.stdout.write)
        self.stdout.write("\n".join(comparison.lines(found)))

    def _change(self, verb: str, name: str) -> None:
        row: EmbeddingModel
        if verb == "embed":
            row = embedding_models.embed(None, name)
        elif verb == "pause":
            row = embedding_models.pause(None, name)
        elif verb == "switch":
            row = embedding_models.switch(None, name)
        else:
            row = embedding_models.back(None)
        self.stdout.write(f"{row.name}: {said(embedding_models.standing(row.name))}")


def said(standing: Standing) -> str:
    """How far a model has come, in words."""
    row = standing.row
    far = f"{standing.done} of {standing.total} passages"
    if embedding_models.in_use(row):
        return f"in use; {far}"
    if row.state == EmbeddingState.IMPORTED:
        return "embeds nothing" if not standing.begun else f"embeds nothing more; {far}"
    if row.state == EmbeddingState.EMBEDDING:
        return (
            f"ready: {far}; new ones are embedded too"
            if standing.complete
            else f"embedding: {far}. {row.message}".strip()
        )
    return f"{row.get_state_display()}: {far}. {row.message}".strip()
