"""Which model embeds: importing one from a folder, having it embed beside the one in use, switching to it, and going back.

| what is asked | what it does                                                                                             |
|---------------|----------------------------------------------------------------------------------------------------------|
| add           | checks a folder, copies it into the data folder, exports it and finds the fastest way of running it      |
| embed         | every passage gets a vector of it as well, what comes later too; goes on after a pause or a failure      |
| pause         | stops that; the vectors stay                                                                             |
| switch        | questions and passages are embedded by it from the next one on, in every process; the other goes on beside it |
| back          | switches to the one that was in use before                                                               |
| remove        | deletes its vectors and files                                                                            |

Why vectors stand side by side: a row of rag_vector names the weights that made it, and a search asks for those of the model that
embedded its question. So there is no moment in which a question could meet another model's vectors, and search by words goes on
throughout. Why passages keep their bounds: see slots.token_counter.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from django.core.cache import cache
from django.db import transaction
from django.db.models import Count, F, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from core import audit
from core.models import User
from rag import samples
from rag.backends import files
from rag.backends.embedders import folders
from rag.backends.embedders.base import Embedder
from rag.backends.embedders.weights import Weights, find_weights
from rag.config import rag_config
from rag.domain import chunking
from rag.domain.errors import Permanent
from rag.models import Collection, EmbeddingModel, Vector
from rag.models.embedding_model import EmbeddingState
from rag.services import indexing, preparation, queues, reembedding
from rag.slots import Model, base_model, embedding_model, model_of, question_embedder

log = structlog.get_logger(__name__)

# Passages have MOST tokens and a header of HEADER_MOST, as the model that came with Footnote counts them, and two special ones.
LEAST_TOKENS = chunking.MOST + chunking.HEADER_MOST + 2
PASSAGES_COMPARED = 100  # of the sample documents, by which the scale of a model's cosines is found
LEAST_SPREAD = 0.02  # between the nearest passage and the usual one, of a model that tells them apart
COUNTED_SECONDS = 30  # what becomes ready without a new version is counted after these
LONGEST_LOOKED_AT = 500  # of the existing passages, whether the model reads them to their end

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """A model as a person sees it."""

    row: EmbeddingModel
    done: int  # passages that have a vector of it
    total: int  # passages that are to have one
    begun: bool  # whether it has any vector at all

    @property
    def missing(self) -> int:
        return self.total - self.done

    @property
    def complete(self) -> bool:
        return self.missing <= 0


class Unfit(Permanent):
    """A folder cannot be imported: `problems` says why, a sentence for each thing that stands against it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


# --- Looking


def standings() -> list[Standing]:
    """Every model, the one that came with Footnote first.

    Rows are counted anew when a collection has changed since the last look, or after COUNTED_SECONDS: with a million passages
    it takes seconds.
    """
    rows = list(EmbeddingModel.objects.all())
    if not any(not row.folder for row in rows):
        rows.insert(0, _base_row())
    changes = Collection.objects.aggregate(versions=Sum("version"), count=Count("pk"))
    key = f"standings:{changes['versions']}:{changes['count']}:{','.join(row.digest[:16] for row in rows)}"
    counted: list[tuple[int, int, bool]] | None = cache.get(key)
    if counted is None:
        total = reembedding.finished_passages().count()
        found = [_standing(row, total) for row in rows]
        cache.set(key, [(one.done, one.total, one.begun) for one in found], COUNTED_SECONDS)
        return found
    return [Standing(row, *counts) for row, counts in zip(rows, counted, strict=True)]


def standing(name: str) -> Standing:
    """The model of this name. Raises Permanent, with the names there are, when there is none."""
    return _standing(named(name), reembedding.finished_passages().count())


def named(name: str) -> EmbeddingModel:
    """The row of this name. Raises Permanent, with the names there are, when there is none."""
    _ensure_base()
    rows = {row.name: row for row in EmbeddingModel.objects.all()}
    if name in rows:
        return rows[name]
    raise Permanent(
        _("There is no embedding model “%(name)s”, only: %(names)s.") % {"name": name, "names": ", ".join(rows)}
    )


def in_use(row: EmbeddingModel) -> bool:
    """Whether questions are embedded by it now."""
    return row.digest == digest_in_use()


def digest_in_use() -> str:
    """The digest of the model that embeds questions now."""
    return embedding_model().identity.digest


def _standing(row: EmbeddingModel, total: int) -> Standing:
    begun = Vector.objects.filter(digest=indexing.vector_digest(row.digest)).exists()
    missing = reembedding.lacking(row).count() if begun else total
    return Standing(row, total - missing, total, begun)


def _base_row() -> EmbeddingModel:
    """What stands for the model that came with Footnote, not stored."""
    identity = base_model().identity
    return EmbeddingModel(
        name=identity.name,
        digest=identity.digest,
        dimension=identity.dimension,
        max_tokens=LEAST_TOKENS,
        licence="Apache-2.0" if not rag_config().embedder_folder else "",
    )


def _ensure_base() -> EmbeddingModel:
    """The stored row of the model that came with Footnote: as soon as there is another, it is one of several."""
    row = _base_row()
    found, _created = EmbeddingModel.objects.get_or_create(
        digest=row.digest,
        defaults={
            "name": row.name,
            "dimension": row.dimension,
            "max_tokens": row.max_tokens,
            "licence": row.licence,
        },
    )
    return found


# --- Importing


def check(folder: Path) -> tuple[folders.Found, Weights]:
    """What the folder holds, after everything that could stand against it was looked at. Raises Unfit with all of it."""
    found = folders.look_into(folder)
    problems, weights = list(found.problems), found.weights
    if weights is not None and weights.max_tokens < LEAST_TOKENS:
        problems.append(
            _("%(name)s reads at most %(tokens)d tokens; the passages of Footnote have up to %(least)d.")
            % {"name": folder.name, "tokens": weights.max_tokens, "least": LEAST_TOKENS}
        )
    if problems or weights is None:
        raise Unfit(problems)
    return found, weights


def add(actor: User | None, folder: Path, *, name: str = "", say: Say = lambda _line: None) -> EmbeddingModel:
    """Takes a model from a disk into the data folder, ready to embed; nothing is embedded yet. Of one that is known only its files
    are put back, where they are missing, as after a backup without them.

    Imports torch and takes half a minute or more: for a command. Raises Unfit with everything that stands against the folder,
    Permanent when it is there already or its weights do not run, Retryable on a full disk.
    """
    found, weights = check(folder)
    name = name or folder.resolve().name
    known = _known(name, weights)
    target = rag_config().imported_folder / (known.folder if known else f"{_as_file_name(name)}-{weights.digest[:12]}")
    say(_("Copying %(size)d MB") % {"size": round(found.size / 1e6)})
    if not target.exists():
        folders.copy(found, target)
    try:
        copied = find_weights(str(target))
        if copied.digest != weights.digest:
            raise Permanent(_("The copy differs from the original; the disk may be damaged. Nothing was imported."))
        exported = _prepare(copied, target.name, say)
        if known is not None:
            with transaction.atomic():
                EmbeddingModel.objects.filter(pk=known.pk).update(exported=exported)
                audit.record("embedding_model.restored", actor=actor, subject=known, name=known.name)
            known.refresh_from_db()
            return known
        with transaction.atomic():
            row = EmbeddingModel.objects.create(
                name=name,
                digest=copied.digest,
                folder=target.name,
                dimension=copied.dimension,
                max_tokens=copied.max_tokens,
                licence=found.licence[:200],
                size=found.size,
                facts=found.facts() | common_scale(copied, target.name, exported=exported),
                exported=exported,
                imported_by=actor,
            )
            audit.record("embedding_model.imported", actor=actor, subject=row, name=name, digest=copied.digest)
    except BaseException:
        _delete_files(target.name)
        raise
    return row


def _known(name: str, weights: Weights) -> EmbeddingModel | None:
    """The row of just this model whose files are missing; None when it is new. Raises Permanent when it, or its name, is taken."""
    _ensure_base()
    same = EmbeddingModel.objects.filter(digest=weights.digest).first()
    if same is not None and same.folder and not (rag_config().imported_folder / same.folder).is_dir():
        return same
    if same is not None:
        raise Permanent(_("This model is there already, as “%(name)s”.") % {"name": same.name})
    if EmbeddingModel.objects.filter(name=name).exists():
        raise Permanent(
            _("Another model is called “%(name)s”. Give this one another name with --name.") % {"name": name}
        )
    return None


def _prepare(weights: Weights, name: str, say: Say) -> bool:
    """Exports the weights and measures how they run fastest here; False where only torch can run them."""
    say(_("Exporting it, and finding the fastest way of running it here"))
    reason = preparation.prepare_imported(weights, rag_config().exports_folder / name)
    if reason:
        log.warning("embedding_model.not_exported", model=weights.name, reason=reason)
        # It must run at all.
        from rag.backends.embedders.sentence_transformers import TorchRunner

        if TorchRunner(weights).embed(["Is anybody there?"]).shape != (1, weights.dimension):
            raise Permanent(_("“%(name)s” gives vectors of another length than its files say.") % {"name": name})
    return not reason


def common_scale(weights: Weights, name: str, *, exported: bool) -> dict[str, float]:
    """The `scale` and `shift` of the model's cosines: what is nearest to a question, and what has nothing to do with it, then lie
    where they lie for the model that came with Footnote, over the sample documents and the questions about them.

    Without, a model that puts everything between .7 and .9 would never be said to have found too little.
    """
    config = rag_config()
    model = Model(
        weights.identity, str(weights.folder), str(config.exports_folder / name), imported=True, exported=exported
    )
    passages, asked = preparation.self_test_texts()
    passages, questions = passages[:PASSAGES_COMPARED], asked[: len(samples.questions())]
    theirs, ours = (_likenesses(question_embedder(each), passages, questions) for each in (model, base_model()))
    if theirs[1] - theirs[0] < LEAST_SPREAD:
        return {}  # it does not tell them apart: no scale would
    scale = (ours[1] - ours[0]) / (theirs[1] - theirs[0])
    return {"scale": round(scale, 4), "shift": round(ours[0] - scale * theirs[0], 4)}


def _likenesses(embedder: Embedder, passages: list[str], questions: list[str]) -> tuple[float, float]:
    """The cosine of a question to the usual passage, and to the one that is nearest to it."""
    asked = np.vstack([embedder.embed_question(question) for question in questions])
    cosines = asked @ embedder.embed_passages(passages).T
    return float(np.median(cosines)), float(cosines.max(axis=1).mean())


def cut_short(row: EmbeddingModel) -> tuple[int, int]:
    """How many of the longest existing passages the model does not read to their end, and how many were looked at."""
    from rag.backends.embedders.tokens import TokenCounter

    counter = TokenCounter(str(rag_config().imported_folder / row.folder))
    prompt = str(row.facts.get("passage_prompt", ""))
    texts = reembedding.longest_texts(LONGEST_LOOKED_AT)
    return sum(counter.count(prompt + text) + 2 > row.max_tokens for text in texts), len(texts)


def _as_file_name(name: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-" for letter in name)[
        :100
    ]


def _delete_files(name: str) -> None:
    config = rag_config()
    for root in (config.imported_folder, config.exports_folder):
        shutil.rmtree(root / name, ignore_errors=True)
    preparation.torch_only(config.exports_folder / name).unlink(missing_ok=True)
    if config.imported_folder.is_dir():
        files.remove_partials(config.imported_folder)


# --- Embedding beside the one in use


def embed(actor: User | None, name: str) -> EmbeddingModel:
    """Has every passage embedded by this model, what comes later too; goes on where it stood. Raises Permanent when it is being
    removed."""
    row = named(name)
    with transaction.atomic():
        changed = EmbeddingModel.objects.filter(pk=row.pk).exclude(state=EmbeddingState.REMOVING)
        if not changed.update(state=EmbeddingState.EMBEDDING, failures=0, message="", seen=0):
            raise Permanent(_("“%(name)s” is being removed.") % {"name": name})
        audit.record("embedding_model.embedding", actor=actor, subject=row, name=name)
        queues.send_model(row.pk)
    row.refresh_from_db()
    return row


def pause(actor: User | None, name: str) -> EmbeddingModel:
    """Stops embedding by this model within a batch; what it has stays. Raises Permanent for the one in use."""
    row = named(name)
    if in_use(row):
        raise Permanent(_("“%(name)s” is in use: what is uploaded has to be embedded by it.") % {"name": name})
    with transaction.atomic():
        waiting = EmbeddingModel.objects.filter(pk=row.pk, state__in=(EmbeddingState.EMBEDDING, EmbeddingState.FAILED))
        if not waiting.update(state=EmbeddingState.PAUSED, attempt=F("attempt") + 1, lease_until=None, message=""):
            raise Permanent(_("“%(name)s” embeds nothing now.") % {"name": name})
        audit.record("embedding_model.paused", actor=actor, subject=row, name=name)
    row.refresh_from_db()
    return row


# --- Switching


def switch(actor: User | None, name: str) -> EmbeddingModel:
    """Makes this model the one in use, in every process from its next question on; the one before goes on beside it.

    Raises Permanent when FOOTNOTE_EMBEDDER decides, when passages lack its vectors (with their number), or when it does not run.
    """
    row = named(name)
    if rag_config().embedder_folder:
        raise Permanent(
            _("FOOTNOTE_EMBEDDER names the embedding model of this installation. Unset it and restart, then switch.")
        )
    if in_use(row):
        raise Permanent(_("“%(name)s” is in use already.") % {"name": name})
    if row.state == EmbeddingState.REMOVING:
        raise Permanent(_("“%(name)s” is being removed.") % {"name": name})
    question_embedder(model_of(row)).embed_question("ready?")  # a model that does not run must not be switched to
    with transaction.atomic():
        before = _ensure_base() if not EmbeddingModel.objects.filter(in_use=True).exists() else None
        # Nobody else switches meanwhile; and what is missing is counted as of now.
        list(EmbeddingModel.objects.select_for_update().order_by("pk").values_list("pk", flat=True))
        if missing := reembedding.lacking(row).count():
            raise Permanent(
                _(
                    "%(missing)d passages are not embedded by “%(name)s” yet and would be found by their words only. "
                    "Have it embed them first."
                )
                % {"missing": missing, "name": name}
            )
        left = EmbeddingModel.objects.filter(in_use=True)
        left = left if before is None else EmbeddingModel.objects.filter(pk=before.pk)
        # What is kept up can be gone back to at once.
        left.update(in_use=False, left=timezone.now(), state=EmbeddingState.EMBEDDING)
        EmbeddingModel.objects.filter(pk=row.pk).update(in_use=True, state=EmbeddingState.EMBEDDING, message="")
        audit.record("embedding_model.switched", actor=actor, subject=row, name=name, digest=row.digest)
    row.refresh_from_db()
    return row


def back(actor: User | None) -> EmbeddingModel:
    """Switches to the model that was in use before. Raises Permanent when there was none, or as switch() does."""
    before = previous()
    if before is None:
        raise Permanent(_("No other embedding model was in use before."))
    return switch(actor, before.name)


def previous() -> EmbeddingModel | None:
    """The model that was in use before the one in use now."""
    rows = EmbeddingModel.objects.filter(left__isnull=False, in_use=False).exclude(state=EmbeddingState.REMOVING)
    return rows.order_by("-left").first()


# --- Removing


def remove(actor: User | None, name: str, *, say: Say = lambda _line: None) -> int:
    """Deletes the model's vectors, their indexes and its files, and says how many vectors there were.

    Of the model that came with Footnote only the vectors. May be asked again when it broke off. Raises Permanent for the one in
    use.
    """
    row = named(name)
    with transaction.atomic():
        list(EmbeddingModel.objects.select_for_update().order_by("pk").values_list("pk", flat=True))
        if in_use(row):
            raise Permanent(_("“%(name)s” is in use. Switch to another one first.") % {"name": name})
        EmbeddingModel.objects.filter(pk=row.pk).update(
            state=EmbeddingState.REMOVING, attempt=F("attempt") + 1, lease_until=None
        )
        audit.record("embedding_model.removed", actor=actor, subject=row, name=name, digest=row.digest)
    digest = indexing.vector_digest(row.digest)
    deleted = 0
    for collection_id in list(Collection.objects.order_by("pk").values_list("pk", flat=True)):
        deleted += indexing.forget_vectors(collection_id, digest)
        say(_("%(count)d vectors deleted") % {"count": deleted})
    if row.folder:
        _delete_files(row.folder)
        row.delete()
    else:
        EmbeddingModel.objects.filter(pk=row.pk).update(state=EmbeddingState.IMPORTED, left=None, seen=0)
    return deleted
