import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.traffic import Curve, from_folder, made_up


def series(folder: Path, name: str, values: list[float]) -> None:
    rows = [f"{60 * row},{value}" for row, value in enumerate(values)]
    (folder / name).write_text("\n".join(["timestamp,value", *rows]) + "\n")


@given(seed=st.integers(0, 10_000), at_s=st.floats(-10.0, 2000.0))
def test_a_made_up_curve_is_never_more_than_a_healthy_house_carries(seed: int, at_s: float) -> None:
    assert 0.6 <= made_up(random.Random(seed)).at(at_s) <= 1.3


def test_the_same_seed_makes_the_same_curve() -> None:
    assert made_up(random.Random(7)) == made_up(random.Random(7)) != made_up(random.Random(8))


def test_between_two_points_demand_goes_in_a_straight_line_and_beyond_them_it_stays() -> None:
    curve = Curve("drawn", (0.0, 10.0), (1.0, 2.0))
    assert [curve.at(at_s) for at_s in (-1.0, 0.0, 5.0, 10.0, 99.0)] == [1.0, 1.0, 1.5, 2.0, 2.0]


def test_a_recorded_window_has_its_own_level_as_the_normal_one(tmp_path: Path) -> None:
    series(tmp_path, "chat_req.csv", [900.0, 1100.0] * 100)
    curve = from_folder(tmp_path, random.Random(1))
    assert curve.name.startswith("chat_req:")
    assert {round(curve.at(10.0 * row + 5.0), 3) for row in range(50)} == {0.9, 1.1}


def test_latencies_are_no_demand(tmp_path: Path) -> None:
    series(tmp_path, "latency_median.csv", [1.0] * 100)
    with pytest.raises(ValueError, match="no rates"):
        from_folder(tmp_path, random.Random(1))


def test_a_series_that_is_too_short_or_all_zero_is_passed_over(tmp_path: Path) -> None:
    series(tmp_path, "a_req.csv", [5.0] * 20)
    series(tmp_path, "b_req.csv", [0.0] * 200)
    series(tmp_path, "c_req.csv", [7.0] * 200)
    assert from_folder(tmp_path, random.Random(3)).name.startswith("c_req:")
