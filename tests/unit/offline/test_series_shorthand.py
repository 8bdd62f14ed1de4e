from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.model import Labels
from aiops.offline.series_shorthand import series_of, values_of


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1", [1.0]),
        ("1x2", [1.0, 1.0, 1.0]),
        ("0+10x3", [0.0, 10.0, 20.0, 30.0]),
        ("-2-0.5x2", [-2.0, -2.5, -3.0]),
        ("1e3 .5x1", [1000.0, 0.5, 0.5]),
        ("1 _ 2", [1.0, None, 2.0]),
        ("1x1 _x3 stale 2", [1.0, 1.0, None, None, None, None, 2.0]),
    ],
)
def test_values_are_read_as_prometheus_reads_them(text: str, values: list[float | None]):
    """A repeated number stands once more than its factor, a repeated gap as often as it says."""
    assert values_of(text) == values


@pytest.mark.parametrize("text", ["", "x5", "1+2", "1x", "one", "NaN", "1x9999999", "_x999999", "1x150000 1x150000"])
def test_what_is_no_shorthand_is_refused(text: str):
    """Not-a-number cannot be written: a reading that failed is absent. Nor can a test fill the memory."""
    with pytest.raises(ValueError, match=r"expected|more than"):
        values_of(text)


@given(st.text(alphabet="0123456789.x+-_ estal", max_size=30))
def test_any_text_gives_values_or_one_kind_of_error(text: str):
    """People mistype."""
    try:
        values = values_of(text)
    except ValueError:
        return
    assert values


@pytest.mark.parametrize(
    ("text", "metric", "labels"),
    [
        ("hw_gpu_driver_responding", "hw_gpu_driver_responding", {}),
        ('hw_gpu_up{gpu="3", hw_id="a"}', "hw_gpu_up", {"gpu": "3", "hw_id": "a"}),
        (r'hw_gpu_up{gpu="a\"b,\\}\n",}', "hw_gpu_up", {"gpu": 'a"b,\\}\n'}),
        ("hw_gpu_up{}", "hw_gpu_up", {}),
    ],
)
def test_a_series_is_a_metric_and_its_labels(text: str, metric: str, labels: dict[str, str]):
    """As everywhere in Prometheus, with what may stand inside of quotes."""
    assert series_of(text) == (metric, Labels.from_mapping(labels))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hw_gpu_down", "the catalogue has no metric 'hw_gpu_down'"),
        ('hw_gpu_up{card="3"}', "hw_gpu_up has no label 'card'"),
        ("hw_gpu_up{gpu=3}", "expected labels such as"),
        ('hw_gpu_up{gpu="3"', "expected a series such as"),
        ("", "expected a series such as"),
    ],
)
def test_what_is_no_known_series_is_refused(text: str, complaint: str):
    """A test on a series that never comes would pass for ever."""
    with pytest.raises(ValueError, match=complaint):
        series_of(text)
