"""Makes a follow-up question self-contained by rule: what it leaves out is taken from the question before. Pure."""

import re
from collections.abc import Sequence

from rag.domain.words import content_stems

# Words that point back. "it" alone is enough: "How much is it?" means nothing by itself.
_POINTING = re.compile(
    r"\b(it|its|they|them|their|he|him|his|she|her|this|that|these|those|there|then|one|ones|same|former|latter"
    r"|er|sie|es|ihm|ihr|ihre|dies|diese|dieser|dieses|dort|davon|dazu|dafür|dabei)\b",
    re.IGNORECASE,
)
_CONTINUING = re.compile(r"^\s*(and|or|but|what about|how about|also|und|oder|aber|was ist mit|auch)\b", re.IGNORECASE)
_SHORT = 2  # content words up to which a question is taken for the rest of the one before


def standalone(question: str, earlier: Sequence[str]) -> str:
    """The question as it should be searched: itself, or with the words of the question before it that it leans on.

    `earlier` holds the thread's questions, oldest first, each as it was searched.
    """
    if not earlier:
        return question
    leans = _CONTINUING.search(question) or _POINTING.search(question) or len(content_stems(question)) <= _SHORT
    if not leans:
        return question
    return f"{question} ({earlier[-1]})"
