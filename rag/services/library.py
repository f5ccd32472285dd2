"""Puts documents into collections and takes them out; makes collections and shares them."""

import hashlib
import re
import shutil
import unicodedata
import uuid
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import IO

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from core import audit
from core.models import Role, Team, User
from rag.backends.parsers import media_type_of, parser_for
from rag.config import rag_config
from rag.domain.errors import Permanent
from rag.models import Chunk, Collection, Document, Grant, IngestRun, Removal, Revision
from rag.models.content import ChunkQuerySet
from rag.models.index import RunState

_BLOCK = 1024 * 1024
_HEAD = 4096
# Controls, and the marks that turn the reading direction: "exe.fdp" must not be shown as "pdf.exe".
_UNSEEN = re.compile("[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


class Outcome(Enum):
    """What an upload came to."""

    NEW = "new"
    REVISED = "revised"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Added:
    """The document, and what the upload did to it."""

    document: Document
    outcome: Outcome


def clean_path(name: str) -> str:
    """A relative path from an uploaded name: no drive, no "..", no controls or direction marks, at most 500 characters.

    The file is stored under a name of our own; this is only what people see. Raises Permanent when nothing is left.
    """
    text = unicodedata.normalize("NFC", _UNSEEN.sub("", name)).replace("\\", "/")
    parts = [part.strip() for part in text.split("/")]
    parts = [part for part in parts if part not in {"", ".", ".."} and not re.fullmatch(r"[A-Za-z]:", part)]
    if not parts:
        raise Permanent(_("This file has no name."))
    path = "/".join(parts)
    if len(path) > 500:
        suffix = PurePosixPath(path).suffix[:20]
        path = path[: 500 - len(suffix)] + suffix
    return path


def add_document(actor: User, collection: Collection, upload: File, *, path: str) -> Added:  # type: ignore[type-arg]  # File[bytes] at run time is not subscriptable
    """Stores the upload and queues it for reading. The same bytes at the same path again are nothing to do.

    The caller has checked that `actor` may write to `collection`. Raises Permanent for an empty, unsupported or mislabelled file.
    """
    path = clean_path(path)
    upload.seek(0)
    head = upload.read(_HEAD)
    if not head:
        raise Permanent(_("“%(name)s” is empty.") % {"name": PurePosixPath(path).name})
    parser = parser_for(path, head)
    stored, digest, size = _store(upload)
    try:
        added = _record(
            actor, collection, path=path, file=stored, sha256=digest, size=size, media_type=media_type_of(parser)
        )
    except BaseException:
        default_storage.delete(stored)
        raise
    if added.outcome is Outcome.UNCHANGED:
        default_storage.delete(stored)
    return added


def _store(upload: IO[bytes]) -> tuple[str, str, int]:
    """Writes the bytes under a name of our own making; the name, the sha256 and the size."""
    upload.seek(0)
    digest, size = hashlib.sha256(), 0
    while block := upload.read(_BLOCK):
        digest.update(block)
        size += len(block)
    key = uuid.uuid4().hex
    upload.seek(0)
    name = default_storage.save(f"{key[:2]}/{key}", File(upload))
    return name, digest.hexdigest(), size


@transaction.atomic
def _record(
    actor: User, collection: Collection, *, path: str, file: str, sha256: str, size: int, media_type: str
) -> Added:
    # The row lock makes twenty simultaneous uploads of one file one document (I7).
    Collection.objects.select_for_update().get(pk=collection.pk)
    document = Document.objects.live().filter(collection=collection, path=path).select_related("latest").first()
    outcome = Outcome.NEW if document is None else Outcome.REVISED
    if document is None:
        title = PurePosixPath(path).stem[:300] or path[:300]
        document = Document.objects.create(collection=collection, path=path, title=title, owner=actor)
    elif document.latest is not None and document.latest.sha256 == sha256:
        return Added(document, Outcome.UNCHANGED)
    revision = Revision.objects.create(
        document=document,
        number=document.latest.number + 1 if document.latest else 1,
        sha256=sha256,
        size=size,
        media_type=media_type,
        file=file,
        uploader=actor,
    )
    document.latest = revision
    document.save(update_fields=["latest"])
    IngestRun.objects.create(revision=revision)
    audit.record(
        "document.uploaded",
        actor=actor,
        subject=document,
        path=path,
        revision=revision.number,
        sha256=sha256,
        size=size,
    )
    _queue(revision)
    return Added(document, outcome)


def _queue(revision: Revision) -> None:
    from rag import tasks

    tasks.send(tasks.ingest, revision.pk)


@transaction.atomic
def retry(actor: User, document: Document) -> None:
    """Queues the newest revision again after it failed; anything else is left as it is."""
    if document.latest is None:
        return
    changed = IngestRun.objects.filter(revision=document.latest, state=RunState.FAILED).update(
        state=RunState.QUEUED, failures=0, message="", lease_until=None, queued=timezone.now(), finished=None
    )
    if changed:
        audit.record("document.retried", actor=actor, subject=document)
        _queue(document.latest)


@transaction.atomic
def delete_document(actor: User, document: Document) -> None:
    """Takes the document out at once: the next search, page or citation no longer finds it. Its bytes go soon after."""
    from rag import tasks

    changed = Document.objects.filter(pk=document.pk, deleted__isnull=True).update(deleted=timezone.now())
    if not changed:
        return
    remove_chunks(document.collection_id, Chunk.objects.for_maintenance().filter(document=document))
    # A worker that is reading it loses its lease and writes nothing more.
    IngestRun.objects.filter(revision__document=document).update(attempt=F("attempt") + 1, lease_until=None)
    audit.record("document.deleted", actor=actor, subject=document, path=document.path)
    tasks.send(tasks.purge, str(document.collection_id))


def remove_chunks(collection_id: uuid.UUID, chunks: ChunkQuerySet) -> None:
    """Deletes chunks with their vectors under a new version of the collection, and notes each id for indexes and readers.

    Must run inside a transaction.
    """
    ids = list(chunks.values_list("id", flat=True))
    if not ids:
        return
    version = next_version(collection_id)
    Removal.objects.bulk_create(
        (Removal(collection_id=collection_id, version=version, chunk_id=chunk_id) for chunk_id in ids), batch_size=5000
    )
    for start in range(0, len(ids), 5000):
        Chunk.objects.for_maintenance().filter(id__in=ids[start : start + 5000]).delete()


def next_version(collection_id: uuid.UUID) -> int:
    """The collection's next version, its row locked until the transaction ends: versions appear in the order of commits."""
    Collection.objects.filter(pk=collection_id).update(version=F("version") + 1)
    return Collection.objects.values_list("version", flat=True).get(pk=collection_id)


@transaction.atomic
def purge_deleted(collection_id: uuid.UUID) -> int:
    """Removes what deleted documents left, rows and bytes, and says how many there were. Running it twice is running it once."""
    gone = Document.objects.filter(collection_id=collection_id, deleted__isnull=False)
    files = list(Revision.objects.filter(document__in=gone).values_list("file", flat=True))
    documents = list(gone.values_list("pk", flat=True))
    count = len(documents)
    gone.delete()
    transaction.on_commit(lambda: _delete_files(files, documents))
    return count


def _delete_files(files: list[str], documents: list[uuid.UUID]) -> None:
    """The originals, and the pictures that were drawn of their pages."""
    for file in files:
        default_storage.delete(file)
    for document in documents:
        shutil.rmtree(rag_config().page_folder / str(document), ignore_errors=True)


@transaction.atomic
def create_collection(actor: User, *, name: str, description: str, team: Team) -> Collection:
    """A new, empty collection that `team` may use. The caller has checked that `actor` manages the team."""
    collection = Collection.objects.create(name=name, description=description)
    Grant.objects.create(collection=collection, team=team, role=Role.MANAGER)
    audit.record("collection.created", actor=actor, subject=collection, name=name, team=team.pk)
    return collection


@transaction.atomic
def share(actor: User, collection: Collection, *, team: Team, role: Role) -> None:
    """Lets `team` use the collection at most at `role`."""
    Grant.objects.update_or_create(collection=collection, team=team, defaults={"role": role})
    audit.record("collection.shared", actor=actor, subject=collection, team=team.pk, role=int(role))


@transaction.atomic
def unshare(actor: User, collection: Collection, *, team: Team) -> None:
    """Takes the team's leave away, at once. The last manager's grant stays: a collection that nobody can manage is lost.

    Raises Permanent when it is the last.
    """
    Collection.objects.select_for_update().get(pk=collection.pk)
    others = Grant.objects.filter(collection=collection, role=Role.MANAGER).exclude(team=team)
    if not others.exists():
        raise Permanent(_("Another team must be able to manage this collection first."))
    Grant.objects.filter(collection=collection, team=team).delete()
    audit.record("collection.unshared", actor=actor, subject=collection, team=team.pk)


@transaction.atomic
def delete_collection(actor: User, collection: Collection) -> None:
    """Takes the collection and all its documents out at once; the bytes go soon after."""
    from rag import tasks

    if not Collection.objects.filter(pk=collection.pk, deleted__isnull=True).update(deleted=timezone.now()):
        return
    Document.objects.filter(collection=collection, deleted__isnull=True).update(deleted=timezone.now())
    remove_chunks(collection.pk, Chunk.objects.for_maintenance().filter(collection=collection))
    IngestRun.objects.filter(revision__document__collection=collection).update(
        attempt=F("attempt") + 1, lease_until=None
    )
    audit.record("collection.deleted", actor=actor, subject=collection, name=collection.name)
    tasks.send(tasks.purge, str(collection.pk))


def purge_all_deleted() -> int:
    """Finishes every deletion that a lost message left half done; how many documents."""
    waiting = Document.objects.filter(deleted__isnull=False).values_list("collection_id", flat=True).distinct()
    return sum(purge_deleted(collection_id) for collection_id in waiting)
