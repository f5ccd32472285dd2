"""What the site asks of the product without importing it: filled by rag's AppConfig, read by up, doctor and health.

Why a registry: `core` must not import `rag`. Nothing is imported here that costs time, so registering is free; what a
registered function needs, it imports when it is called.
"""

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.models import User


class State(enum.StrEnum):
    OK = "ok"
    WARN = "warn"  # works, but somebody should know
    FAIL = "fail"  # does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """What one question to one dependency found."""

    state: State
    found: str  # in a few words: "Ollama 0.17.4 with 3 models"
    fix: str = ""  # the command, or the step, that mends it


Check = Callable[[], Finding]
ServerHook = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Registry:
    doctor: dict[str, Check] = field(default_factory=dict)
    announcements: list[str] = field(default_factory=list)  # names in `doctor` that `up` prints once it runs
    readiness: dict[str, Check] = field(default_factory=dict)
    preparations: dict[str, Callable[[], None]] = field(default_factory=dict)
    on_start: list[ServerHook] = field(default_factory=list)
    on_stop: list[ServerHook] = field(default_factory=list)
    samples: Callable[["User"], None] | None = None


registry = Registry()


def register_doctor(name: str, check: Check, *, announce: bool = False) -> None:
    """A row of `manage.py doctor`; with `announce` also a line that `up` prints. A check that raises counts as FAIL."""
    registry.doctor[name] = check
    if announce and name not in registry.announcements:
        registry.announcements.append(name)


def register_readiness(name: str, check: Check) -> None:
    """A condition of /health/ready/ (FAIL: not ready). Asked often: milliseconds, no model call."""
    registry.readiness[name] = check


def register_server_start(run: ServerHook) -> None:
    """Awaited by the web server before its first request, in its event loop."""
    if run not in registry.on_start:
        registry.on_start.append(run)


def register_server_stop(run: ServerHook) -> None:
    """Awaited by the web server after its last request, in its event loop."""
    if run not in registry.on_stop:
        registry.on_stop.append(run)


def register_preparation(name: str, run: Callable[[], None]) -> None:
    """A step of every start, after migrations; quick when nothing is to do (the question model is exported once)."""
    registry.preparations[name] = run


def register_samples(load: Callable[["User"], None]) -> None:
    """Loads the sample collection on behalf of the first administrator; asked once, on the first start."""
    registry.samples = load
