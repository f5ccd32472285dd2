"""The audit log: record() is its only writer, verify() proves that nobody changed it since.

Why a chain: each event holds the digest of the one before, so an altered, removed or inserted row breaks every digest after it.
An event is written in the transaction of the act it tells of: either both happen or neither.
"""

import hashlib
import json
from typing import Any

from django.db import connection, models, transaction
from django.utils import timezone

from core.context import current_request
from core.models import AuditEvent, User

# Any number will do, as long as nobody else uses it for an advisory lock.
_CHAIN_LOCK = 0x466F6F74


def _digest(event: AuditEvent) -> str:
    body = {
        "at": event.at.isoformat(),
        "actor_id": event.actor_id,
        "actor_name": event.actor_name,
        "action": event.action,
        "subject_kind": event.subject_kind,
        "subject_id": event.subject_id,
        "facts": event.facts,
        "address": event.address,
        "request_id": event.request_id,
        "previous": event.previous,
    }
    text = json.dumps(body, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _clean(value: object) -> str:
    """One line of printable text: a name with line breaks or escapes stays one record (ASVS 16.4.1)."""
    return "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in str(value))


@transaction.atomic
def record(action: str, *, actor: User | None, subject: models.Model | None = None, **facts: Any) -> AuditEvent:
    """The event as stored. `facts` must be JSON; they hold ids, names, counts and digests, never document text or questions."""
    if connection.vendor == "postgresql":  # SQLite's IMMEDIATE transactions have one writer anyway
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CHAIN_LOCK])
    last = AuditEvent.objects.order_by("-id").values_list("digest", flat=True).first()
    request = current_request()
    event = AuditEvent(
        at=timezone.now(),
        actor_id=actor.pk if actor else None,
        actor_name=_clean(actor.get_username()) if actor else "",
        action=action,
        subject_kind=subject._meta.label_lower if subject is not None else "",
        subject_id=str(subject.pk) if subject is not None else "",
        facts={key: _clean(value) if isinstance(value, str) else value for key, value in facts.items()},
        address=request.address,
        request_id=request.id,
        previous=last or "",
    )
    event.digest = _digest(event)
    event.save(force_insert=True)
    return event


def verify() -> int | None:
    """The id of the first event that does not fit the chain, or None when the whole log is as it was written."""
    previous = ""
    for event in AuditEvent.objects.order_by("id").iterator(chunk_size=1000):
        if event.previous != previous or event.digest != _digest(event):
            return event.pk
        previous = event.digest
    return None
