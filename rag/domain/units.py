"""Units of measure, English and German: their names, and which of them say the same with another number. Pure."""

import re
from decimal import Decimal

_UNIT_NAMES = {
    "%": "% percent per_cent pct prozent v.h.",
    "EUR": "€ eur euro euros",
    "USD": "$ usd us$ dollar dollars",
    "GBP": "£ gbp pound pounds pfund",
    "CHF": "chf franken francs",
    "cent": "cent cents ct",
    "second": "second seconds sec secs sekunde sekunden",
    "minute": "minute minutes min mins minuten",
    "hour": "hour hours hr hrs stunde stunden std",
    "day": "day days tag tage tagen tages calendar_day calendar_days kalendertage kalendertagen",
    "working day": (
        "working_day working_days business_day business_days werktag werktage werktagen arbeitstag arbeitstage "
        "arbeitstagen"
    ),
    "week": "week weeks woche wochen",
    "fortnight": "fortnight fortnights",
    "month": "month months monat monate monaten monats",
    "quarter": "quarters quartal quartale quartalen",
    "year": "year years jahr jahre jahren yr yrs",
    "ng": "ng nanogram nanograms",
    "µg": "µg μg mcg ug microgram micrograms mikrogramm",
    "mg": "mg milligram milligrams milligramm",
    "g": "g gram grams gramm gramme grammes",
    "kg": "kg kilogram kilograms kilo kilos kilogramm",
    "t": "tonne tonnes tonnen",
    "ml": "ml millilitre millilitres milliliter milliliters millilitern",
    "cl": "cl",
    "dl": "dl decilitre decilitres deziliter",
    "l": "l litre litres liter liters litern",
    "mm": "mm millimetre millimetres millimeter millimeters",
    "cm": "cm centimetre centimetres centimeter centimeters zentimeter",
    "metre": "metre metres meter meters metern",
    "km": "km kilometre kilometres kilometer kilometers",
    "mile": "mile miles meile meilen",
    "m²": "m² m2 sqm quadratmeter square_metres square_meters",
    "°C": "°c degrees_celsius grad_celsius degrees grad",
    "°F": "°f degrees_fahrenheit",
    "kB": "kb kilobyte kilobytes",
    "MB": "mb megabyte megabytes",
    "GB": "gb gigabyte gigabytes",
    "TB": "tb terabyte terabytes",
    "kWh": "kwh",
    "kW": "kw",
    "mmHg": "mmhg mm_hg",
    "mmol/l": "mmol/l mmol/litre",
    "mg/ml": "mg/ml",
    "mg/dl": "mg/dl",
    "mg/kg": "mg/kg",
    "g/l": "g/l",
    "km/h": "km/h kph",
    "IU": "iu i.u.",
    "ppm": "ppm parts_per_million",
    "times": "times mal -fold fold",
    "page": "page pages seite seiten",
}
UNITS = {name.replace("_", " "): unit for unit, names in _UNIT_NAMES.items() for name in names.split(" ")}
DURATIONS = frozenset(
    {"second", "minute", "hour", "day", "working day", "week", "fortnight", "month", "quarter", "year"}
)
CURRENCIES = frozenset({"EUR", "USD", "GBP", "CHF", "cent"})
SECTION = "§"  # what stands behind § 5, clause 7.1, Art. 6: a place in a text

# Exactly the same, with another number: 2 weeks and 14 days, 0.5 g and 500 mg. A month has no number of days.
_EXACT = {
    "second": ("time", "1"), "minute": ("time", "60"), "hour": ("time", "3600"), "day": ("time", "86400"),
    "week": ("time", "604800"), "fortnight": ("time", "1209600"),
    "month": ("months", "1"), "quarter": ("months", "3"), "year": ("months", "12"),
    "ng": ("mass", "1e-9"), "µg": ("mass", "1e-6"), "mg": ("mass", "1e-3"), "g": ("mass", "1"), "kg": ("mass", "1e3"),
    "t": ("mass", "1e6"),
    "ml": ("volume", "1e-3"), "cl": ("volume", "1e-2"), "dl": ("volume", "1e-1"), "l": ("volume", "1"),
    "mm": ("length", "1e-3"), "cm": ("length", "1e-2"), "metre": ("length", "1"), "km": ("length", "1e3"),
    "kB": ("data", "1e3"), "MB": ("data", "1e6"), "GB": ("data", "1e9"), "TB": ("data", "1e12"),
    "%": ("share", "0.01"), "share": ("share", "1"), "g/l": ("mass by volume", "1"), "mg/ml": ("mass by volume", "1"),
    "mg/dl": ("mass by volume", "1e-2"),
}  # fmt: skip


def unit_of(name: str | None) -> str:
    """The unit that `name` is a name of, "" for none."""
    return UNITS[re.sub(r"\s+", " ", name.casefold())] if name else ""


def base(unit: str, reading: str) -> tuple[str, Decimal] | None:
    """Dimension and value in its base unit, where the unit has an exact one."""
    found = _EXACT.get(unit)
    return (found[0], (Decimal(reading) * Decimal(found[1])).normalize()) if found else None


def comparable(one: str, other: str) -> bool:
    """Whether values in these two units could stand in one place: spans of time, amounts of money, masses."""
    units = {one, other}
    if len(units) == 1:
        return True
    mine, theirs = _EXACT.get(one), _EXACT.get(other)
    return (
        units <= CURRENCIES or units <= DURATIONS or (mine is not None and theirs is not None and mine[0] == theirs[0])
    )
