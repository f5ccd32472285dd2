"""The identifiers in a text: section numbers, case numbers, dosages, dates, product codes, each in one spelling. Pure.

A word search takes them apart; kept whole, "IX ZR 123/19" is one thing and not a year among other numbers. The same rules
read passages and questions, so what matters is that two writings of one identifier meet, not how the spelling looks.

| written                             | spelled                                    |
|-------------------------------------|--------------------------------------------|
| § 14.2(b), Section 14.2 (b)         | 14-2-b, section14-2-b                      |
| IX ZR 123/19                        | 123-19, zr123-19, ix-zr123-19              |
| 12-345/A, INV-2024-0017, C-131/12   | 12-345-a, inv-2024-0017, c-131-12          |
| 5 mg, 5mg; 2,5 mg, 2.5mg; 1,000 IU  | 5mg; 2-5mg; 1-000iu and 1000iu             |
| 17 May 2024, 17.05.2024, 2024-05-17 | =2024-5-17                                 |
"""

import re

from rag.domain.quantities import dates

_DASHES = "-\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}"
_NUMBER = r"\d+(?:[.,]\d+)*"
# Letters and digits, parted by at most two signs; the blank of "14.2 (b)" belongs to it.
_CODE = rf"[^\W_]+(?:(?:[{_DASHES}/._,:§#+&]{{1,2}}|\s?\(|\)\s?\(|\)[{_DASHES}./]?)[^\W_]+)*"
_TOKEN = re.compile(_CODE)
_SEPARATORS = re.compile(r"[^\w]+|_")
_MEASURE = re.compile(rf"({_NUMBER})([^\W\d_]+|%)")
_GROUPED = re.compile(r"\d{1,3}(?:[.,]\d{3})+")
_NEXT = re.compile(r"[ \t\u00a0\u202f]?([^\W\d_]+|%)")
_BEFORE = re.compile(r"(?:([^\W\d_]{1,5})\.?[ \t\u00a0]+)?([^\W\d_]+|§+)\.?[ \t\u00a0]*$")
_YEAR = re.compile(r"(?<!\d)(?:1[5-9]|20)\d\d(?!\d)")
_REACH = 40  # characters looked back for the words before
_LONGEST = 60  # characters; longer is an address of the web or a checksum


def identifiers(text: str) -> list[str]:
    """The identifiers of `text`, each once, in the order in which they stand."""
    if not any(map(str.isdigit, text)):
        return []
    found: dict[str, None] = {}
    for match in _TOKEN.finditer(text):
        token = match.group()
        if len(token) > _LONGEST or not any(map(str.isdigit, token)):
            continue
        before = _BEFORE.search(text, max(0, match.start() - _REACH), match.start())
        after = _NEXT.match(text, match.end())
        for spelled in _spellings(token.casefold()):
            found.update(dict.fromkeys(_with_neighbours(spelled, before, after)))
    if _YEAR.search(text):  # finding dates takes longer than all the rest
        for date in dates(text):
            found.update(dict.fromkeys(f"={reading}" for reading in sorted(date.readings)))
    return list(found)


def _spellings(token: str) -> list[str]:
    """A measure without the blank, a grouped number also as one, anything else with one kind of separator."""
    if measure := _MEASURE.fullmatch(token):
        number, unit = measure.groups()
        return [f"{spelled}{unit}" for spelled in _spellings(number)]
    spelled = _SEPARATORS.sub("-", token).strip("-")
    return [spelled, _SEPARATORS.sub("", token)] if _GROUPED.fullmatch(token) else [spelled]


def _with_neighbours(spelled: str, before: re.Match[str] | None, after: re.Match[str] | None) -> list[str]:
    """A code alone and with what names it; a bare number only with its neighbours, for alone it is a word like any other."""
    found = [] if spelled.isdigit() else [spelled]
    if before is not None:
        further, word = (group.casefold() if group else "" for group in before.groups())
        word = "section" if word.startswith("§") else word
        found.append(f"{word}{spelled}")
        if further and not spelled.isdigit():
            found.append(f"{further}-{word}{spelled}")
    if after is not None and spelled.replace("-", "").isdigit():
        found.append(f"{spelled}{after.group(1).casefold()}")
    return found
