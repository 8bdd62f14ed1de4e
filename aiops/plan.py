"""
Everything a session is built from: settings, rules, causes, signatures, collectors and receivers, read and checked.

`aiops check` ends here; the daemon goes on to build from it. Making a plan starts nothing and connects nowhere.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aiops import settings as settings_module
from aiops.collect import COLLECTORS
from aiops.collect.plugins import Plugin, decode_plugins
from aiops.detect import build_detectors
from aiops.errors import ConfigError, Problem
from aiops.notify import NOTIFIERS
from aiops.notify.receivers import ReceiverConfig, decode_receivers
from aiops.notify.ways import check_environment
from aiops.ports import Detector
from aiops.rulebook.alerts import AlertRule, load_alert_rules
from aiops.rulebook.causes import CauseRule, load_causes
from aiops.rulebook.places import rules_dirs
from aiops.rulebook.signatures import LogSignature, load_signatures
from aiops.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a session is built from, checked; making one starts nothing."""

    settings: Settings
    alerts: tuple[AlertRule, ...]
    """Without the text they were read from."""
    causes: tuple[CauseRule, ...]
    signatures: tuple[LogSignature, ...]
    plugins: tuple[Plugin, ...]
    receivers: tuple[ReceiverConfig, ...]
    urgent: Sequence[Detector]
    """Detectors that are evaluated every second."""
    steady: Sequence[Detector]


def make_plan(settings: Settings, *, proven: Collection[Path] = ()) -> Plan:
    """
    Read every file *settings* refers to.

    Args:
        settings: As read.
        proven: Folders of rules that are known to be sound; see `load_signatures`.

    Raises:
        ConfigError: all problems of all files at once.
    """
    dirs = rules_dirs(settings.rules.dir)
    problems: list[Problem] = []

    def checked(load: Callable[[], tuple[T, ...]]) -> tuple[T, ...]:
        try:
            return load()
        except ConfigError as error:
            problems.extend(error.problems)
            return ()

    alerts = checked(lambda: load_alert_rules(dirs))
    urgent, steady = checked(lambda: build_detectors(alerts)) or ([], [])
    plan = Plan(
        settings=settings,
        alerts=tuple(rule.light() for rule in alerts),
        causes=checked(lambda: load_causes(dirs)),
        signatures=checked(lambda: load_signatures(dirs, proven=proven)),
        plugins=checked(lambda: tuple(decode_plugins(settings.collect))),
        receivers=checked(lambda: _receivers(settings)),
        urgent=urgent,
        steady=steady,
    )
    if problems:
        raise ConfigError(*problems)
    return plan


def _receivers(settings: Settings) -> tuple[ReceiverConfig, ...]:
    receivers = decode_receivers(settings.notify.receivers)
    if receivers:
        check_environment(os.environ)
    return receivers


def example_settings() -> str:
    """A settings file that shows every key of the program and of its plug-ins."""

    def configs(table: Mapping[str, str]) -> dict[str, type]:
        return {name: importlib.import_module(module).Config for name, module in table.items()}

    return settings_module.example(configs(COLLECTORS), configs(NOTIFIERS))
