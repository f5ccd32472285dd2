"""Text as it is stored: one cleaning for every parser, so that all offsets mean the same.

Why: offsets (boxes, headings, passages, citations) count code points of the cleaned text. A parser cleans each piece
before it measures it and never after; `clean` changes nothing in text that is clean already.
"""

import re
import unicodedata

_LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
# Every kind of blank but the tab and the newline: a quote must match whether its blank is a "hard" one or not.
_BLANKS = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
# Letters that readers see and searchers type, hidden in one code point for the typesetter: ﬁ, Hebrew and Arabic shapes.
# (U+FE70-FE7F would come apart into a blank and a mark, so they stay.)
_SHAPES = re.compile("[\ufb00-\ufb06\ufb13-\ufb17\ufb1d-\ufb4f\ufb50-\ufbb1\ufbd3-\ufd3d\ufd50-\ufdfb\ufe80-\ufefc]+")
# What a reader cannot see and a model can: controls, the tag alphabet, zero-width blanks, direction overrides, soft
# hyphens, byte-order marks, fillers, noncharacters.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
# Joiners shape Persian, Indic and emoji text, one between two such characters; a run of them is a hidden message.
_STRAY_JOINER = re.compile(
    "(?<![^\x00-\u02af\u200c\u200d\\s])[\u200c\u200d]+"
    "|[\u200c\u200d]+(?![^\x00-\u02af\u200c\u200d\\s])"
    "|[\u200c\u200d]{2,}"
)
# The same for variation selectors: one after a visible character chooses its look, two carry data.
_STRAY_VARIATION = re.compile(
    "(?<![^\x00-\u0022\u0024-\u0029\u002b-\u002f\u003a-\u00a8\\s])[\ufe00-\ufe0f\U000e0100-\U000e01ef]+"
    "|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}"
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_FILE_OR_ADDRESS = re.compile(
    r"(?i)\.(docx?|pdf|dotx?|rtf|odt|html?|indd|p65|qxd|tex|dvi|txt|md|wpd)$|^https?:|[\\/]\S*[\\/]"
)
_PLACEHOLDER = re.compile(
    r"(?i)(?:\(?(?:untitled|anonymous|unbenannt)\)?(?: \w+)?|no ?title|title|(?:new )?document|dokument|slide"
    r"|<.*|powerpoint presentation|exhibit [\w.]+)[ \d]*"
)
_MANY_BLANK_LINES = re.compile("\n{3,}")


def clean(text: str) -> str:
    """`text` in NFC with "\\n" line ends, plain blanks, no NUL, no lone surrogate, nothing that a reader cannot see."""
    while True:
        cleaned = _cleaned_once(text)
        if cleaned == text:
            return text
        text = cleaned  # taking one thing out can bring two others together


def _cleaned_once(text: str) -> str:
    if text.isascii():
        return text if text.isprintable() else _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))
    text = _SURROGATES.sub("\ufffd", text)
    text = _BLANKS.sub(" ", _LINE_ENDS.sub("\n", text))
    text = _SHAPES.sub(lambda found: unicodedata.normalize("NFKC", found.group()), text)
    text = _INVISIBLE.sub("", text)
    text = _STRAY_VARIATION.sub("", _STRAY_JOINER.sub("", text))
    return unicodedata.normalize("NFC", text)


def tidy(text: str) -> str:
    """`text` cleaned, without blanks at line ends, with at most one blank line in a row and none at either end."""
    # Line by line: a regular expression for blanks at line ends takes quadratic time on a long run of blanks.
    text = "\n".join(line.rstrip(" \t") for line in clean(text).split("\n"))
    return _MANY_BLANK_LINES.sub("\n\n", text).strip("\n")


def one_line(text: str) -> str:
    """`text` cleaned, with every run of blanks and line ends as one blank."""
    return " ".join(clean(text).split())


def sensible_title(text: str) -> str:
    """`text` when it reads like a title that an author gave, else ""; a file name is known without the document."""
    title = re.sub(r"^Microsoft (Word|PowerPoint|Excel) - ", "", one_line(text))
    if not 3 <= len(title) <= 200 or "\ufffd" in title or not any(letter.isalpha() for letter in title):
        return ""
    return "" if _PLACEHOLDER.fullmatch(title) or _FILE_OR_ADDRESS.search(title) else title
