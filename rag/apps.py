from django.apps import AppConfig


class RagAppConfig(AppConfig):
    name = "rag"
    verbose_name = "Footnote"

    def ready(self) -> None:
        from rag import checks, hooks  # noqa: F401  (system checks; what doctor, `up` and health ask of the product)
