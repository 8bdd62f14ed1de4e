"""Leaks: steady growth at level traffic, and nothing that only looks like it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aiops.correlate.levels import metric_finding
from aiops.correlate.trends import lately_growing, steady_growth
from aiops.model import EvidenceState, Labels
from aiops.rulebook.causes import Scope
from aiops.rulebook.clauses import Limit, MetricTest
from tests.unit.correlate.test_evidence import BAD_S, Node

PRESENT, ABSENT, UNKNOWN = EvidenceState.PRESENT, EvidenceState.ABSENT, EvidenceState.UNKNOWN
TIMES = np.arange(0.0, 300.0, 5.0)
NOISE = np.random.default_rng(1).normal(0, 0.01, TIMES.size)


@pytest.mark.parametrize(
    ("values", "growth"),
    [
        (1.0 + TIMES / 300 + NOISE, 0.75),
        (2.0 - TIMES / 300 + NOISE, -0.4),
        (1.0 + (TIMES > 140) + NOISE, 0.0),
        (1.0 + np.sin(TIMES / 20) / 2, 0.0),
        (np.zeros(TIMES.size), 0.0),
        (np.ones(TIMES.size), 0.0),
    ],
    ids=["rise", "fall", "step", "wave", "zero", "constant"],
)
def test_only_what_grows_all_the_time_is_a_trend(values, growth):
    """A batch that became larger, or a process that came, is a step and no leak."""
    found = steady_growth(TIMES, values)

    assert found is not None
    assert math.isclose(found, growth, abs_tol=0.15)


@pytest.mark.parametrize("points", [0, 1, 5, 12])
def test_too_little_history_is_no_verdict(points):
    """A minute says nothing of a leak."""
    assert steady_growth(TIMES[:points], TIMES[:points]) is None


@pytest.mark.parametrize(
    ("values", "begins_s", "growth"),
    [
        (1.0 + np.maximum(TIMES - 240, 0) / 60 + NOISE, 220.0, 0.9),  # a minute of five
        (1.0 + TIMES / 300 + NOISE, 0.0, 0.75),
        (1.0 + (TIMES > 270) + NOISE, 0.0, 0.0),  # a step
        (np.ones(TIMES.size), 0.0, 0.0),
    ],
    ids=["began late", "always", "step", "constant"],
)
def test_a_leak_may_have_begun_a_minute_ago(values, begins_s, growth):
    """Whoever asks for ten minutes wants to see one of them grow, too."""
    found = lately_growing(TIMES, values)

    assert found is not None
    assert math.isclose(found[1], growth, abs_tol=0.2)
    assert math.isclose(TIMES[found[0]], begins_s, abs_tol=25.0)


def test_a_short_history_of_which_half_grew_is_enough():
    """Seventy seconds are known, five seconds apart; the server grew in the last thirty-five of them."""
    at_s = np.arange(0.0, 75.0, 5.0)
    grew = 34.0 + 6.0 * np.maximum(at_s - 35.0, 0.0) + NOISE[:15]

    assert lately_growing(at_s, grew) is not None
    assert lately_growing(at_s[7:], grew[7:]) is None  # it may just fill up
    assert lately_growing(at_s[:0], grew[:0]) is None


def test_four_readings_are_no_leak():
    """Ten seconds apart, three steps up: a batch, a cache, a neighbour do that."""
    at_s = np.arange(0.0, 80.0, 10.0)

    assert lately_growing(at_s, np.array([34.0, 34.0, 34.0, 34.0, 34.0, 104.0, 166.0, 249.0])) is None


@pytest.mark.parametrize("filled_s", [15.0, 30.0, 60.0])
def test_what_fills_up_slows_down(filled_s):
    """A cache that is emptied fills again, fast at first."""
    values = 1.0 + np.maximum(1.0 - np.exp(-np.maximum(TIMES - 200.0, 0.0) / filled_s), 0.0) + NOISE / 10

    found = lately_growing(TIMES, values)
    assert found is not None
    assert found[1] == 0.0


TEST = MetricTest("process_memory_anonymous_bytes", 110.0, by="instance", trend=Limit(above=0.2))


def leaking(arrivals: float | None = 10.0, then: float | None = None) -> Node:
    node = Node(1)
    values = {float(t): 1e9 * (1 + (t - BAD_S + 120) / 120) for t in np.arange(BAD_S - 120, BAD_S + 20, 5.0)}
    node.series.put("process_memory_anonymous_bytes", Labels.of(instance="r0", process="engine"), values)
    if arrivals is not None:
        node.gauge("http_server_arrival_rate", arrivals, then=then, at_s=BAD_S - 55, service="chat")
    return node


@pytest.mark.parametrize(
    ("node", "state"),
    [(leaking(), PRESENT), (leaking(10.0, 30.0), ABSENT), (leaking(None), UNKNOWN)],
    ids=["level", "more traffic", "arrivals unknown"],
)
def test_what_grows_with_traffic_does_not_leak(node, state):
    """More requests hold more memory; and where nobody counts them, growth proves nothing."""
    found = metric_finding(TEST, *node.at(Scope.INSTANCE, 0))

    assert found.state is state
    if state is PRESENT:
        assert found.words["ratio"].endswith(" %")
