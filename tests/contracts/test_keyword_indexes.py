"""What every keyword index promises, asked of each one found in rag/backends/keywords."""

import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.backends import keywords
from rag.backends.errors import Damaged
from rag.backends.keywords.base import Entry, KeywordIndex
from rag.domain.errors import Retryable
from rag.domain.pooling import pooled
from rag.domain.types import Allowed, Everything, Except, Only, allowed_ids
from tests.contracts.discovery import backends_of

FOUND = backends_of(keywords, KeywordIndex)  # type: ignore[type-abstract]
REPOSITORY = Path(__file__).resolve().parents[2]
WORDS = [
    "lease",
    "tenant",
    "rent",
    "deposit",
    "notice",
    "clinic",
    "patient",
    "sample",
    "blood",
    "result",
    "invoice",
    "fee",
]


def passages(count: int, seed: int = 0) -> list[Entry]:
    chance = random.Random(seed)
    return [
        Entry(number, " ".join(chance.choices(WORDS, k=chance.randint(3, 30))), context=chance.choice(WORDS))
        for number in range(count)
    ]


def found(index: KeywordIndex, question: str, limit: int = 50, allowed: Allowed | None = None) -> list[int]:
    return [hit.chunk_id for hit in index.search(question, limit=limit, allowed=allowed or Everything())]


def test_the_index_that_is_used_is_found() -> None:
    assert "TantivyIndex" in {index.__name__ for index in FOUND}


@pytest.mark.parametrize("kind", FOUND)
class TestKeywordIndex:
    def made(self, kind: type[KeywordIndex], folder: Path, entries: list[Entry]) -> KeywordIndex:
        index = kind.create(folder)
        index.change(add=entries, remove=[])
        index.refresh()
        return index

    def test_an_empty_index_finds_nothing(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        index = kind.create(tmp_path / "1")
        assert index.search("lease", limit=5, allowed=Everything()) == []
        assert index.ids() == index.quoting('"lease"', allowed=Everything()) == frozenset()
        assert not index.languages()
        assert len(index) == 0
        nothing = index.statistics("lease", languages=frozenset({"en"}))
        assert nothing.passages == 0
        assert index.scores("lease", ids=frozenset({1}), pool=nothing) == []

    @pytest.mark.parametrize(
        ("question", "text"),
        [
            ("When may the tenants terminate?", "The tenant may end the lease; termination needs notice."),
            ("§ 4.2", "see § 4.2 for details"),
            ("clause 4.2?", "Clause 4.2 applies"),
            ("12-345/A", "file no. 12-345/A was closed"),
            ("file 12-345/a", "FILE 12-345/A"),
            ("5 mg", "take 5mg daily"),
            ("5mg", "take 5 mg daily"),
            ("INV-2024-0017", "Invoice INV-2024-0017 of March"),
            ("Müller", "Frau Muller unterschreibt"),
            ("Kündigungsfrist", "Die Kündigungsfrist beträgt drei Monate"),
            ("résiliation", "La resiliation du contrat"),
            ("office", "The o\N{LATIN SMALL LIGATURE FFI}ce opens at nine"),
            ("agreement", "this agree\N{SOFT HYPHEN}ment"),
            ("срок договора", "Срок договора составляет год"),
            ("署名", "契約は署名日に発効する"),
            ("สัญญา", "สัญญามีผลบังคับ"),
            ("a", "vitamin A is fat soluble"),
            ("to be or not to be", "To be, or not to be"),
        ],
    )
    def test_words_numbers_and_identifiers_are_found(
        self, kind: type[KeywordIndex], tmp_path: Path, question: str, text: str
    ) -> None:
        index = self.made(kind, tmp_path / "1", [Entry(1, text), Entry(2, "nothing of the kind, 77 pieces")])
        assert found(index, question)[0] == 1

    def test_an_identifier_beats_its_parts_strewn_about(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        strewn = Entry(1, "of 345 files on 12 shelves, A to K")
        index = self.made(kind, tmp_path / "1", [strewn, Entry(2, "the matter with the number 12-345/A")])
        assert found(index, "12-345/A")[0] == 2

    def test_quoted_words_stand_together(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        entries = [
            Entry(1, "cause cause good: good for reasons and cause"),
            Entry(2, "he may be dismissed for good cause at any time"),
            Entry(3, "what counts as such is set out below", context="On Good Causes"),
            Entry(4, "he may be dismissed for good cause after notice"),
            Entry(5, "bei gutem Grund oder für immer", language="de"),
        ]
        index = self.made(kind, tmp_path / "1", entries)

        def quoting(question: str, allowed: Allowed | None = None) -> set[int]:
            return set(index.quoting(question, allowed=allowed or Everything()))

        assert quoting('"good cause"') == {2, 3, 4}
        assert quoting("What is “good cause” to them?") == {2, 3, 4}
        assert quoting('"good cause" and "at any time"') == {2}
        assert quoting('"notice" for "good cause"') == {4}
        assert quoting("bei »guten Gründen«") == {5}
        assert quoting('"good cause"', Only(frozenset({1, 4}))) == {4}
        assert quoting('"good cause"', Except(frozenset({4}))) == {2, 3}
        assert (
            quoting('"cause for dismissal"') == quoting("good cause") == quoting('"?!"') == quoting('5" and 6') == set()
        )

    def test_languages_are_read_by_their_own_rules(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        entries = [
            Entry(1, "Die Kündigungsfristen betragen drei Monate", language="de"),
            Entry(2, "Сроки договоров устанавливаются сторонами", language="ru"),
            Entry(3, "Los contratos se firmarán en la notaría", language="es"),
            Entry(4, "اتفاقيات الإيجار والشروط", language="ar"),
            Entry(5, "Umowy najmu są zawierane na piśmie", language="pl"),
            Entry(6, "The parties are leasing the premises", language="en"),
            Entry(7, "契約は署名日に発効する", language="ja"),
            Entry(8, "การเช่าบ้านต้องทำเป็นหนังสือ", language="th"),
            Entry(9, "이 계약은 서명한 날부터 효력이 있다", language="ko"),
            Entry(10, "Something in a language that was not told", language=""),
        ]
        index = self.made(kind, tmp_path / "1", entries)
        asked = {
            "договор": 2,
            "contrato firmado": 3,
            "اتفاقية": 4,
            "umowami": 5,
            "lease": 6,
            "契約の署名": 7,
            "日": 7,
            "เช่าบ้าน": 8,
            "계약": 9,
            "languages": 10,
        }
        assert {question: found(index, question)[0] for question in asked} == asked
        # Compounds: a part finds the whole and the whole finds a part.
        assert [found(index, word)[:1] for word in ("Frist", "Kündigung", "Fristenkündigung")] == [[1]] * 3

    @pytest.mark.parametrize(
        ("question", "text", "other"),
        [
            ("IX ZR 123/19", "Das entschied der BGH (IX ZR 123/19)", "IX ZB 19/123 und ZR 12/319, auch 123 und 19"),
            ("section 14.2(b)", "as § 14.2 (b) provides", "section 2, 14 (b), section b of 14, section 14(b) no. 2"),
            ("AB-1234/X", "Part ab-1234/x is out of stock", "Parts AB, X and 1234; AB-X/1234"),
            ("a dose of 2.5 mg", "2,5mg daily", "5 mg after 2 weeks, a dose, 2 mg or 5 mg"),
            ("1,000 IU", "1000 IU are enough", "IU of some kind"),
            ("signed on 17 May 2024", "Date: 2024-05-17", "in May 2017, in 2024 and on day 17"),
        ],
    )
    def test_an_identifier_is_one_thing(
        self, kind: type[KeywordIndex], tmp_path: Path, question: str, text: str, other: str
    ) -> None:
        index = self.made(kind, tmp_path / "1", [Entry(1, other), Entry(2, text), Entry(3, "nothing of the kind")])
        assert found(index, question)[0] == 2

    def test_several_indexes_rank_as_one_with_all_of_their_passages(
        self, kind: type[KeywordIndex], tmp_path: Path
    ) -> None:
        chance = random.Random(5)
        # One with short passages on few subjects, one with long ones on all: lengths and rarities differ.
        short = [
            Entry(number, " ".join(chance.choices(WORDS[:6], k=chance.randint(2, 8))), context="lease rent")
            for number in range(300)
        ]
        long = [
            Entry(number, " ".join(chance.choices(WORDS, k=chance.randint(30, 90))), context=chance.choice(WORDS))
            for number in range(300, 400)
        ]
        parts = [self.made(kind, tmp_path / "1", short), self.made(kind, tmp_path / "2", long)]
        merged = self.made(kind, tmp_path / "3", short + long)
        everything = frozenset(range(400))
        for question in ("lease", "sample", "the tenant's blood, an invoice and rent", "deposit " * 3, "nowhere"):
            languages = frozenset(language for part in parts for language in part.languages())
            pool = pooled(part.statistics(question, languages=languages) for part in parts)
            scores = {
                hit.chunk_id: hit.score
                for part in parts
                for hit in part.scores(question, ids=everything & part.ids(), pool=pool)
            }
            wanted = {hit.chunk_id: hit.score for hit in merged.search(question, limit=400, allowed=Everything())}
            assert scores == pytest.approx(wanted, rel=1e-3)
            # What a search gives with the pool's rarities is near enough to choose from.
            for part in parts:
                near = part.search(question, limit=400, allowed=Everything(), pool=pool)
                assert {hit.chunk_id for hit in near} == {number for number in scores if number in part.ids()}

    def test_statistics_of_one_index_alone_change_no_score(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        index = self.made(kind, tmp_path / "1", passages(200))
        question = "lease and blood of 12 patients"
        alone = index.search(question, limit=200, allowed=Everything())
        pool = index.statistics(question, languages=index.languages())
        assert [hit.chunk_id for hit in alone] == [
            hit.chunk_id for hit in index.search(question, limit=200, allowed=Everything(), pool=pool)
        ]
        exact = index.scores(question, ids=frozenset({1, 5, 60}), pool=pool)
        assert {hit.chunk_id: hit.score for hit in exact} == pytest.approx(
            {hit.chunk_id: hit.score for hit in alone if hit.chunk_id in {1, 5, 60}}, rel=1e-3
        )
        assert index.scores(question, ids=frozenset(), pool=pool) == []

    def test_title_and_headings_count_less_than_the_text(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        entries = [Entry(1, "rent is due monthly", context="lease"), Entry(2, "lease is due monthly", context="rent")]
        assert found(self.made(kind, tmp_path / "1", entries), "lease") == [2, 1]

    @pytest.mark.parametrize("question", ["", "   ", "?!", "§", "\x00", "---", "\N{ZERO WIDTH SPACE}", "🙂", '""'])
    def test_a_question_without_words_finds_nothing(
        self, kind: type[KeywordIndex], tmp_path: Path, question: str
    ) -> None:
        index = self.made(kind, tmp_path / "1", passages(20))
        assert index.search(question, limit=5, allowed=Everything()) == []

    @pytest.mark.parametrize(
        "question",
        [
            "lease AND NOT tenant",
            "text:lease",
            "lease^1000 (",
            'lease "unclosed',
            "[a TO z] lease",
            "lease* ~2 \\",
            "number:1 lease",
            "chunk:[0 TO 5] lease",
            "lease \ud800",
            "lease " * 20_000,
            "x" * 100_000 + " lease",
        ],
    )
    def test_no_question_is_syntax(self, kind: type[KeywordIndex], tmp_path: Path, question: str) -> None:
        index = self.made(kind, tmp_path / "1", [Entry(1, "lease"), Entry(2, "other")])
        assert 1 in found(index, question)

    def test_any_text_can_be_asked_and_indexed(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        index = self.made(kind, tmp_path / "1", passages(20))

        @settings(max_examples=150, deadline=None)
        @given(st.text(alphabet=st.characters(), max_size=60))
        def asked(text: str) -> None:
            assert set(found(index, text)) <= set(range(20))

        asked()
        strange = [Entry(number, chr(point) * 3 + " lease") for number, point in enumerate(range(0, 0x3000, 7))]
        index.change(add=strange, remove=range(20))
        index.refresh()
        assert index.ids() == frozenset(range(len(strange)))

    def test_results_never_leave_what_is_allowed_and_miss_none_of_it(
        self, kind: type[KeywordIndex], tmp_path: Path
    ) -> None:
        entries = passages(400)
        index = self.made(kind, tmp_path / "1", entries)
        chance = random.Random(3)

        @settings(max_examples=100, deadline=None)
        @given(
            question=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
            limit=st.integers(1, 60),
            share=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]),
        )
        def equal(question: str, limit: int, share: float) -> None:
            ids = frozenset(number for number in range(410) if chance.random() < share)
            everything = index.search(question, limit=1000, allowed=Everything())
            for allowed in (Only(ids), Except(ids)):
                wanted = allowed_ids(allowed, (hit.chunk_id for hit in everything))[:limit]
                assert found(index, question, limit, allowed) == wanted

        equal()

    def test_no_permission_finds_nothing(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        index = self.made(kind, tmp_path / "1", passages(50))
        for allowed in (Only(frozenset()), Except(index.ids()), Only(frozenset({77, 10**12}))):
            assert index.search("lease rent", limit=5, allowed=allowed) == []

    def test_many_allowed_ids_among_many_more_are_still_exact(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        # The allowed ones are the worst matches: they come after more hits than any over-fetching would take.
        entries = [Entry(number, "lease " * 3) for number in range(9_000)]
        entries += [Entry(9_000 + number, "lease and much else of no use at all") for number in range(1_500)]
        index = self.made(kind, tmp_path / "1", entries)
        allowed = Only(frozenset(range(9_000, 10_500)))
        assert found(index, "lease", 10, allowed) == list(range(9_000, 9_010))
        assert found(index, "lease", 10, Except(frozenset(range(9_000)))) == list(range(9_000, 9_010))

    @pytest.mark.parametrize("limit", [1, 7, 49])
    def test_equal_passages_come_by_smaller_id(self, kind: type[KeywordIndex], tmp_path: Path, limit: int) -> None:
        numbers = list(range(50))
        random.Random(1).shuffle(numbers)
        index = kind.create(tmp_path / "1")
        for number in numbers[:5]:
            index.change(add=[Entry(number, "the same words")], remove=[])
        index.change(add=[Entry(number, "the same words") for number in numbers[5:]], remove=[])
        index.refresh()
        assert found(index, "same", limit) == list(range(limit))

    def test_a_removed_passage_is_not_found_again(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        index = self.made(kind, tmp_path / "1", [Entry(1, "lease"), Entry(11, "lease"), Entry(111, "lease")])
        index.change(add=[], remove=[11, 11, 999])
        index.refresh()
        assert found(index, "lease") == [1, 111]
        assert index.search("lease", limit=5, allowed=Only(frozenset({11}))) == []
        assert index.ids() == {1, 111}
        assert len(index) == 2

    def test_adding_twice_equals_adding_once(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        entries = passages(30)
        index = self.made(kind, tmp_path / "1", entries)
        index.change(add=entries, remove=[])
        index.change(add=entries + entries, remove=[3])
        index.refresh()
        assert len(index) == 30
        assert index.ids() == frozenset(range(30))
        holding = [each.chunk_id for each in entries if "lease" in (*each.text.split(), each.context)]
        assert sorted(found(index, "lease")) == holding

    def test_adding_an_id_again_replaces_its_words(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        index = self.made(kind, tmp_path / "1", [Entry(1, "lease"), Entry(2, "rent")])
        index.change(add=[Entry(1, "deposit"), Entry(1, "blood")], remove=[1])
        index.refresh()
        assert [found(index, word) for word in ("lease", "deposit", "blood", "rent")] == [[], [], [1], [2]]

    def test_negative_ids_are_refused_and_nothing_is_changed(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        index = self.made(kind, tmp_path / "1", [Entry(1, "lease")])
        with pytest.raises(ValueError, match="negative"):
            index.change(add=[Entry(2, "lease"), Entry(-1, "lease")], remove=[1])
        index.refresh()
        assert index.ids() == {1}

    def test_a_reader_sees_a_change_after_refresh(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        writer = self.made(kind, tmp_path / "1", [Entry(1, "lease")])
        reader = kind.open(tmp_path / "1")
        writer.change(add=[Entry(2, "lease")], remove=[1])
        assert found(reader, "lease") == [1]
        reader.refresh()
        assert found(reader, "lease") == [2]

    def test_it_opens_as_it_was_closed(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        index = self.made(kind, tmp_path / "1", passages(100))
        index.change(add=[], remove=range(0, 100, 3))
        index.refresh()
        opened = kind.open(tmp_path / "1")
        assert opened.ids() == index.ids()
        assert opened.search("lease rent", limit=9, allowed=Everything()) == index.search(
            "lease rent", limit=9, allowed=Everything()
        )

    def test_an_index_is_created_only_in_a_new_folder(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        self.made(kind, tmp_path / "1", [Entry(1, "lease")])
        with pytest.raises(FileExistsError):
            kind.create(tmp_path / "1")
        assert kind.open(tmp_path / "1").ids() == {1}
        assert [path.name for path in tmp_path.iterdir()] == ["1"]

    def test_a_missing_or_empty_folder_is_damage(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for name in ("empty", "missing"):
            with pytest.raises(Damaged):
                kind.open(tmp_path / name)

    def test_half_a_folder_refuses_to_open(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        self.made(kind, tmp_path / "whole", passages(50)).change(add=[], remove=[3])
        for name in sorted(path.name for path in (tmp_path / "whole").iterdir()):
            if not (tmp_path / "whole" / name).stat().st_size:
                continue  # lock files
            for keep in (None, 0, 1, 0.5, -1):
                copy = tmp_path / "copy"
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(tmp_path / "whole", copy)
                if keep is None:
                    (copy / name).unlink()
                else:
                    data = (copy / name).read_bytes()
                    (copy / name).write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
                with pytest.raises(Damaged):
                    kind.open(copy)

    def test_one_flipped_bit_anywhere_refuses_to_open(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        index = self.made(kind, tmp_path / "1", passages(20))
        index.change(add=[], remove=[3])
        chance = random.Random(2)
        for path in sorted((tmp_path / "1").iterdir()):
            whole = path.read_bytes()
            # The last bytes of tantivy's files say which version wrote them; nothing is decided by them.
            body = whole.rfind(b'{"version"') if b'"crc"' in whole else len(whole)
            for place in sorted(chance.sample(range(body), min(body, 25))):
                path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :])
                with pytest.raises(Damaged):
                    kind.open(tmp_path / "1")
            path.write_bytes(whole)
        assert len(kind.open(tmp_path / "1")) == 19

    def test_a_second_writer_is_sent_away_for_now(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        index = self.made(kind, tmp_path / "1", [Entry(1, "lease")])
        outcomes: list[str] = []
        gate = threading.Barrier(4)

        def write(number: int) -> None:
            other = kind.open(tmp_path / "1")
            gate.wait()
            for turn in range(10):
                try:
                    other.change(add=[Entry(100 * number + turn, "rent")], remove=[])
                    outcomes.append("done")
                except Retryable:
                    outcomes.append("refused")

        threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(outcomes) == 40
        assert "refused" in outcomes
        index.refresh()
        assert len(index) == 1 + outcomes.count("done")
        assert len(kind.open(tmp_path / "1")) == len(index)

    def test_searches_beside_a_writer_in_another_process(self, kind: type[KeywordIndex], tmp_path: Path) -> None:
        self.made(kind, tmp_path / "1", [Entry(number, "lease rent") for number in range(50)])
        program = (
            "import sys; from pathlib import Path; from importlib import import_module\n"
            "from rag.backends.keywords.base import Entry\n"
            f"index = getattr(import_module({kind.__module__!r}), {kind.__name__!r}).open(Path(sys.argv[1]))\n"
            "for turn in range(100_000):\n"
            "    index.change(add=[Entry(100 + turn % 40, 'lease deposit')], remove=[100 + (turn + 20) % 40])\n"
            "    print(turn, flush=True)\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "1")], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "0\n"
            stop = time.monotonic() + 2
            faults: list[object] = []

            def read() -> None:
                try:
                    while time.monotonic() < stop:
                        index = kind.open(tmp_path / "1")
                        for _ in range(10):
                            assert found(index, "lease", 20, Only(frozenset(range(50)))) == list(range(20))
                            assert set(found(index, "deposit")) <= set(range(100, 140))
                            index.refresh()
                except BaseException as error:
                    faults.append(error)

            readers = [threading.Thread(target=read) for _ in range(3)]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
            assert child.poll() is None
        finally:
            child.kill()
            turns = child.stdout.read().split()
            child.stdout.close()
            child.wait()
        assert faults == []
        assert len(turns) > 3
        # Killed in the middle of a change: whole before or whole after it, and changeable at once.
        index = kind.open(tmp_path / "1")
        assert index.ids() >= frozenset(range(50))
        index.change(add=[Entry(500, "blood")], remove=[])
        assert 500 in kind.open(tmp_path / "1").ids()
