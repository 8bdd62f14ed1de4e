"""Quantiles to one percent, whatever the values are."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.collect.sketch import Sketch

SHARES = (0.5, 0.95, 0.99, 1.0)
durations = st.lists(st.floats(min_value=1e-6, max_value=6e5), min_size=1, max_size=300)


def sketch_of(values: list[float]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


def exact(values: list[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered[math.ceil(share * len(ordered)) - 1] for share in SHARES]


@given(durations)
def test_every_quantile_is_within_one_percent(values: list[float]) -> None:
    """That is what the sketch promises; a rule's threshold may then be taken at its word."""
    assert sketch_of(values).quantiles(SHARES) == pytest.approx(exact(values), rel=0.0101)


@given(durations, durations)
def test_merged_sketches_are_the_sketch_of_everything(one: list[float], other: list[float]) -> None:
    """Routes and upstreams are read from the same parts."""
    merged = sketch_of(one)
    merged.merge(sketch_of(other))

    assert merged.count == len(one) + len(other)
    assert merged.quantiles(SHARES) == sketch_of(one + other).quantiles(SHARES)


@given(st.lists(st.floats(min_value=0.0, max_value=1e300), max_size=100))
def test_quantiles_rise_whatever_is_put_in(values: list[float]) -> None:
    """P99 below P50 would make a rule compare nonsense."""
    found = sketch_of(values).quantiles(SHARES)

    assert all(low <= high for low, high in pairwise(found))
    assert len(found) == (len(SHARES) if values else 0)


def test_nothing_is_zero_and_not_a_small_value() -> None:
    """A refusal by the gateway takes no time that a log can show."""
    assert sketch_of([0.0, 0.0, 0.0, 1.0]).quantiles((0.5,)) == [0.0]


def test_memory_is_bounded_by_the_range_and_not_by_the_count() -> None:
    """A million requests cost what a thousand do."""
    rng = random.Random(7)
    sketch = sketch_of([math.exp(rng.uniform(math.log(1e-6), math.log(6e5))) for _ in range(200_000)])

    assert len(sketch._buckets) <= 1_400
