from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops import stats

# --- counters ---


def test_an_increase_is_the_sum_of_the_steps():
    """The base case of every rate in the program."""
    assert stats.increase([3, 5, 5, 9]) == 6


def test_a_restarted_counter_goes_on_from_zero():
    """A restart of the source must neither lose the new count nor go negative."""
    assert stats.increase([100, 110, 4, 6]) == 10 + 4 + 2


@pytest.mark.parametrize("values", [[], [7.0]])
def test_fewer_than_two_readings_are_no_increase_at_all(values: list[float]):
    """Unknown is not zero: a rule must not read "nothing happened" from an empty window."""
    assert math.isnan(stats.increase(values))
    assert stats.rate_points(values, values).size == 0


def test_rates_belong_to_intervals_of_any_length():
    """A late scrape must not look like a burst."""
    assert stats.rate_points([0, 1, 3, 13], [0, 10, 20, 5]).tolist() == [10.0, 5.0, 0.5]


def test_times_and_values_must_pair_up():
    """A mismatch is a mistake of the caller, and silent truncation would hide it."""
    with pytest.raises(ValueError, match="equal length"):
        stats.rate_points([0, 1], [1])


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=50))
def test_an_increase_is_never_negative(totals: list[int]):
    """Whatever a source reports, a counter only counts up."""
    assert stats.increase(totals) >= 0


# --- spread ---


def test_one_outlier_moves_neither_median_nor_mad():
    """That is what they are used for."""
    assert stats.median_mad([1, 2, 3, 4, 1000]) == (3.0, 1.0)


def test_nothing_has_no_median():
    """NaN compares false with every limit, so no verdict comes of it."""
    assert all(math.isnan(value) for value in stats.median_mad([]))


def test_the_robust_scale_of_normal_values_is_their_standard_deviation():
    """The factor 1.4826 makes limits mean what they say."""
    values = np.random.default_rng(1).normal(5.0, 2.0, 20_000)
    assert stats.robust_scale(values, 1e-9) == pytest.approx(2.0, rel=0.03)


def test_a_mostly_flat_series_still_has_a_spread():
    """With more than half of the values equal the MAD is 0 and any wiggle would look infinite."""
    assert stats.robust_scale([0] * 9 + [10], 0.01) == pytest.approx(1.2533)
    assert stats.robust_scale([0] * 10, 0.01) == 0.01
    assert stats.robust_scale([], 0.01) == 0.01


# --- onset ---


def series(*levels: tuple[int, float], noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.full(count, level) for count, level in levels])
    return np.arange(values.size, dtype=float), values + rng.normal(0, noise, values.size) if noise else values


def test_a_step_begins_between_the_last_normal_and_the_first_abnormal_sample():
    """The order of onsets decides what caused what; a point in time would pretend to know more."""
    at_s, values = series((60, 10.0), (20, 50.0), noise=1.0)

    assert stats.onset(at_s, values, baseline_until_s=55.0, floor=0.1) == stats.Onset(59.0, 60.0)


def test_a_ramp_gets_a_wide_interval():
    """Between clearly normal and clearly abnormal nobody can say."""
    at_s = np.arange(100.0)
    values = np.where(at_s < 60, 10.0, 10.0 + (at_s - 59) * 0.5)

    found = stats.onset(at_s, values, baseline_until_s=50.0, floor=1.0)

    assert found is not None
    assert found.after_s < 65 < found.by_s


def test_an_onset_inside_the_baseline_is_still_found():
    """A leak begins long before anybody is hurt; median and MAD stand up to half of the baseline being spoiled."""
    at_s, values = series((60, 10.0), (40, 50.0), noise=1.0)

    assert stats.onset(at_s, values, baseline_until_s=80.0, floor=0.1) == stats.Onset(59.0, 60.0)


def test_a_spell_that_ended_before_the_baseline_did_is_history():
    """Yesterday's hiccup is not the onset of today's incident."""
    at_s, values = series((30, 10.0), (5, 50.0), (25, 10.0), (10, 50.0), noise=0.5)

    assert stats.onset(at_s, values, baseline_until_s=58.0, floor=0.1) == stats.Onset(59.0, 60.0)


def test_one_wild_sample_is_no_onset():
    """A single reading may be an error of measurement."""
    at_s, values = series((60, 10.0), (1, 50.0), (20, 10.0))

    assert stats.onset(at_s, values, baseline_until_s=55.0, floor=1.0) is None


def test_the_direction_can_be_asked_for():
    """Fewer tokens a second are a symptom, more are none."""
    at_s, values = series((60, 10.0), (20, 2.0))

    assert stats.onset(at_s, values, baseline_until_s=55.0, floor=1.0, direction=1) is None
    assert stats.onset(at_s, values, baseline_until_s=55.0, floor=1.0, direction=-1) == stats.Onset(59.0, 60.0)


@pytest.mark.parametrize("count", [0, 5, 12])
def test_too_short_a_baseline_gives_no_onset(count: int):
    """Too little history gives no verdict, never "normal"."""
    at_s, values = series((count, 1.0))

    assert stats.onset(at_s, values, baseline_until_s=6.0, floor=1.0) is None


def test_a_spread_of_nothing_is_refused():
    """Dividing by a floor of 0 would make a flat series infinitely strange."""
    with pytest.raises(ValueError, match="floor"):
        stats.onset([0.0], [0.0], baseline_until_s=0.0, floor=0.0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=0, max_size=60), st.integers(0, 60))
def test_an_onset_is_always_an_interval_in_order(values: list[float], until: int):
    """Everything that compares onsets relies on it."""
    found = stats.onset(np.arange(len(values)), values, baseline_until_s=until, floor=0.5)

    assert found is None or found.after_s < found.by_s


# --- proportions ---


def exact_tail(bad: int, total: int, p: Fraction) -> float:
    return float(sum(math.comb(total, k) * p**k * (1 - p) ** (total - k) for k in range(bad, total + 1)))


@given(
    st.integers(0, 60), st.integers(0, 60), st.fractions(Fraction(1, 1000), Fraction(999, 1000), max_denominator=1000)
)
def test_the_binomial_tail_is_exact(first: int, second: int, p: Fraction):
    """It decides whether somebody is woken; rational arithmetic says what it must be."""
    bad, total = sorted((first, second))

    assert stats.binomial_tail(bad, total, float(p)) == pytest.approx(exact_tail(bad, total, p), rel=1e-7, abs=1e-12)


def test_the_binomial_tail_reaches_far_below_rounding():
    """Differences of cumulated sums would return 0 or garbage here."""
    assert stats.binomial_tail(30, 30, 0.001) == pytest.approx(1e-90)


def test_a_million_requests_are_no_more_than_a_few_thousand_terms():
    """Reference: the normal approximation, good at this size."""
    z = (1_100 - 0.5 - 1_000) / math.sqrt(1_000 * 0.999)
    assert stats.binomial_tail(1_100, 1_000_000, 0.001) == pytest.approx(math.erfc(z / math.sqrt(2)) / 2, rel=0.2)


@pytest.mark.parametrize(("bad", "total", "p", "chance"), [(0, 0, 0.5, 1.0), (1, 5, 0.0, 0.0), (5, 5, 1.0, 1.0)])
def test_the_ends_of_the_binomial_tail(bad: int, total: int, p: float, chance: float):
    """Logarithms of zero wait there."""
    assert stats.binomial_tail(bad, total, p) == chance


@pytest.mark.parametrize(("bad", "total", "p"), [(-1, 5, 0.1), (6, 5, 0.1), (1, 5, 1.1), (1, 5, math.nan)])
def test_impossible_counts_are_refused(bad: int, total: int, p: float):
    """More failures than requests is a mistake of the caller."""
    with pytest.raises(ValueError, match="binomial"):
        stats.binomial_tail(bad, total, p)


@pytest.mark.parametrize(
    ("bad", "total", "expected"), [(0, 100, 1 - 0.05 ** (1 / 100)), (3, 10, 0.6066242), (5, 5, 1.0), (0, 0, 1.0)]
)
def test_the_upper_bound_is_clopper_and_pearsons(bad: int, total: int, expected: float):
    """The rule of three and a table value; with nothing seen, anything is possible."""
    assert stats.beta_upper(bad, total, 0.95) == pytest.approx(expected, rel=1e-6)


@given(st.integers(0, 40), st.integers(1, 400), st.floats(0.5, 0.999))
def test_the_upper_bound_lies_above_the_ratio_and_falls_with_more_data(bad: int, extra: int, confidence: float):
    """Little history excuses more, not less."""
    total = bad + extra
    bound = stats.beta_upper(bad, total, confidence)

    assert bad / total <= bound <= 1.0
    assert stats.beta_upper(bad * 10, total * 10, confidence) <= bound + 1e-6 or bad / total > confidence


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60))
def test_median_is_the_value_half_of_the_others_lie_on_either_side_of(values: list[float]):
    """Every baseline is one; ours is faster than numpy's and must say the same."""
    assert stats.median(values) == pytest.approx(float(np.median(values)))


def test_median_of_nothing_is_not_a_number():
    """Too little data never looks like normal."""
    assert math.isnan(stats.median([]))
