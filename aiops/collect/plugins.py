"""
From the `collect` section of the settings to collectors.

Two steps, because `aiops check` wants the first without the second: `decode_plugins` imports the enabled modules and
reads their settings, complaining with file:line, and starts nothing; `build_collectors` makes the collectors.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiops.collect import COLLECTORS
from aiops.document import Node, decode
from aiops.document.nodes import is_null
from aiops.errors import ConfigError, Problem
from aiops.ports import AsyncCollector, Collector, World


class PluginConfig(Protocol):
    """What every collector's settings have."""

    @property
    def enabled(self) -> bool:
        """False leaves the collector out."""
        ...

    @property
    def interval(self) -> float:
        """Seconds between runs."""
        ...

    @property
    def deadline(self) -> float:
        """Seconds after which a run is given up."""
        ...


@dataclass(frozen=True, slots=True)
class Plugin:
    """One collector's settings, read and checked, and the module that builds it."""

    name: str
    module: Any
    config: PluginConfig


def decode_plugins(sections: Mapping[str, Node | None], table: Mapping[str, str] = COLLECTORS) -> tuple[Plugin, ...]:
    """
    The enabled plug-ins with their settings, in the order of *table*.

    A `Config` may have a property ``configured``; while it is false there is nothing to do, and the plug-in costs nothing.

    Args:
        sections: The `collect` section: plug-in name to its settings; a plug-in not named there gets its defaults.
        table: Plug-in name to module.

    Raises:
        ConfigError: an unknown plug-in, or anything wrong in a plug-in's settings; all problems at once.
    """
    problems = [_unknown(name, node, table) for name, node in sections.items() if name not in table]
    plugins: list[Plugin] = []
    for name, module_name in table.items():
        module = importlib.import_module(module_name)
        try:
            config = _config(module.Config, sections.get(name), f"collect.{name}")
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if config.enabled and getattr(config, "configured", True):
            plugins.append(Plugin(name, module, config))
    if problems:
        raise ConfigError(*problems)
    return tuple(plugins)


def build_collectors(plugins: Sequence[Plugin], world: World) -> list[tuple[str, Collector | AsyncCollector]]:
    """The collectors of *plugins*, by name. They touch the world at their first run, not here."""
    return [(plugin.name, plugin.module.build(plugin.config, world)) for plugin in plugins]


def _config(kind: type[Any], node: Node | None, where: str) -> Any:
    """*node* as a *kind*; its defaults where there is no node, or a name with nothing after the colon."""
    if node is None or is_null(node):
        return kind()
    config = decode(node, kind, where)
    problems = [
        node.problem(f"{where}.{name}: expected a duration above zero")
        for name in ("interval", "deadline")
        if getattr(config, name) <= 0
    ]
    if problems:
        raise ConfigError(*problems)
    return config


def _unknown(name: str, node: Node | None, table: Mapping[str, str]) -> Problem:
    text = f"collect.{name}: no such collector; known are {', '.join(sorted(table))}"
    return node.problem(text) if node is not None else Problem("settings", 1, text)
