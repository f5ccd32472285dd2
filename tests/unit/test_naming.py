import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.domain.naming import MOST, meant, names

ACME = "SERVICES AGREEMENT\n\nThis Services Agreement is made on 3 March 2024 between Acme Supply, Inc. and Northwind Traders Ltd."
LEASE = "LEASE\n\nThis Lease is made on 1 May 2023 between Harbour Estates LLC and Acme Supply, Inc."
LICENCE = (
    "LICENCE AGREEMENT\n\nThis agreement is made on 9 June 2022 between Blue Yonder Software GmbH and Fabrikam AG."
)


@pytest.fixture
def documents() -> dict[str, str]:
    """Five contracts and twenty papers that have nothing to do with them."""
    papers = {f"paper {n}": names(f"Minutes {1990 + n}", f"Meeting of the board in room {n}.") for n in range(20)}
    return papers | {
        "services 2024": names("acme_services_2024.pdf", ACME),
        "services 2021": names("acme_services_2021.pdf", ACME.replace("3 March 2024", "3 March 2021")),
        "lease": names("Lease-Harbour.docx", LEASE),
        "licence": names("BlueYonder_Licence.pdf", LICENCE),
        "leave": names("Leave policy", "All staff have leave. Managers approve it."),
    }


def named(question: str, documents: dict[str, str]) -> set[str]:
    return {document for document, fit in meant(question, documents).documents.items() if fit >= 0.5}


def test_names_hold_the_title_as_words_and_the_parties_and_dates_of_the_head() -> None:
    found = names("HolidayRv_2002-EX-10_ENDORSEMENT AGREEMENT.pdf", ACME)
    for part in ("Holiday Rv", "2002", "ENDORSEMENT AGREEMENT", "Acme Supply", "Northwind Traders", "3 March 2024"):
        assert part in found
    assert "pdf" not in found


def test_names_leave_out_what_names_nothing() -> None:
    assert names("", "This Agreement. The Parties agree. Table of Contents. and so on in Section 4") == ""


@given(st.text(max_size=400), st.text(max_size=4000))
def test_names_are_bounded_and_the_same_each_time(title: str, head: str) -> None:
    found = names(title, head)
    assert len(found) <= MOST + 40
    assert found == names(title, head)


def test_a_party_names_its_contract(documents: dict[str, str]) -> None:
    question = "How long is the notice in the licence from Blue Yonder Software?"
    assert named(question, documents) == {"licence"}


def test_a_file_name_is_said_as_words(documents: dict[str, str]) -> None:
    assert named("What does the leave policy say about illness?", documents) == {"leave"}


def test_a_year_chooses_between_two_contracts_of_the_same_parties(documents: dict[str, str]) -> None:
    question = "What is the fee in the {} services agreement between Acme Supply and Northwind Traders?"
    assert named(question.format(2024), documents) == {"services 2024"}
    assert named(question.format(2021), documents) == {"services 2021"}


def test_two_documents_that_are_compared_are_both_named(documents: dict[str, str]) -> None:
    question = "How do the lease with Harbour Estates and the licence from Blue Yonder Software differ on notice?"
    assert named(question, documents) == {"lease", "licence"}


def test_what_is_asked_of_the_document_is_left_without_its_names(documents: dict[str, str]) -> None:
    asked = meant("What notice ends the licence from Blue Yonder Software?", documents).question
    assert "notice ends" in asked
    assert "Yonder" not in asked


@pytest.mark.parametrize(
    "question",
    [
        "How many days of leave do full-time staff have?",
        "Who approves invoices?",
        "who may end the agreement",
        "",
        "?!",
    ],
)
def test_a_question_that_names_no_document_is_left_alone(question: str, documents: dict[str, str]) -> None:
    found = meant(question, documents)
    assert found.documents == {}
    assert found.question == question


def test_a_name_that_many_documents_bear_names_none() -> None:
    many = {n: names(f"Acme Supply report {n}", "") for n in range(20)}
    assert meant("What did Acme Supply report?", many).documents == {}


def test_the_only_document_needs_no_name() -> None:
    assert meant("What does the leave policy say?", {1: "Leave policy"}).documents == {}


def test_a_question_made_of_names_alone_is_still_asked(documents: dict[str, str]) -> None:
    found = meant("Blue Yonder Software?", documents)
    assert set(found.documents) == {"licence"}
    assert found.question == "Blue Yonder Software?"


@given(st.text(max_size=300))
def test_any_question_is_answered(question: str) -> None:
    found = meant(question, {1: "Acme Supply; 2024", 2: "Blue Yonder; Leave policy", 3: ""})
    assert all(0 < fit <= 1 for fit in found.documents.values())


@pytest.fixture
def versions() -> dict[str, str]:
    """Three versions of a handbook, two amendments with one party, and papers about something else."""
    papers = {f"paper {n}": names(f"Minutes {1990 + n}", f"Meeting of the board in room {n}.") for n in range(20)}
    amendment = "AMENDMENT\n\nThis amendment is made on {} between Acme Supply, Inc. and Northwind Traders Ltd."
    return papers | {
        "handbook 2": names("Staff handbook v2", "For all staff."),
        "handbook 3": names("Staff_handbook_v3.pdf", "For all staff."),
        "handbook 3.1": names("Staff handbook v3.1", "For all staff."),
        "amendment 2023": names("Amendment Acme 2023-06-01", amendment.format("1 June 2023")),
        "amendment 2024": names("Amendment Acme 2024-03-03", amendment.format("3 March 2024")),
    }


@pytest.mark.parametrize("version", ["version 3.1", "v3.1", "Version 3.1"])
def test_a_version_chooses_among_several_of_one_name(version: str, versions: dict[str, str]) -> None:
    assert named(f"What does {version} of the staff handbook say about leave?", versions) == {"handbook 3.1"}


def test_a_version_alone_names_nothing(versions: dict[str, str]) -> None:
    assert named("How does one upgrade to MySQL version 3?", versions) == set()


@pytest.mark.parametrize("when", ["2024", "March 2024", "3 March 2024", "03.03.2024", "2024-03-03"])
def test_a_date_chooses_however_it_is_written(when: str, versions: dict[str, str]) -> None:
    assert named(f"What fee does the {when} amendment with Acme Supply set?", versions) == {"amendment 2024"}


def test_a_date_in_a_title_is_kept_whole() -> None:
    assert "2024-03-03" in names("Amendment_Acme_2024-03-03.pdf", "")
    assert "v3.1" in names("Staff handbook v3.1", "")


PAPERS = {
    "tlr": names(
        "Toll-like receptor-3 mediates HIV-1 transactivation (TLR3)", "We studied Toll Like Receptor 3 in cells."
    ),
    "cyclin": names("Cyclin A1 is required for meiosis", "Cyclin A2 and Coronary Artery Disease were seen in 5 mice."),
    "album": names("Step Back (album)", "Step Back is an album by Johnny Winter with Leslie West."),
    "hearing": names("Hearing loss in adults", "The World Health Organization counts 1 in 5."),
    **{f"other {n}": names(f"Subject {chr(65 + n)} of the survey", "Nothing is named here.") for n in range(16)},
}


@pytest.mark.parametrize(
    "question",
    [
        "Is type 1 diabetes found in 5 of 100 adults?",
        "Does Cyclin A2 destruction end mitosis?",
        "What is postoperative mortality in Coronary Artery Disease?",
        "Are Steve Perry and Leslie West both singers?",
        "Which album was recorded in 3 days?",
        "How many people does the World Health Organization employ?",
    ],
)
def test_what_a_document_only_speaks_of_does_not_name_it(question: str) -> None:
    assert named(question, PAPERS) == set()


def test_a_title_in_words_is_still_said_in_part() -> None:
    assert named("Who plays guitar on the record Step Back?", PAPERS) == {"album"}


@pytest.mark.parametrize(
    "head",
    [
        "This contract is made between Tailspin Toys and Wingtip Studio Works on 2 May 2021.",
        "Wingtip Studio Works, Inc. (the buyer) and the seller agree as follows, each for itself and for nobody else.",
        'Wingtip Studio Works, a partnership under the law of Ohio ("Buyer"), and the seller agree on what follows here.',
        "Wingtip Studio Works\n\nTerms of business",
    ],
)
def test_a_party_is_named_however_it_is_introduced(head: str) -> None:
    assert "Wingtip Studio Works" in names("scan_0017.pdf", head)
