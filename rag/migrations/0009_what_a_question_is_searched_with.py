from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("rag", "0008_embedding_models"),)

    operations = (
        migrations.AddField(model_name="answer", name="alone", field=models.BooleanField(default=False)),
        migrations.AddField(model_name="answer", name="together", field=models.JSONField(default=list)),
    )
