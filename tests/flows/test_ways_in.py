"""Files that come by themselves: by the command, from a watched folder, from a mailbox. None is lost, none comes twice."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.conf import LazySettings
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from core.models import AuditEvent, Membership, Role, Team, User
from rag.config import rag_config
from rag.domain.errors import Permanent
from rag.models import Batch, Collection, Document, Grant, IngestRun, Mailbox, WatchedFolder
from rag.models.imports import Origin
from rag.models.index import RunState
from rag.services import imap, imports, ingest, library, mailboxes, uploads, watching
from tests.imap_server import Mailboxes, certificates, serving

pytestmark = pytest.mark.django_db
SignIn = Callable[[User | None], Client]


def configure(settings: LazySettings, **named: object) -> None:
    settings.RAG = settings.RAG | named
    rag_config.cache_clear()


def paths(collection: Collection) -> list[str]:
    return sorted(Document.objects.live().filter(collection=collection).values_list("path", flat=True))


def files(folder: Path) -> list[str]:
    """Every file below, by its path."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def end_runs(state: RunState, message: str = "") -> None:
    IngestRun.objects.update(state=state, message=message, lease_until=None)


# --- The command


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with three files, a hidden one, and links out of it."""
    (tmp_path / "outside.txt").write_text("Not in the tree.")
    tree = tmp_path / "contracts"
    (tree / "meyer" / "2024").mkdir(parents=True)
    (tree / "lease.txt").write_text("The lease runs for five years.")
    (tree / "meyer" / "offer.md").write_text("The offer holds for thirty days.")
    (tree / "meyer" / "2024" / "note.txt").write_text("The heating was mended in May.")
    (tree / ".secret.txt").write_text("Hidden.")
    (tree / "link.txt").symlink_to(tmp_path / "outside.txt")
    (tree / "up").symlink_to(tmp_path, target_is_directory=True)
    return tree


TREE = ["contracts/lease.txt", "contracts/meyer/2024/note.txt", "contracts/meyer/offer.md"]


def command(*given: object, **more: Any) -> int:
    """The exit code."""
    with pytest.raises(SystemExit) as ended:
        call_command("ingest", *map(str, given), **more)
    return int(str(ended.value.code))


def test_a_folder_keeps_its_structure_and_what_was_left_out_is_said(
    alice: User, policies: Collection, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tree, "--collection", "Policies") == 0
    assert paths(policies) == TREE
    said = capsys.readouterr()
    assert "3 in work." in said.out
    batch = Batch.objects.get()
    assert f"/imports/{batch.pk}/" in said.out
    assert (batch.origin, batch.actor, batch.announced, batch.finished is not None) == (Origin.COMMAND, alice, 3, True)
    assert said.err.count("links are not followed") == 2
    assert ".secret.txt: hidden" in said.err
    assert all(IngestRun.objects.values_list("bulk", flat=True))
    assert AuditEvent.objects.filter(action="document.uploaded", actor_id=alice.pk).count() == 3


def test_running_it_again_does_nothing(policies: Collection, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(tree, "--collection", policies.pk)
    capsys.readouterr()
    assert command(tree, "--collection", policies.pk) == 0
    assert capsys.readouterr().out.startswith("3 here already.")
    assert IngestRun.objects.count() == 3


def test_other_bytes_are_refused_replaced_or_kept_beside(policies: Collection, tree: Path) -> None:
    command(tree, "--collection", "Policies")
    (tree / "lease.txt").write_text("The lease runs for six years.")
    assert command(tree, "--collection", "Policies") == 1
    assert Batch.objects.first().refused[0][0] == "contracts/lease.txt"  # type: ignore[union-attr]
    for _twice in range(2):
        assert command(tree, "--collection", "Policies", "--keep-both") == 0
        assert paths(policies) == sorted([*TREE, "contracts/lease (2).txt"])
    assert command(tree, "--collection", "Policies", "--replace") == 0
    assert Document.objects.get(path="contracts/lease.txt").revisions.count() == 2


def test_refused_files_are_named_and_make_the_exit_code_1(
    policies: Collection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "program.exe").write_bytes(b"MZ\x90\x00")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "good.txt").write_text("Good words.")
    (tmp_path / "bad\x1b[31m\n.exe").write_bytes(b"MZ")
    assert command(*tmp_path.iterdir(), "--collection", "Policies") == 1
    said = capsys.readouterr()
    assert "1 in work" in said.out or "3 refused" in said.out
    assert "“empty.txt” is empty." in said.err
    assert "\x1b[31m" not in said.err
    assert paths(policies) == ["good.txt"]
    assert imports.receipt(Batch.objects.get()).refused == 3


def test_a_dry_run_writes_nothing(policies: Collection, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "program.exe").write_bytes(b"MZ\x90\x00")
    assert command(tree, "--collection", "Policies", "--dry-run") == 1
    assert "3 of 4 files" in capsys.readouterr().out
    assert not Document.objects.exists()
    assert not Batch.objects.exists()


def test_waiting_ends_with_the_receipt(
    policies: Collection, tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(seconds: float) -> None:
        IngestRun.objects.update(state=RunState.READY)
        IngestRun.objects.filter(revision__document__path="contracts/lease.txt").update(state=RunState.FAILED)

    monkeypatch.setattr("rag.management.commands.ingest.time.sleep", work)
    assert command(tree, "--collection", "Policies", "--wait") == 1
    assert capsys.readouterr().out.startswith("2 ready, 1 failed.")


def test_ctrl_c_keeps_what_was_taken_and_the_next_run_goes_on(
    policies: Collection, tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, calls = library.add_document, []

    def interrupted(*given: Any, **more: Any) -> library.Added:
        calls.append(more["path"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given, **more)

    monkeypatch.setattr("rag.services.library.add_document", interrupted)
    assert command(tree, "--collection", "Policies") == 130
    assert "Stopped. 1 in work." in capsys.readouterr().out
    assert command(tree, "--collection", "Policies") == 0
    assert paths(policies) == TREE


def test_nobody_adds_where_they_may_not_write(
    bob: User, dana: User, charlie: User, policies: Collection, tree: Path
) -> None:
    for name in ("bob", "charlie", "dana", "nobody"):
        with pytest.raises(CommandError):
            call_command("ingest", str(tree), "--collection", "Policies", "--as", name)
    Membership.objects.filter(user=bob).update(role=Role.CONTRIBUTOR)
    assert command(tree, "--collection", "Policies", "--as", "bob") == 0
    assert Batch.objects.get().actor == bob


def test_it_asks_which_manager_and_which_collection(
    alice: User, bob: User, clinic: Team, policies: Collection, tree: Path
) -> None:
    Membership.objects.filter(user=bob).update(role=Role.MANAGER)
    with pytest.raises(CommandError, match=r"--as USER \(alice, bob\)"):
        call_command("ingest", str(tree), "--collection", "Policies")
    User.objects.filter(pk=bob.pk).update(is_superuser=True)
    assert command(tree, "--collection", "Policies") == 0
    assert Batch.objects.get().actor == bob
    twin = Collection.objects.create(name="Policies")
    Grant.objects.create(collection=twin, team=clinic, role=Role.MANAGER)
    with pytest.raises(CommandError, match="2 collections are called so"):
        call_command("ingest", str(tree), "--collection", "Policies")
    with pytest.raises(CommandError, match="There is no file or folder"):
        call_command("ingest", str(tree / "nothing"), "--collection", policies.pk)


# --- The watched folder


@pytest.fixture
def root(settings: LazySettings, tmp_path: Path) -> Path:
    root = tmp_path / "watch"
    root.mkdir()
    configure(settings, WATCH_ROOT=str(root))
    return root


@pytest.fixture
def inbox(root: Path) -> Path:
    inbox = root / "inbox"
    inbox.mkdir()
    return inbox


class Watch:
    """A watched folder, and a clock that goes from look to look."""

    def __init__(self, actor: User, collection: Collection, folder: Path, clock: Any) -> None:
        self.watched = watching.watch(actor, collection, path=str(folder))
        self.clock = clock

    def look(self, times: int = 1) -> int:
        """So many looks, six seconds apart; how many files were taken."""
        taken = 0
        for _ in range(times):
            self.clock.shift(6)
            taken += watching.look(self.watched.pk)
        self.watched.refresh_from_db()
        return taken


@pytest.fixture
def watch(alice: User, policies: Collection, inbox: Path) -> Iterator[Watch]:
    with time_machine.travel(timezone.now()) as clock:
        yield Watch(alice, policies, inbox, clock)


def test_a_file_settles_is_taken_and_ends_in_done(watch: Watch, inbox: Path, policies: Collection) -> None:
    (inbox / "meyer").mkdir()
    (inbox / "meyer" / "lease.txt").write_text("The lease runs for five years.")
    assert watch.look() == 0
    assert watch.look() == 1
    assert paths(policies) == ["meyer/lease.txt"]
    assert files(inbox) == ["reading/meyer/lease.txt"]
    assert watch.look() == 0
    assert files(inbox) == ["reading/meyer/lease.txt"]
    end_runs(RunState.READY)
    watch.look()
    assert files(inbox) == [f"done/{timezone.localdate()}/meyer/lease.txt"]
    assert not (inbox / "reading" / "meyer").exists()
    assert watch.watched.message == ""
    assert watch.watched.looked is not None
    batch = Batch.objects.get()
    assert (batch.origin, batch.announced, batch.finished is not None) == (Origin.FOLDER, 1, True)


def test_a_file_that_is_being_written_is_left_alone(watch: Watch, inbox: Path) -> None:
    for size in range(1, 5):
        (inbox / "growing.txt").write_text("word " * size)
        assert watch.look() == 0
    assert watch.look() == 1


def test_an_empty_file_is_given_a_minute(watch: Watch, inbox: Path) -> None:
    (inbox / "late.txt").touch()
    watch.look(8)
    assert files(inbox) == ["late.txt"]
    watch.look(8)
    assert files(inbox) == ["failed/late.txt", "failed/late.txt.txt"]


def test_what_cannot_be_taken_goes_to_failed_with_the_reason(watch: Watch, inbox: Path, policies: Collection) -> None:
    (inbox / "tools").mkdir()
    (inbox / "tools" / "program.exe").write_bytes(b"MZ\x90\x00")
    watch.look(2)
    assert files(inbox) == ["failed/tools/program.exe", "failed/tools/program.exe.txt"]
    reason = (inbox / "failed" / "tools" / "program.exe.txt").read_text()
    assert "not read" in reason
    assert Batch.objects.get().refused == [["tools/program.exe", reason.strip()]]


def test_what_cannot_be_read_goes_to_failed_with_the_reason_and_back_for_another_try(
    watch: Watch, inbox: Path, policies: Collection
) -> None:
    (inbox / "scan.txt").write_text("Words.")
    watch.look(2)
    end_runs(RunState.FAILED, "No text was found in this file.")
    watch.look()
    assert files(inbox) == ["failed/scan.txt", "failed/scan.txt.txt"]
    assert (inbox / "failed" / "scan.txt.txt").read_text() == "No text was found in this file.\n"
    (inbox / "failed" / "scan.txt").rename(inbox / "scan.txt")
    watch.look(2)
    assert IngestRun.objects.get().state == RunState.QUEUED
    end_runs(RunState.READY)
    watch.look()
    assert f"done/{timezone.localdate()}/scan.txt" in files(inbox)


def test_a_document_that_was_stopped_or_deleted_is_not_called_done(watch: Watch, inbox: Path, alice: User) -> None:
    for name in ("stopped.txt", "deleted.txt"):
        (inbox / name).write_text(f"Words of {name}.")
    watch.look(2)
    ingest.cancel(alice, Document.objects.get(path="stopped.txt"))
    library.delete_document(alice, Document.objects.get(path="deleted.txt"))
    watch.look()
    assert "Somebody stopped" in (inbox / "failed" / "stopped.txt.txt").read_text()
    assert "deleted before" in (inbox / "failed" / "deleted.txt.txt").read_text()


def test_nothing_is_ever_overwritten(watch: Watch, inbox: Path) -> None:
    for words in ("first", "second"):
        (inbox / "letter.txt").write_text(words)
        watch.look(2)
        end_runs(RunState.READY)
        watch.look()
    done = inbox / "done" / str(timezone.localdate())
    assert (done / "letter.txt").read_text() == "first"
    assert (done / "letter (2).txt").read_text() == "second"
    assert Document.objects.get().revisions.count() == 2


def test_a_newer_file_waits_until_the_one_of_its_name_has_been_read(watch: Watch, inbox: Path) -> None:
    (inbox / "letter.txt").write_text("first")
    watch.look(2)
    (inbox / "letter.txt").write_text("second")
    assert watch.look(3) == 0
    end_runs(RunState.READY)
    assert watch.look() == 1


def test_a_kill_between_taking_and_moving_costs_nothing(
    watch: Watch, inbox: Path, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox / "letter.txt").write_text("Words of a letter.")
    watch.look()

    def killed(*given: object, **more: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", killed)
        with pytest.raises(SystemExit):
            watch.look()
    assert files(inbox) == ["letter.txt"]
    watch.clock.shift(60)  # the dead worker's lease runs out
    watch.look(3)
    assert files(inbox) == ["reading/letter.txt"]
    assert IngestRun.objects.count() == 1
    assert paths(policies) == ["letter.txt"]


def test_hidden_and_unfinished_names_are_left_alone(watch: Watch, inbox: Path) -> None:
    names = [".hidden", "~$lease.docx", "a.pdf.part", "b.crdownload", "c.tmp", "desktop.ini", "Thumbs.db", "d.txt~"]
    for name in names:
        (inbox / name).write_text("Words.")
    (inbox / ".git").mkdir()
    (inbox / ".git" / "x.txt").write_text("Words.")
    assert watch.look(3) == 0
    assert files(inbox) == sorted([*names, ".git/x.txt"])


def test_links_are_not_followed(watch: Watch, inbox: Path, tmp_path: Path, policies: Collection) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.txt").write_text("The secret.")
    (inbox / "key.txt").symlink_to(secret / "key.txt")
    (inbox / "folder").symlink_to(secret, target_is_directory=True)
    os.mkfifo(inbox / "pipe.txt")
    assert watch.look(3) == 0
    assert paths(policies) == []
    assert watch.watched.message == "1 link was left where it is."


def test_a_link_in_the_place_of_done_leads_nowhere(watch: Watch, inbox: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    watch.look()
    (inbox / "reading").rmdir()
    (inbox / "reading").symlink_to(elsewhere, target_is_directory=True)
    (inbox / "letter.txt").write_text("Words.")
    watch.look(2)
    assert files(elsewhere) == []
    assert files(inbox) == ["letter.txt"]
    assert watch.watched.message != ""


def test_a_link_in_the_place_of_the_folder_stops_it(watch: Watch, inbox: Path, root: Path) -> None:
    other = root / "other"
    other.mkdir()
    (other / "x.txt").write_text("Words.")
    inbox.rmdir()
    inbox.symlink_to(other, target_is_directory=True)
    assert watch.look(3) == 0
    assert "A link is now in the place of" in watch.watched.message
    assert files(other) == ["x.txt"]


def test_names_that_are_no_text_are_taken_too(watch: Watch, inbox: Path, policies: Collection) -> None:
    Path(os.fsdecode(os.fsencode(inbox) + b"/caf\xe9.txt")).write_text("Words of a caf\u00e9.")
    Path(os.fsdecode(os.fsencode(inbox) + b"/\xff\xfe.exe")).write_bytes(b"MZ\x90\x00")
    watch.look(2)
    end_runs(RunState.READY)
    watch.look()
    assert paths(policies) == ["caf.txt"]
    assert len(files(inbox / "failed")) == 2


def test_what_goes_wrong_is_said_on_the_page(
    watch: Watch, inbox: Path, alice: User, policies: Collection, as_user: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = reverse("sources", args=[policies.pk])
    (inbox / "letter.txt").write_text("Words.")

    def full(size: int) -> None:
        raise uploads.Full("x")

    with monkeypatch.context() as patched:
        patched.setattr("rag.services.uploads.require_disk", full)
        watch.look(2)
    assert "The server&#x27;s disk is full. The files wait" in as_user(alice).get(page).content.decode()
    assert files(inbox) == ["letter.txt"]
    shutil.move(inbox, inbox.with_name("away"))
    watch.look()
    assert "There is no folder" in as_user(alice).get(page).content.decode()
    shutil.move(inbox.with_name("away"), inbox)
    watch.look(2)
    assert watch.watched.message == ""
    assert paths(policies) == ["letter.txt"]


def test_a_full_collection_lets_files_wait(watch: Watch, inbox: Path, settings: LazySettings) -> None:
    configure(settings, COLLECTION_DOCUMENTS=1)
    for name in ("a.txt", "b.txt"):
        (inbox / name).write_text(f"Words of {name}.")
    assert watch.look(3) == 1
    assert "it may have 1 documents. The files wait" in watch.watched.message
    assert (inbox / "b.txt").exists()
    configure(settings, COLLECTION_DOCUMENTS=0)
    assert watch.look(2) == 1


def test_it_stops_when_whoever_switched_it_on_may_no_longer_write(watch: Watch, inbox: Path, alice: User) -> None:
    (inbox / "letter.txt").write_text("Words.")
    watch.look()
    Membership.objects.filter(user=alice).update(role=Role.READER)
    assert watch.look() == 0
    assert not watch.watched.enabled
    assert watch.watched.message.startswith("Switched off: alice may no longer")
    assert files(inbox) == ["letter.txt"]
    assert AuditEvent.objects.filter(action="watched_folder.off", actor_id=None).exists()
    assert watching.due() == []


def test_two_workers_never_look_at_once(watch: Watch, inbox: Path) -> None:
    (inbox / "letter.txt").write_text("Words.")
    watch.look()
    WatchedFolder.objects.update(lease_until=timezone.now() + timedelta(minutes=1))
    assert watch.look() == 0
    assert files(inbox) == ["letter.txt"]


def test_a_drop_has_one_receipt_over_several_looks(watch: Watch, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.services.watching._TAKING", -1.0)
    for number in range(3):
        (inbox / f"{number}.txt").write_text(f"Words of {number}.")
    watch.look()
    monkeypatch.setattr("rag.services.watching._TAKING", 10.0)
    watch.look(2)
    (inbox / "3.txt").write_text("Words of 3.")
    watch.look()
    watch.look(2)
    assert Batch.objects.count() <= 2
    assert sum(Batch.objects.values_list("announced", flat=True)) == 4
    assert all(imports.receipt(batch).to_come == 0 for batch in Batch.objects.all())


def test_only_folders_below_the_root_can_be_watched(
    alice: User, charlie: User, policies: Collection, secrets: Collection, root: Path, inbox: Path, tmp_path: Path
) -> None:
    (root / "out").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "beside").mkdir()
    for path in ("/etc", "..", "../beside", "out/beside", ".", str(root), "", "inbox/../../beside"):
        with pytest.raises(Permanent, match="Only folders below"):
            watching.watch(alice, policies, path=path)
    with pytest.raises(Permanent, match="There is no folder"):
        watching.watch(alice, policies, path="missing")
    watching.watch(alice, policies, path="inbox")
    (inbox / "deeper").mkdir()
    for path in ("inbox", "inbox/deeper"):
        with pytest.raises(Permanent, match="for another collection"):
            watching.watch(charlie, secrets, path=path)
    assert WatchedFolder.objects.get().path == str(inbox)


def test_footnotes_own_files_cannot_be_watched(alice: User, policies: Collection, settings: LazySettings) -> None:
    configure(settings, WATCH_ROOT="/")
    for path in (settings.DATA_DIR, settings.DATA_DIR / "originals", settings.DATA_DIR.parent):
        with pytest.raises(Permanent, match="own files"):
            watching.watch(alice, policies, path=str(path))


def test_without_a_root_it_is_off_and_the_page_says_how_to_switch_it_on(
    alice: User, policies: Collection, as_user: SignIn
) -> None:
    page = as_user(alice).get(reverse("sources", args=[policies.pk])).content.decode()
    assert "FOOTNOTE_WATCH_ROOT" in page
    assert "FOOTNOTE_MAIL_HOSTS" in page
    assert "<input" not in re.sub(r"<input[^>]*csrf[^>]*>", "", page.split("<main")[1].split("</main")[0])
    with pytest.raises(Permanent, match="not switched on"):
        watching.watch(alice, policies, path="inbox")


def test_a_manager_switches_it_on_and_off(alice: User, policies: Collection, inbox: Path, as_user: SignIn) -> None:
    browser, address = as_user(alice), reverse("sources_folder", args=[policies.pk])
    refused = browser.post(address, {"path": "../x", "action": "on"})
    assert refused.status_code == 422
    assert "Only folders below" in refused.content.decode()
    assert browser.post(address, {"path": "inbox", "action": "on"}).status_code == 302
    assert watching.due() == [WatchedFolder.objects.get().pk]
    assert browser.post(address, {"action": "off"}).status_code == 302
    assert watching.due() == []
    actions = AuditEvent.objects.filter(action__startswith="watched").order_by("id").values_list("action", flat=True)
    assert list(actions) == ["watched_folder.changed", "watched_folder.off"]


# --- The mailbox


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server() -> Mailboxes:
    return Mailboxes()


@pytest.fixture
def port(server: Mailboxes, certified: tuple[Path, Path], settings: LazySettings) -> Iterator[int]:
    with serving(server, certified[1]) as port:
        configure(settings, MAIL_HOSTS=(f"127.0.0.1:{port}",), MAIL_CA=str(certified[0]))
        yield port


@pytest.fixture
def box(alice: User, policies: Collection, server: Mailboxes, port: int) -> Mailbox:
    """A mailbox that is switched on."""
    found = mailboxes.connect(
        alice, policies, server=("127.0.0.1", port), user=server.user, password=server.password, folder="INBOX"
    )
    mailboxes.switch(alice, found, on=True)
    return found


def letter(subject: str, words: str = "Good morning.", date: str = "Sun, 01 Mar 2026 10:00:00 +0100") -> bytes:
    return f"From: a@example.org\r\nDate: {date}\r\nSubject: {subject}\r\n\r\n{words}\r\n".encode()


def fetched(box: Mailbox) -> int:
    count = mailboxes.fetch(box.pk)
    box.refresh_from_db()
    return count


def test_each_mail_becomes_a_document_once(box: Mailbox, server: Mailboxes, policies: Collection) -> None:
    inbox = server.folders["INBOX"]
    inbox[3] = letter("Offer for the boiler")
    inbox[9] = letter("=?utf-8?q?W=C3=A4rme/Pumpe?=")
    assert fetched(box) == 2
    assert paths(policies) == ["Mail/2026-03-01 Offer for the boiler.eml", "Mail/2026-03-01 Wärme Pumpe.eml"]
    assert (box.last_uid, box.uid_validity, box.message) == (9, 7, "")
    assert fetched(box) == 0
    inbox[10] = letter("Another", date="nonsense")
    assert fetched(box) == 1
    assert "Mail/undated Another.eml" in paths(policies)
    assert [batch.origin for batch in Batch.objects.all()] == [Origin.MAIL, Origin.MAIL]
    assert all(batch.finished for batch in Batch.objects.all())


def test_nothing_in_the_mailbox_is_changed(box: Mailbox, server: Mailboxes) -> None:
    server.folders["INBOX"][1] = letter("One")
    fetched(box)
    words = {command.split()[0] for command in server.commands}
    assert words == {b"CAPABILITY", b"AUTHENTICATE", b"EXAMINE", b"UID", b"LOGOUT"}
    assert not any(b"STORE" in command or b"BODY[" in command for command in server.commands)


def test_mails_of_one_day_and_subject_are_told_apart_and_never_doubled(
    box: Mailbox, server: Mailboxes, policies: Collection
) -> None:
    for uid in (1, 2, 3):
        server.folders["INBOX"][uid] = letter("Report", f"Part {uid}.")
    assert fetched(box) == 3
    before = paths(policies)
    assert len(before) == 3
    server.uid_validity = 8  # the server numbers its mails anew, in another order
    server.folders["INBOX"] = {uid: letter("Report", f"Part {part}.") for uid, part in ((1, 3), (2, 1), (3, 2))} | {
        4: letter("New")
    }
    fetched(box)
    assert paths(policies) == sorted([*before, "Mail/2026-03-01 New.eml"])
    assert (box.uid_validity, box.last_uid) == (8, 4)
    assert IngestRun.objects.count() == 4


def test_attachments_are_left_to_the_reader(box: Mailbox, server: Mailboxes, policies: Collection) -> None:
    body = (
        b"Date: Sun, 01 Mar 2026 10:00:00 +0100\r\nSubject: Plans\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nSee below.\r\n'
        b'--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename="plan.txt"\r\n\r\n'
        b"The plan is to dig.\r\n--b--\r\n"
    )
    server.folders["INBOX"][1] = body
    fetched(box)
    document = Document.objects.get()
    assert document.latest is not None
    ingest.read(document.latest.pk)
    assert paths(policies) == ["Mail/2026-03-01 Plans.eml", "Mail/2026-03-01 Plans.eml/plan.txt"]


def test_a_large_mail_comes_in_pieces_and_a_huge_one_is_named(
    box: Mailbox, server: Mailboxes, policies: Collection, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.services.imap.PIECE", 1000)
    settings.UPLOAD_LIMIT = 10_000
    inbox = server.folders["INBOX"]
    inbox[1] = letter("Large", "word " * 1500)
    inbox[2] = letter("Huge", "word " * 5000)
    inbox[3] = letter("Liar", "word " * 5000)
    server.said_sizes[3] = 100
    inbox[4] = letter("Even").ljust(2000, b".")  # a whole number of pieces
    assert fetched(box) == 2
    assert paths(policies) == ["Mail/2026-03-01 Even.eml", "Mail/2026-03-01 Large.eml"]
    document = Document.objects.get(title="2026-03-01 Large")
    assert document.latest is not None
    with document.latest.file.open() as stored:
        assert stored.read() == inbox[1]
    refused = Batch.objects.get().refused
    assert [path for path, _ in refused] == ["Mail 2", "Mail/2026-03-01 Liar.eml"]
    assert box.last_uid == 4


@pytest.mark.parametrize("at", [b"CAPABILITY", b"AUTHENTICATE", b"EXAMINE", b"SEARCH", b"RFC822.SIZE", b"BODY.PEEK"])
def test_a_connection_that_breaks_off_loses_nothing(
    box: Mailbox, server: Mailboxes, policies: Collection, at: bytes
) -> None:
    server.folders["INBOX"] |= {1: letter("One"), 2: letter("Two")}
    server.break_at, server.break_after = at, int(at == b"BODY.PEEK")
    fetched(box)
    assert "broke off" in box.message
    assert box.enabled
    server.break_at = b""
    fetched(box)
    assert paths(policies) == ["Mail/2026-03-01 One.eml", "Mail/2026-03-01 Two.eml"]
    assert box.message == ""


def test_a_refused_password_switches_it_off(
    box: Mailbox, server: Mailboxes, port: int, alice: User, policies: Collection
) -> None:
    server.password = "changed"
    assert fetched(box) == 0
    assert not box.enabled
    assert box.message == "Switched off: The mail server refused this user name or password."
    tried = len(server.commands)
    fetched(box)
    assert len(server.commands) == tried
    mailboxes.connect(alice, policies, server=("127.0.0.1", port), user=server.user, password="changed", folder="INBOX")
    box.refresh_from_db()
    assert mailboxes.test(box).startswith("The connection works")


def test_a_server_that_cannot_check_passwords_now_is_asked_again(box: Mailbox, server: Mailboxes) -> None:
    right, server.password, server.refusal = server.password, "other", "[UNAVAILABLE] Later."
    fetched(box)
    assert box.enabled
    assert box.message == "The mail server cannot check passwords at the moment."
    server.password = right
    fetched(box)
    assert box.message == ""


@pytest.mark.parametrize("plain", [True, False])
def test_both_ways_of_signing_in_work(box: Mailbox, server: Mailboxes, *, plain: bool) -> None:
    server.plain = plain
    assert mailboxes.test(box) == "The connection works: “INBOX” has 0 mails."


def test_a_certificate_that_nobody_vouches_for_is_refused(
    box: Mailbox, server: Mailboxes, settings: LazySettings, tmp_path: Path
) -> None:
    other, _own = certificates(tmp_path)
    configure(settings, MAIL_CA=str(other))
    fetched(box)
    assert "is not trusted" in box.message
    configure(settings, MAIL_CA=str(tmp_path / "missing.pem"))
    fetched(box)
    assert "FOOTNOTE_MAIL_CA" in box.message
    assert not any(command.startswith(b"AUTH") for command in server.commands)


def test_a_silent_server_and_one_that_floods_end_in_a_sentence(
    box: Mailbox, server: Mailboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.folders["INBOX"][1] = letter("One")
    monkeypatch.setattr("rag.services.mailboxes._SILENCE", 0.3)
    server.silent_at = b"EXAMINE"
    fetched(box)
    assert "did not answer in time" in box.message
    monkeypatch.setattr("rag.services.mailboxes._SILENCE", 20.0)
    server.silent_at, server.flood_at = b"", b"BODY.PEEK"
    fetched(box)
    assert "broke off" in box.message


def test_folders_with_other_letters_and_missing_ones(
    box: Mailbox, server: Mailboxes, alice: User, policies: Collection, port: int
) -> None:
    server.folders["Entw&APw-rfe &- more"] = {5: letter("Draft")}
    chosen = {"server": ("127.0.0.1", port), "user": server.user, "password": ""}
    mailboxes.connect(alice, policies, folder="Entwürfe & more", **chosen)  # type: ignore[arg-type]  # as a form gives them
    assert fetched(box) == 1
    mailboxes.connect(alice, policies, folder="Nothing", **chosen)  # type: ignore[arg-type]
    fetched(box)
    assert box.message == "There is no mail folder “Nothing” there."


def test_a_host_that_the_operator_did_not_name_is_never_reached(
    box: Mailbox, server: Mailboxes, alice: User, policies: Collection, settings: LazySettings
) -> None:
    with pytest.raises(Permanent, match="may not be fetched"):
        mailboxes.connect(alice, policies, server=("127.0.0.1", 993), user="a", password="b", folder="INBOX")
    configure(settings, MAIL_HOSTS=("mail.example.org",))
    assert mailboxes.servers() == [("mail.example.org", 993)]
    fetched(box)
    assert "no longer allows" in box.message
    configure(settings, MAIL_HOSTS=())
    assert mailboxes.due() == []
    assert server.commands == []


def test_it_stops_when_its_actor_may_no_longer_write(box: Mailbox, server: Mailboxes, alice: User) -> None:
    server.folders["INBOX"][1] = letter("One")
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert fetched(box) == 0
    assert not box.enabled
    assert server.commands == []


def test_a_full_collection_lets_mails_wait(box: Mailbox, server: Mailboxes, settings: LazySettings) -> None:
    server.folders["INBOX"] |= {1: letter("One"), 2: letter("Two")}
    configure(settings, COLLECTION_DOCUMENTS=1)
    assert fetched(box) == 1
    assert box.last_uid == 1
    assert "The mails wait" in box.message
    configure(settings, COLLECTION_DOCUMENTS=0)
    assert fetched(box) == 1


def test_a_manager_sets_a_mailbox_and_never_sees_its_password(
    alice: User, policies: Collection, server: Mailboxes, port: int, as_user: SignIn
) -> None:
    browser, address = as_user(alice), reverse("sources_mail", args=[policies.pk])
    given = {
        "action": "save",
        "server": f"127.0.0.1:{port}",
        "user": server.user,
        "password": server.password,
        "folder": "INBOX",
    }
    assert browser.post(address, given | {"password": ""}).status_code == 422
    assert browser.post(address, given | {"server": "evil.example.org:993"}).status_code == 422
    assert browser.post(address, given | {"folder": "IN\r\nBOX"}).status_code == 422
    assert not Mailbox.objects.exists()
    assert browser.post(address, given).status_code == 302
    box = Mailbox.objects.get()
    assert server.password not in box.secret
    assert not box.enabled
    tested = browser.post(address, {"action": "test"}, follow=True).content.decode()
    assert "The connection works: “INBOX” has 0 mails." in tested
    assert server.password not in tested
    browser.post(address, {"action": "on"})
    assert mailboxes.due() == [box.pk]
    # The password stays where nothing else changes, and does not go along to another account.
    assert browser.post(address, given | {"password": "", "folder": "Other"}).status_code == 302
    assert browser.post(address, given | {"password": "", "user": "other"}).status_code == 422
    browser.post(address, {"action": "off"})
    assert mailboxes.due() == []
    browser.post(address, {"action": "remove"})
    assert not Mailbox.objects.exists()
    actions = AuditEvent.objects.filter(action__startswith="mailbox").order_by("id").values_list("action", flat=True)
    assert list(actions) == ["mailbox.changed", "mailbox.on", "mailbox.changed", "mailbox.off", "mailbox.removed"]
    facts = str(list(AuditEvent.objects.values_list("facts", flat=True)))
    assert server.password not in facts


def test_an_unread_upload_by_hand_is_not_disturbed_by_a_mail(
    box: Mailbox, server: Mailboxes, alice: User, policies: Collection
) -> None:
    library.add_document(alice, policies, ContentFile(letter("Same", "By hand.")), path="Mail/2026-03-01 Same.eml")
    server.folders["INBOX"][1] = letter("Same", "By mail.")
    fetched(box)
    assert len(paths(policies)) == 2
    assert Document.objects.get(path="Mail/2026-03-01 Same.eml").revisions.count() == 1


def test_the_lists_of_a_server_cannot_fill_the_memory(
    box: Mailbox, server: Mailboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.services.imap._ANSWER_MOST", 2000)
    server.folders["INBOX"] |= {uid: b"x" for uid in range(1, 1000)}
    fetched(box)
    assert "broke off" in box.message
    assert imap.PIECE == 1024 * 1024
