"""Every fault of the lab by name, gathered from the modules of this package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from tests.lab.faults.fault import Fault


def _gather() -> dict[str, type[Fault]]:
    found: dict[str, type[Fault]] = {}
    for entry in pkgutil.iter_modules(__path__, f"{__name__}."):
        for value in vars(importlib.import_module(entry.name)).values():
            if not (inspect.isclass(value) and issubclass(value, Fault)) or inspect.isabstract(value):
                continue
            if value.__module__ == entry.name and "name" in vars(value):
                if value.name in found:
                    raise ValueError(f"two faults are called {value.name}")
                found[value.name] = value
    return dict(sorted(found.items()))


FAULTS = _gather()
