"""What `evaluate parsers` says is what was read: nothing found that is not there, nothing missing that is."""

import json
from pathlib import Path

import pytest

from rag.domain.errors import Permanent, Protected
from rag.evaluation import parsers
from rag.evaluation.expectations import Expected, expected, letters, likeness


def test_a_folder_without_a_manifest_is_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "b.txt").write_text("b")
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / ".hidden").write_text("no")
    assert [(item.file.name, item.folder) for item in expected(tmp_path)] == [("a.txt", ""), ("b.txt", "notes")]


def test_a_manifest_says_what_is_expected(tmp_path: Path) -> None:
    line = {"file": "pdf/x.pdf", "must_contain": ["one"], "password": "p", "special": "tables"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line) + "\n\n")
    (item,) = expected(tmp_path)
    assert item == Expected(tmp_path / "pdf/x.pdf", "pdf", ("one",), "p", "tables", None)


def test_a_manifest_line_without_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"path": "x"}\n')
    with pytest.raises(ValueError, match="line 1"):
        expected(tmp_path)


def test_texts_are_compared_by_letters_and_digits_alone() -> None:
    assert letters("No. 8 up to 3⁄8 ﬁt") == letters("no 8 UP TO 3/8 fit")


def test_likeness_counts_each_word_as_often_as_it_comes_and_notices_the_order() -> None:
    whole = likeness("the cat and the dog", "the cat and the dog")
    assert (whole.words, whole.order) == (1.0, 1.0)
    once = likeness("the cat and the dog", "the cat and dog")
    assert once.words == pytest.approx(4 / 5)
    mixed = likeness("one two three four", "three four one two")
    assert mixed.words == 1.0
    assert mixed.order == pytest.approx(2 / 3)


def _read(outcome: object) -> parsers.Extractor:
    def extract(item: Expected) -> parsers._Text:
        if isinstance(outcome, Exception):
            raise outcome
        return parsers._Text(str(outcome), 1)

    return extract


@pytest.mark.parametrize(
    ("outcome", "kind", "missing"),
    [
        ("It holds the Snippet.", parsers.Outcome.READ, ()),
        ("It holds nothing.", parsers.Outcome.READ, ("the snippet",)),
        (Protected("This PDF is protected by a password."), parsers.Outcome.PROTECTED, ("the snippet",)),
        (Permanent("This file is empty."), parsers.Outcome.REFUSED, ("the snippet",)),
        (
            Permanent("Reading this file took longer than 5 seconds and was stopped."),
            parsers.Outcome.BROKE,
            ("the snippet",),
        ),
        (KeyError("x"), parsers.Outcome.REFUSED, ("the snippet",)),
    ],
)
def test_each_way_of_ending_is_told_apart(
    tmp_path: Path, outcome: object, kind: parsers.Outcome, missing: tuple[str, ...]
) -> None:
    item = Expected(tmp_path / "x.pdf", "pdf", ("the snippet",))
    result = parsers._judged("test", item, _read(outcome))
    assert (result.outcome, result.missing) == (kind, missing)
    assert result.found == 1 - len(missing)


def test_complaints_name_what_is_missing_and_what_broke(tmp_path: Path) -> None:
    results = [
        parsers._judged(parsers.OURS, Expected(tmp_path / "good.pdf", "pdf", ("words",)), _read("words")),
        parsers._judged(parsers.OURS, Expected(tmp_path / "poor.pdf", "pdf", ("words",)), _read("nothing")),
        parsers._judged(
            parsers.OURS,
            Expected(tmp_path / "crash.pdf", "malformed"),
            _read(Permanent("The program that reads this kind of file crashed on it, so the file was not read.")),
        ),
        parsers._judged("pypdf", Expected(tmp_path / "poor.pdf", "pdf", ("words",)), _read("nothing")),
    ]
    lines = parsers.complaints(results)
    assert [line.partition(":")[0] for line in lines] == ["pdf/poor.pdf", "malformed/crash.pdf"]
    rows = {(row.folder, row.extractor): row for row in parsers.rows(results)}
    assert (rows["pdf", "footnote"].found, rows["pdf", "footnote"].expected) == (1, 2)
    assert rows["all", "footnote"].broke == 1
    assert rows["all", "pypdf"].files == 1
