"""The index of superseded documents knows which are deleted, so that SQLite takes it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("rag", "0019_model_jobs"),)

    operations = (
        migrations.RemoveIndex(model_name="document", name="document_superseded"),
        migrations.AddIndex(
            model_name="document",
            index=models.Index(
                condition=models.Q(("superseded_by__isnull", False)),
                fields=["collection", "deleted"],
                name="document_superseded",
            ),
        ),
    )
