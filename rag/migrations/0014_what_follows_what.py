"""Until now each answer followed the one before it in time."""

from typing import Any

from django.db import migrations

BATCH = 1000


def fill(apps: Any, schema_editor: Any) -> None:
    answers = apps.get_model("rag", "Answer").objects
    before: Any = None
    changed: list[Any] = []
    for answer in answers.order_by("conversation_id", "created", "id").only("id", "conversation_id", "after_id").iterator(BATCH):
        if before is not None and before.conversation_id == answer.conversation_id:
            answer.after_id = before.pk
            changed.append(answer)
        before = answer
        if len(changed) == BATCH:
            answers.bulk_update(changed, ["after"], batch_size=200)
            changed.clear()
    answers.bulk_update(changed, ["after"], batch_size=200)


class Migration(migrations.Migration):
    dependencies = [("rag", "0013_branches_and_shares")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
