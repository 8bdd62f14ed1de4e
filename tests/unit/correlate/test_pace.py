"""Pace: what a replica's slowness is when clock and batch are set right."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from aiops.correlate.evidence import _clocks_told
from aiops.correlate.pace import Demand, Pace, against_peers, elasticity, pace_shift
from aiops.model import Labels, Onset, SeriesRef

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

    assert found.raw == pytest.approx(e * math.log(4.0), abs=0.2)
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
