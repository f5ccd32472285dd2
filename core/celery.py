"""The Celery application. Redis carries the queue and can be flushed at any time: the database knows what is to be done."""

from celery import Celery

app = Celery("footnote")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
