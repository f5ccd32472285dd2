from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "core"
    verbose_name = "Site"

    def ready(self) -> None:
        from core import checks, signin  # noqa: F401  (registers the system checks and the sign-in audit)
        from core.celery import app  # noqa: F401  (shared tasks bind to the current application)
        from core.logs import configure_structlog

        configure_structlog()
