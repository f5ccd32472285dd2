"""Which request this code runs for: for the audit log and the logs, never for deciding what is allowed."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestContext:
    """`address` is the client's, `id` a random name for the request; both are empty outside a request."""

    id: str = ""
    address: str = ""


_NONE = RequestContext()
_current: ContextVar[RequestContext] = ContextVar("request", default=_NONE)


def current_request() -> RequestContext:
    """The request that this code runs for, or an empty one in tasks and commands."""
    return _current.get()


def enter_request(context: RequestContext) -> None:
    """Names the request that the rest of this context runs for."""
    _current.set(context)
