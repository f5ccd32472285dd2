"""Which sentences of the passages answer, word for word."""

import gzip
import json
import math
import string
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.domain.extracts import LONGEST, Quote, candidates, choose_quotes, rank_sentences
from rag.domain.types import Source
from rag.domain.words import content_stems

QUESTIONS = Path(__file__).resolve().parents[3] / "shared" / "data" / "nq_clapnq"


def source(number: int, text: str, title: str = "Handbook", heading: tuple[str, ...] = ()) -> Source:
    return Source(
        number=number,
        chunk_id=number,
        document_id=UUID(int=1),
        collection_id=UUID(int=2),
        extraction_id=1,
        revision=1,
        title=title,
        heading=heading,
        page_from=0,
        page_to=0,
        page_label="",
        start=0,
        end=len(text),
        text=text,
        score=1.0,
    )


def quotes(question: str, *texts: str, most: int = 3) -> list[Quote]:
    sources = [source(n, text) for n, text in enumerate(texts, start=1)]
    ranked = rank_sentences(question, sources, idf=lambda _: 1.0, cosines=None)
    return choose_quotes(ranked, sources, most=most)


LEAVE = (
    "Annual leave\n\nStaff plan their leave together with the practice manager. Full-time staff have 28 days of paid leave in "
    "each calendar year. Leave that is not taken by 31 March lapses. Anna Weber approves all requests."
)


def test_the_sentence_that_answers_comes_first() -> None:
    (best,) = quotes("How many days of paid leave do full-time staff have?", LEAVE, most=1)
    assert best.text == "Full-time staff have 28 days of paid leave in each calendar year."


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("When does leave lapse?", "31 March"),
        ("Who approves leave?", "Anna Weber"),
        ("How much leave is there?", "28 days"),
        ("Wer genehmigt leave requests?", "Anna Weber"),
    ],
)
def test_the_kind_of_question_prefers_the_kind_of_answer(question: str, answer: str) -> None:
    (best,) = quotes(question, LEAVE, most=1)
    assert answer in best.text


def test_a_quote_is_exactly_what_stands_in_the_source() -> None:
    for quote in quotes("leave", LEAVE, "Fees are due.\nThe fee is €20. It rises."):
        text = {1: LEAVE, 2: "Fees are due.\nThe fee is €20. It rises."}[quote.number]
        assert quote.text == text[quote.start : quote.end]


def test_a_heading_is_no_answer() -> None:
    assert "Annual leave" not in [quote.text for quote in quotes("annual leave", LEAVE)]


def test_a_heading_lifts_the_sentence_below_it() -> None:
    text = "Parking\n\nIt costs two euros for every hour.\n\nCopies\n\nIt costs twenty cents for one page of black ink."
    (best,) = quotes("How much does parking cost?", text, most=1)
    assert "every hour" in best.text


def test_an_announcement_brings_the_list_that_it_announces() -> None:
    text = "Please read this first.\n\nNew patients need to bring:\n- their insurance card\n- a referral letter\n\nWe look forward."
    (best,) = quotes("What do new patients need to bring?", text, most=1)
    assert best.text == "New patients need to bring:\n- their insurance card\n- a referral letter"


def test_a_table_row_can_answer() -> None:
    text = "| Test | Fee |\n| Blood count | €24 |\n| Lipid panel | €31 |"
    (best,) = quotes("How much is a lipid panel?", text, most=1)
    assert best.text == "| Lipid panel | €31 |"


def test_the_same_sentence_is_not_quoted_twice() -> None:
    found = quotes("leave days", LEAVE, LEAVE.replace("calendar year", "calendar  year"))
    texts = [quote.text.replace("  ", " ") for quote in found]
    assert len(set(texts)) == len(texts)


def test_the_best_quote_comes_first_wherever_it_stands() -> None:
    found = quotes("How many days are there?", LEAVE)
    assert [quote.score for quote in found] == sorted((quote.score for quote in found), reverse=True)
    assert any(character.isdigit() for character in found[0].text)


def test_a_stump_of_a_word_is_not_quoted_beside_whole_sentences() -> None:
    found = quotes(
        "Where does the press stand?", "Press. The wine press stands in the lower cellar. It is old and heavy."
    )
    assert "Press." not in [quote.text for quote in found]


def test_of_equal_sentences_the_better_passage_wins() -> None:
    found = quotes("When does it open?", "The shop opens at nine.", "The museum opens at nine.", most=1)
    assert found[0].number == 1


def test_the_likeness_of_meaning_decides_where_words_do_not() -> None:
    sources = [source(1, "Dogs are kept outside the building. Cats may come in with you.")]
    found = candidates(sources)
    ranked = rank_sentences("May I take my kitten?", sources, idf={}, cosines=[0.1, 0.9])
    assert ranked[0].text == found[1].text


def test_cosines_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="2 cosines for 1 candidates"):
        rank_sentences("Why?", [source(1, "Because it is so.")], idf={}, cosines=[0.1, 0.2])


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    sources = [source(1, "The policy covers the general conditions. The fee covers the lithotripsy alone.")]
    ranked = rank_sentences(
        "policy conditions lithotripsy", sources, idf={"polic": 0.1, "condition": 0.1, "lithotrips": 9.0}, cosines=None
    )
    assert "lithotripsy" in ranked[0].text


def test_no_question_and_no_sources_are_no_error() -> None:
    assert quotes("") == []
    assert quotes("", LEAVE)


def test_a_text_without_a_full_stop_is_cut_at_blanks() -> None:
    found = candidates([source(1, "word " * 1000)])
    assert all(len(candidate.text) <= LONGEST for candidate in found)
    assert all(candidate.text == candidate.text.strip() for candidate in found)


TEXTS = st.text(alphabet="aB1 .:\n-|(é", max_size=200)


@given(TEXTS, st.lists(TEXTS, max_size=4), st.integers(1, 4))
def test_every_quote_of_any_text_is_verbatim_and_none_overlap(question: str, texts: list[str], most: int) -> None:
    found = quotes(question, *texts, most=most)
    assert len(found) <= most
    for quote in found:
        assert quote.text == texts[quote.number - 1][quote.start : quote.end]
        assert quote.text.strip()
    for one in found:
        others = [other for other in found if other is not one and other.number == one.number]
        assert all(other.end <= one.start or one.end <= other.start for other in others)


# --- How often three quotes hold the answer, on real questions


def _plain(text: str) -> str:
    kept = "".join(" " if c in string.punctuation + "–—’‘" else c for c in text.lower())
    return f" {' '.join(word for word in kept.split() if word not in {'a', 'an', 'the'})} "


def _read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def test_without_any_model_three_quotes_hold_eight_of_ten_answers_that_the_passages_hold() -> None:
    if not QUESTIONS.is_dir():
        pytest.skip(f"the questions in {QUESTIONS} are not here")
    corpus = {entry["_id"]: entry for entry in _read(QUESTIONS / "corpus.jsonl.gz")}
    gold = [line.split("\t")[:2] for line in (QUESTIONS / "dev" / "qrels.tsv").read_text().splitlines()[1:]]
    near = {query: passage for query, passage in gold}
    asked = [q for q in _read(QUESTIONS / "dev" / "queries.jsonl.gz") if q["kind"] == "nq" and q["_id"] in near][:300]
    stems = {key: Counter(content_stems(f"{d['title']} {d['text']}")) for key, d in corpus.items()}
    counts = Counter(term for words in stems.values() for term in words)
    idf = {term: math.log(1 + (len(corpus) - n + 0.5) / (n + 0.5)) for term, n in counts.items()}
    holding: dict[str, list[str]] = {}
    for key, words in stems.items():
        for term in words:
            holding.setdefault(term, []).append(key)
    hits = held = 0
    for query in asked:
        scores: Counter[str] = Counter()
        for term in set(content_stems(query["text"])):
            for key in holding.get(term, ()):
                scores[key] += idf[term] * stems[key][term] / (stems[key][term] + 1.2)  # type: ignore[assignment]
        sources = [
            source(n, corpus[key]["text"], corpus[key]["title"]) for n, (key, _) in enumerate(scores.most_common(3), 1)
        ]
        if not any(_plain(answer) in _plain(s.text) for answer in query["answers"] for s in sources):
            continue
        held += 1
        ranked = rank_sentences(query["text"], sources, idf=idf, cosines=None)
        said = [_plain(quote.text) for quote in choose_quotes(ranked, sources)]
        hits += any(_plain(answer) in text for answer in query["answers"] for text in said)
    assert held > 200
    assert hits / held >= 0.8, f"{hits} of {held}"
