"""core/licences.py: what a wheel's metadata say, and which licences do not fit."""

import zipfile
from pathlib import Path

import pytest

from core.licences import Verdict, judge, of_wheel, table

pytestmark = pytest.mark.once


def wheel(folder: Path, *lines: str, name: str = "sample") -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        head = ["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines]
        archive.writestr(f"{name}-1.0.dist-info/METADATA", "\n".join(head) + "\n\nLicense: GPL in the description\n")
    return path


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            [
                "License-Expression: MIT",
                "License: BSD",
                "Classifier: License :: OSI Approved :: Apache Software License",
            ],
            "MIT",
        ),
        (["Classifier: License :: OSI Approved :: BSD License", "License: something else"], "BSD License"),
        (["Classifier: License :: OSI Approved", "License: Apache-2.0"], "Apache-2.0"),
        (["License: UNKNOWN"], ""),
        ([], ""),
    ],
)
def test_the_best_statement_is_taken(tmp_path: Path, lines: list[str], expected: str) -> None:
    assert of_wheel(wheel(tmp_path, *lines)).licence == expected


@pytest.mark.parametrize(
    "licence",
    ["MIT", "Apache-2.0", "LGPL-3.0-only", "GNU Lesser General Public License v3 (LGPLv3)", "MIT OR GPL-2.0-only",
     "BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1", "Mozilla Public License 2.0 (MPL 2.0)"],
)  # fmt: skip
def test_licences_that_fit(licence: str) -> None:
    assert judge(licence) is Verdict.FITS


@pytest.mark.parametrize(
    "licence",
    ["GPL-3.0-only", "AGPL-3.0-or-later", "GNU General Public License v2 (GPLv2)", "GNU Affero General Public License v3",
     "MIT AND GPL-2.0-or-later", "GPLv3", "GPL-2.0-only OR AGPL-3.0-only"],
)  # fmt: skip
def test_licences_that_do_not_fit(licence: str) -> None:
    assert judge(licence) is Verdict.REFUSED


def test_a_silent_package_is_flagged_first(tmp_path: Path) -> None:
    found = [of_wheel(wheel(tmp_path, "License-Expression: MIT", name="aaa")), of_wheel(wheel(tmp_path, name="zzz"))]
    rows = [line for line in table(found).splitlines() if line.startswith(("| aaa", "| zzz"))]
    assert rows[0] == "| zzz | 1.0 | not stated | **unknown** |"
    assert rows[1] == "| aaa | 1.0 | MIT |  |"
