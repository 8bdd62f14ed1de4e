"""Packing keeps every bit and every promise of a plain list of points, in a third of its memory."""

from __future__ import annotations

import random
import struct
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.store.track import BLOCK, POINT_BYTES, Packer, Track, pack, unpack

KEEP = 5 * BLOCK
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def filled(values: list[float], keep: int = KEEP, start_s: float = 0.0) -> Track:
    track, packer = Track(), Packer()
    for number, value in enumerate(values):
        track.append(start_s + number, value, keep, packer)
    return track


def points(track: Track, start_s: float = -1e9, end_s: float = 1e12, keep: int = KEEP) -> list[tuple[float, float]]:
    found = track.window(start_s, end_s, keep)
    return [] if found is None else list(zip(found[0].tolist(), found[1].tolist(), strict=True))


@given(st.lists(FINITE, min_size=BLOCK, max_size=BLOCK))
def test_what_is_unpacked_is_bit_for_bit_what_was_packed(values: list[float]) -> None:
    """A recording must replay to the last bit: -0.0 is not 0.0, and nothing is rounded."""
    raw = array("d", values).tobytes()

    assert unpack([pack(raw)]).tobytes() == raw


def test_several_blocks_come_out_in_their_order() -> None:
    blocks = [array("d", [float(n * BLOCK + i) for i in range(BLOCK)]) for n in range(3)]

    found = unpack([pack(block.tobytes()) for block in blocks])

    assert found.ravel().tolist() == [float(i) for i in range(3 * BLOCK)]


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from([0.0, 1.0, -0.0, 0.1, 1e300]), min_size=1, max_size=7 * BLOCK),
    st.floats(-10, 8 * BLOCK), st.floats(-10, 8 * BLOCK),
)  # fmt: skip
def test_a_window_is_that_of_a_plain_list(values: list[float], start_s: float, end_s: float) -> None:
    track = filled(values)
    plain = [(float(i), value) for i, value in enumerate(values)][-KEEP:]

    found = points(track, start_s, end_s)

    expected = [(at_s, value) for at_s, value in plain if start_s <= at_s <= end_s]
    assert [struct.pack("dd", *point) for point in found] == [struct.pack("dd", *point) for point in expected]


@settings(max_examples=40)
@given(st.integers(2 * BLOCK, 6 * BLOCK), st.integers(0, 6 * BLOCK))
def test_any_point_can_be_revised_packed_or_not(count: int, place: int) -> None:
    """Arrivals of ten minutes ago change when a long request ends."""
    track = filled([1.0] * count)

    replaced = track.replace(float(place), 7.0)

    known = dict(points(track))
    assert replaced or float(place) not in known  # one that is not shown any more may still be held
    assert all(value == (7.0 if at_s == place else 1.0) for at_s, value in known.items())


def test_a_time_between_two_packed_points_is_not_known() -> None:
    track = filled([1.0] * 3 * BLOCK)

    assert not track.replace(10.5, 7.0)
    assert {value for _, value in points(track)} == {1.0}


def test_the_newest_point_at_a_packed_time_is_found() -> None:
    track = filled([float(i) for i in range(3 * BLOCK)])

    assert track.at(10.4) == (10.0, 10.0)
    assert track.at(3.0 * BLOCK + 5) == (3.0 * BLOCK - 1, 3.0 * BLOCK - 1)
    assert track.at(-1.0) is None


def test_what_lies_after_a_time_is_cut_off_and_the_rest_goes_on() -> None:
    """The wall clock was set back."""
    track = filled([1.0] * 4 * BLOCK)

    track.cut(100.0)
    track.append(101.5, 2.0, KEEP, Packer())

    assert points(track)[-2:] == [(100.0, 1.0), (101.5, 2.0)]
    assert len(track) == 102


def test_bytes_are_counted_up_and_down_to_nothing() -> None:
    """The bound on memory holds only as long as the count does."""
    rng = random.Random(503)
    track = filled([rng.random() for _ in range(4 * BLOCK)])
    assert track.size_bytes > 2 * BLOCK * POINT_BYTES
    track.replace(3.0, 9.0)

    for _ in range(4 * BLOCK):
        track.shorten()

    assert (len(track), track.size_bytes) == (0, 0)


@pytest.mark.parametrize(("values", "share"), [([42.0] * 720, 0.45), ([float(i * 37) for i in range(720)], 0.65)])
def test_series_as_they_are_take_a_part_of_two_doubles_a_point(values: list[float], share: float) -> None:
    """The newest stay as they are, and are most of what is left."""
    assert filled(values, keep=720).size_bytes < share * len(values) * POINT_BYTES


def test_series_collected_together_keep_their_times_once() -> None:
    packer = Packer()
    tracks = [Track() for _ in range(10)]
    rng = random.Random(503)
    at_s = 0.0
    for _ in range(4 * BLOCK):
        at_s += 5.0 + rng.random() / 100
        for track in tracks:
            track.append(at_s, 1.0, KEEP, packer)

    sizes = [track.size_bytes for track in tracks]

    assert sizes[0] > sizes[1] == sizes[9]
    assert np.array_equal(*(track.window(0.0, 1e9, KEEP)[0] for track in tracks[:2]))
