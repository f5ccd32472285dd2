"""The two invented houses whose papers the samples are: names, addresses and colours for the letterheads."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class House:
    """What a letterhead shows. `accent` is "#rrggbb"."""

    name: str
    line: str
    address: str
    contact: str
    accent: str
    serif: bool


HOUSES = {
    "clinic": House(
        name="Marrowby Family Clinic",
        line="General practice and diagnostics",
        address="14 Cooper’s Row, Marrowby",
        contact="Reception 555 0140  ·  reception@marrowbyclinic.example",
        accent="#1d5f5a",
        serif=False,
    ),
    "law": House(
        name="Pellworth & Orme",
        line="Law office",
        address="3 Assize Court, Castle Dunmere",
        contact="Telephone 555 0172  ·  office@pellworthorme.example",
        accent="#3a2a3f",
        serif=True,
    ),
}
