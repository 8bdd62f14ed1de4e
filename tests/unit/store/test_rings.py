from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from aiops.model import NO_LABELS, Labels, Sample
from aiops.selfstat import SelfStat
from aiops.store.rings import Rings

GPU_0 = Labels.of(host_name="n1", gpu="0")
GPU_1 = Labels.of(host_name="n1", gpu="1")


@pytest.fixture
def stat() -> SelfStat:
    return SelfStat(CollectorRegistry())


@pytest.fixture
def rings(stat: SelfStat) -> Rings:
    return Rings(stat)


def dropped(stat: SelfStat, reason: str) -> float:
    return stat.registry.get_sample_value("aiops_samples_dropped_total", {"reason": reason}) or 0.0


def points(rings: Rings, metric: str = "m", start_s: float = -math.inf, end_s: float = math.inf) -> list[tuple]:
    return [
        (float(at_s), float(value))
        for window in rings.window(metric, start_s, end_s)
        for at_s, value in zip(window.at_s, window.values, strict=True)
    ]


def test_a_window_holds_both_of_its_ends(rings: Rings):
    """Detectors look at [start, end]; an off-by-one at either end shifts every baseline."""
    rings.extend(Sample("m", GPU_0, float(t), t * 10.0) for t in range(6))

    (window,) = rings.window("m", 2.0, 4.0)

    assert window.labels == GPU_0
    assert window.at_s.tolist() == [2.0, 3.0, 4.0]
    assert window.values.tolist() == [20.0, 30.0, 40.0]
    assert window.values.dtype == np.float64


def test_a_series_without_points_in_the_window_is_left_out(rings: Rings):
    """An empty array would make every reader check for it."""
    rings.extend([Sample("m", GPU_0, 1.0, 1.0), Sample("m", GPU_1, 9.0, 1.0)])

    assert [window.labels for window in rings.window("m", 5.0, 10.0)] == [GPU_1]
    assert list(rings.window("unheard_of", 0.0, 10.0)) == []


def test_match_keeps_series_that_carry_all_wanted_labels(rings: Rings):
    """A hypothesis about one GPU must not see the others."""
    rings.extend([Sample("m", GPU_0, 1.0, 0.0), Sample("m", GPU_1, 1.0, 1.0)])

    assert [w.labels for w in rings.window("m", 0.0, 2.0, {"gpu": "1", "host_name": "n1"})] == [GPU_1]
    assert [s.value for s in rings.latest("m", 2.0, {"gpu": "0"})] == [0.0]
    assert list(rings.window("m", 0.0, 2.0, {"gpu": "7"})) == []


def test_a_held_time_is_revised_and_not_repeated(rings: Rings, stat: SelfStat):
    """The access log writes its last sixty arrival buckets anew every second."""
    rings.extend(Sample("m", GPU_0, float(t), 1.0) for t in range(10))
    rings.extend(Sample("m", GPU_0, float(t), 2.0) for t in range(5, 10))

    assert points(rings) == [(float(t), 1.0 if t < 5 else 2.0) for t in range(10)]
    assert dropped(stat, "late") == 0


def test_an_unknown_older_time_is_dropped_and_counted(rings: Rings, stat: SelfStat):
    """Order within a series is what every reader relies on."""
    rings.extend([Sample("m", GPU_0, 10.0, 1.0), Sample("m", GPU_0, 20.0, 2.0)])
    rings.extend([Sample("m", GPU_0, 15.0, 9.0), Sample("m", GPU_0, 5.0, 9.0)])

    assert points(rings) == [(10.0, 1.0), (20.0, 2.0)]
    assert dropped(stat, "late") == 2


@pytest.mark.parametrize(
    ("at_s", "value"), [(1.0, math.nan), (1.0, math.inf), (1.0, -1e308), (math.nan, 1.0), (-math.inf, 1.0)]
)
def test_what_is_not_finite_or_as_good_as_that_never_enters(rings: Rings, stat: SelfStat, at_s: float, value: float):
    """One NaN would turn every median it touches into NaN."""
    rings.extend([Sample("m", GPU_0, at_s, value)])

    assert rings.series_count() == 0
    assert dropped(stat, "not_finite") == 1


def test_only_the_newest_points_are_kept(stat: SelfStat):
    """Memory is bounded for a daemon that runs for months."""
    rings = Rings(stat, points=10)
    rings.extend(Sample("m", GPU_0, float(t), float(t)) for t in range(1_000))

    assert points(rings) == [(float(t), float(t)) for t in range(990, 1_000)]


def test_series_past_the_limit_are_refused_and_counted(stat: SelfStat):
    """A label that explodes (a request id) must not take the node's memory."""
    rings = Rings(stat, max_series=2)
    rings.extend(Sample("m", Labels.of(request=str(i)), 1.0, 1.0) for i in range(5))
    rings.extend([Sample("m", Labels.of(request="0"), 2.0, 1.0)])

    assert rings.series_count() == 2
    assert dropped(stat, "too_many_series") == 3
    assert points(rings) == [(1.0, 1.0), (2.0, 1.0), (1.0, 1.0)]


def test_at_the_byte_limit_histories_shorten_but_the_newest_still_comes_in(stat: SelfStat):
    """Blindness to the present would be worse than a shorter past."""
    rings = Rings(stat, max_bytes=16 * 20)
    for t in range(50):
        rings.extend([Sample("m", GPU_0, float(t), 0.0), Sample("m", GPU_1, float(t), 1.0)])

    assert len(points(rings)) == 20
    assert [s.at_s for s in rings.latest("m", 49.0)] == [49.0, 49.0]
    rings.extend([Sample("m", NO_LABELS, 50.0, 1.0)])
    assert dropped(stat, "too_many_series") == 1


def test_latest_is_the_newest_at_or_before_now_and_not_too_old(rings: Rings):
    """A replay asks about the past; a gauge not updated for half a minute is unknown, not its last value."""
    rings.extend(Sample("m", GPU_0, float(t), float(t)) for t in (10, 20, 30))

    assert [s.value for s in rings.latest("m", 25.0)] == [20.0]
    assert [s.value for s in rings.latest("m", 60.0)] == [30.0]
    assert list(rings.latest("m", 60.1)) == []
    assert [s.value for s in rings.latest("m", 600.0, max_age_s=1e9)] == [30.0]
    assert list(rings.latest("m", 9.0)) == []


def test_the_snapshot_leaves_out_what_was_not_updated_for_five_minutes(rings: Rings):
    """/metrics must not show the temperature of a card that is gone."""
    rings.extend([Sample("m", GPU_0, 0.0, 1.0), Sample("m", GPU_1, 100.0, 2.0), Sample("m", GPU_1, 200.0, 3.0)])

    assert list(rings.snapshot(400.0)) == [Sample("m", GPU_1, 200.0, 3.0)]


def test_a_series_without_samples_for_an_hour_expires(rings: Rings, stat: SelfStat):
    """Replicas come and go under new names; their series must not stay for ever."""
    rings.extend([Sample("gone", GPU_0, 0.0, 1.0), Sample("m", GPU_1, 100.0, 2.0)])

    rings.expire(3_650.0)

    assert rings.metrics() == ["m"]
    assert rings.series_count() == 1
    assert stat.registry.get_sample_value("aiops_series") == 1
    rings.expire(1e6)
    assert rings.metrics() == []


def test_expired_series_give_their_bytes_back(stat: SelfStat):
    """Otherwise the limits would be reached by series long gone."""
    rings = Rings(stat, max_series=1, max_bytes=16 * 4)
    rings.extend(Sample("m", GPU_0, float(t), 1.0) for t in range(4))
    rings.expire(10_000.0)
    rings.extend(Sample("m", GPU_1, 10_000.0 + t, 1.0) for t in range(4))

    assert len(points(rings)) == 4
    assert dropped(stat, "too_many_series") == 0


def test_a_clock_set_back_does_not_make_the_node_blind(rings: Rings, stat: SelfStat):
    """Samples from the time before the step lie in the future; they are given up for those that come in now."""
    rings.extend(Sample("m", GPU_0, float(t), 1.0) for t in range(4_000, 4_010))
    rings.expire(500.0)
    rings.extend([Sample("m", GPU_0, 501.0, 2.0)])

    assert points(rings) == [(501.0, 2.0)]
    assert dropped(stat, "late") == 0


def test_a_sample_a_moment_ahead_survives_expiry(rings: Rings):
    """Two clocks on one host may disagree by a little without losing data."""
    rings.extend([Sample("m", GPU_0, 103.0, 1.0)])
    rings.expire(100.0)

    assert points(rings) == [(103.0, 1.0)]


def test_a_window_in_hand_does_not_change(rings: Rings):
    """The web thread draws while the loop writes."""
    rings.extend(Sample("m", GPU_0, float(t), 1.0) for t in range(5))
    (window,) = rings.window("m", 0.0, 10.0)
    rings.extend(Sample("m", GPU_0, float(t), 7.0) for t in range(100))

    assert window.values.tolist() == [1.0] * 5


def test_readers_and_a_writer_share_the_rings(stat: SelfStat):
    """The web thread reads while the loop writes; windows stay ordered and of equal length."""
    rings = Rings(stat, points=20)
    broken: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            broken.extend(
                window
                for window in rings.window("m", 0.0, 1e9)
                if len(window.at_s) != len(window.values) or (np.diff(window.at_s) <= 0).any()
            )
            list(rings.snapshot(1e9))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for t in range(3_000):
            rings.extend([Sample("m", Labels.of(i=str(t % 7)), float(t), 1.0)])
            if t % 100 == 0:
                rings.expire(float(t))
    finally:
        done.set()
        reader.join()

    assert broken == []


def test_limits_below_one_are_refused(stat: SelfStat):
    """A ring that can hold nothing is a mistake, not a setting."""
    with pytest.raises(ValueError, match="at least 1"):
        Rings(stat, points=0)


@given(
    writes=st.lists(st.tuples(st.integers(0, 40), st.integers(-5, 5)), max_size=120),
    size=st.integers(1, 12),
    window=st.tuples(st.integers(0, 40), st.integers(0, 40)),
)
def test_rings_agree_with_a_plain_dictionary(writes: list[tuple[int, int]], size: int, window: tuple[int, int]):
    """Whatever comes in what order: ordered, bounded, the newest kept, revisions applied."""
    rings = Rings(SelfStat(CollectorRegistry()), points=size)
    kept: dict[int, int] = {}
    newest = -1
    for at_s, value in writes:
        rings.extend([Sample("m", GPU_0, float(at_s), float(value))])
        if at_s > newest or at_s in kept:
            kept[at_s] = value
            newest = max(newest, at_s)
        # a time cut off long ago may still be held for a while; what is shown is always the newest `size`
        shown = dict(sorted(kept.items())[-size:])
    if not writes:
        return
    start, end = min(window), max(window)

    assert points(rings) == [(float(t), float(v)) for t, v in shown.items()]
    assert points(rings, start_s=start, end_s=end) == [
        (float(t), float(v)) for t, v in shown.items() if start <= t <= end
    ]


def test_a_series_that_came_or_went_is_seen_by_whoever_asked_before(rings: Rings):
    """Which series match is remembered; a new replica must not stay unseen for it."""
    wanted = {"outcome": "503"}
    rings.extend([Sample("http_server_requests_total", Labels.of(outcome="503", upstream="a"), 0.0, 1.0)])
    assert len(list(rings.window("http_server_requests_total", 0.0, 9_000.0, wanted))) == 1

    late = Labels.of(outcome="503", upstream="b")
    rings.extend([Sample("http_server_requests_total", late, 7_000.0, 1.0)])
    assert len(list(rings.window("http_server_requests_total", 0.0, 9_000.0, wanted))) == 2

    rings.expire(7_001.0)
    assert [w.labels for w in rings.window("http_server_requests_total", 0.0, 9_000.0, wanted)] == [late]
    assert [s.labels for s in rings.latest("http_server_requests_total", 7_001.0, wanted)] == [late]
