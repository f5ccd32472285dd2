"""Resumable uploads as a tus client sees them, what is asked before a document is replaced, and the receipts of imports."""

import errno
import hashlib
import json
import os
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.conf import LazySettings
from django.core.files.storage import default_storage
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from core.models import Membership, Role, Team, User
from rag.models import Batch, Collection, Document, IngestRun, Upload
from rag.models.imports import Origin
from rag.models.index import RunState
from rag.services import imports, ingest, library, uploads
from rag.services.uploads import Announced, WhenTaken
from rag.tasks import upkeep

SignIn = Callable[[User | None], Client]
TEXT = b"The desk is open from eight to five.\n" * 300
PIECE = "application/offset+octet-stream"


def metadata(**fields: str) -> str:
    return ",".join(f"{name.replace('_', '-')} {b64encode(value.encode()).decode()}" for name, value in fields.items())


class Tus:
    """A tus client over Django's test client."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def create(
        self, collection: Collection, path: str, size: int, *, body: bytes | None = None, **fields: str
    ) -> HttpResponse:
        headers = {
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(size),
            "Upload-Metadata": metadata(path=path, **fields),
        }
        return self._send("POST", reverse("uploads", args=[collection.pk]), headers, body)

    def patch(self, address: str, offset: int, body: bytes, **headers: str) -> HttpResponse:
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._send("PATCH", address, {"Tus-Resumable": "1.0.0", "Upload-Offset": str(offset), **more}, body)

    def head(self, address: str) -> HttpResponse:
        return self._send("HEAD", address, {"Tus-Resumable": "1.0.0"}, None)

    def delete(self, address: str) -> HttpResponse:
        return self._send("DELETE", address, {"Tus-Resumable": "1.0.0"}, None)

    def _send(self, method: str, address: str, headers: dict[str, str], body: bytes | None) -> HttpResponse:
        if body is not None:
            headers = headers | {"Content-Type": PIECE}
        answer: Any = self.client.generic(method, address, body or b"", content_type="", headers=headers)
        assert isinstance(answer, HttpResponse)
        return answer


@pytest.fixture
def tus(alice: User, as_user: SignIn) -> Tus:
    return Tus(as_user(alice))


@pytest.fixture(autouse=True)
def _no_uploads_left() -> Iterator[None]:
    yield
    for path in uploads.folder().glob("*"):
        path.unlink()


def stored(document: Document) -> bytes:
    document.refresh_from_db()
    assert document.latest is not None and document.latest.file.name
    with default_storage.open(document.latest.file.name) as file:
        return bytes(file.read())


# --- The protocol


def test_the_server_says_what_it_speaks(tus: Tus, policies: Collection) -> None:
    answer = tus.client.options(reverse("uploads", args=[policies.pk]))
    assert answer.status_code == 204
    assert answer["Tus-Version"] == "1.0.0"
    assert "creation" in answer["Tus-Extension"] and "termination" in answer["Tus-Extension"]
    assert int(answer["Tus-Max-Size"]) == 2000 * 1024 * 1024


def test_a_file_in_three_pieces_becomes_a_document(tus: Tus, policies: Collection) -> None:
    made = tus.create(policies, "house/hours.txt", len(TEXT))
    assert made.status_code == 201
    address = made["Location"]
    assert tus.head(address)["Upload-Offset"] == "0"
    assert tus.patch(address, 0, TEXT[:5000])["Upload-Offset"] == "5000"
    assert tus.patch(address, 5000, TEXT[5000:9000]).status_code == 204
    found = tus.head(address)
    assert (found["Upload-Offset"], found["Upload-Length"]) == ("9000", str(len(TEXT)))
    assert "no-store" in found["Cache-Control"]
    last = tus.patch(address, 9000, TEXT[9000:])
    assert (last.status_code, last["Footnote-Outcome"]) == (204, "new")
    document = Document.objects.get(path="house/hours.txt")
    assert stored(document) == TEXT
    assert document.latest is not None and document.latest.sha256 == hashlib.sha256(TEXT).hexdigest()
    assert not Upload.objects.exists() and not list(uploads.folder().iterdir())
    assert tus.head(address).status_code == 404


def test_a_small_file_is_there_after_one_request(tus: Tus, policies: Collection) -> None:
    answer = tus.create(policies, "hours.txt", len(TEXT), body=TEXT)
    assert (answer.status_code, answer["Footnote-Outcome"]) == (201, "new")
    assert stored(Document.objects.get()) == TEXT


def test_the_same_file_again_is_nothing_to_do(tus: Tus, policies: Collection) -> None:
    tus.create(policies, "hours.txt", len(TEXT), body=TEXT)
    assert tus.create(policies, "hours.txt", len(TEXT), body=TEXT)["Footnote-Outcome"] == "unchanged"
    assert Document.objects.get().revisions.count() == 1


def test_a_finished_file_is_moved_and_not_copied(
    tus: Tus, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    inode = next(uploads.folder().iterdir()).stat().st_ino
    tus.patch(address, 0, TEXT)
    latest = Document.objects.get().latest
    assert latest is not None
    assert Path(default_storage.path(latest.file.name or "")).stat().st_ino == inode
    assert Path(default_storage.path(latest.file.name or "")).stat().st_mode & 0o777 == 0o600


def test_a_disk_that_knows_no_second_names_gets_a_copy(
    tus: Tus, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, target: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    tus.create(policies, "hours.txt", len(TEXT), body=TEXT)
    assert stored(Document.objects.get()) == TEXT
    assert not list(uploads.folder().iterdir())


def test_a_piece_at_another_offset_is_a_conflict_and_changes_nothing(tus: Tus, policies: Collection) -> None:
    address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    tus.patch(address, 0, TEXT[:5000])
    assert tus.patch(address, 0, TEXT[:5000]).status_code == 409
    assert tus.patch(address, 6000, TEXT[6000:]).status_code == 409
    assert tus.head(address)["Upload-Offset"] == "5000"


def test_more_than_was_announced_is_refused_and_what_was_sent_before_is_kept(tus: Tus, policies: Collection) -> None:
    address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    tus.patch(address, 0, TEXT[:5000])
    assert tus.patch(address, 5000, TEXT[5000:] + b"!").status_code == 413
    assert tus.head(address)["Upload-Offset"] == "5000"
    tus.patch(address, 5000, TEXT[5000:])
    assert stored(Document.objects.get()) == TEXT


def test_what_a_killed_process_wrote_behind_the_offset_is_cut_off(tus: Tus, policies: Collection) -> None:
    address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    tus.patch(address, 0, TEXT[:5000])
    with next(uploads.folder().iterdir()).open("ab") as file:
        file.write(b"half a piece")
    tus.patch(address, 5000, TEXT[5000:])
    assert stored(Document.objects.get()) == TEXT


def test_a_file_that_a_power_cut_shortened_goes_on_from_what_is_left(tus: Tus, policies: Collection) -> None:
    address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    tus.patch(address, 0, TEXT[:5000])
    os.truncate(next(uploads.folder().iterdir()), 3000)
    assert tus.patch(address, 5000, TEXT[5000:]).status_code == 409
    assert tus.head(address)["Upload-Offset"] == "3000"
    tus.patch(address, 3000, TEXT[3000:])
    assert stored(Document.objects.get()) == TEXT


def test_an_upload_whose_bytes_are_lost_is_gone(tus: Tus, policies: Collection) -> None:
    address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    next(uploads.folder().iterdir()).unlink()
    assert tus.patch(address, 0, TEXT).status_code == 410


def test_a_finish_that_was_killed_is_repeated_with_an_empty_piece(tus: Tus, policies: Collection) -> None:
    address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    upload = Upload.objects.get()
    uploads.append(upload, [TEXT], offset=0)  # and then the process died
    assert tus.head(address)["Upload-Offset"] == str(len(TEXT))
    assert tus.patch(address, len(TEXT), b"")["Footnote-Outcome"] == "new"
    assert stored(Document.objects.get()) == TEXT


def test_a_damaged_piece_is_not_kept(tus: Tus, policies: Collection) -> None:
    address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    wrong = b64encode(hashlib.sha1(b"something else", usedforsecurity=False).digest()).decode()
    right = b64encode(hashlib.sha256(TEXT[:5000]).digest()).decode()
    assert tus.patch(address, 0, TEXT[:5000], Upload_Checksum=f"sha1 {wrong}").status_code == 460
    assert tus.head(address)["Upload-Offset"] == "0"
    assert tus.patch(address, 0, TEXT[:5000], Upload_Checksum=f"sha256 {right}")["Upload-Offset"] == "5000"
    assert tus.patch(address, 5000, b"x", Upload_Checksum="md5 eA==").status_code == 400


def test_deleting_an_upload_removes_its_bytes(tus: Tus, policies: Collection) -> None:
    address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    tus.patch(address, 0, TEXT[:5000])
    assert tus.delete(address).status_code == 204
    assert not list(uploads.folder().iterdir()) and not Upload.objects.exists()
    assert tus.delete(address).status_code == 404


def test_an_upload_expires_a_day_after_its_last_piece(tus: Tus, policies: Collection) -> None:
    with time_machine.travel(timezone.now() - timedelta(hours=25), tick=False):
        address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    with time_machine.travel(timezone.now() - timedelta(hours=23), tick=False):
        kept = tus.create(policies, "kept.txt", len(TEXT))["Location"]
    assert tus.head(address).status_code == 410
    assert tus.patch(address, 0, TEXT).status_code == 410
    upkeep()
    assert [upload.path for upload in Upload.objects.all()] == ["kept.txt"]
    assert [path.name for path in uploads.folder().iterdir()] == [kept.split("/")[-2]]
    assert tus.head(address).status_code == 404
    assert tus.head(kept).status_code == 200


def test_bytes_without_a_row_are_removed_once_they_are_old(tus: Tus, policies: Collection) -> None:
    uploads.folder().mkdir(parents=True, exist_ok=True)
    old, new = uploads.folder() / str(uuid.uuid4()), uploads.folder() / str(uuid.uuid4())
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 90_000,) * 2)
    uploads.remove_expired()
    assert list(uploads.folder().iterdir()) == [new]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Length": "10"}, 412),
        ({"Tus-Resumable": "0.2.2", "Upload-Length": "10"}, 412),
        ({"Tus-Resumable": "1.0.0"}, 400),
        ({"Tus-Resumable": "1.0.0", "Upload-Defer-Length": "1"}, 400),
        ({"Tus-Resumable": "1.0.0", "Upload-Length": "-1"}, 400),
        ({"Tus-Resumable": "1.0.0", "Upload-Length": "١٠"}, 400),
        ({"Tus-Resumable": "1.0.0", "Upload-Length": "10", "Upload-Metadata": "path not/base64!"}, 400),
        ({"Tus-Resumable": "1.0.0", "Upload-Length": "10", "Upload-Metadata": "path /w=="}, 400),
        ({"Tus-Resumable": "1.0.0", "Upload-Length": "10"}, 422),
        ({"Tus-Resumable": "1.0.0", "Upload-Length": "10", "Upload-Metadata": metadata(path="../..")}, 422),
        ({"Tus-Resumable": "1.0.0", "Upload-Length": "0", "Upload-Metadata": metadata(path="a.txt")}, 422),
        (
            {
                "Tus-Resumable": "1.0.0",
                "Upload-Length": "10",
                "Upload-Metadata": metadata(path="a.txt", batch="nonsense"),
            },
            400,
        ),
        (
            {
                "Tus-Resumable": "1.0.0",
                "Upload-Length": "10",
                "Upload-Metadata": metadata(path="a.txt", when_taken="perhaps"),
            },
            400,
        ),
        ({"Tus-Resumable": "1.0.0", "Upload-Length": "9999999999", "Upload-Metadata": metadata(path="a.txt")}, 413),
    ],
)
def test_what_is_no_upload_is_refused_with_a_sentence(
    tus: Tus, policies: Collection, headers: dict[str, str], status: int
) -> None:
    answer = tus.client.generic("POST", reverse("uploads", args=[policies.pk]), b"", content_type="", headers=headers)
    assert answer.status_code == status
    assert json.loads(answer.content)["message"]
    assert not Upload.objects.exists()


def test_a_piece_needs_its_content_type_and_its_offset(tus: Tus, policies: Collection) -> None:
    address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    version = {"Tus-Resumable": "1.0.0"}
    plain = tus.client.generic(
        "PATCH", address, TEXT, content_type="text/plain", headers=version | {"Upload-Offset": "0"}
    )
    assert plain.status_code == 415
    assert tus.client.generic("PATCH", address, TEXT, content_type=PIECE, headers=version).status_code == 400
    assert (
        tus.client.generic("PATCH", address, TEXT, content_type=PIECE, headers={"Upload-Offset": "0"}).status_code
        == 412
    )
    assert tus.head(address)["Upload-Offset"] == "0"


# --- Who may


def test_only_its_sender_sees_an_upload(
    tus: Tus, policies: Collection, clinic: Team, charlie: User, dana: User, as_user: SignIn
) -> None:
    Membership.objects.create(team=clinic, user=charlie, role=Role.CONTRIBUTOR)
    address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    for other in (charlie, dana):
        stranger = Tus(as_user(other))
        assert stranger.head(address).status_code == 404
        assert stranger.patch(address, 0, TEXT).status_code == 404
        assert stranger.delete(address).status_code == 404
    assert tus.head(address)["Upload-Offset"] == "0"


def test_readers_and_strangers_cannot_send(bob: User, charlie: User, policies: Collection, as_user: SignIn) -> None:
    for person in (bob, charlie):
        assert Tus(as_user(person)).create(policies, "a.txt", 10).status_code == 404
    assert not Upload.objects.exists()


def test_an_upload_ends_when_its_sender_may_no_longer_write(tus: Tus, policies: Collection, clinic: Team) -> None:
    address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    tus.patch(address, 0, TEXT[:5000])
    Membership.objects.filter(team=clinic, user__username="alice").update(role=Role.READER)
    assert tus.patch(address, 5000, TEXT[5000:]).status_code == 404
    assert not Document.objects.exists()


def test_a_foreign_import_cannot_be_added_to(
    tus: Tus, policies: Collection, secrets: Collection, charlie: User
) -> None:
    foreign = imports.open_batch(charlie, secrets, Origin.BROWSER, 1)
    assert tus.create(policies, "a.txt", 10, batch=str(foreign.pk)).status_code == 400


def test_a_piece_without_its_token_is_refused(alice: User, policies: Collection) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    upload = uploads.open_upload(alice, policies, Announced("a.txt", 10), batch=None)
    address = reverse("upload_piece", args=[upload.pk])
    assert Tus(client).patch(address, 0, b"0123456789").status_code == 403
    assert Tus(client).delete(address).status_code == 403
    assert Tus(client).create(policies, "b.txt", 10).status_code == 403
    assert Upload.objects.get().offset == 0


# --- What cannot be taken


def test_a_file_that_cannot_be_read_is_refused_after_its_first_piece(
    tus: Tus, alice: User, policies: Collection
) -> None:
    batch = imports.open_batch(alice, policies, Origin.BROWSER, 1)
    address = tus.create(policies, "program.xyz", 50_000_000, batch=str(batch.pk))["Location"]
    answer = tus.patch(address, 0, b"\0" * 100_000)
    assert answer.status_code == 422
    assert json.loads(answer.content)["message"]
    assert not Upload.objects.exists() and not list(uploads.folder().iterdir())
    batch.refresh_from_db()
    assert [path for path, _sentence in batch.refused] == ["program.xyz"]


def test_a_mislabelled_small_file_is_refused(tus: Tus, policies: Collection) -> None:
    answer = tus.create(policies, "letter.pdf", len(TEXT), body=TEXT)
    assert answer.status_code == 422
    assert not Upload.objects.exists() and not Document.objects.exists()


def test_a_full_disk_keeps_what_was_sent_and_goes_on_later(
    tus: Tus, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = tus.create(policies, "hours.txt", len(TEXT))["Location"]
    tus.patch(address, 0, TEXT[:5000])

    class Full:
        """A file on a disk that takes 2,000 bytes more."""

        def __init__(self, file: Any) -> None:
            self._file, self._room = file, 2000

        def write(self, block: bytes) -> int:
            self._file.write(block[: self._room])
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *error: object) -> None:
            self._file.close()

    opened = Path.open
    with monkeypatch.context() as full:
        full.setattr(
            Path, "open", lambda path, mode="r": Full(opened(path, mode)) if mode == "r+b" else opened(path, mode)
        )
        answer = tus.patch(address, 5000, TEXT[5000:])
    assert answer.status_code == 507
    assert "What was sent is kept" in json.loads(answer.content)["message"]
    assert tus.head(address)["Upload-Offset"] == "5000"
    tus.patch(address, 5000, TEXT[5000:])
    assert stored(Document.objects.get()) == TEXT


def test_a_file_for_which_there_is_no_room_is_not_begun(
    tus: Tus, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 70 * 1024 * 1024})
    monkeypatch.setattr("rag.services.uploads.shutil.disk_usage", lambda path: usage)
    assert tus.create(policies, "large.pdf", 50 * 1024 * 1024).status_code == 507
    assert tus.create(policies, "small.pdf", 1024).status_code == 201


# --- Another file is there


def test_other_bytes_at_a_path_wait_for_an_answer(tus: Tus, policies: Collection) -> None:
    tus.create(policies, "hours.txt", len(TEXT), body=TEXT)
    fresh = TEXT.replace(b"five", b"nine")
    made = tus.create(policies, "hours.txt", len(fresh), body=fresh)
    assert (made.status_code, made["Footnote-Outcome"]) == (201, "exists")
    assert stored(Document.objects.get()) == TEXT
    page = tus.client.get(reverse("uploads_waiting", args=[policies.pk])).content.decode()
    assert "hours.txt" in page
    assert "waits for your answer" in tus.client.get(reverse("collection", args=[policies.pk])).content.decode()


@pytest.mark.parametrize(
    ("answer", "paths", "revisions"),
    [("replace", ["hours.txt"], 2), ("both", ["hours (2).txt", "hours.txt"], 1), ("skip", ["hours.txt"], 1)],
)
def test_the_answer_is_done(tus: Tus, policies: Collection, answer: str, paths: list[str], revisions: int) -> None:
    tus.create(policies, "hours.txt", len(TEXT), body=TEXT)
    fresh = TEXT.replace(b"five", b"nine")
    tus.create(policies, "hours.txt", len(fresh), body=fresh)
    waiting = str(Upload.objects.get().pk)
    response = tus.client.post(reverse("uploads_waiting", args=[policies.pk]), {"upload": waiting, "answer": answer})
    assert response.status_code == 302
    assert sorted(Document.objects.live().values_list("path", flat=True)) == paths
    assert Document.objects.get(path="hours.txt").revisions.count() == revisions
    assert not Upload.objects.exists() and not list(uploads.folder().iterdir())


def test_what_was_said_beforehand_is_not_asked(tus: Tus, policies: Collection) -> None:
    tus.create(policies, "hours.txt", len(TEXT), body=TEXT)
    fresh = TEXT.replace(b"five", b"nine")
    assert (
        tus.create(policies, "hours.txt", len(fresh), body=fresh, when_taken="replace")["Footnote-Outcome"] == "revised"
    )
    assert tus.create(policies, "hours.txt", len(TEXT), body=TEXT, when_taken="both")["Footnote-Outcome"] == "new"
    assert sorted(Document.objects.values_list("path", flat=True)) == ["hours (2).txt", "hours.txt"]


def test_the_page_learns_which_files_are_there_already(
    tus: Tus, policies: Collection, secrets: Collection, charlie: User
) -> None:
    tus.create(policies, "a/hours.txt", len(TEXT), body=TEXT)
    uploads.finish(
        uploads.append(
            uploads.open_upload(charlie, secrets, Announced("b.txt", len(TEXT)), batch=None), [TEXT], offset=0
        )
    )
    body = json.dumps({"paths": ["/a/./hours.txt", "b.txt", "..", "a"]})
    answer = tus.client.post(reverse("uploads_existing", args=[policies.pk]), body, content_type="application/json")
    assert json.loads(answer.content) == {"paths": ["/a/./hours.txt"]}


def test_a_form_without_scripts_asks_on_a_page_of_its_own(
    tus: Tus, policies: Collection, upload_file: Callable[[str, bytes], Any]
) -> None:
    address = reverse("upload", args=[policies.pk])
    tus.client.post(address, {"files": [upload_file("hours.txt", TEXT)]})
    fresh = TEXT.replace(b"five", b"nine")
    answer = tus.client.post(address, {"files": [upload_file("hours.txt", fresh), upload_file("new.txt", TEXT)]})
    assert answer["Location"] == reverse("uploads_waiting", args=[policies.pk])
    upload = Upload.objects.get()
    tus.client.post(answer["Location"], {"upload": str(upload.pk), "answer": "replace"})
    assert stored(Document.objects.get(path="hours.txt")) == fresh
    assert stored(Document.objects.get(path="new.txt")) == TEXT


# --- Receipts


def test_a_receipt_says_what_became_of_every_file(tus: Tus, alice: User, policies: Collection) -> None:
    opened = tus.client.post(reverse("imports", args=[policies.pk]), {"announced": "7"})
    batch = Batch.objects.get(pk=json.loads(opened.content)["id"])
    for number in range(4):
        tus.create(policies, f"{number}.txt", len(TEXT), body=TEXT + b"", batch=str(batch.pk))
    tus.create(policies, "0.txt", len(TEXT), body=TEXT, batch=str(batch.pk))
    tus.create(policies, "letter.pdf", len(TEXT), body=TEXT, batch=str(batch.pk))
    states = [(RunState.READY, 0), (RunState.READY, 3), (RunState.FAILED, 0), (RunState.CANCELLED, 0)]
    for run, (state, gaps) in zip(IngestRun.objects.order_by("pk"), states, strict=True):
        IngestRun.objects.filter(pk=run.pk).update(state=state, gaps=gaps, message="The file is broken.")
    batch.refresh_from_db()
    receipt = imports.receipt(batch)
    assert (receipt.ready, receipt.gaps, receipt.failed, receipt.cancelled) == (1, 1, 1, 1)
    assert (receipt.unchanged, receipt.refused, receipt.to_come, receipt.finished) == (1, 1, 1, False)
    tus.client.post(opened.json()["url"], {"action": "close"})
    batch.refresh_from_db()
    receipt = imports.receipt(batch)
    assert (receipt.finished, receipt.total) == (True, 6)
    assert receipt.sentence == "1 ready, 1 with gaps, 1 failed, 1 cancelled, 1 here already, 1 refused"
    page = tus.client.get(opened.json()["url"]).content.decode()
    assert receipt.sentence in page and "The file is broken." in page and "letter.pdf" in page
    library.delete_document(alice, Document.objects.get(path="1.txt"))
    assert imports.receipt(batch).deleted == 1
    with time_machine.travel(timezone.now() + timedelta(days=2)):
        late = imports.open_batch(alice, policies, Origin.BROWSER, 3)
    with time_machine.travel(timezone.now() + timedelta(days=4)):
        assert (imports.receipt(late).never_came, imports.receipt(late).finished) == (3, True)


def test_retrying_an_import_reads_what_failed_and_leaves_what_waits_for_a_password(
    tus: Tus, alice: User, policies: Collection
) -> None:
    batch = imports.open_batch(alice, policies, Origin.BROWSER, 3)
    for name in ("broken.txt", "protected.txt", "fine.txt"):
        tus.create(policies, name, len(TEXT), body=TEXT, batch=str(batch.pk))
    run = {run.revision.document.path: run.pk for run in IngestRun.objects.select_related("revision__document")}
    IngestRun.objects.filter(pk=run["broken.txt"]).update(state=RunState.FAILED)
    IngestRun.objects.filter(pk=run["protected.txt"]).update(state=RunState.FAILED, needs_password=True)
    IngestRun.objects.filter(pk=run["fine.txt"]).update(state=RunState.READY)
    tus.client.post(reverse("import", args=[policies.pk, batch.pk]), {"action": "retry"})
    states = dict(IngestRun.objects.values_list("revision__document__path", "state"))
    assert states == {"broken.txt": "queued", "protected.txt": "failed", "fine.txt": "ready"}


def test_a_large_import_waits_behind_what_people_send_one_by_one(tus: Tus, alice: User, policies: Collection) -> None:
    large, small = (imports.open_batch(alice, policies, Origin.BROWSER, size) for size in (300, 3))
    tus.create(policies, "a.txt", len(TEXT), body=TEXT, batch=str(large.pk))
    tus.create(policies, "b.txt", len(TEXT), body=TEXT, batch=str(small.pk))
    assert dict(IngestRun.objects.values_list("revision__document__path", "bulk")) == {"a.txt": True, "b.txt": False}


def test_the_receipt_as_a_table_holds_no_formula(tus: Tus, alice: User, policies: Collection) -> None:
    batch = imports.open_batch(alice, policies, Origin.BROWSER, 2)
    tus.create(policies, "=cmd|' /C calc'!A0.txt", len(TEXT), body=TEXT, batch=str(batch.pk))
    imports.note_refused(batch, "@sum.iso", "+1")
    answer = tus.client.get(reverse("import_csv", args=[policies.pk, batch.pk]))
    assert answer["Content-Type"].startswith("text/csv")
    assert answer["Content-Disposition"].startswith("attachment")
    rows = answer.content.decode("utf-8-sig").splitlines()
    assert rows[1].startswith("'=cmd|'") or rows[1].startswith("\"'=cmd|'")
    assert rows[2] == "'@sum.iso,refused,0,'+1"


def test_thirty_thousand_refused_files_stay_a_small_row(alice: User, policies: Collection) -> None:
    batch = imports.open_batch(alice, policies, Origin.BROWSER, 1005)
    batch.refused = [["x.bin", "No."]] * imports.REFUSED_NAMED
    batch.save()
    for _ in range(5):
        imports.note_refused(batch, "y.bin", "No.")
    batch.refresh_from_db()
    assert len(batch.refused) == imports.REFUSED_NAMED + 1
    assert imports.receipt(batch).refused == 1005


def test_a_whole_way_through_an_import(tus: Tus, alice: User, policies: Collection) -> None:
    batch = imports.open_batch(alice, policies, Origin.BROWSER, 1)
    tus.create(policies, "hours.txt", len(TEXT), body=TEXT, batch=str(batch.pk))
    imports.close_batch(batch)
    batch.refresh_from_db()
    run = IngestRun.objects.get()
    ingest.read(run.revision_id)
    from rag.services import embedding

    embedding.embed(run.revision_id)
    assert imports.receipt(batch).sentence == "1 ready"


def test_answers_to_files_of_a_closed_import_count_in_its_receipt(tus: Tus, alice: User, policies: Collection) -> None:
    tus.create(policies, "hours.txt", len(TEXT), body=TEXT)
    batch = imports.open_batch(alice, policies, Origin.BROWSER, 2)
    for fresh in (TEXT + b"1", TEXT + b"2"):
        tus.create(policies, "hours.txt", len(fresh), body=fresh, batch=str(batch.pk))
    imports.close_batch(batch)
    batch.refresh_from_db()
    assert (imports.receipt(batch).undecided, imports.receipt(batch).finished) == (2, False)
    first, second = uploads.undecided(alice, policies)
    uploads.decide([first], WhenTaken.SKIP)
    uploads.decide([second], WhenTaken.BOTH)
    batch.refresh_from_db()
    assert (imports.receipt(batch).total, imports.receipt(batch).in_work) == (1, 1)


def test_the_limit_of_a_file_is_the_operators(tus: Tus, policies: Collection, settings: LazySettings) -> None:
    settings.UPLOAD_LIMIT = 5 * 1024 * 1024
    assert tus.create(policies, "a.pdf", 5 * 1024 * 1024).status_code == 201
    answer = tus.create(policies, "a.pdf", 5 * 1024 * 1024 + 1)
    assert answer.status_code == 413
    assert "5 MB" in json.loads(answer.content)["message"]
