"""The site's settings as the killed workers run under them: the test's own database, hashed words, and everything in a hurry."""

import os

from core.settings import *  # noqa: F403
from core.settings import DATA_DIR, DATABASES, RAG

DATABASES["default"]["NAME"] = os.environ["CRASH_DATABASE"]
RAG = RAG | {
    "PASSAGE_EMBEDDER": "rag.backends.embedders.hashing.HashingEmbedder",
    "QUESTION_EMBEDDER": "rag.backends.embedders.hashing.HashingEmbedder",
    "LEASE_SECONDS": 2,
}
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "rag.tasks.sweep", "schedule": 1.0, "options": {"expires": 2}},
    "upkeep": {"task": "rag.tasks.upkeep", "schedule": 2.0, "options": {"expires": 4}},
}
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "run" / "beat-schedule-crash")
