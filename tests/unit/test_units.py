from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s", 15), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("1.5h", 5400), ("2w", 1_209_600), ("0s", 0)],
)
def test_durations_become_seconds(text: str, seconds: float):
    """Inside the program there are only seconds."""
    assert units.parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5 m", "m5", "-5s", "5s ", "5sec", "1h30", "٥s", "5e3s", "1h x"])
def test_what_is_no_duration_is_refused(text: str):
    """A number without a unit is how 5 minutes become 5 seconds."""
    with pytest.raises(ValueError, match="expected a duration"):
        units.parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "size"), [("512MiB", 2**29), ("20GB", 20 * 10**9), ("1.5KiB", 1536), ("10 B", 10), ("2TiB", 2**41)]
)
def test_sizes_become_bytes(text: str, size: int):
    """Binary and decimal units are seven percent apart at a gigabyte."""
    assert units.parse_size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "5", "5mb", "5 apples", "-5MB", "MB"])
def test_what_is_no_size_is_refused(text: str):
    """Millibits are rarely meant."""
    with pytest.raises(ValueError, match="expected a size"):
        units.parse_size_bytes(text)


@pytest.mark.parametrize(("text", "ratio"), [("80%", 0.8), ("99.95 %", 0.9995), ("-5%", -0.05)])
def test_percentages_become_ratios(text: str, ratio: float):
    """Every ratio inside is 0 to 1."""
    assert units.parse_ratio(text) == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("text", "value"), [("90%", 0.9), ("500ms", 0.5), ("1GiB", 2**30), ("3", 3), ("-2.5", -2.5), ("1e3", 1000)]
)
def test_a_threshold_is_written_in_the_unit_of_its_metric(text: str, value: float):
    """One field, whatever the metric measures."""
    assert units.parse_quantity(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "high", "nan", "inf", "5 apples"])
def test_what_is_no_quantity_is_refused(text: str):
    """A limit of NaN would never fire, in silence."""
    with pytest.raises(ValueError, match="expected a number"):
        units.parse_quantity(text)


@pytest.mark.parametrize(
    "parse", [units.parse_duration_s, units.parse_size_bytes, units.parse_ratio, units.parse_quantity]
)
@given(text=st.text(max_size=30))
def test_parsers_raise_only_value_errors(parse, text: str):
    """They meet whatever people type."""
    with contextlib.suppress(ValueError):
        assert math.isfinite(parse(text)), "a limit that is not a number never fires"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "250 ms"), (7.42, "7.4 s"), (74, "74 s"), (300, "5 min"), (4800, "1 h 20 min"), (7200, "2 h"),
        (3 * 86_400 + 3600, "3 d 1 h"), (4 * 86_400, "4 d"), (-5, "-5.0 s"),
    ],
)  # fmt: skip
def test_durations_read_well(seconds: float, text: str):
    """They stand in messages people read at night."""
    assert units.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.31, "ratio", "31 %"), (0.001, "ratio", "0.1 %"), (0.5, "seconds", "500 ms"), (23.5 * 2**30, "bytes", "23.5 GiB"),
        (12, "bytes", "12 B"), (5 * 2**40, "bytes", "5.0 TiB"), (84.4, "celsius", "84 °C"), (700, "watts", "700 W"),
        (1.98e9, "hertz", "1980 MHz"), (12_345, "requests", "12,345"), (3, "requests", "3"), (2.5, "requests", "2.50"),
    ],
)  # fmt: skip
def test_values_are_shown_in_their_unit(value: float, unit: str, text: str):
    """A number without a unit is no evidence."""
    assert units.format_quantity(value, unit) == text
