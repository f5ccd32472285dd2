"""The sample collection: invented papers of a small clinic and a small law office, and questions about them.

`up` loads the documents into a new installation; the end-to-end test asks the questions.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

DOCUMENTS = Path(__file__).parent / "documents"

# Offered on the welcome page; each is one of `questions()` and is answered by one passage.
SUGGESTED: tuple[str, ...] = (
    "What does the laboratory agreement cost us each month now?",
    "I pricked my finger on a used needle. How do I treat the wound?",
    "How many days of holiday does a full-time employee of the clinic get?",
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question with what a right answer rests on.

    Answerable: `document` is a file name in `DOCUMENTS`, `passage` words that stand there, and a right answer has at
    least one of `fact`. Not answerable: `document` and `passage` are empty, and `fact` lists words that any document
    with an answer would have; none has them.
    """

    id: str
    question: str
    answerable: bool
    document: str
    passage: str
    fact: tuple[str, ...]
    note: str

    def found_in(self, text: str) -> bool:
        """Whether the expected passage stands in `text`, however its words are spaced and broken into lines."""
        return bool(self.passage) and spaced(self.passage) in spaced(text)

    def answered_by(self, text: str) -> bool:
        """Whether `text` has the expected fact in one of its wordings, letter case and spacing aside."""
        return self.answerable and any(says(text, fact) for fact in self.fact)


def says(text: str, words: str) -> bool:
    """Whether `words` stand in `text` as whole words and figures: "€35" is not in "€350", nor "6 %" in "86 %"."""
    whole = rf"(?<![\w.,]){re.escape(spaced(words))}(?!\w|[.,]\d)"
    return re.search(whole, spaced(text), re.IGNORECASE) is not None


def spaced(text: str) -> str:
    """`text` with one space wherever it has white space, and none at its ends."""
    return " ".join(text.split())


def documents() -> list[Path]:
    """The sample documents, sorted by name."""
    return sorted(path for path in DOCUMENTS.iterdir() if path.is_file())


def sources() -> list[str]:
    """The words of the sample documents, as they were written, in the order of their names."""
    return [path.read_text(encoding="utf-8") for path in sorted((Path(__file__).parent / "sources").glob("*.md"))]


def questions() -> list[Question]:
    """The questions in their order, the answerable first."""
    rows = json.loads((Path(__file__).parent / "questions.json").read_text(encoding="utf-8"))
    return [Question(**(row | {"fact": tuple(row["fact"])})) for row in rows]
