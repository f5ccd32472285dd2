"""Which of Tesseract's languages read which script, and how they are called there."""

from collections.abc import Collection, Sequence

_MOST = 4  # languages at once: each one more makes the reading slower
_ENGLISH = "eng"

# Tesseract's codes, each behind the ISO 639-1 code of its language.
_PAIRS = """
af:afr am:amh ar:ara as:asm az:aze be:bel bg:bul bn:ben bo:bod bs:bos ca:cat cs:ces cy:cym da:dan de:deu el:ell
en:eng eo:epo es:spa et:est eu:eus fa:fas fi:fin fr:fra ga:gle gl:glg gu:guj he:heb hi:hin hr:hrv hu:hun hy:hye
id:ind is:isl it:ita ja:jpn ka:kat kk:kaz km:khm kn:kan ko:kor ky:kir la:lat lo:lao lt:lit lv:lav mk:mkd ml:mal
mn:mon mr:mar ms:msa mt:mlt my:mya nb:nor ne:nep nl:nld no:nor or:ori pa:pan pl:pol ps:pus pt:por ro:ron ru:rus
sa:san sd:snd si:sin sk:slk sl:slv sq:sqi sr:srp sv:swe sw:swa ta:tam te:tel tg:tgk th:tha ti:tir tr:tur ug:uig
uk:ukr ur:urd uz:uzb vi:vie yi:yid zh:chi_sim
"""
_CODES = dict(pair.split(":") for pair in _PAIRS.split())
_LANGUAGES = {
    script: tuple(codes.split())
    for script, codes in {
        "Arabic": "ara fas urd pus snd uig",
        "Armenian": "hye",
        "Bengali": "ben asm",
        "Cyrillic": "rus ukr bul srp bel mkd kaz kir mon tgk",
        "Devanagari": "hin mar nep san",
        "Ethiopic": "amh tir",
        "Georgian": "kat",
        "Greek": "ell",
        "Gujarati": "guj",
        "Gurmukhi": "pan",
        "Han": "chi_sim chi_tra",
        "Hangul": "kor",
        "Hebrew": "heb yid",
        "Japanese": "jpn",
        "Kannada": "kan",
        "Khmer": "khm",
        "Korean": "kor",
        "Lao": "lao",
        "Malayalam": "mal",
        "Myanmar": "mya",
        "Oriya": "ori",
        "Sinhala": "sin",
        "Tamil": "tam",
        "Telugu": "tel",
        "Thai": "tha",
        "Tibetan": "bod",
        "Vietnamese": "vie",
    }.items()
}


def languages_for(script: str, asked: Sequence[str], installed: Collection[str]) -> tuple[str, ...]:
    """Tesseract's codes to read a page of that script with, English behind; () where none that fits is installed.

    `asked` are ISO 639-1 codes of languages that the text may be in, `installed` Tesseract's own codes.
    """
    own = [code for code in _LANGUAGES.get(script, ()) if code in installed]
    wanted = [code for code in map(_code, asked) if code in installed]
    # A language asked for says more than the script does: Ukrainian, and not all that Cyrillic letters can be.
    fitting = [code for code in wanted if code in own] or own or wanted
    if not fitting and script == "Latin":
        fitting = [_ENGLISH] if _ENGLISH in installed else []
    if not fitting:
        return ()
    english = [_ENGLISH] if _ENGLISH in installed and _ENGLISH not in fitting else []
    return (*fitting[: _MOST - len(english)], *english)


def _code(language: str) -> str:
    return _CODES.get(language.lower().partition("-")[0], language)
