"""Puts documents into collections and takes them out; makes collections and shares them."""

import hashlib
import re
import shutil
import unicodedata
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import IO, Any

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from core import audit
from core.models import Role, Team, User
from core.sealing import seal
from rag.backends.parsers import HEAD, media_type_of, parser_for
from rag.config import rag_config
from rag.domain.errors import Permanent
from rag.models import Batch, Chunk, Collection, Document, Grant, IngestRun, Removal, Revision
from rag.models.content import ChunkQuerySet
from rag.models.index import RunState
from rag.services import kept_questions, queues, quotas

_BLOCK = 1024 * 1024
NESTING_MOST = 4  # a file in a mail in an archive in a mail
ARCHIVES_MOST = (
    2  # an archive in an archive is opened, one inside that is not: twelve in each are 20,736 at four levels
)
INSIDE_MOST = 10_000  # documents that archives inside an archive may grow to
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


class Exists(Permanent):
    """Another file is at this path already: it may be replaced (`replaces`), or the new one go to `free_path`."""


def add_document(
    actor: User,
    collection: Collection,
    upload: File,  # type: ignore[type-arg]  # File[bytes] at run time is not subscriptable
    *,
    path: str,
    replaces: bool = False,
    batch: Batch | None = None,
    bulk: bool = False,
) -> Added:
    """Stores the upload and queues it for reading. The same bytes at the same path again are nothing to do.

    Other bytes at a live document's path become its next revision where `replaces` says so; otherwise Exists is raised.
    `bulk` waits behind what people upload one by one. The caller has checked that `actor` may write to `collection`.
    Raises Permanent for an empty, unsupported or mislabelled file, and for a path that belongs to a file inside another; OverQuota
    where the collection or `actor` has no room for it.
    """
    new = _Arrival(
        actor=actor,
        owner=actor,
        collection=collection,
        path=clean_path(path),
        replaces=replaces,
        batch=batch,
        bulk=bulk,
    )
    return _add(new, upload)


def add_child(parent: Revision, path: str, file: Path) -> Added:
    """A document for a file inside `parent`'s file, at the parent's path + "/" + `path`; adding it again is nothing to do.

    It belongs to whoever the parent belongs to, and goes when that goes. Raises Permanent, with a sentence for the reader, when
    the file cannot be taken in: unsupported, empty, nested too deeply, or its place is taken by a document of its own.
    """
    container = parent.document
    new = _Arrival(
        actor=parent.uploader,
        owner=container.owner,
        collection=container.collection,
        path=clean_path(f"{container.path}/{clean_path(path)}"),
        replaces=True,
        batch=Batch.objects.filter(runs__revision=parent).first(),  # the receipt counts it too
        bulk=True,
        parent=container,
    )
    _check_nesting(container, new.path, file)
    with file.open("rb") as opened:
        return _add(new, File(opened))


def free_path(collection: Collection, path: str) -> str:
    """The path itself where no live document is, otherwise the first free of "name (2).pdf", "name (3).pdf" …"""
    path = clean_path(path)
    suffix = PurePosixPath(path).suffix
    stem = path.removesuffix(suffix)[: 500 - 8 - len(suffix)]
    beside = Document.objects.live().filter(collection=collection, path__startswith=stem)
    taken = set(beside.values_list("path", flat=True))
    number = 1
    while path in taken:
        number += 1
        path = f"{stem} ({number}){suffix}"
    return path


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A file on its way in: who sends it, where it goes, and what it may do there."""

    actor: User | None
    owner: User | None
    collection: Collection
    path: str
    replaces: bool
    bulk: bool
    batch: Batch | None = None
    parent: Document | None = None


@dataclass(frozen=True, slots=True)
class _Stored:
    """Bytes in the storage under a name of our own making."""

    file: str
    sha256: str
    size: int
    media_type: str


def _add(new: _Arrival, upload: File) -> Added:  # type: ignore[type-arg]
    upload.seek(0)
    head = upload.read(HEAD)
    if not head:
        raise Permanent(_("“%(name)s” is empty.") % {"name": PurePosixPath(new.path).name})
    parser = parser_for(new.path, head)
    stored = _store(upload, media_type_of(parser, new.path))
    try:
        return _record(new, stored)
    finally:
        # Asked of the database, not concluded from how it ended: a lost Redis raises after the rows were committed.
        if not Revision.objects.filter(file=stored.file).exists():
            default_storage.delete(stored.file)


def _store(upload: IO[bytes], media_type: str) -> _Stored:
    upload.seek(0)
    digest, size = hashlib.sha256(), 0
    while block := upload.read(_BLOCK):
        digest.update(block)
        size += len(block)
    key = uuid.uuid4().hex
    upload.seek(0)
    name = default_storage.save(f"{key[:2]}/{key}", upload)
    return _Stored(name, digest.hexdigest(), size, media_type)


@transaction.atomic
def _record(new: _Arrival, stored: _Stored) -> Added:
    # The row lock makes twenty simultaneous uploads of one file one document (I7), and keeps a file from being purged
    # between the moment it is found and the moment it is shared.
    Collection.objects.select_for_update().get(pk=new.collection.pk)
    if new.parent is not None and not Document.objects.live().filter(pk=new.parent.pk).exists():
        raise Permanent(_("The file that this was in was deleted."))
    places = Document.objects.live().filter(collection=new.collection, path=new.path)
    document = places.select_related("latest", "parent").first()
    if document is None:
        quotas.require_room(new.collection, new.actor, size=stored.size, documents=1)
        document, outcome = _placed(new), Outcome.NEW
    else:
        if document.parent_id != (new.parent.pk if new.parent else None):
            raise _taken(document)
        if document.latest is not None and document.latest.sha256 == stored.sha256:
            _queue_again(document.latest)
            return Added(document, Outcome.UNCHANGED)
        if not new.replaces:
            raise Exists(_("Another file is at “%(path)s” already.") % {"path": new.path})
        quotas.require_room(new.collection, new.actor, size=stored.size, documents=0)
        outcome = Outcome.REVISED
    revision = Revision.objects.create(
        document=document,
        number=document.latest.number + 1 if document.latest else 1,
        sha256=stored.sha256,
        size=stored.size,
        media_type=stored.media_type,
        file=_shared_file(new.collection, stored.sha256) or stored.file,
        uploader=new.actor,
    )
    document.latest = revision
    document.save(update_fields=["latest"])
    IngestRun.objects.create(revision=revision, batch=new.batch, bulk=new.bulk)
    audit.record(
        "document.uploaded",
        actor=new.actor,
        subject=document,
        revision=revision.number,
        size=stored.size,
        **_named(new.collection, path=new.path, sha256=stored.sha256),
    )
    _queue(revision)
    return Added(document, outcome)


def _named(collection: Collection, **facts: str) -> dict[str, object]:
    """What the audit log says of a document's name and bytes: of a file of one conversation nothing, for the log outlives it."""
    return {"private": True} if collection.private else dict(facts)


def _placed(new: _Arrival) -> Document:
    title = PurePosixPath(new.path).stem[:300] or new.path[:300]
    return Document.objects.create(
        collection=new.collection, path=new.path, title=title, owner=new.owner, parent=new.parent
    )


def _taken(document: Document) -> Permanent:
    """Why nothing else can come to this document's place: it is a file inside another, or it is none and should be."""
    if document.parent is None:
        return Permanent(_("A document of its own is at “%(path)s” already.") % {"path": document.path})
    return Permanent(
        _("“%(path)s” is a file inside “%(parent)s”: upload that one again instead.")
        % {"path": document.path, "parent": document.parent.path}
    )


def _shared_file(collection: Collection, sha256: str) -> str:
    """The file of another revision with these bytes, or "". Never across collections: the saved time would tell that they are there."""
    same = Revision.objects.filter(document__collection=collection, sha256=sha256).order_by("pk")
    name = same.values_list("file", flat=True).first()
    return name if name and default_storage.exists(name) else ""


def _check_nesting(container: Document, path: str, file: Path) -> None:
    """Raises Permanent for a file that lies too deep, or that is the very file it lies in: such archives never end."""
    above, depth = container, 1
    archives = int(_is_archive(path))
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    while True:
        if above.latest is not None and above.latest.sha256 == sha256:
            raise Permanent(_("It contains itself."))
        archives += _is_archive(above.path)
        if above.parent is None:
            break
        above, depth = above.parent, depth + 1
    if _is_archive(path) and archives > ARCHIVES_MOST:
        raise Permanent(_("Archives inside archives are opened %(most)d deep.") % {"most": ARCHIVES_MOST})
    if depth > NESTING_MOST:
        raise Permanent(_("It lies too deep: files inside files are read %(most)d deep.") % {"most": NESTING_MOST})
    inside = Document.objects.live().filter(collection=container.collection, path__startswith=f"{above.path}/")
    if depth > 1 and inside.count() >= INSIDE_MOST:
        raise Permanent(
            _("More than %(most)d files are inside “%(path)s”.") % {"most": INSIDE_MOST, "path": above.path}
        )


def _is_archive(path: str) -> bool:
    return path.lower().endswith(".zip")


def _queue(revision: Revision) -> None:
    bulk = IngestRun.objects.values_list("bulk", flat=True).get(revision=revision)
    queues.send(queues.Work.READING, revision.pk, bulk=bulk)


def queued_anew() -> dict[str, Any]:
    """For an UPDATE of runs that ended: they wait as if nobody had tried them."""
    return {
        "state": RunState.QUEUED,
        "failures": 0,
        "message": "",
        "needs_password": False,
        "lease_until": None,
        "done": 0,
        "total": 0,
        "queued": timezone.now(),
        "started": None,
        "finished": None,
    }


def _queue_again(revision: Revision) -> bool:
    """Queues the revision where it failed or was cancelled; whether it did."""
    ended = IngestRun.objects.filter(revision=revision, state__in=(RunState.FAILED, RunState.CANCELLED))
    changed = ended.update(**queued_anew())
    if changed:
        _queue(revision)
    return bool(changed)


@transaction.atomic
def retry(actor: User, document: Document, *, password: str = "") -> bool:
    """Queues the newest revision again after it failed or was cancelled, and says whether it did; anything else stays as it is.

    `password` opens a protected file; it is kept encrypted with the site's key, for reading the revision again.
    """
    revision = document.latest
    if revision is None or not _queue_again(revision):
        return False
    if password:
        Revision.objects.filter(pk=revision.pk).update(secret=seal(password))
    audit.record("document.retried", actor=actor, subject=document, password=bool(password))
    return True


@transaction.atomic
def delete_document(actor: User | None, document: Document) -> None:
    """Takes the document and the files inside it out at once: the next search, page or citation no longer finds them.

    Their bytes go soon after. Nobody is the actor where a file's time was over.
    """
    if _take_out(document.collection_id, [document.pk]):
        facts = _named(document.collection, path=document.path)
        audit.record("document.deleted", actor=actor, subject=document, **facts)


@transaction.atomic
def drop_children(parent: Document, *, keep_paths: Iterable[str]) -> int:
    """Takes out the files that were inside an earlier revision of `parent` and no longer are, and says how many.

    `keep_paths` are those that are, as they were given to `add_child`.
    """
    kept = {clean_path(f"{parent.path}/{clean_path(path)}") for path in keep_paths}
    inside = Document.objects.live().filter(parent=parent).values_list("pk", "path")
    return _take_out(parent.collection_id, [pk for pk, path in inside if path not in kept])


def _take_out(collection_id: uuid.UUID, documents: Sequence[uuid.UUID]) -> int:
    """Marks documents and everything inside them as deleted and takes their words out of every search; how many there were."""
    from rag import tasks

    # The collection first, as in _record: no file can be added to a container in the same moment.
    Collection.objects.select_for_update().get(pk=collection_id)
    found = list(Document.objects.filter(pk__in=documents, deleted__isnull=True).values_list("pk", flat=True))
    level = found
    while level:
        inside = Document.objects.filter(parent__in=level, deleted__isnull=True)
        level = list(inside.values_list("pk", flat=True))
        found += level
    if not found:
        return 0
    Document.objects.filter(pk__in=found).update(deleted=timezone.now())
    remove_chunks(collection_id, Chunk.objects.for_maintenance().filter(document__in=found))
    kept_questions.forget(found)
    # A worker that is reading one loses its lease and writes nothing more.
    IngestRun.objects.filter(revision__document__in=found).update(attempt=F("attempt") + 1, lease_until=None)
    tasks.send(tasks.purge, str(collection_id))
    return len(found)


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
    # Waits for whoever is just sharing one of these files; who comes after finds the rows gone and keeps a file of its own.
    Collection.objects.select_for_update().filter(pk=collection_id).first()
    gone = Document.objects.filter(collection_id=collection_id, deleted__isnull=False)
    documents = list(gone.values_list("pk", flat=True))
    files = set(Revision.objects.filter(document__in=gone).values_list("file", flat=True))
    gone.delete()
    files -= set(Revision.objects.filter(file__in=files).values_list("file", flat=True))
    transaction.on_commit(lambda: _delete_files(files, documents))
    return len(documents)


def _delete_files(files: Iterable[str], documents: Iterable[uuid.UUID]) -> None:
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
def delete_collection(actor: User | None, collection: Collection) -> None:
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
