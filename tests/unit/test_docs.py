"""README, CHANGELOG and docs/ name only what is there: pages, commands, modules, variables."""

import importlib.util
import re
from pathlib import Path

import pytest
from django.core.management import get_commands

pytestmark = pytest.mark.once
REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BY_BOOTSTRAP = {"test", "help"}  # manage.py itself knows these


@pytest.fixture(params=PAGES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def described_variables() -> set[str]:
    return set(re.findall(r"^\| `([A-Z_]+)`", (REPOSITORY / "docs/settings.md").read_text(), re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings can be reached by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, fragment = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.is_file(), f"{target} is not there"
        assert not fragment or fragment in anchors(linked), f"{target} has no such heading"


def test_every_command_exists(page: Path) -> None:
    commands = set(get_commands()) | BY_BOOTSTRAP
    named = set(re.findall(r"manage\.py ([a-z_]+)", page.read_text()))
    assert named <= commands, f"there is no {', '.join(sorted(named - commands))}"


def test_every_option_of_up_exists(page: Path) -> None:
    from core.management.commands.up import Command

    known = set(Command().create_parser("manage.py", "up")._option_string_actions)
    named = {
        option
        for line in re.findall(r"manage\.py up([^`\n]*)", page.read_text())
        for option in re.findall(r"--\S+", line)
    }
    assert named <= known, f"up has no {', '.join(sorted(named - known))}"


def test_every_module_that_is_run_exists(page: Path) -> None:
    for name in re.findall(r"-m\s+(tests\.[\w.]+|core\.[\w.]+|rag\.[\w.]+)", page.read_text()):
        assert importlib.util.find_spec(name.rstrip(".")) is not None, f"there is no {name}"


def test_every_path_of_the_source_exists(page: Path) -> None:
    """A file of the source in backticks is there; `*` may stand for a name."""
    for name in re.findall(r"`((?:core|rag|tests|docs|static|templates)/[\w/.*-]+)`", page.read_text()):
        assert any(REPOSITORY.glob(name.rstrip("/"))), f"there is no {name}"


def test_every_variable_is_described_in_the_settings(page: Path) -> None:
    named = {name.removesuffix("_FILE") for name in re.findall(r"\bFOOTNOTE_[A-Z_]+\b", page.read_text())}
    of_compose = {"FOOTNOTE_PUBLISH", "FOOTNOTE_WATCH_FOLDER"}  # compose.yaml's own
    assert named - of_compose <= described_variables()


def test_the_picture_is_small_enough_to_load_at_once() -> None:
    assert (REPOSITORY / "docs/images/ask.png").stat().st_size < 300_000


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)", (REPOSITORY / "README.md").read_text()))
    assert linked == {page.relative_to(REPOSITORY).as_posix() for page in PAGES if page.parent.name == "docs"}
