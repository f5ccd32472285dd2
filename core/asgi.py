"""The web server's entry: Django, with request bodies counted before they are spooled, and a warm start."""

import os
from typing import cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")  # noqa: TID251  (before settings exist)

import django

django.setup(set_prefix=False)

from core.body_limit import Application, limit_bodies
from core.checks import refuse_unsafe_settings
from core.handler import PageHandler
from core.lifespan import with_lifespan

refuse_unsafe_settings()
application = with_lifespan(limit_bodies(cast("Application", PageHandler())))
