"""Named moments between which a process may die. Tests kill the worker at each of them; otherwise a step is nothing."""

from collections.abc import Callable

_observers: list[Callable[[str], None]] = []


def step(name: str) -> None:
    """Says that the work has come to this point."""
    for observer in _observers:
        observer(name)


def observe(observer: Callable[[str], None]) -> None:
    """Calls `observer` at each step of this process; for tests."""
    _observers.append(observer)
