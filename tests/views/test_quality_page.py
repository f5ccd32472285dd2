"""The quality page: what a manager can do there, and what each action says."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from core.models import User
from rag.domain.learning import FEATURES
from rag.models import Collection, Document, Evaluation, KeptQuestion, Ranker
from rag.models.ranking import RankerKind, RankerState
from rag.services.indexing import current_digest
from rag.views.quality_figures import EARLIER, POINTS

AddText = Callable[..., Document]
UploadFile = Callable[[str, bytes], BytesIO]
pytestmark = pytest.mark.django_db


@pytest.fixture
def client(alice: User, as_user: Callable[[User | None], Client]) -> Client:
    return as_user(alice)


def shown(client: Client, collection: Collection, query: str = "") -> str:
    response = client.get(reverse("quality", args=[collection.pk]) + query)
    assert response.status_code == 200
    return response.content.decode()


def measured(collection: Collection, state: RankerState, **more: object) -> Ranker:
    return Ranker.objects.create(
        collection=collection,
        kind=RankerKind.WEIGHTS,
        state=state,
        values=dict.fromkeys(FEATURES, 0.5),
        basis=current_digest(),
        figures=[[number, 0.5, 0.75, 0.5, 1.0] for number in range(30)],
        measured=timezone.now(),
        **more,
    )


def switch(client: Client, ranker: Ranker, to: str) -> str:
    address = reverse("quality_switch", args=[ranker.collection_id, ranker.pk])
    page = client.post(address, {"to": to}, follow=True).content.decode()
    ranker.refresh_from_db()
    return page


def test_an_empty_page_says_how_questions_come(client: Client, policies: Collection) -> None:
    page = shown(client, policies)
    assert "No questions are kept yet" in page
    assert "at least 20 questions" in page
    assert "disabled" in page
    assert (
        reverse("quality", args=[policies.pk]) in client.get(reverse("collection", args=[policies.pk])).content.decode()
    )


def test_a_file_is_added_and_its_wrong_lines_are_said(
    client: Client, alice: User, policies: Collection, add_text: AddText, upload_file: UploadFile
) -> None:
    add_text(alice, policies, "hours.txt", "The desk is open from eight to five.")
    address = reverse("quality_upload", args=[policies.pk])
    good = upload_file("q.csv", b"question,document,quote\nWhen is it open?,hours.txt,eight to five\n")
    assert "1 question was added." in client.post(address, {"file": good}, follow=True).content.decode()
    wrong = upload_file("q.csv", b"question,document\nWhen is it open?,hours.txt\nWho?,nowhere.txt\n")
    response = client.post(address, {"file": wrong})
    assert response.status_code == 422
    page = response.content.decode()
    assert "Line 3:" in page
    assert "No document here has the path or title “nowhere.txt”." in page
    assert "eight to five" in page  # what was there is there still
    assert client.post(address, {}).status_code == 422
    assert client.post(address, {"file": upload_file("q.csv", b"\0\1")}).status_code == 422


def test_questions_are_deleted_after_asking_once(client: Client, policies: Collection, secrets: Collection) -> None:
    own, foreign = (
        KeptQuestion.objects.create(collection=each, text="One?", origin="uploaded") for each in (policies, secrets)
    )
    address, chosen = (
        reverse("quality_delete", args=[policies.pk]),
        {"question": [str(own.pk), str(foreign.pk), "x", "9" * 30]},
    )
    assert "Delete 1 question?" in client.post(address, chosen).content.decode()
    assert KeptQuestion.objects.count() == 2
    client.post(address, chosen | {"sure": "yes"})
    assert list(KeptQuestion.objects.all()) == [foreign]


def test_a_proposal_is_shown_with_its_gain_and_switched_on_and_off(client: Client, policies: Collection) -> None:
    ranker = measured(policies, RankerState.PROPOSED)
    page = shown(client, policies)
    assert "Proposed" in page
    assert "0.500" in page
    assert "0.750" in page
    assert "+0.250" in page
    assert "Switched on" in switch(client, ranker, "on")
    assert ranker.state == RankerState.ON
    assert "alice" in shown(client, policies)
    assert "Switched off" in switch(client, ranker, "off")
    assert ranker.state == RankerState.OFF
    assert "Go back to it" in shown(client, policies)
    switch(client, ranker, "on")
    assert ranker.state == RankerState.ON


def test_a_proposal_can_be_left(client: Client, policies: Collection) -> None:
    ranker = measured(policies, RankerState.PROPOSED)
    switch(client, ranker, "no")
    assert ranker.state == RankerState.REJECTED


def test_only_a_proposal_or_what_was_on_before_can_be_switched_on(client: Client, policies: Collection) -> None:
    ranker = measured(policies, RankerState.REJECTED, message="These questions teach nothing.")
    assert "These questions teach nothing." in shown(client, policies)
    assert "cannot be switched on" in switch(client, ranker, "on")
    assert ranker.state == RankerState.REJECTED


def test_a_ranking_of_another_model_says_that_it_does_not_serve(client: Client, policies: Collection) -> None:
    measured(policies, RankerState.ON)
    Ranker.objects.update(basis="another")
    assert "does not serve" in shown(client, policies)


def test_a_ranker_of_another_collection_is_not_found(client: Client, policies: Collection, secrets: Collection) -> None:
    ranker = measured(secrets, RankerState.PROPOSED)
    address = reverse("quality_switch", args=[policies.pk, ranker.pk])
    assert client.post(address, {"to": "on"}).status_code == 404


def test_measuring_shows_progress_and_asks_again_by_itself(client: Client, policies: Collection) -> None:
    for _ in range(2):
        client.post(reverse("quality_learn", args=[policies.pk]))
    assert Ranker.objects.filter(state=RankerState.WAITING).count() == 1
    page = shown(client, policies)
    assert "Measuring what the questions teach" in page
    assert 'hx-trigger="every 2s"' in page


def test_long_lists_have_pages(client: Client, policies: Collection) -> None:
    KeptQuestion.objects.bulk_create(
        KeptQuestion(collection=policies, text=f"Question {number}?", origin="uploaded") for number in range(51)
    )
    assert "Question 0?" not in shown(client, policies)
    assert "Question 0?" in shown(client, policies, "?page=2")
    assert "Question 0?" in shown(client, policies, "?page=99")


def test_what_was_measured_is_drawn_and_listed_over_time(
    client: Client, policies: Collection, secrets: Collection
) -> None:
    assert "Over time" not in shown(client, policies)
    for collection, reached, model in ((policies, 0.5, "a"), (secrets, 0.875, "a"), (policies, 0.625, "b")):
        interval = {"nDCG@10": [reached - 0.1, reached + 0.1]}
        stages = [{"stage": "shown", "means": {"nDCG@10": reached, "recall@10": 0.75}, "intervals": interval}]
        Evaluation.objects.create(
            collection=collection,
            name="x",
            questions=30,
            passages=100,
            stages=stages,
            embedder=model,
            timings={"all": [21.4, 48.0]},
        )
    page = shown(client, policies)
    assert "Over time" in page
    assert "0.625" in page
    assert "0.875" not in page
    assert page.count('class="plot"') == 3  # order, in the first ten, time
    assert page.count("plot__dot--new") == 3  # another embedding model, once in each
    assert "nDCG@10: 0.500 on" in page
    assert "measured 2 times" in page
    assert "21, 48 ms" in page
    assert "style=" not in page


def test_a_thousand_measurings_are_not_read_for_one_page(
    client: Client, policies: Collection, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    stages = [{"stage": "shown", "means": {"nDCG@10": 0.5, "recall@10": 0.75}}]
    Evaluation.objects.bulk_create(
        Evaluation(collection=policies, name="x", questions=30, passages=100, stages=stages) for _ in range(1000)
    )
    figures = [[number, 0.1, 0.2, 0.3, 0.4] for number in range(20)]
    Ranker.objects.bulk_create(
        Ranker(collection=policies, kind=RankerKind.WEIGHTS, state=RankerState.OFF, figures=figures)
        for _ in range(1000)
    )
    with django_assert_max_num_queries(40):
        page = shown(client, policies)
    assert page.count("<circle") == 2 * POINTS
    assert page.count("of another model") == EARLIER
