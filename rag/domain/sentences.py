"""Where sentences begin and end, in passages and in answers.

Why: a citation opens the exact sentence and a quote is shown whole, so a cut after "Dr." or "No. 5" is a visible fault,
while two sentences taken as one merely make a long quote. In doubt this joins. One pass of regular expressions over
the text: a book of several megabytes takes about a second.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

from rag.domain.words import word_set

# Never end a sentence, whatever follows.
_ALWAYS = word_set(
    """
    dr prof mr mrs ms mx st hon rev gen col capt lt sgt messrs mme mlle hr fr frl dipl ing
    e.g i.e cf viz vs resp approx esp incl excl fig figs eq ref refs dept univ
    z.b d.h u.a u.u i.d.r i.v.m i.s.d s.o s.u o.g v.a z.t m.e bzw ca vgl evtl ggf inkl exkl zzgl abzgl sog gem lt bspw
    str tel abt hrsg aufl
    jan feb mar apr jun jul aug sep sept oct okt nov dec dez
    """
)
# Abbreviations only before a number: "No. 5", "Art. 12", "p. 3", "ab S. 4".
_BEFORE_NUMBER = word_set(
    "no nos nr nrn art arts abs sec secs sect para paras par cl ch chap p pp s ss pt vol rn rz ziff lit buchst anh anl "
    "kap bl az tz § §§"
)
# May stand inside or at the end: the next word decides.
_EITHER = word_set(
    "inc ltd co corp llc plc jr sr gmbh bros u.s u.k u.n e.u a.m p.m ph.d m.d b.a m.a d.c etc usw u.s.w u.s.a"
)
_MONTHS = word_set(
    """
    january february march april may june july august september october november december
    januar jänner februar märz mai juni juli oktober dezember
    """
)
# Words that open a sentence far more often than they continue a name.
_OPENERS = word_set(
    """
    the a an in on at it its this that these those he she they we you i there here if when where while as for from
    with by to after before during since although however but and or no not each every all any some most many both
    such under
    der die das ein eine es er sie wir ihr ich dies diese dieser dieses im in am an auf bei mit nach von vor zu wenn
    als da weil ob jede jeder jedes alle kein keine nur auch sowie für durch
    """
)
# "der 3. Senat", "am 5. Tag": a German ordinal.
_BEFORE_ORDINAL = word_set(
    "der die das dem den des am im vom zum zur beim bis ab seit jeder jede jedes ein eine einer und oder"
)

# Possessive, and never begun inside a run of stops: a line of a million dots takes a pass, not a square.
_STOP = re.compile(r"""(?<![.!?…])[.!?…]++["'”’“»)\]]*+(?=\s)|[。！？]++[」』”"]*+""")
_LAST_WORD = re.compile(r"[^\s(\[{\"“„«'‚]*\Z")
_NEXT_WORD = re.compile(r"""\s*["'“„«‚([]*([^\s"'”’“»)\],;:.!?]*)""")
_NUMBERING = re.compile(
    r"(?:[-*•–—▪◦·]\s+)?(?:(?:§+|section|clause|article|art\.?|no\.?|nr\.?|chapter|kapitel|abs\.?)\s*)?"
    r"[(\[]?(?:\d{1,3}(?:\.\d{1,3})*|[ivxlc]{1,6}|[a-z])[)\]]?(?:\.|\Z)",
    re.IGNORECASE,
)
_STARTS_UNIT = re.compile(
    r"\s*(?:[-*•–—▪◦·]\s|#{1,6}\s|\||>|[(\[]?(?:\d{1,3}(?:\.\d{1,3})*|[a-zA-Z]|[ivx]{1,5})[.)]\s|\(\w{1,4}\)\s|§\s*\d"
    r"|[^\W\d_][\w /-]{1,30}:\s)"
)
_TABLE = re.compile(r"\s*\||.*(?:\t|\s\|\s)")
_ENDS_OPEN = re.compile(r"[,;(–-]\s*\Z")
_WORD_BYTES = 60  # the longest word looked at before a full stop


def sentences(text: str, *, wrapped: bool = True) -> list[tuple[int, int]]:
    """Spans [start, end) in code points of the sentences of `text`, in order, without surrounding blanks.

    Headings, list items and table rows are sentences of their own. `wrapped` says that a line break alone does not
    end a sentence, as in text taken from pages; False takes every line break as an end, as in what a model writes.
    """
    spans: list[tuple[int, int]] = []
    for start, end in _units(text, wrapped=wrapped):
        begin = start
        for stop in _STOP.finditer(text, start, end):
            if stop.end() < end and _ends_here(text, start, begin, stop):
                _add(spans, text, begin, stop.end())
                begin = stop.end()
        _add(spans, text, begin, end)
    return spans


def _add(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        spans.append((start, end))


def _units(text: str, *, wrapped: bool) -> Iterator[tuple[int, int]]:
    """Stretches that no sentence crosses: paragraphs, headings, list items, table rows."""
    block: list[tuple[int, int]] = []
    position = 0
    for line in text.split("\n"):
        end = position + len(line)
        if not line.strip():
            yield from _block_units(text, block)
            block = []
        elif wrapped:
            block.append((position, end))
        else:
            yield position, end
        position = end + 1
    yield from _block_units(text, block)


def _block_units(text: str, block: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    if not block:
        return
    longest = max(end - start for start, end in block)
    begin = block[0][0]
    for (start, end), (following, last) in pairwise(block):
        if _line_ends_unit(text[start:end], text[following:last], longest):
            yield begin, end
            begin = following
    yield begin, block[-1][1]


def _line_ends_unit(line: str, following: str, longest: int) -> bool:
    if _STARTS_UNIT.match(following) or _TABLE.match(line) or _TABLE.match(following) or line.lstrip().startswith("#"):
        return True
    # A heading or a field: much shorter than its neighbours, open at the end, and a capital after it. Lines of a narrow
    # column are all equally short, so they are measured against the longest of their block.
    bare = line.strip()
    return (
        len(bare) <= min(60, longest * 0.6)
        and not _ENDS_OPEN.search(bare)
        and bare.rsplit(" ", 1)[-1].lower() not in _OPENERS
        and following.lstrip()[:1].isupper()
        and not bare[:1].islower()
    )


def _ends_here(text: str, unit: int, begin: int, stop: re.Match[str]) -> bool:
    mark = stop.group()[0]
    if mark in "。！？":
        return True
    following = _NEXT_WORD.match(text, stop.end())
    word_after = following.group(1) if following else ""
    if word_after[:1].islower():
        return False
    if mark in "!?":
        return True
    last = _LAST_WORD.search(text, max(begin, stop.start() - _WORD_BYTES), stop.start())
    word = last.group().lower() if last else ""
    if stop.group().startswith(("..", "…")):
        return True
    return not _is_abbreviation(text, unit, word, word_after, stop.start())


def _is_abbreviation(text: str, unit: int, word: str, word_after: str, dot: int) -> bool:
    after = word_after.lower()
    if word in _ALWAYS or (word in _BEFORE_NUMBER and (word_after[:1].isdigit() or word_after[:1] == "§")):
        return True
    if word in _EITHER or (len(word) == 1 and word.isalpha()) or re.fullmatch(r"(?:[^\W\d_]\.)+[^\W\d_]", word):
        return after not in _OPENERS
    if word[:1].isdigit() and word.isdigit() and len(word) <= 2:
        before = text[max(unit, dot - 30) : dot - len(word)].split()
        if after in _MONTHS or (before and before[-1].lower() in _BEFORE_ORDINAL):
            return True
    # "4.2. Notice": the number that opens a heading or a list item belongs to it.
    return dot - unit <= 16 and _NUMBERING.fullmatch(text[unit : dot + 1].strip()) is not None
