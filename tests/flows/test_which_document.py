"""A question that says which document is meant is answered from that one."""

from collections.abc import Callable

import pytest

from core.models import User
from rag.access import scope_for_all
from rag.models import Chunk, Collection, Document
from rag.services import library, retrieve
from rag.services.naming import beside_passages

AddText = Callable[..., Document]

PARTIES = ("Acme Supply", "Blue Yonder", "Contoso Trading", "Fabrikam Works", "Harbour Estates", "Northwind Traders")
FILLING = "The parties keep what they learn of one another confidential and return all papers at the end. " * 12


def contract(party: str, days: int) -> str:
    """A contract whose clauses do not say whose they are."""
    return (
        f"# Services Agreement\n\nThis Services Agreement is made between Tailspin Toys and {party}, Inc.\n\n"
        f"## Secrecy\n\n{FILLING}\n\n## Fees\n\nFees are due each quarter. {FILLING}\n\n"
        f"## Notice\n\nEither party may end it at {days} days' notice in writing.\n\n## Law\n\nThe law of Ohio governs. {FILLING}"
    )


@pytest.fixture
def contracts(alice: User, policies: Collection, add_text: AddText) -> dict[str, Document]:
    return {
        party: add_text(alice, policies, f"contract {number}.md", contract(party, 10 + number))
        for number, party in enumerate(PARTIES)
    }


@pytest.mark.parametrize("party", PARTIES)
def test_the_named_contract_comes_first_and_so_does_its_clause(
    party: str, alice: User, contracts: dict[str, Document]
) -> None:
    question = f"What notice ends the Services Agreement between Tailspin Toys and {party}?"
    sources = retrieve.search(question, scope_for_all(alice)).sources
    assert sources[0].document_id == sources[1].document_id == contracts[party].pk
    clauses = [source.document_id for source in sources if "notice in writing" in source.text]
    assert clauses[0] == contracts[party].pk


def test_a_deleted_document_is_named_no_more(alice: User, contracts: dict[str, Document]) -> None:
    gone = contracts["Acme Supply"]
    library.delete_document(alice, gone)
    question = "What notice ends the Services Agreement between Tailspin Toys and Acme Supply?"
    found = retrieve.search(question, scope_for_all(alice)).sources
    assert found
    assert gone.pk not in {source.document_id for source in found}


def test_a_stranger_is_steered_to_nothing(charlie: User, contracts: dict[str, Document]) -> None:
    question = "What notice ends the Services Agreement between Tailspin Toys and Acme Supply?"
    assert retrieve.search(question, scope_for_all(charlie)).sources == []


def test_near_copies_of_a_passage_are_shown_once(alice: User, contracts: dict[str, Document]) -> None:
    texts = [
        source.text for source in retrieve.search("Is what they learn confidential?", scope_for_all(alice)).sources
    ]
    assert len(texts) > 1
    assert sum(text.count(FILLING.strip()) for text in texts) <= len(texts)
    assert len({" ".join(text.casefold().split()) for text in texts}) == len(texts)


def test_only_passages_that_share_a_document_are_searched_with_its_names(
    alice: User, policies: Collection, contracts: dict[str, Document], add_text: AddText
) -> None:
    note = add_text(alice, policies, "note.md", "Acme Supply and Blue Yonder met on Tuesday.")
    titles = {chunk.extraction_id: document.title for document, chunk in _firsts(note, contracts["Contoso Trading"])}
    alone, shared = beside_passages(titles).values()
    assert "Acme" not in alone
    assert "Contoso Trading" in shared


def _firsts(*documents: Document) -> list[tuple[Document, Chunk]]:
    return [(document, Chunk.objects.for_maintenance().get(document=document, ordinal=0)) for document in documents]
