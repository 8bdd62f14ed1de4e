"""What every detector promises, checked on all shipped rules; that each finds its planted fault stands in the unit tests."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from aiops.catalog import CATALOG, MetricKind
from aiops.detect import DETECTORS, build_detectors
from aiops.model import Labels
from aiops.ports import Detector
from aiops.rulebook.alerts import load_alert_rules
from aiops.rulebook.places import rules_dirs
from tests.fakes import FakeSeries

NOW_S = 1_700_000_000.0
RULES = load_alert_rules(rules_dirs(None))
ALL: list[Detector] = [each for part in build_detectors(RULES) for each in part]
every_detector = pytest.mark.parametrize("detector", ALL, ids=lambda each: each.rule.alert)


def world(seconds: int, value: Callable[[str, int], float]) -> FakeSeries:
    """Every catalogued metric, one reading a second, with labels that shipped rules ask for."""
    series = FakeSeries()
    for metric in CATALOG.values():
        for outcome in ("ok", "503", "5xx", "429", "499", "truncated", "stalled"):
            wanted = {"outcome": outcome, "reason": "thermal", "error_type": "uncorrected", "quantile": "0.99"}
            labels = Labels.from_mapping({name: wanted.get(name, "x") for name in metric.labels})
            series.put(metric.name, labels, {NOW_S - i: value(metric.name, i) for i in range(seconds)})
    return series


def test_every_kind_of_detector_is_used_by_a_shipped_rule():
    """What follows would not touch the others."""
    assert {rule.detector for rule in RULES} == set(DETECTORS)


@every_detector
def test_a_detector_is_silent_on_an_empty_world(detector: Detector):
    """A fresh daemon, a machine without GPUs."""
    assert list(detector.evaluate(FakeSeries(), NOW_S)) == []


@every_detector
@pytest.mark.parametrize("seconds", [1, 2, 300])
def test_a_detector_is_silent_on_readings_that_are_none(detector: Detector, seconds: int):
    """NaN compares false with everything, "all is well" included."""
    assert list(detector.evaluate(world(seconds, lambda _, i: math.nan), NOW_S)) == []


@every_detector
def test_a_detector_of_counters_is_silent_while_nothing_is_counted(detector: Detector):
    """A large total is not a rise."""
    breaches = detector.evaluate(world(300, lambda name, _: 1e9 if _is_counter(name) else math.nan), NOW_S)

    assert list(breaches) == []


@every_detector
def test_a_detector_says_the_same_twice(detector: Detector):
    """A replay of last Tuesday must give last Tuesday's answer."""
    rng = np.random.default_rng(1)
    values = {name: rng.random(300) * 3 for name in CATALOG}
    totals = {name: 1e6 - np.cumsum(values[name]) for name in CATALOG}
    series = world(300, lambda name, i: float(totals[name][i] if _is_counter(name) else values[name][i]))

    assert list(detector.evaluate(series, NOW_S)) == list(detector.evaluate(series, NOW_S))


def _is_counter(name: str) -> bool:
    return CATALOG[name].kind is MetricKind.COUNTER
