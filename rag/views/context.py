"""What every page says about where questions and passages may go."""

from django.http import HttpRequest

from rag.services import language_models


def outside(request: HttpRequest) -> dict[str, object]:
    """Template context: the hosts outside one's own network that may write answers; asks neither the database nor a server."""
    return {"outside_hosts": ", ".join(language_models.outside_hosts())}
