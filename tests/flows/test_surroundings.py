"""Passages are searched small and read with what stands around them: exact, within the section, under the same rights."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from django.db.models import Q

from core.models import Membership, User
from rag.access import scope_for
from rag.domain import surroundings as measure
from rag.domain.chunking import Sizes, chunk, text_between
from rag.domain.surroundings import as_found
from rag.domain.types import Heading, Page, Source
from rag.models import Answer, AnswerSource, Chunk, Collection, Document, Extraction, Revision
from rag.models import Page as StoredPage
from rag.models.conversation import AnswerState
from rag.services import answer_view, answering, gathering, library, quoting
from rag.services.gathering import Job
from rag.services.leases import Lease
from rag.services.surroundings import widened

pytestmark = pytest.mark.django_db

WORDS = ("notice", "terms", "fee", "Übergabe", "合同期限", "days", "party", "shall", "dose", "§ 4")


def words(text: str) -> list[tuple[int, int]]:
    """A token for every four characters."""
    return [(start, min(start + 4, len(text))) for start in range(0, len(text), 4)]


def pages_of(made: random.Random) -> list[Page]:
    """Pages with headings of two levels, paragraphs of a few sentences, and blanks of any kind between them."""
    pages = []
    for number in range(made.randint(1, 4)):
        text, headings = "", []
        for _ in range(made.randint(1, 8)):
            text += made.choice(("", "\n", "\n\n", "\n \n"))
            if made.random() < 0.3:
                title = f"Part {made.randint(1, 9)}"
                headings.append(Heading(start=len(text), level=made.randint(1, 2), text=title))
                text += f"{title}\n\n"
            for _ in range(made.randint(1, 4)):
                text += " ".join(made.choices(WORDS, k=made.randint(2, 14))) + ". "
            text += "\n\n"
        pages.append(Page(number=number + 1, text=text, headings=tuple(headings)))
    return pages


def stored(collection: Collection, pages: list[Page]) -> list[Chunk]:
    """The pages as a live document of the collection, cut small."""
    document = Document.objects.create(collection=collection, path=uuid4().hex, title="Made")
    revision = Revision.objects.create(document=document, number=1, sha256="", size=1, media_type="text/plain")
    Document.objects.filter(pk=document.pk).update(latest=revision, current=revision)
    extraction = Extraction.objects.create(revision=revision, parser="made/1")
    StoredPage.objects.bulk_create(
        StoredPage(extraction=extraction, place=place, number=page.number, text=page.text)
        for place, page in enumerate(pages)
    )
    return Chunk.objects.bulk_create(
        Chunk(
            extraction=extraction,
            document=document,
            collection=collection,
            version=1,
            **{name: getattr(passage, name) for name in ("ordinal", "page_from", "page_to", "start", "end", "text")},
            heading=list(passage.heading),
        )
        for passage in chunk(pages, words, Sizes(aim=20, most=40, least=5))
    )


def source_of(number: int, found: Chunk) -> Source:
    return Source(
        number=number,
        chunk_id=found.pk,
        document_id=found.document_id,
        collection_id=found.collection_id,
        extraction_id=found.extraction_id,
        revision=1,
        title="Made",
        heading=tuple(found.heading),
        page_from=found.page_from,
        page_to=found.page_to,
        page_label="",
        start=found.start,
        end=found.end,
        text=found.text,
        score=1.0,
    )


def places(source: Source) -> tuple[tuple[int, int], tuple[int, int]]:
    return (source.page_from, source.start), (source.page_to, source.end)


def test_whatever_is_found_what_is_read_is_exact_within_its_section_its_room_and_overlaps_nothing(
    bob: User, policies: Collection
) -> None:
    made = random.Random(11)
    scope = scope_for(bob, asked=[policies.pk])
    grew = 0
    for _ in range(40):
        documents = [pages_of(made) for _ in range(2)]
        chunks = [stored(policies, pages) for pages in documents]
        offered = [found for of_one in chunks for found in of_one]
        found = made.sample(offered, k=min(len(offered), made.randint(1, 6)))
        sources = [source_of(number, each) for number, each in enumerate(found, start=1)]
        room = made.choice((0, 100, 300, 1000, 100_000))
        read = widened(sources, scope, room=room)
        assert [source.number for source in read] == [source.number for source in sources]
        assert sum(measure.tokens(each.text) for each in read) <= max(
            # Blanks between passages and a mix of scripts weigh a little more than the found words did.
            sum(measure.tokens(each.text) for each in sources),
            1.6 * room,
        )
        for before, after in zip(sources, read, strict=True):
            own = next(n for n, of_one in enumerate(chunks) if of_one[0].extraction_id == after.extraction_id)
            assert after.text == text_between(documents[own], after.page_from, after.start, after.page_to, after.end)
            begins, ends = after.found or (0, len(after.text))
            assert after.text[begins:ends] == before.text
            assert replace(after, found=None) == before or after.found is not None
            section = before.heading[:-1] if len(before.heading) > 1 else before.heading
            inside = [
                each
                for each in chunks[own]
                if places(after)[0] <= (each.page_from, each.start) and (each.page_to, each.end) <= places(after)[1]
            ]
            assert all(tuple(each.heading[: len(section)]) == section for each in inside)
            grew += len(inside) > 1
        for one in read:
            for other in read:
                if one.number < other.number and one.extraction_id == other.extraction_id:
                    assert places(one)[1] <= places(other)[0] or places(other)[1] <= places(one)[0]
    assert grew > 20


def pages_of_one_section() -> list[Page]:
    return [Page(number=1, text="\n\n".join(f"Sentence {number} of the notice period." for number in range(12)))]


def found_in(collection: Collection) -> list[Source]:
    return [source_of(1, stored(collection, pages_of_one_section())[2])]


def test_what_may_not_be_read_any_more_is_not_read_around(bob: User, policies: Collection, secrets: Collection) -> None:
    mine, theirs = found_in(policies), found_in(secrets)
    scope = scope_for(bob, asked=[policies.pk])
    assert widened(mine, scope, room=1000)[0].found is not None
    # An index that gave a foreign passage would not give its surroundings either.
    assert widened(theirs, scope, room=1000) == theirs
    Membership.objects.filter(user=bob).delete()
    assert widened(mine, scope, room=1000) == mine


def test_a_deleted_document_is_not_read_around(alice: User, bob: User, policies: Collection) -> None:
    sources = found_in(policies)
    library.delete_document(alice, Document.objects.get(pk=sources[0].document_id))
    assert widened(sources, scope_for(bob, asked=[policies.pk]), room=1000) == sources


def test_pages_that_do_not_hold_the_words_any_more_give_no_surroundings(bob: User, policies: Collection) -> None:
    sources = found_in(policies)
    StoredPage.objects.update(text="Something else entirely. " * 40)
    assert widened(sources, scope_for(bob, asked=[policies.pk]), room=1000) == sources


def test_it_takes_three_queries_however_many_are_found(
    bob: User, policies: Collection, django_assert_num_queries: object
) -> None:
    sources = [
        replace(each, number=number)
        for number, each in enumerate((source for _ in range(8) for source in found_in(policies)), start=1)
    ]
    scope = scope_for(bob, asked=[policies.pk])
    with django_assert_num_queries(3):  # type: ignore[operator]
        assert all(source.found for source in widened(sources, scope, room=100_000))


# --- In an answer

QUESTION = "After how many days does the insurance pay for a broken instrument?"
INSURED = (
    "# Insurance\n\n"
    + "Premiums are due in the month of the invoice. " * 12
    + "\n\nAfter 19 days the insurance does pay for a broken instrument. "
    + "A broken instrument is reported to the office at once, with a picture of the instrument. " * 6
    + "\n\n"
    + "Cover ends with the calendar year. " * 16
    + "\n\n# Parking\n\n"
    + "Bicycles stand in front of the house. " * 30
)
# On the same words, so that what stands around the answer is not itself among the sources.
OTHERS = "\n\n".join(f"# Part {number}\n\nAn instrument of insurance {number}." for number in range(7))


@pytest.fixture
def insured(alice: User, policies: Collection, add_text: Callable[..., Document]) -> None:
    add_text(alice, policies, "insurance.md", INSURED)
    add_text(alice, policies, "others.md", OTHERS)


def gathered(user: User, collection: Collection) -> tuple[Answer, Job]:
    answer = answering.open_answer(user, question=QUESTION, conversation=None, collections=[collection])
    lease = Lease.take(Answer, answer.pk, Q(state=AnswerState.PENDING))
    assert lease is not None
    job = gathering.gather(answer.pk, lease)
    job.quotes = quoting.quoted(job.question, job.sources).quotes
    gathering.store_quotes(lease, job)
    answer.refresh_from_db()
    return answer, job


@pytest.mark.django_db(transaction=True)
def test_an_answer_rests_on_the_section_and_its_quotes_and_marks_on_what_was_found(
    alice: User, policies: Collection, insured: None
) -> None:
    answer, job = gathered(alice, policies)
    best = next((source for source in job.sources if "19 days" in source.text), None)
    assert best is not None and best.found is not None, [source.text for source in job.sources]
    assert "After 19 days" in best.text[slice(*best.found)]
    assert "calendar year" in best.text
    assert "Parking" not in best.text
    pinned = AnswerSource.objects.get(answer=answer, number=best.number)
    assert (pinned.found_start, pinned.found_end) == best.found
    for quote in job.quotes:
        source = job.sources[quote.number - 1]
        begins, ends = source.found or (0, len(source.text))
        assert source.text[quote.start : quote.end] == quote.text
        assert begins <= quote.start < quote.end <= ends
    view = answer_view.view_of(answer, alice)
    assert view.quotes[0].text == job.quotes[0].text
    quoted = {quote.number for quote in job.quotes}
    for source, shown in zip(job.sources, view.sources, strict=True):
        assert "".join(part.text for part in shown.parts) == source.text
        at = 0
        for part in shown.parts:
            begins, ends = source.found or (0, len(source.text))
            assert not part.mark or begins <= at < ends, (source.number in quoted, part.text)
            at += len(part.text)


@pytest.mark.django_db(transaction=True)
def test_an_answer_pinned_before_passages_were_read_around_shows_as_it_did(
    alice: User, policies: Collection, insured: None
) -> None:
    answer, job = gathered(alice, policies)
    narrow = as_found(next(source for source in job.sources if source.found))
    chunk = Chunk.objects.for_maintenance().get(pk=narrow.chunk_id)
    AnswerSource.objects.filter(answer=answer).exclude(number=narrow.number).delete()
    AnswerSource.objects.filter(answer=answer).update(
        page_from=chunk.page_from,
        start=chunk.start,
        page_to=chunk.page_to,
        end=chunk.end,
        sha256=hashlib.sha256(narrow.text.encode()).hexdigest(),
        found_start=None,
        found_end=None,
    )
    Answer.objects.filter(pk=answer.pk).update(quotes=[])
    answer.refresh_from_db()
    (shown,) = answer_view.view_of(answer, alice).sources
    assert "".join(part.text for part in shown.parts) == narrow.text
    assert any(part.mark for part in shown.parts)
