"""docs/settings.md names every variable that the code reads, with its default, and no other."""

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.once
REPOSITORY = Path(__file__).resolve().parents[2]
READERS = {"env_str", "env_bool", "env_choice", "env_int", "env_list", "env_path", "env_secret", "env_urls"}


def variables_read() -> dict[str, bool]:
    """Every variable that a call of core.env names, and whether it may also come from a file."""
    found: dict[str, bool] = {}
    for folder in ("core", "rag"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in READERS:
                    name = node.args[0]
                    if isinstance(name, ast.Constant) and isinstance(name.value, str):
                        found[name.value] = found.get(name.value, False) or node.func.id == "env_secret"
    return found


def variables_described() -> dict[str, str]:
    """Every row of the tables in docs/settings.md: the name and the rest of the row."""
    text = (REPOSITORY / "docs/settings.md").read_text()
    return dict(re.findall(r"^\| `([A-Z_]+)`( .*)$", text, re.MULTILINE))


def test_every_variable_is_described_and_no_other() -> None:
    assert set(variables_described()) == set(variables_read())


def test_those_that_may_come_from_a_file_say_so() -> None:
    described = variables_described()
    assert {name for name, row in described.items() if "_FILE" in row} == {
        name for name, is_secret in variables_read().items() if is_secret
    }


def test_numbers_name_their_default() -> None:
    """A default that is written as a number in the code is the one in the table."""
    described = variables_described()
    tree = ast.parse((REPOSITORY / "core/settings.py").read_text())
    checked = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "env_int":
            name, default = node.args[0], node.args[1]
            assert isinstance(name, ast.Constant) and isinstance(default, ast.Constant)
            cells = [cell.strip() for cell in described[str(name.value)].split("|")]
            assert cells[1] == f"`{default.value!r}`", name.value
            checked += 1
    assert checked >= 5


def test_the_example_names_only_variables_that_exist() -> None:
    example = (REPOSITORY / ".env.example").read_text()
    compose = (REPOSITORY / "compose.yaml").read_text()
    names = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    assert names == {name for name in names if f"${{{name}" in compose}
