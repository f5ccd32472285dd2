"""The sample collection: what a new installation can be tried with."""

from collections.abc import Sequence
from typing import Any

from django.core.files import File
from django.db import transaction

from core.models import Membership, Role, Team, User
from core.services import create_team
from rag import samples
from rag.models import Collection
from rag.services import library

NAME = "Samples"
TEAM = "Everyone"
_DESCRIPTION = (
    "Documents of an invented clinic and an invented law office, to try questions on. Delete them when you are done."
)


def load(actor: User) -> Collection:
    """The sample collection, made and filled if it is not there; every document is read like any upload."""
    with transaction.atomic():
        team = Team.objects.filter(name=TEAM).first() or create_team(actor, name=TEAM)
        Membership.objects.get_or_create(team=team, user=actor, defaults={"role": Role.MANAGER})
        collection = Collection.objects.filter(name=NAME, grants__team=team, deleted__isnull=True).first()
        if collection is None:
            collection = library.create_collection(actor, name=NAME, description=_DESCRIPTION, team=team)
    for path in samples.documents():
        with path.open("rb") as file:
            library.add_document(actor, collection, File(file, name=path.name), path=path.name, replaces=True)
    return collection


def welcome(collections: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """What an empty Ask page offers: three questions that the samples answer, where the reader has the samples."""
    if any(collection["name"] == NAME and collection["selected"] for collection in collections):
        return {"suggested": samples.SUGGESTED, "collection": NAME}
    return None
