"""Numbers as a spreadsheet shows them: 0.125 under "0.0%" is 12.5%, 45292 under "d.m.yy" is a day. Dates come as ISO 8601."""

import datetime
import math
import re
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

GENERAL = "General"
# The formats that workbooks name by number alone; 27 to 36 and 50 to 58 are dates of East Asian calendars.
_BUILT_IN = {
    1: "0",
    2: "0.00",
    3: "#,##0",
    4: "#,##0.00",
    9: "0%",
    10: "0.00%",
    11: "0.00E+00",
    14: "yyyy-mm-dd",
    15: "d-mmm-yy",
    16: "d-mmm",
    17: "mmm-yy",
    18: "h:mm",
    19: "h:mm:ss",
    20: "h:mm",
    21: "h:mm:ss",
    22: "yyyy-mm-dd h:mm",
    37: "#,##0",
    38: "#,##0",
    39: "#,##0.00",
    40: "#,##0.00",
    45: "mm:ss",
    46: "[h]:mm:ss",
    47: "mm:ss",
    **dict.fromkeys((*range(27, 37), *range(50, 59)), "yyyy-mm-dd"),
}
_LAST_DAY = 2_958_466  # the day after 9999-12-31
_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|\\(?P<escaped>.)|(?P<space>_.)|\*.|\[\$(?P<currency>[^\]-]*)[^\]]*\]|(?P<bracket>\[[^\]]*\])'
    r"|(?P<mask>[0#?][0#?.,]*|\.[0#?]+)|(?P<rest>[\s\S])"
)
_ELAPSED = re.compile(r"\[(h+|m+|s+)\]", re.IGNORECASE)
_NOT_CODE = re.compile(r'"[^"]*"?|\\.|_.|\*.|\[[^\]]*\]|am/pm|a/p|general', re.IGNORECASE)


def built_in(number: int) -> str:
    """The format code behind a number, "General" for those that change nothing."""
    return _BUILT_IN.get(number, GENERAL)


def shown(value: float, code: str, *, from_1904: bool = False) -> str:
    """The number as its format shows it, "" where the format hides it; `from_1904` is the workbook's calendar.

    Formats that cannot be followed (fractions, conditions) give the plain number.
    """
    if not math.isfinite(value):
        return "#NUM!"
    if code == GENERAL or not code:
        return plain(value)
    kind = _kind(code)
    if kind and 0 <= value < _LAST_DAY:
        return _moment(value, kind, from_1904=from_1904)
    return plain(value) if kind else _masked(value, code)


def plain(value: float) -> str:
    """The number with the 15 digits that spreadsheets have, whole ones without a point: 0.1 + 0.2 is 0.3."""
    if value == 0 or not 1e-10 <= abs(value) < 1e21:
        return f"{value:.15g}" if value else "0"
    text = format(Decimal(f"{value:.15g}"), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def moment(value: datetime.datetime | datetime.date | datetime.time | datetime.timedelta) -> str:
    """A date or a time as ISO 8601, without a midnight that nobody wrote."""
    if isinstance(value, datetime.datetime):
        value = (value + datetime.timedelta(microseconds=500_000)).replace(microsecond=0)
        if value.time() == datetime.time():
            return value.date().isoformat()
        return value.isoformat(" ", "seconds" if value.second else "minutes")
    if isinstance(value, datetime.timedelta):
        return _elapsed(value.total_seconds())
    if isinstance(value, datetime.time):
        return value.isoformat("seconds" if value.second else "minutes")
    return value.isoformat()


@lru_cache(maxsize=1000)
def _kind(code: str) -> str:
    """What a format shows of a moment: letters out of "y", "m" (month), "d", "h", "e" (hours elapsed); "" for numbers."""
    first = code.split(";", 1)[0]
    if _ELAPSED.search(first):
        return "e"
    letters = set(_NOT_CODE.sub("", first).lower())
    clock = bool(letters & {"h", "s"})
    if not letters & {"y", "d", "h", "s", "m"} or (letters & {"0", "#"} and not clock):
        return ""
    return "".join(letters & {"y", "d"}) + ("m" if "m" in letters and not clock else "") + ("h" if clock else "")


def _moment(value: float, kind: str, *, from_1904: bool) -> str:
    if kind == "e":
        return _elapsed(round(value * 86_400))
    seconds = round((value % 1) * 86_400)
    day = int(value) + (1462 if from_1904 else 0)
    # Day 60 is 29 February 1900, which never was: the days before it are counted from one day later.
    start = datetime.datetime(1899, 12, 30) + datetime.timedelta(days=1 if day < 60 else 0)
    try:
        point = start + datetime.timedelta(days=day, seconds=seconds)
    except OverflowError:
        return plain(value)
    if not set(kind) & {"y", "d", "m"}:
        return moment(point.time())
    if "h" in kind:
        return moment(point)
    if "d" in kind or "y" not in kind:
        return point.date().isoformat()
    return f"{point:%Y-%m}" if "m" in kind else f"{point:%Y}"


def _elapsed(seconds: float) -> str:
    whole = round(abs(seconds))
    text = f"{whole // 3600}:{whole // 60 % 60:02}"
    return ("-" if seconds < 0 else "") + text + (f":{whole % 60:02}" if whole % 60 else "")


@lru_cache(maxsize=1000)
def _sections(code: str) -> tuple[tuple[str, str, str, bool] | None, ...]:
    """For positive, negative and zero: what stands before the digits, their mask, what stands behind, whether it is a
    percentage; None for a section that cannot be followed."""
    parts = [""]
    for piece in re.findall(r'"[^"]*"?|\\.|;|[^;"\\]+', code):
        if piece == ";":
            parts.append("")
        else:
            parts[-1] += piece
    return tuple(_section(part) for part in parts[:3])


def _section(code: str) -> tuple[str, str, str, bool] | None:
    before, mask, behind, percent = "", "", "", False
    for token in _TOKEN.finditer(code):
        literal = token["quoted"] or token["escaped"] or token["currency"] or (" " if token["space"] else "")
        if token["mask"]:
            if mask:
                return None  # a fraction, or digits in groups
            mask = token["mask"]
        elif token["bracket"] and token["bracket"][1] in "<>=":
            return None
        elif rest := token["rest"]:
            if rest.lower() in "e@/" or rest.isalpha():
                return None
            percent = percent or rest == "%"
            literal = rest
        if mask and not token["mask"]:
            behind += literal
        else:
            before += literal
    return before.lstrip(), mask, behind.rstrip(), percent


def _masked(value: float, code: str) -> str:
    sections = _sections(code)
    place = 1 if value < 0 and len(sections) > 1 else 2 if value == 0 and len(sections) > 2 else 0
    if sections[0] is not None and not any(sections[0][:3]) and len(sections) > 1:
        return ""  # ";;;" shows nothing
    section = sections[place] if place < len(sections) else None
    if section is None:
        return plain(value)
    before, mask, behind, percent = section
    if not mask:
        return (before + behind).strip() or plain(value)
    number = Decimal(f"{abs(value):.15g}") * (100 if percent else 1)
    scaled = mask.rstrip(",")
    number /= 1000 ** (len(mask) - len(scaled))
    digits, _, decimals = scaled.partition(".")
    number = number.quantize(Decimal(1).scaleb(-len(decimals)), ROUND_HALF_UP) if number < 10**25 else number
    whole, _, part = format(number, "f").partition(".")
    part = part.rstrip("0").ljust(decimals.count("0"), "0")
    whole = whole.zfill(digits.count("0")) if digits.count("0") > 1 else whole
    if "," in digits and whole.isdigit():
        whole = f"{int(whole):,}"
    minus = "-" if value < 0 and place == 0 and number else ""
    return f"{minus}{before}{whole}{'.' if part else ''}{part}{behind}"
