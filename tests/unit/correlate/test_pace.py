"""Pace: what a replica's slowness is when clock and batch are set right."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from aiops.correlate.evidence import _clocks_told
from aiops.correlate.pace import Demand, Pace, against_peers, elasticity, pace_shift, read_paces
from aiops.correlate.topology import read_topology
from aiops.correlate.view import View
from aiops.model import Labels, Onset, SeriesRef
from tests.fakes import FakeSeries

REF = SeriesRef("gen_ai_server_time_per_output_token_seconds_sum", Labels.of(instance="a:1"))


def make(log_s, log_batch=None) -> Pace:
    values = np.asarray(log_s, dtype=float)
    batch = np.empty(0) if log_batch is None else np.asarray(log_batch, dtype=float)
    return Pace("a:1", np.arange(values.size, dtype=float), values, batch, clock_known=True, series=REF)


LEVEL = Demand()


def shift(pace: Pace, demand: Demand = LEVEL):
    return pace_shift(pace, earliest_s=0.0, latest_s=1e9, demand=demand, min_before_s=5.0)


RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 0.02, 80)


def test_a_slower_replica_is_slower_by_what_it_is():
    """Twice the time a token at level demand is a factor of two, whatever the batch did."""
    steps = np.where(np.arange(80) >= 50, math.log(2.0), 0.0)
    found = shift(make(steps + NOISE, 1.4 + steps))  # by Little's law the batch doubles with the time

    assert found.residual == pytest.approx(math.log(2.0), abs=0.05)
    assert found.step is not None
    assert found.step.onset == Onset(49.0, 50.0)


@pytest.mark.parametrize("e", [0.3, 0.5, 0.8])
def test_a_batch_grown_by_demand_excuses_what_it_costs(e):
    """In a burst tokens take longer because the batch is larger: the engine is as good as before."""
    wobble = RNG.normal(0, 0.3, 80)
    batch = 1.4 + wobble + np.where(np.arange(80) >= 50, math.log(4.0), 0.0)
    found = shift(make(e * (batch - 1.4) + NOISE, batch), Demand(math.log(4.0), Onset(48.0, 50.0)))

    assert found.step is not None
    assert found.step.after - found.step.before == pytest.approx(e * math.log(4.0), abs=0.2)
    assert abs(found.residual) < math.log(1.2)


def test_a_demand_that_came_later_excuses_nothing():
    """A version slow since a minute is not excused by a burst of the last seconds."""
    steps = np.where(np.arange(80) >= 40, math.log(2.0), 0.0)
    found = shift(make(steps + NOISE, 1.4 + steps), Demand(math.log(2.0), Onset(60.0, 62.0)))

    assert found.residual == pytest.approx(math.log(2.0), abs=0.05)


def test_noise_is_no_shift():
    """Two per cent to and fro is an engine at work."""
    found = shift(make(NOISE))

    assert (found.residual, found.step) == (0.0, None)


def test_elasticity_is_read_from_how_pace_followed_the_batch():
    """Compute-bound engines slow with their batch, bandwidth-bound ones hardly do."""
    batch = RNG.normal(1.5, 0.4, 200)

    assert elasticity(make(0.7 * batch + RNG.normal(0, 0.01, 200), batch), 1e9) == pytest.approx(0.7, abs=0.05)
    assert elasticity(make(RNG.normal(0, 0.01, 200), np.full(200, 1.5)), 1e9) == 0.5, "a batch that never varied"


def test_peers_need_two_others():
    """Of two replicas nobody can say which is the odd one."""
    paces = {name: make(np.full(20, level)) for name, level in (("a", 1.0), ("b", 0.0), ("c", 0.1))}

    assert against_peers(paces, "a", 0.0, 20.0) == pytest.approx(0.95)
    assert against_peers({name: paces[name] for name in "ab"}, "a", 0.0, 20.0) is None
    assert against_peers(paces, "a", 30.0, 40.0) is None


@pytest.mark.parametrize(("known", "told"), [(True, "SM clocks allowed for"), (False, "SM clocks not known")])
def test_a_comparison_without_clocks_does_not_claim_to_have_allowed_for_them(known: bool, told: str):
    """A hot card slows after a deploy too; who reads "at equal clocks" would stop looking at the card."""
    pace = Pace("a:1", np.arange(3.0), np.zeros(3), np.zeros(3), clock_known=known, series=REF)
    scene, place = SimpleNamespace(paces={"a:1": pace}), SimpleNamespace(instances={"a:1"})

    assert _clocks_told(scene, place) == told


def read(utilization: float, clock: np.ndarray) -> Pace:
    """The pace of a replica at 10 ms a token, on a card with that load and clock, read every second."""
    series, times = FakeSeries(), np.arange(60.0)
    name = "gen_ai_server_time_per_output_token_seconds"
    columns = {
        f"{name}_sum": times, f"{name}_count": times * 100, "gen_ai_server_up": np.ones(60),
        "hw_gpu_utilization_ratio": np.full(60, utilization), "hw_gpu_clock_hertz": clock,
    }  # fmt: skip
    for metric, values in columns.items():
        labels = Labels.of(gpu="0") if metric.startswith("hw_") else Labels.of(instance="a:1", model="m")
        series.put(metric, labels, dict(zip(times.tolist(), values.tolist(), strict=True)))
    view = View(series, 0.0, 60.0)
    return read_paces(view, read_topology(view, "m"))["a:1"]


def test_a_clock_that_was_cut_is_divided_out_of_the_pace_of_a_card_that_works():
    """At half the clock, the same time a token is twice the pace."""
    found = read(0.8, np.where(np.arange(60) < 30, 2e9, 1e9))

    assert found.clock_known
    assert found.log_s.max() - found.log_s.min() == pytest.approx(math.log(2.0))


def test_the_clock_of_a_card_that_idles_says_nothing_of_the_pace():
    """A card without work falls to a sixth of its clock between two readings, and nobody waits for it."""
    found = read(0.01, np.where(np.arange(60) % 2, 1.98e9, 3.45e8))

    assert not found.clock_known
    assert found.log_s.max() - found.log_s.min() < 1e-6
