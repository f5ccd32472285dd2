"""core/env.py: every kind of variable, and the sentence for each wrong value."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from core.env import (
    env_bool,
    env_choice,
    env_int,
    env_list,
    env_path,
    env_secret,
    env_str,
    env_urls,
    environment_with,
)

pytestmark = pytest.mark.once
NAME = "FOOTNOTE_SAMPLE_VARIABLE"


@pytest.mark.parametrize("text", ["1", "true", "YES", " on "])
def test_words_for_yes_are_true(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(NAME, text)
    assert env_bool(NAME, default=False) is True


@pytest.mark.parametrize("text", ["0", "false", "No", "OFF"])
def test_words_for_no_are_false(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(NAME, text)
    assert env_bool(NAME, default=True) is False


@pytest.mark.parametrize("default", [True, False])
def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch, default: bool) -> None:
    monkeypatch.setenv(NAME, "  ")
    assert env_bool(NAME, default=default) is default
    assert env_int(NAME, 7) == 7
    assert env_str(NAME, "x") == "x"
    assert env_list(NAME, ("a", "b")) == ["a", "b"]
    assert env_path(NAME, Path("/somewhere")) == Path("/somewhere")


def test_any_other_word_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "maybe")
    with pytest.raises(ImproperlyConfigured, match=f"{NAME} must be true or false, not 'maybe'"):
        env_bool(NAME, default=False)


def test_numbers_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, " 42 ")
    assert env_int(NAME, 1) == 42


@pytest.mark.parametrize(
    ("text", "said"), [("ten", "whole number"), ("1.5", "whole number"), ("0", "between 1 and 9"), ("10", "between")]
)
def test_a_number_out_of_range_refuses_to_start(monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.setenv(NAME, text)
    with pytest.raises(ImproperlyConfigured, match=said):
        env_int(NAME, 5, least=1, most=9)


def test_lists_lose_blanks_and_empty_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, " a.example , ,b.example,")
    assert env_list(NAME) == ["a.example", "b.example"]


def test_a_choice_is_one_of_a_few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "Short")
    assert env_choice(NAME, "auto", ("auto", "short")) == "short"
    monkeypatch.setenv(NAME, "tiny")
    with pytest.raises(ImproperlyConfigured, match=f"{NAME} must be one of auto, short, not 'tiny'"):
        env_choice(NAME, "auto", ("auto", "short"))


def test_addresses_are_web_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "http://a.example:11434/ , https://[fd00::7]/v1")
    assert env_urls(NAME) == ["http://a.example:11434", "https://[fd00::7]/v1"]
    assert env_urls("FOOTNOTE_NOT_SET", ("http://127.0.0.1:9",)) == ["http://127.0.0.1:9"]


@pytest.mark.parametrize(
    "text", ["gpu:11434", "ftp://gpu", "http://", "http://gpu:port", "http://gpu:99999", "http://[fd00"]
)
def test_what_is_no_web_address_refuses_to_start(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(NAME, f"http://a.example,{text}")
    with pytest.raises(ImproperlyConfigured, match=f"{NAME} must hold addresses like"):
        env_urls(NAME)


def test_a_path_is_absolute_and_knows_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(NAME, "~/papers")
    assert env_path(NAME, Path("/")) == tmp_path / "papers"


def test_a_secret_comes_from_the_variable_or_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(NAME, "open sesame")
    assert env_secret(NAME) == "open sesame"
    monkeypatch.delenv(NAME)
    file = tmp_path / "secret"
    file.write_text("from the file\nsecond line\n")
    monkeypatch.setenv(f"{NAME}_FILE", str(file))
    assert env_secret(NAME) == "from the file"


def test_a_secret_given_twice_refuses_to_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(NAME, "one")
    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "other"))
    with pytest.raises(ImproperlyConfigured, match="not both"):
        env_secret(NAME)


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_secret_file_that_is_missing_or_empty_refuses_to_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(f"{NAME}_FILE", str(file))
    with pytest.raises(ImproperlyConfigured, match="cannot be read or is empty"):
        env_secret(NAME)


def test_a_childs_environment_leaves_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "ours")
    assert environment_with({NAME: "theirs"})[NAME] == "theirs"
    assert env_str(NAME) == "ours"
