"""Series and services of a file, ranked."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.errors import AiopsError
from aiops.offline.columns import Columns
from aiops.offline.explain import explain, service_of

AT_S = 1_000.0 + np.arange(300.0)
FAULT_S = 1_200.0


def file_of(**series: np.ndarray | float) -> Columns:
    rng = np.random.default_rng(7)
    rows = [
        rng.normal(5.0, 0.5, 300) if isinstance(v, float) and np.isnan(v) else np.broadcast_to(v, 300)
        for v in series.values()
    ]
    return Columns("m.csv", tuple(series), AT_S, np.array(rows, dtype=float))


NOISE = float("nan")
STEP = np.where(AT_S < FAULT_S, 5.0, 9.0) + np.random.default_rng(3).normal(0, 0.5, 300)


@pytest.mark.parametrize("alert_s", [FAULT_S, FAULT_S + 80.0, None])
def test_the_service_that_moved_is_first_and_all_are_listed(alert_s: float | None):
    """Also one whose series never change, and one that cannot be judged."""
    dead = np.full(300, np.nan)
    found = explain(file_of(a_cpu=NOISE, b_cpu=STEP, c_cpu=4.0, d_cpu=dead, e=NOISE, b_mem=NOISE), alert_s)

    assert found.services[0][0] == "b"
    assert {name for name, _ in found.services} == {"a", "b", "c", "d", "e"}
    assert dict(found.services)["d"] == 0.0
    assert found.series[0].name == "b_cpu"
    assert found.series[0].onset_s == FAULT_S
    assert found.series[0].normal == pytest.approx(5.0, abs=0.3)
    assert found.series[0].then == pytest.approx(9.0, abs=0.3)
    assert {each.name for each in found.series} == {"a_cpu", "b_cpu", "c_cpu", "e", "b_mem"}
    assert "1 series have too few readings to be judged." in found.notes
    assert found.found is (alert_s is None)
    assert found.at_s == pytest.approx(FAULT_S if alert_s is None else alert_s, abs=2.0)


def test_a_service_of_which_two_metrics_moved_is_before_one_of_which_one_did():
    """One series moves by chance; the service's score says so, the order of the series does not."""
    further = STEP + np.where(AT_S < FAULT_S, 0.0, 1.0)
    found = explain(file_of(a_x=further, b_y=STEP, b_z=STEP, c_cpu=NOISE, d_cpu=NOISE), FAULT_S)

    assert found.series[0].name == "a_x"
    assert found.services[0][0] == "b"


def test_a_short_file_whose_time_is_found_keeps_its_normal_rows():
    """The guard is for alerts that come late; a time found in the data does not."""
    whole = file_of(a_cpu=NOISE, b_cpu=STEP, c_cpu=NOISE)
    short = Columns("m.csv", whole.names, whole.at_s[160:], whole.values[:, 160:])
    found = explain(short)

    assert found.at_s == pytest.approx(FAULT_S, abs=2.0)
    assert found.normal[0] == 1_160.0
    assert found.normal[1] >= FAULT_S - 3.0
    assert found.services[0][0] == "b"


def test_the_service_stands_before_the_first_underscore():
    """Names of clouds hold anything else."""
    assert service_of("PetSearch~AWS::ECS_latency_p50") == "PetSearch~AWS::ECS"
    assert service_of("load") == "load"


def test_the_symptom_is_given_and_so_it_is_not_ranked():
    """Its service still is, by its other series."""
    found = explain(file_of(a_latency=STEP, b_latency=STEP * 2, a_cpu=NOISE), FAULT_S, "a_latency")

    assert found.series[0].name == "b_latency"
    assert "a_latency" not in {each.name for each in found.series}
    assert {name for name, _ in found.services} == {"a", "b"}


def test_a_symptom_that_never_changes_is_not_used():
    """Nothing is like a constant."""
    found = explain(file_of(a_latency=3.0, b_cpu=STEP), FAULT_S, "a_latency")

    assert found.services[0][0] == "b"
    assert found.notes == ("The symptom a_latency never changes and was not used.",)


def test_a_symptom_without_readings_is_not_called_a_constant():
    """Text, or empty cells all over: whoever reads it looks at the file, not at the system."""
    found = explain(file_of(a_latency=np.full(300, np.nan), b_cpu=STEP), FAULT_S, "a_latency")

    assert found.notes[0] == "The symptom a_latency has no readings and was not used."


def test_constant_series_all_over_give_an_answer_of_zeros():
    """Nothing moved, and that is said."""
    found = explain(file_of(a_cpu=1.0, b_cpu=0.0))

    assert [score for _, score in found.services] == [0.0, 0.0]
    assert found.notes[0].startswith("No time stands out")


@pytest.mark.parametrize(
    ("rows", "alert_s", "error"),
    [
        (
            300,
            900.0,
            "m.csv: 0 rows before --at 900; they begin at 1000; 4 are needed to know what is normal, and one more",
        ),
        (300, 1002.0, "m.csv: 2 rows of the time before --at 1002; 4 are needed to know what is normal, and one more"),
        (300, 99_999.0, "m.csv: the rows end 27 h 25 min before --at 99999, at 1299"),
        (
            1,
            None,
            "m.csv: 0 rows before --at 1000; they begin at 1000; 4 are needed to know what is normal, and one more",
        ),
    ],
)
def test_too_few_rows_are_an_error(rows: int, alert_s: float | None, error: str):
    """Too little history is no verdict, never "normal"."""
    whole = file_of(a_cpu=NOISE)
    with pytest.raises(AiopsError) as raised:
        explain(Columns("m.csv", whole.names, whole.at_s[:rows], whole.values[:, :rows]), alert_s)
    assert str(raised.value) == error


def test_an_unknown_symptom_names_the_nearest_column():
    """A typing error is the usual reason."""
    with pytest.raises(AiopsError, match="no column 'a_latncy'; did you mean 'a_latency'"):
        explain(file_of(a_latency=STEP, b_cpu=NOISE), FAULT_S, "a_latncy")
