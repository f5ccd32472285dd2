"""What is tantivy's own: the formula, full disks, files that break under an open index, and the cost of an open one."""

import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rag.backends.errors import Damaged
from rag.backends.keywords.base import Entry
from rag.backends.keywords.tantivy import KIND, SEAL, TantivyIndex
from rag.backends.keywords.words import clean, pieces, telling, treated_as, words
from rag.domain.types import Everything, Except, Only

REPOSITORY = Path(__file__).resolve().parents[2]


def test_scores_are_bm25(tmp_path: Path) -> None:
    texts = ["zebra", "zebra zebra yak", "yak yak yak yak", "zebra yak yak yak yak yak"]
    index = TantivyIndex.create(tmp_path / "1")
    index.change(add=[Entry(number, text) for number, text in enumerate(texts)], remove=[])
    index.refresh()
    holding = [text for text in texts if "zebra" in text]
    mean = 1 + sum(len(text.split()) for text in texts) / len(texts)  # a passage's language is a word of it
    idf = math.log(1 + (len(texts) - len(holding) + 0.5) / (len(holding) + 0.5))

    def bm25(text: str) -> float:
        times, length = text.split().count("zebra"), 1 + len(text.split())
        return idf * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * length / mean))

    hits = index.search("zebra", limit=9, allowed=Everything())
    wanted = {number: bm25(text) for number, text in enumerate(texts) if text in holding}
    assert {hit.chunk_id: hit.score for hit in hits} == pytest.approx(wanted, abs=1e-3)


def test_every_filter_gives_the_best_of_what_it_lets_through_however_many_that_are(tmp_path: Path) -> None:
    """Few ids are a filter inside the index, of many more is fetched and dropped; those allowed may be the worst of all."""
    chance = random.Random(3)
    count = 2_000
    entries = [
        Entry(n, " ".join(["zebra"] * chance.randint(1, 6) + ["yak"] * chance.randint(0, 9))) for n in range(count)
    ]
    index = TantivyIndex.create(tmp_path / "1")
    index.change(add=entries, remove=[])
    index.refresh()
    every = index.search("zebra yak", limit=count, allowed=Everything())
    assert len(every) == count
    order = [hit.chunk_id for hit in every]
    for size in (1, 10, 40, 100, 300, 1_000, 1_900, 2_000):
        for ids in (frozenset(chance.sample(order, size)), frozenset(order[-size:]), frozenset(order[:size])):
            allowed = [hit for hit in every if hit.chunk_id in ids]
            barred = [hit for hit in every if hit.chunk_id not in ids]
            assert index.search("zebra yak", limit=20, allowed=Only(ids)) == allowed[:20]
            assert index.search("zebra yak", limit=20, allowed=Except(ids)) == barred[:20]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Terminated; terminating TERMINATION", "en", ["termin", "termin", "termin"]),
        ("12-345/A", "", ["12", "345", "a"]),
        ("5mg", "en", ["5", "mg"]),
        ("Straße, Häuser", "de", ["strass", "haus"]),
        ("договоры договоров", "ru", ["договор", "договор"]),
        ("Ёлка ёлка", "xx", ["елка", "елка"]),
        ("契約は1年", "ja", ["契約", "約は", "1", "年"]),
        ("계약서에 서명", "ko", ["계약", "약서", "서에", "서명"]),
        ("เป็นมา", "th", ["เป็น", "นมา"]),
        ("हिन्दी", "hi", ["हिन्दी"]),
        ("x" * 300, "en", []),
    ],
)
def test_text_becomes_words(text: str, language: str, expected: list[str]) -> None:
    assert words(clean(text), treated_as(language)) == expected


def test_words_have_pieces_in_all_languages_but_english() -> None:
    assert pieces(["frist", "ende", "2024", "12345"], "de") == ["fris", "rist"]
    assert pieces(["ngôn", "ngữ", "nào"], "vi") == ["ngôn_ngữ", "ngữ_nào"]
    assert pieces(["契約", "税"], "xx") == ["契", "約", "税"]
    assert pieces(["leases"], "en") == []


@pytest.mark.parametrize(
    ("question", "languages", "left"),
    [
        ("What is the notice period?", "en", "notice period"),
        ("Wie lang ist die Kündigungsfrist?", "de", "lang kündigungsfrist"),
        ("Wie lang ist die Kündigungsfrist?", "de en", "lang kündigungsfrist"),
        ("What did he die of?", "de en", "he die"),
        ("to be or not to be", "en", "not"),
        ("the", "en", "the"),
        ("ποια είναι η προθεσμία", "el", "ποια είναι η προθεσμία"),
    ],
)
def test_a_question_loses_the_stop_words_of_its_own_language_only(question: str, languages: str, left: str) -> None:
    assert telling(question, languages.split()) == left


FULL_DISK = """
import resource, sys
from pathlib import Path
from rag.backends.keywords.base import Entry
from rag.backends.keywords.tantivy import TantivyIndex
from rag.domain.errors import Retryable
index = TantivyIndex.open(Path(sys.argv[1]))
many = [Entry(number, f"lease {number} " + " ".join(f"w{number * 50 + k}" for k in range(50))) for number in range(4000)]
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
try:
    index.change(add=many, remove=[1])
except Retryable:
    print("retryable")
held = TantivyIndex.open(Path(sys.argv[1])).ids()
size = sum(path.stat().st_size for path in Path(sys.argv[1]).iterdir())
print(sorted(held), size < 100_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
index.change(add=many, remove=[1])
print(len(TantivyIndex.open(Path(sys.argv[1]))))
"""


def test_a_write_that_fails_is_retried_and_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    TantivyIndex.create(tmp_path / "1").change(add=[Entry(1, "lease"), Entry(2, "rent")], remove=[])
    child = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "1")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.stdout.splitlines() == ["retryable", "[1, 2] True", "4000"], child.stderr


def test_a_crash_between_commit_and_seal_costs_nothing(tmp_path: Path) -> None:
    index = TantivyIndex.create(tmp_path / "1")
    index.change(add=[Entry(1, "lease")], remove=[])
    before = (tmp_path / "1" / SEAL).read_bytes()
    index.change(add=[Entry(2, "lease")], remove=[])
    from rag.backends import files

    files.seal(tmp_path / "1", {"kind": KIND, "state": "writing"}, SEAL)
    assert TantivyIndex.open(tmp_path / "1").ids() == {1, 2}
    # An older seal, on the other hand, does not belong to these files.
    (tmp_path / "1" / SEAL).write_bytes(before)
    with pytest.raises(Damaged):
        TantivyIndex.open(tmp_path / "1")


def test_files_that_vanish_under_an_open_index_are_damage(tmp_path: Path) -> None:
    index = TantivyIndex.create(tmp_path / "1")
    index.change(add=[Entry(1, "lease")], remove=[])
    shutil.rmtree(tmp_path / "1")
    with pytest.raises(Damaged):
        index.refresh()


def test_an_open_index_costs_at_most_one_thread(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path\n"
        "from rag.backends.keywords.tantivy import TantivyIndex\n"
        "from rag.backends.keywords.base import Entry\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "kept = [TantivyIndex.create(Path(sys.argv[1]) / str(number)) for number in range(10)]\n"
        "for index in kept: index.change(add=[Entry(1, 'lease')], remove=[])\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    if not Path("/proc/self/task").is_dir():
        pytest.skip("counts threads in /proc")
    child = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert int(child.stdout) <= 10 + (os.cpu_count() or 1)
