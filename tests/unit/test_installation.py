"""core/installation.py: folders, key, static files, the first administrator and the samples."""

import getpass
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from core import installation
from core.management.commands.doctor import ask, table
from core.models import AuditEvent, User
from core.registry import Finding, State, registry


@pytest.fixture
def data(tmp_path: Path, settings: LazySettings) -> Path:
    settings.DATA_DIR = tmp_path / "data"
    settings.STATIC_ROOT = tmp_path / "data" / "static"
    installation.make_folders(settings.DATA_DIR)
    return tmp_path / "data"


def test_folders_are_for_this_user_alone(data: Path) -> None:
    for folder in (data, *data.iterdir()):
        assert folder.stat().st_mode & 0o777 == 0o700, folder


def test_a_data_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CommandError, match=r"cannot be written .* choose another: FOOTNOTE_DATA="):
        installation.make_folders(tmp_path / "file" / "data")


def test_the_key_is_made_once_and_kept_private(
    data: Path, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FOOTNOTE_SECRET_KEY", raising=False)
    installation.ensure_secret_key(data)
    key = (data / "secret_key").read_text().strip()
    assert len(key) >= 50
    assert key == settings.SECRET_KEY
    assert (data / "secret_key").stat().st_mode & 0o777 == 0o600
    installation.ensure_secret_key(data)
    assert (data / "secret_key").read_text().strip() == key


def test_a_key_from_the_environment_is_not_written_down(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_SECRET_KEY", "from-the-environment")
    installation.ensure_secret_key(data)
    assert not (data / "secret_key").exists()


def test_static_files_are_gathered_again_only_when_one_changed(
    data: Path, settings: LazySettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.STATICFILES_DIRS = [tmp_path / "static"]
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    (tmp_path / "static").mkdir()
    (tmp_path / "static/sample.css").write_text("a{}")
    gathered: list[str] = []

    def counted(name: str, **options: Any) -> None:
        gathered.append(name)
        call_command(name, **options)

    monkeypatch.setattr(installation, "call_command", counted)
    installation.collect_static()
    installation.collect_static()
    assert gathered == ["collectstatic"]
    (tmp_path / "static/sample.css").write_text("a{color:red}")
    installation.collect_static()
    assert (data / "static/sample.css").read_text() == "a{color:red}"
    assert gathered == ["collectstatic"] * 2


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the person at the terminal types, line by line."""
    typed: list[str] = []
    monkeypatch.setattr(installation, "at_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: typed.pop(0))
    monkeypatch.setattr(getpass, "getpass", lambda prompt: typed.pop(0))
    yield typed
    assert typed == []


@pytest.mark.django_db
def test_a_person_at_the_terminal_is_asked_until_the_password_will_do(
    terminal: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    good = "a password long enough"
    terminal += ["dana", "short", good, "something different", good, good]
    planned = installation.plan_administrator()
    assert (planned.name, planned.password, planned.generated) == ("dana", good, False)
    said = capsys.readouterr().out
    assert "too short" in said
    assert "different" in said
    assert good not in installation.introduce(planned)


@pytest.mark.django_db
def test_an_empty_password_asks_for_a_made_up_one(terminal: list[str]) -> None:
    terminal += ["", ""]
    planned = installation.plan_administrator()
    assert planned.name == "admin"
    assert planned.generated
    assert planned.password in installation.introduce(planned)
    assert planned.password not in repr(planned)


@pytest.mark.django_db
def test_the_administrator_can_sign_in_and_making_one_is_audited(data: Path) -> None:
    planned = installation.Administrator(name="dana", password="a password long enough", generated=False)
    installation.make(planned, samples=False)
    dana = User.objects.get(username="dana")
    assert dana.is_superuser
    assert dana.check_password("a password long enough")
    assert AuditEvent.objects.get(action="user.created").subject_id == str(dana.pk)


@pytest.mark.django_db
def test_samples_are_loaded_once_and_again_after_a_failure(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load(user: User) -> None:
        asked.append(user.username)
        if len(asked) == 1:
            raise OSError("disk full")

    monkeypatch.setattr(registry, "samples", load)
    installation.make(installation.Administrator(name="dana", password="x" * 20, generated=True), samples=True)
    with pytest.raises(OSError, match="disk full"):
        installation.load_pending_samples(lambda text: None)
    for _ in range(2):
        installation.load_pending_samples(lambda text: None)
    assert asked == ["dana", "dana"]


@pytest.mark.django_db
def test_samples_that_nobody_wants_are_not_loaded(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "samples", lambda user: pytest.fail("loaded"))
    installation.make(installation.Administrator(name="dana", password="x" * 20, generated=True), samples=False)
    installation.load_pending_samples(lambda text: None)


# --- doctor


def test_a_check_that_breaks_is_a_failure_and_hides_no_other() -> None:
    def broken() -> Finding:
        raise ConnectionError("no route")

    finding = ask(broken)
    assert finding.state is State.FAIL
    assert finding.found.startswith("ConnectionError: no route (test_installation.py:")


def test_the_table_shows_the_way_out_where_one_is_needed() -> None:
    findings = {
        "Redis": Finding(State.FAIL, "does not answer", "start it"),
        "Web": Finding(State.OK, "ready", "not shown"),
    }
    lines = list(table(findings, width=80))
    assert lines == [
        "Redis  fail  does not answer",
        "             → start it",
        "Web    ok    ready",
        "",
        "1 ok, 0 to know, 1 not working",
    ]


@pytest.mark.django_db
def test_doctor_ends_with_an_error_when_something_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.doctor, "Sample", lambda: Finding(State.FAIL, "broken"))
    output = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", "--only", "Sample", "--json", stdout=output)
    assert ended.value.code == 1
    assert json.loads(output.getvalue()) == [{"name": "Sample", "state": "fail", "found": "broken", "fix": ""}]


@pytest.mark.django_db
def test_doctor_knows_its_questions_by_name() -> None:
    with pytest.raises(CommandError, match=r"There is no Nonsense\. There are: Python, "):
        call_command("doctor", "--only", "Nonsense")


@pytest.mark.django_db
def test_doctor_finds_the_database_of_this_test() -> None:
    output = StringIO()
    call_command("doctor", "--only", "Database", "--json", stdout=output)
    assert json.loads(output.getvalue())[0]["state"] == "ok"
