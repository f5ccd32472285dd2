"""The audit chain holds, and names the row that was touched."""

import pytest
from django.db import transaction

from core import audit
from core.models import AuditEvent, User


def test_an_untouched_log_verifies(alice: User) -> None:
    for number in range(5):
        audit.record("test.done", actor=alice, subject=alice, number=number)
    assert audit.verify() is None


@pytest.mark.parametrize(
    "change", [{"action": "other"}, {"actor_name": "bob"}, {"facts": {"number": 9}}, {"address": "x"}]
)
def test_a_changed_event_is_named(alice: User, change: dict[str, object]) -> None:
    events = [audit.record("test.done", actor=alice, number=number) for number in range(3)]
    AuditEvent.objects.filter(pk=events[1].pk).update(**change)
    assert audit.verify() == events[1].pk


def test_a_removed_event_is_noticed(alice: User) -> None:
    events = [audit.record("test.done", actor=alice, number=number) for number in range(3)]
    AuditEvent.objects.filter(pk=events[1].pk).delete()
    assert audit.verify() == events[2].pk


def test_an_event_of_an_act_that_was_rolled_back_is_not_there(alice: User) -> None:
    before = AuditEvent.objects.count()
    with pytest.raises(RuntimeError), transaction.atomic():
        audit.record("test.done", actor=alice)
        raise RuntimeError
    assert AuditEvent.objects.count() == before


def test_a_name_with_line_breaks_stays_one_record(alice: User) -> None:
    event = audit.record("test.done", actor=alice, path="a\r\nFAKE EVENT\x1b[31m")
    assert "\n" not in event.facts["path"]
    assert "\x1b" not in event.facts["path"]
