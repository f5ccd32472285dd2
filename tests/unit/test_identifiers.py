"""What is taken for an identifier, and that two writings of one meet."""

import pytest

from rag.domain.identifiers import identifiers
from rag.domain.quotations import quotations


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("as § 14.2(b) says", ["14-2-b", "section14-2-b", "as-section14-2-b"]),
        ("Section 14.2 (b)", ["14-2-b", "section14-2-b"]),
        ("Art. 6(1)(f)", ["6-1-f", "art6-1-f"]),
        ("IX ZR 123/19", ["123-19", "zr123-19", "ix-zr123-19"]),
        ("C\N{NON-BREAKING HYPHEN}131/12", ["c-131-12"]),
        ("INV-2024-0017.", ["inv-2024-0017"]),
        ("5mg", ["5mg"]),
        ("5 mg", ["5mg"]),
        ("2,5 mg", ["2-5", "2-5mg"]),
        ("1,000 IU", ["1-000", "1-000iu", "1000iu"]),
        ("20 %", ["20%"]),
        ("clause 4", ["clause4"]),
        ("2024-05-17", ["2024-05-17", "=2024-5-17"]),
        ("17 May 2024", ["17may", "may2024", "=2024-5-17"]),
        ("3/4/2024", ["3-4-2024", "=2024-3-4", "=2024-4-3"]),
        ("9", []),
        ("no digit in it", []),
        ("0123456789abcdef" * 4, []),
    ],
)
def test_an_identifier_has_one_spelling(text: str, spelled: list[str]) -> None:
    assert identifiers(text) == spelled


def test_quotations_are_what_double_quotes_hold() -> None:
    assert quotations('What is "good cause" and “for cause”, „wichtiger Grund“, »Frist«, « faute », 「契約」?') == (
        "good cause",
        "for cause",
        "wichtiger Grund",
        "Frist",
        "faute",
        "契約",
    )
    assert quotations("the tenant's 'notice'") == quotations('"" "?!" "unclosed') == quotations("") == ()
