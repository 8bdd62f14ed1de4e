"""
From alert rules to detectors.

The table maps the word after ``detector:`` to the module that speaks it. Each module offers ``Config`` (a frozen
dataclass: the rule's block) and ``build(rule, config) -> Detector``. Detectors are pure; memory is in `alerts`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping

from aiops.document import decode
from aiops.errors import ConfigError, Problem
from aiops.ports import Detector
from aiops.rulebook.alerts import AlertRule

DETECTORS = {
    "absent": "aiops.detect.absent",
    "burn_rate": "aiops.detect.slo",
    "error_ratio": "aiops.detect.error_ratio",
    "threshold": "aiops.detect.threshold",
}


def build_detectors(
    rules: Iterable[AlertRule], table: Mapping[str, str] = DETECTORS
) -> tuple[list[Detector], list[Detector]]:
    """
    One detector a rule: those which must be evaluated every second, and all others.

    Raises:
        ConfigError: every rule whose block is not what its detector expects, with file and line.
    """
    urgent: list[Detector] = []
    steady: list[Detector] = []
    problems: list[Problem] = []
    for rule in rules:
        try:
            (urgent if rule.urgent else steady).append(_build(rule, table))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(*problems)
    return urgent, steady


def _build(rule: AlertRule, table: Mapping[str, str]) -> Detector:
    if rule.detector not in table:
        expected = ", ".join(sorted(table))
        raise ConfigError(
            rule.place.problem(f"{rule.alert}.detector: expected one of {expected}, found {rule.detector!r}")
        )
    module = importlib.import_module(table[rule.detector])
    where = f"{rule.alert}.{rule.detector}"
    config = decode(rule.method, module.Config, where)
    try:
        detector: Detector = module.build(rule.light(), config)
    except ValueError as error:  # the block is fine by itself, but not with the rest of the rule
        raise ConfigError(rule.place.problem(f"{rule.alert}: {error}")) from error
    return detector
