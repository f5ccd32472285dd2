"""`manage.py evaluate parsers FOLDER`, `… retrieval PATH|COLLECTION`, `… answers PATH|COLLECTION`, `… chunking PATH`: measures what
is promised, in tables."""

import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from asgiref.sync import async_to_sync
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.db.models import Q

from rag.domain.errors import RagError

if TYPE_CHECKING:
    from rag.backends.llms.base import LLM
    from rag.domain.chunking import Sizes
    from rag.domain.thresholds import Estimate
    from rag.evaluation.answers import Answers
    from rag.evaluation.retrieval import Measured
    from rag.models import Collection


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
        retrieval = kinds.add_parser("retrieval", help="ask questions whose answering passages are known")
        retrieval.add_argument(
            "target",
            metavar="PATH|COLLECTION",
            help="a question set in the BEIR layout, a folder of several, or the name or id of a collection with kept questions",
        )
        retrieval.add_argument("--only", default="", metavar="TEXT", help="only sets whose name holds this")
        retrieval.add_argument(
            "--skip", default=[], action="append", metavar="TEXT", help="no sets whose name holds this; may be repeated"
        )
        retrieval.add_argument("--html", type=Path, metavar="FILE", help="write a report with plots here")
        retrieval.add_argument(
            "--results", type=Path, metavar="FILE", help="write a line of JSON for each question here"
        )
        retrieval.add_argument("--cache", type=Path, metavar="FOLDER", help="keep the vectors of public sets here")
        retrieval.add_argument(
            "--most-passages", type=int, metavar="N", help="search only so many passages of a set: quicker, and easier"
        )
        retrieval.add_argument(
            "--as-written", action="store_true", help="do not make follow-up questions self-contained first"
        )

        retrieval.add_argument(
            "--leave-one-out",
            action="store_true",
            help="also score each set with the constant of the ranking that all the others would choose",
        )
        chunking = kinds.add_parser(
            "chunking", help="cut whole documents in several ways and ask for what stands in them"
        )
        chunking.add_argument("folder", type=Path, help="a question set with documents.jsonl and spans.tsv")
        chunking.add_argument(
            "--sizes",
            action="append",
            type=_sizes,
            metavar="AIM,MOST,LEAST",
            help="tokens; again for another way; the product's own if none is given",
        )
        chunking.add_argument(
            "--header",
            action="append",
            choices=("with", "without", "names"),
            help="embed the title and the headings before each passage, nothing, or the title with the names at the document's "
            "head; again for another way; the product's own if none is given",
        )
        chunking.add_argument("--most-documents", type=int, metavar="N", help="only the first N: quicker, and easier")
        chunking.add_argument("--cache", type=Path, metavar="FOLDER", help="keep the vectors here")

        answers = kinds.add_parser(
            "answers", help="ask questions of which some have no answer, and say what was refused and what was said"
        )
        answers.add_argument(
            "target",
            metavar="PATH|COLLECTION",
            help="a question set with unanswerable questions, a folder of several, or the name or id of a collection",
        )
        answers.add_argument("--only", default="", metavar="TEXT", help="only sets whose name holds this")
        answers.add_argument("--model", default="", metavar="NAME", help="a language model on offer; else quotes alone")
        answers.add_argument(
            "--most", type=int, metavar="N", help="at most so many questions of each kind, evenly taken"
        )
        answers.add_argument("--results", type=Path, metavar="FILE", help="write a line of JSON for each question here")
        answers.add_argument("--cache", type=Path, metavar="FOLDER", help="keep the vectors of public sets here")
        answers.add_argument(
            "--keep",
            action="store_true",
            help="of a collection: keep the threshold that its kept questions teach",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Ends with an error when a file broke its parser, or a set cannot be measured."""
        if options["what"] == "parsers":
            self._parsers(**{name: options[name] for name in ("folder", "only", "alone", "json")})
            return
        if options["what"] == "chunking":
            self._chunking(**{name: options[name] for name in ("folder", "sizes", "header", "most_documents", "cache")})
            return
        if options["what"] == "answers":
            self._answers(options)
            return
        measured = self._measured(options)
        if options["results"]:
            _write_lines(options["results"], measured)
        if options["html"]:
            from rag.evaluation.report import html

            options["html"].write_text(html(measured), encoding="utf-8")

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

    def _measured(self, options: dict[str, Any]) -> "list[Measured]":
        from rag.models import Evaluation

        try:
            Evaluation.objects.exists()  # what comes out is kept there: better to fail now than after an hour
        except DatabaseError as error:
            raise CommandError("The database is not ready. Run `manage.py migrate`.") from error
        try:
            folder = Path(options["target"])
            if folder.is_dir():
                return self._sets(folder, options)
            return [self._collection(_collection(options["target"]))]
        except (ValueError, RagError) as error:
            raise CommandError(str(error)) from None

    def _sets(self, folder: Path, options: dict[str, Any]) -> "list[Measured]":
        from rag.config import rag_config
        from rag.evaluation import retrieval
        from rag.evaluation.constant import curve
        from rag.evaluation.filling import VectorCache
        from rag.evaluation.temporary import temporary_installation

        cache = VectorCache(options["cache"] or rag_config().data / "cache" / "evaluation")
        found: list[Measured] = []
        for dataset in retrieval.sets_in(folder):
            if options["only"] not in dataset.name or any(part in dataset.name for part in options["skip"]):
                continue
            with temporary_installation():
                measured = retrieval.measure_set(
                    dataset,
                    cache=cache,
                    most=options["most_passages"],
                    as_written=options["as_written"],
                    curve=curve if options["leave_one_out"] else None,
                    told=self._tell,
                )
            self._tell("")
            _keep(measured, None)
            found.append(measured)
            self._rows(measured, head=len(found) == 1)
        if not found:
            raise CommandError("No set was measured: none of them is named so.")
        self._summary(found)
        if options["leave_one_out"] and len(found) > 1:
            self._left_out(found)
        return found

    def _left_out(self, found: "Sequence[Measured]") -> None:
        from rag.evaluation.constant import left_out

        head = ["set", "better leg", "shipped constant", "constant that the other sets choose", "with that"]
        self.stdout.write("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
        for row in left_out(found):
            cells = (row.name, f"{row.better_leg:.4f}", f"{row.shipped:.4f}", f"{row.constant:g}", f"{row.ndcg:.4f}")
            self.stdout.write("| " + " | ".join(cells) + " |")

    def _collection(self, collection: "Collection") -> "Measured":
        from rag.evaluation.kept import measure_collection

        measured = measure_collection(collection)
        _keep(measured, collection)
        self._rows(measured, head=True)
        self._summary([measured])
        return measured

    def _answers(self, options: dict[str, Any]) -> None:
        from rag.evaluation import answers

        try:
            found = list(self._asked(options))
        except (ValueError, RagError) as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            raise CommandError("The database is not ready. Run `manage.py migrate`.") from error
        if not found:
            raise CommandError("No set was measured: none of them is named so.")
        if options["results"]:
            with options["results"].open("w", encoding="utf-8") as lines:
                for each in found:
                    lines.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in answers.as_lines(each))

    def _asked(self, options: dict[str, Any]) -> "Iterable[Answers]":
        """Asks one set after the other, and prints the figures of each."""
        from rag.config import rag_config
        from rag.evaluation import answers, datasets
        from rag.evaluation.filling import VectorCache
        from rag.evaluation.temporary import temporary_installation

        model = _model(options["model"])
        folder = Path(options["target"])
        if not folder.is_dir():
            collection = _collection(options["target"])
            found = answers.measure_collection(collection, told=self._tell, model=model)
            self._figures(found)
            if options["keep"]:
                self._keep_threshold(collection, found)
            yield found
            return
        cache = VectorCache(options["cache"] or rag_config().data / "cache" / "evaluation")
        for path in datasets.find(folder):
            dataset = datasets.load(path, root=folder)
            if options["only"] not in dataset.name:
                continue
            with temporary_installation():
                found = answers.measure_set(dataset, cache=cache, told=self._tell, model=model, most=options["most"])
            self._figures(found)
            yield found

    def _keep_threshold(self, collection: "Collection", found: "Answers") -> None:
        from rag.domain.thresholds import ANSWERABLE_FEWEST, UNANSWERABLE_FEWEST
        from rag.services import thresholds

        kinds = {"answerable": found.scores(answerable=True), "unanswerable": found.scores(answerable=False)}
        kept = thresholds.learn(collection, **kinds)
        if kept is None:
            raise ValueError(
                f"The kept questions are too few for a threshold: at least {ANSWERABLE_FEWEST} with an answer and "
                f"{UNANSWERABLE_FEWEST} without are needed."
            )
        self.stdout.write(f"Kept for {collection.name}: refused is what lies below {kept.value:.3f}.")

    def _figures(self, found: "Answers") -> None:
        """What was measured of one set, a line for each figure."""
        self._tell("")
        by = found.model or "quotes"
        self.stdout.write(f"\n{found.name}: {len(found.outcomes)} questions, {found.passages} passages, by {by}")
        self.stdout.write("| figure | | 95 % | of |\n|---|---|---|---|")
        yes, no = len(found.scores(answerable=True)), len(found.scores(answerable=False))
        if found.separation is not None:
            self._line("refusing, area under ROC", found.separation.area, f"{yes} and {no}")
            self._line("refused at 5 % false refusals", found.separation.refused, str(no))
            self._line("false refusals at 90 % refused", found.separation.false_refusals, str(yes))
        self._line("refused, unanswerable", found.refused(answerable=False), str(no))
        self._line("refused, answerable", found.refused(answerable=True), str(yes))
        for kind in found.kinds:
            for place, share in found.holding(kind).items():
                asked = sum(each.question.kind == kind for each in found.outcomes)
                self._line(f"{kind or 'all'}: right answer in {place}", share, str(asked))
        said = f"{len(found.sentences)} sentences"
        self._line("citation precision", found.citation_precision, said)
        self._line("citation recall", found.citation_recall, said)
        self._line("answers with an unsupported claim", found.unsupported, said)
        for step, (half, most) in found.timings.items():
            self.stdout.write(f"milliseconds to {step}: {half:.0f} (p50), {most:.0f} (p95)")
        problems = [each.problem for each in found.outcomes if each.problem]
        if problems:
            self.stdout.write(f"{len(problems)} questions got no answer, the first because: {problems[0]}")

    def _line(self, name: str, share: "Estimate | None", of: str) -> None:
        if share is not None:
            self.stdout.write(f"| {name} | {share.value:.3f} | {share.low:.3f}–{share.high:.3f} | {of} |")

    def _chunking(
        self,
        *,
        folder: Path,
        sizes: "list[Sizes] | None",
        header: list[str] | None,
        most_documents: int | None,
        cache: Path | None,
    ) -> None:
        from rag.config import rag_config
        from rag.domain.chunking import SIZES
        from rag.evaluation import chunks
        from rag.evaluation.filling import VectorCache
        from rag.evaluation.temporary import temporary_installation

        vectors = VectorCache(cache or rag_config().data / "cache" / "evaluation")
        try:
            whole = chunks.load(folder)
            if most_documents is not None:
                whole = chunks.part_of(whole, most_documents)
            ways = [(own, chunks.Header(way)) for own in sizes or [SIZES] for way in header or ["with"]]
            for number, (own, way) in enumerate(ways):
                with temporary_installation():
                    cut = chunks.measure_cut(whole, own, header=way, cache=vectors, told=self._tell)
                self._tell("")
                if not number:
                    head = ["aim", "most", "least", "header", "passages", "characters", *cut.figures]
                    self.stdout.write("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
                cells = (own.aim, own.most, own.least, way, cut.passages, f"{cut.length:.0f}")
                figures = (f"{value:.3f}" if value < 10 else f"{value:,.0f}" for value in cut.figures.values())
                self.stdout.write("| " + " | ".join(str(cell) for cell in (*cells, *figures)) + " |")
        except (ValueError, RagError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"\n{len(whole.questions)} questions on {len(whole.documents)} whole documents.")

    def _tell(self, text: str) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r{text[:78]:78}", ending="" if text else "\r")

    def _rows(self, measured: "Measured", *, head: bool) -> None:
        from rag.domain.metrics import MEASURES

        if head:
            titles = [
                "set",
                "questions",
                "passages",
                "order",
                "nDCG@10",
                "95 %",
                *list(MEASURES)[1:],
                "to the better leg",
            ]
            self.stdout.write("| " + " | ".join(titles) + " |")
            self.stdout.write("|" + "---|" * len(titles))
        for row in measured.rows:
            low, high = row.intervals["nDCG@10"]
            mean, least, most = row.difference
            others = [f"{row.means[name]:.3f}" if name in row.means else "–" for name in list(MEASURES)[1:]]
            passages = f"{measured.passages}" + (
                f" of {measured.passages + measured.left_out}" if measured.left_out else ""
            )
            cells = (measured.name, len(measured.found), passages, row.stage, f"{row.means['nDCG@10']:.4f}")
            rest = (f"{low:.3f}–{high:.3f}", *others, f"{mean:+.4f} ({least:+.3f} to {most:+.3f})")
            self.stdout.write("| " + " | ".join(str(cell) for cell in (*cells, *rest)) + " |")

    def _summary(self, found: "Sequence[Measured]") -> None:
        """Milliseconds, and over several sets what each order makes of the better leg."""
        steps = list(dict.fromkeys(step for measured in found for step in measured.timings))
        self.stdout.write("\n| milliseconds, p50 / p95 | " + " | ".join(steps) + " |\n|" + "---|" * (len(steps) + 1))
        for measured in found:
            times = (measured.timings.get(step) for step in steps)
            cells = (f"{pair[0]:.1f} / {pair[1]:.1f}" if pair else "–" for pair in times)
            self.stdout.write(f"| {measured.name} | {' | '.join(cells)} |")
        if any(measured.left_out for measured in found):
            self.stdout.write(
                "\nNot all passages were searched: these figures are better than those of the whole sets."
            )
        if len(found) > 1:
            self._together(found)

    def _together(self, found: "Sequence[Measured]") -> None:
        """A line for each set, and the means over all of them."""
        stages = [
            row.stage for row in found[0].rows if all(row.stage in {own.stage for own in each.rows} for each in found)
        ]
        head = ["nDCG@10", "questions", "passages", *stages, f"{stages[-1]} to the better leg"]
        self.stdout.write("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
        for each in found:
            means = [f"{each.row(stage).means['nDCG@10']:.4f}" for stage in stages]
            mean, low, high = each.row(stages[-1]).difference
            cells = (each.name, len(each.found), each.passages, *means, f"{mean:+.4f} ({low:+.3f} to {high:+.3f})")
            self.stdout.write("| " + " | ".join(str(cell) for cell in cells) + " |")
        for stage in stages:
            deltas = [each.row(stage).difference[0] for each in found]
            worst = found[deltas.index(min(deltas))].name
            self.stdout.write(
                f"{stage}: {sum(deltas) / len(deltas):+.4f} to the better leg on average, {min(deltas):+.4f} at worst ({worst})"
            )


def _sizes(text: str) -> "Sizes":
    from rag.domain.chunking import Sizes

    try:
        aim, most, least = map(int, text.split(","))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not three numbers of tokens, such as 160,200,40") from None
    if not 0 < least <= aim <= most:
        raise ArgumentTypeError("LEAST may not exceed AIM, nor AIM MOST")
    return Sizes(aim, most, least)


def _model(name: str) -> "LLM | None":
    """The language model on offer that is called so; None without a name."""
    from rag.services import language_models

    if not name:
        return None
    for offer in language_models.offered():
        if offer.name == name:
            return async_to_sync(language_models.ready)(offer)
    raise ValueError(f"No model on offer is called {name!r}. See `manage.py models`.")


def _collection(name: str) -> "Collection":
    from rag.models import Collection

    try:
        wanted = Q(pk=UUID(name))
    except ValueError:
        wanted = Q(name=name)
    found = list(Collection.objects.filter(wanted, deleted__isnull=True, private=False)[:2])
    if not found:
        raise CommandError(f"There is no folder and no collection {name!r}.")
    if len(found) > 1:
        raise CommandError(f"Several collections are called {name!r}: give the id of one.")
    return found[0]


def _keep(measured: "Measured", collection: "Collection | None") -> None:
    from rag.services import measurements

    measurements.keep(
        collection=collection,
        name=measured.name,
        questions=len(measured.found),
        passages=measured.passages,
        left_out=measured.left_out,
        indexes=measured.indexes,
        stages=[
            {
                "stage": row.stage,
                "means": row.means,
                "intervals": {name: list(interval) for name, interval in row.intervals.items()},
                "difference": list(row.difference),
            }
            for row in measured.rows
        ],
        timings=measured.timings,
    )


def _write_lines(file: Path, measured: "Iterable[Measured]") -> None:
    from rag.evaluation.retrieval import as_lines

    with file.open("w", encoding="utf-8") as lines:
        for each in measured:
            lines.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in as_lines(each))


def _write_json(file: Path, results: list[dict[str, Any]]) -> None:
    file.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
