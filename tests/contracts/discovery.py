"""Finds every backend of a slot by scanning its folder, so that a new one is held to the contract without being listed."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

Base = TypeVar("Base")


def backends_of(package: ModuleType, base: type[Base]) -> list[type[Base]]:
    """The concrete subclasses of `base` that the modules of `package` define."""
    found: list[type[Base]] = []
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        for _, item in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(item, base) and not inspect.isabstract(item) and item.__module__ == module.name:
                found.append(item)
    return found
