"""The ranker that needs no cause file, over series side by side."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aiops.correlate.departures import GUARD_S, MAX_SCORE, alikeness, families, measure, split_rows
from aiops.correlate.suspects import beyond_peers, resources, suspect
from aiops.correlate.turning import CLEAR, find_turn

ROWS = 600
FAULT_S = 400.0
AT_S = np.arange(float(ROWS))


def noise(seed: int, level: float = 10.0, spread: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(level, spread, ROWS)


def quiet(count: int) -> tuple[list[str], np.ndarray]:
    return ["cpu"] * count, np.array([noise(seed) for seed in range(count)])


def first(values: np.ndarray, metrics: list[str], alert_s: float, symptom: int | None = None) -> int:
    return int(np.nanargmax(suspect(AT_S, values, metrics, alert_s, symptom).score))


@pytest.mark.parametrize("late_s", [0, 30, 60, 120, 180, 190])
def test_an_alert_that_comes_late_changes_nothing(late_s: int):
    """The minutes before a late alert are the fault's; taken as normal they hide it, and make its end look like a fault."""
    metrics, values = quiet(8)
    values[3, 400:] += 5.0
    values[6, 590:] += 3.0

    assert first(values, metrics, FAULT_S + late_s) == 3


def test_one_reading_far_out_is_no_movement():
    """The largest distance is made by one bad reading."""
    metrics, values = quiet(4)
    values[1, 450] = 1e6
    values[2, 400:] += 6.0

    assert first(values, metrics, FAULT_S) == 2


def test_a_sparse_counter_that_counts_once_is_not_the_strangest_of_all():
    """Its own spread is nothing, and one over nothing is infinite; its family has a spread."""
    metrics = ["errors"] * 6 + ["cpu"]
    values = np.array([*(np.abs(noise(seed, 0.0, 0.5)) for seed in range(5)), np.zeros(ROWS), noise(9)])
    values[5, 410:414] = 1.0
    values[6, 400:] += 8.0

    assert first(values, metrics, FAULT_S) == 6


def test_a_steady_value_that_moves_by_a_hair_did_nothing():
    """A memory reading without noise leaves its spread at every allocation."""
    metrics = ["mem", "mem", "cpu"]
    values = np.array([np.full(ROWS, 1e9), np.full(ROWS, 2e9), noise(1)])
    values[0, 400:] += 1e6
    values[2, 400:] += 6.0

    assert first(values, metrics, FAULT_S) == 2


def test_what_appears_from_nothing_is_seen():
    """The first errors ever have no noise to be measured by."""
    metrics = ["errors", "errors", "cpu"]
    values = np.array([np.zeros(ROWS), np.zeros(ROWS), noise(1)])
    values[1, 400:] = 3.0

    assert first(values, metrics, FAULT_S) == 1


def test_of_two_that_went_as_far_the_earlier_is_first():
    """Causes come before consequences."""
    metrics, values = quiet(4)
    values[1, 402:] = 20.0
    values[2, 396:] = 20.0

    judged = suspect(AT_S, values, metrics, FAULT_S)
    assert int(np.nanargmax(judged.score)) == 2
    assert (judged.onset_s[2], judged.onset_s[1]) == (396.0, 402.0)
    assert np.isnan(judged.onset_s[0])


def test_gaps_and_dead_series_hide_nothing_and_get_no_verdict():
    """Scrapes fail. Unknown is not zero."""
    metrics, values = quiet(6)
    values[2, 400:] += 6.0
    values[2, np.random.default_rng(5).random(ROWS) < 0.5] = np.nan
    values[3] = np.nan
    values[4, 3:] = np.nan  # too little before
    values[5, 400:] = np.nan  # nothing after

    judged = suspect(AT_S, values, metrics, FAULT_S)
    assert int(np.nanargmax(judged.score)) == 2
    assert np.isnan(judged.score[3:]).all()


def test_what_all_peers_did_is_nobodys_doing():
    """A fault slows every caller down; the one processor that is busy is nearer to it, though it moved less far."""
    metrics = ["latency"] * 4 + ["cpu"] * 4
    values = np.array([noise(seed) for seed in range(8)])
    values[:4, 400:] += 40.0
    values[6, 400:] += 20.0

    assert first(values, metrics, FAULT_S) == 6


def test_a_series_without_peers_is_held_against_all_that_moved():
    """A shared host has one disk, and it moves whenever anything does."""
    metrics = ["latency"] * 4 + ["errors"] * 4 + ["disk"]
    values = np.array([noise(seed) for seed in range(9)])
    values[:8, 400:] += 20.0
    values[1, 400:] += 60.0
    values[8, 400:] += 40.0

    assert first(values, metrics, FAULT_S) == 1
    values[8, 400:] += 600.0
    assert first(values, metrics, FAULT_S) == 8


@given(
    arrays(np.float64, st.integers(0, 12), elements=st.sampled_from([float("nan"), 0.0, 1.0, 2.0, 7.0])),
    st.data(),
)
def test_peers_are_the_others_of_the_same_metric(score: np.ndarray, data: st.DataObject):
    """Beside the plain way to say it; oneself is never among them."""
    family = np.array([data.draw(st.integers(0, 2)) for _ in score], dtype=np.intp)
    found = beyond_peers(score, family)

    for own, value in enumerate(score):
        others = [float(s) for at, s in enumerate(score) if at != own and np.isfinite(s)]
        same = [s for at, s in enumerate(score) if at != own and np.isfinite(s) and family[at] == family[own]]
        held = same if len(same) > 1 else [s for s in others if s > 0]
        beside = 1 + (np.median(held) if held else 0.0)
        wanted = (1 + value) / (np.sqrt(beside) if len(same) > 1 else beside) - 1
        assert found[own] == pytest.approx(max(wanted, 0.0)) if np.isfinite(value) else np.isnan(found[own])


def test_a_symptom_without_its_like_is_left_out_and_changes_nothing_else():
    """There is no way to follow along one series."""
    metrics = ["failed", "cpu", "cpu", "cpu", "latency"]
    values = np.array([noise(seed) for seed in range(5)])
    values[0, 400:] += 50.0
    values[4, 400:] += 8.0

    known, unknown = (suspect(AT_S, values, metrics, FAULT_S, number).score for number in (0, None))
    assert np.isnan(known[0])
    assert known[1:].tolist() == unknown[1:].tolist()
    assert int(np.nanargmax(known)) == 4


def test_with_a_symptom_known_what_moves_with_it_is_first():
    """A far mover of another service is coincidence; trouble travels along calls, and its callees move with the symptom."""
    shape = np.zeros(ROWS)
    shape[400:] = np.abs(np.sin(np.arange(200) / 7.0)) * 3.0
    metrics = ["latency", "latency", "latency", "requests"]
    values = np.array([noise(i) for i in range(4)])
    values[0] += shape * 2  # the symptom
    values[1] += shape
    values[2, 400:] += 30.0 * (np.random.default_rng(1).random(200) > 0.5)
    values[3, 400:] += 30.0

    judged = suspect(AT_S, values, metrics, FAULT_S, symptom=0)
    assert int(np.nanargmax(judged.score)) == 1
    assert np.isnan(judged.score[0])
    assert np.nanmax(judged.score) <= 1.0


def test_with_a_symptom_known_a_resource_that_ran_wild_still_counts():
    """A processor is no latency: it need not look like one to be the cause."""
    metrics = ["latency", "latency", "cpu"]
    values = np.array([noise(i) for i in range(3)])
    values[0, 400:] += 4.0
    values[2, 400:] += 90.0

    assert first(values, metrics, FAULT_S, symptom=0) == 2


def test_resources_are_known_by_their_names():
    """Words at the beginning of a part of the name, so that "duration" is no disk."""
    names = ["cpu", "container_memory_rss", "diskio", "node_network_receive", "GPU_util", "netrx", "sysread"]
    assert resources(names).all()
    assert not resources(
        ["latency-p50", "duration", "requests", "availability-Average", "sessions", "clat90", "lod"]
    ).any()


def test_few_rows_leave_a_baseline():
    """Where rows are minutes apart the guard must not eat all that is normal."""
    split = split_rows(np.arange(10) * 30.0, 240.0)
    assert (split.past_from, split.past_until) == (0, 8)
    assert (split.recent_from, split.recent_until) == (8, 10)
    assert split_rows(np.arange(2.0), 1.0).past_until == 1


def test_a_short_recording_keeps_two_thirds_of_its_past_as_normal():
    """Eight readings of a second each know no noise; everything moves far from them."""
    split = split_rows(np.arange(150.0), 90.0)
    assert split.past_until == 60
    assert split.recent_from == 90


def test_the_guard_belongs_to_neither_side():
    """What lies in it may be the fault already."""
    split = split_rows(AT_S, 400.0)
    assert AT_S[split.past_until - 1] == 400.0 - GUARD_S - 1
    assert AT_S[split.recent_from] == 400.0


def test_the_time_is_found_where_things_turned():
    """Without an alert's time the series tell it together."""
    metrics, values = quiet(10)
    values[:3, 400:] += 5.0
    turn = find_turn(values, families(metrics))

    assert turn is not None
    assert turn.row == 400
    assert turn.strength > CLEAR


def test_noise_turns_nowhere():
    """A file in which nothing happened has no clear time."""
    metrics, values = quiet(10)
    turn = find_turn(values, families(metrics))

    assert turn is None or turn.strength < CLEAR


READINGS = st.one_of(
    st.just(float("nan")), st.sampled_from([0.0, 1.0, 1e150, -1e150, 1e-300]), st.floats(-1e6, 1e6, allow_nan=False)
)


@example(np.array([[1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 0.0]]), 4)
@given(arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(2, 40)), elements=READINGS), st.integers(0, 60))
def test_any_numbers_give_scores_in_range_and_the_same_again(values: np.ndarray, alert_s: int):
    """A hostile file is normal input: no warning (they are errors here), no number out of range."""
    at_s = np.arange(values.shape[1], dtype=float)
    metrics = [f"m{row % 2}" for row in range(values.shape[0])]
    plain, again = (suspect(at_s, values, metrics, float(alert_s)).score for _ in range(2))
    followed = suspect(at_s, values, metrics, float(alert_s), symptom=0)
    most = 1.0 + 1e-9 if followed.along else 1.2 * MAX_SCORE

    assert np.array_equal(plain, again, equal_nan=True)
    assert ((plain >= 0) & (plain <= 1.2 * MAX_SCORE) | np.isnan(plain)).all()
    assert ((followed.score >= 0) & (followed.score <= most) | np.isnan(followed.score)).all()


@given(st.floats(1e-6, 1e6), st.floats(-1e6, 1e6))
def test_units_do_not_matter_within_a_family(factor: float, offset: float):
    """Bytes or megabytes: the same answer. An offset only widens the floor that follows the size."""
    metrics, values = quiet(3)
    values[1, 400:] += 5.0
    assert first(values * factor, metrics, FAULT_S) == 1
    scores = [measure(v[:, :280], v[:, 400:], families(metrics)).score for v in (values, values * factor)]
    assert np.allclose(scores[0], scores[1])
    assert np.isfinite(measure(values[:, :280] + offset, values[:, 400:] + offset, families(metrics)).score).all()


def test_a_constant_is_like_nothing():
    """Rounding leaves crumbs of a large constant; they correlate with anything."""
    values = np.array([np.full(ROWS, 1e9 / 3.0), noise(1)])
    assert alikeness(values, values[1], split_rows(AT_S, FAULT_S))[0] == 0.0


def test_736_series_of_300_points_take_little():
    """A file of that size in 10 ms of CPU; four times that here, for a busy machine."""
    values = np.random.default_rng(0).normal(10.0, 1.0, (736, 300))
    metrics = [f"m{row % 16}" for row in range(736)]
    at_s = np.arange(300.0)
    took_s = []
    for _ in range(5):
        started_s = time.process_time()
        suspect(at_s, values, metrics, 200.0)
        took_s.append(time.process_time() - started_s)
    assert min(took_s) < 0.04


def test_a_few_series_far_from_normal_turn_later_than_all_of_them_a_little():
    """Files are sewn together from several days: another load moves everything a little, the fault one service far."""
    metrics, values = quiet(30)
    values[:, 320:] += 1.0
    values[7:10, 500:] += 15.0

    everything, furthest = find_turn(values, families(metrics)), find_turn(values, families(metrics), 0.1)

    assert everything is not None
    assert furthest is not None
    assert abs(everything.row - 320) <= 2
    assert abs(furthest.row - 500) <= 2
