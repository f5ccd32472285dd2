"""Whether this process lives, and whether it can serve; for supervisors, without sign-in and without details."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_GET

from core.registry import State, registry


@login_not_required
@require_GET
def live(request: HttpRequest) -> JsonResponse:
    """200 as long as requests are answered."""
    return JsonResponse({"live": True})


@login_not_required
@require_GET
def ready(request: HttpRequest) -> JsonResponse:
    """200 when everything that a question needs is there, otherwise 503; the names of what is missing, nothing more."""
    missing = [name for name, check in registry.readiness.items() if check().state is State.FAIL]
    return JsonResponse({"ready": not missing, "missing": missing}, status=503 if missing else 200)
