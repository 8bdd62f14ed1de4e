"""Charts as numbers: axes a person can read, holes where data is missing, onsets where they belong."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiops.export.charts import HEIGHT, Span, axis_text, common_span, offset, plot, relative, scale_for
from aiops.model import Chart, Line, Onset
from tests.sample_incident import FIRST_BAD_S, sample_diagnosis

ZERO_S = 1_000.0


def chart(*lines: Line, unit: str = "requests", onset: Onset | None = None) -> Chart:
    return Chart("Title", unit, lines, onset)


def line(*points: tuple[float, float], name: str = "a") -> Line:
    return Line(name, tuple(ZERO_S + t for t, _ in points), tuple(v for _, v in points))


def draw(*lines: Line, **more):
    drawn = chart(*lines, **more)
    return plot(drawn, common_span([drawn], ZERO_S), "first 503")


def test_missing_data_is_a_hole_and_not_a_straight_line():
    """A line through the unknown would be read as a measurement."""
    points = [(float(t), 1.0) for t in range(-100, 0) if not -60 < t < -30]

    (drawn,) = draw(line(*points)).lines

    assert drawn.path.count("M") == 2


def test_a_lone_point_is_still_drawn():
    """A path of one point has no length, and would be invisible."""
    (drawn,) = draw(line((0.0, 5.0))).lines

    assert re.fullmatch(r"M(\S+ \S+)L\1", drawn.path)


def test_thinning_keeps_the_spike():
    """One bad second out of an hour is what the reader is looking for."""
    points = [(float(t), 100.0 if t == -1234 else 1.0) for t in range(-3600, 0)]

    (drawn,) = draw(line(*points)).lines

    heights = [float(corner.split()[1]) for corner in re.split("[ML]", drawn.path)[1:]]
    assert min(heights) == 0.0
    assert len(heights) <= 240


def test_the_onset_is_a_band_between_the_last_normal_and_the_first_abnormal_sample():
    """An onset is an interval; a sharp line would claim more than was measured."""
    drawn = draw(line((-100.0, 1.0), (100.0, 1.0)), onset=Onset(ZERO_S - 50, ZERO_S - 40))

    assert drawn.band is not None
    assert (drawn.band.percent, drawn.band.width, drawn.band.text) == (25.0, 5.0, "−40 s")
    assert drawn.summary == "Left its normal 40 s before the first 503"


def test_an_onset_outside_the_chart_draws_no_band():
    """Clamped to the edge it would lie about the time."""
    drawn = draw(line((-10.0, 1.0), (10.0, 1.0)), onset=Onset(ZERO_S - 500, ZERO_S - 400))

    assert drawn.band is None


def test_the_first_failure_is_on_the_axis_even_when_no_sample_is():
    """Every chart answers: before or after?"""
    span = common_span([chart(line((-300.0, 1.0), (-200.0, 1.0)))], ZERO_S)

    assert span.percent(ZERO_S) == 100.0


def test_all_charts_of_an_incident_share_one_time_axis():
    """The eye compares onsets by looking straight down."""
    charts = sample_diagnosis().charts
    span = common_span(charts, FIRST_BAD_S)

    ticks = {plot(c, span, "first 503").x_ticks for c in charts}

    assert len(ticks) == 1
    assert [tick.text for tick in ticks.pop()] == ["−4 min", "−2 min", "0", "+2 min"]


def test_more_than_eight_lines_are_counted_instead_of_drawn():
    """Thirty replicas in one plot show nothing; saying nothing about them would hide some."""
    drawn = draw(*(line((0.0, 1.0), (1.0, 2.0), name=str(i)) for i in range(30)))

    assert (len(drawn.lines), drawn.more_lines) == (8, 22)


def test_empty_charts_and_lines_do_not_fail():
    """An incident may be drawn before its first sample."""
    assert draw().lines == ()
    assert draw(Line("a", (), ())).lines == ()
    assert draw(Line("a", (), ()), line((0.0, 1.0))).more_lines == 0


@pytest.mark.parametrize(
    ("value", "step", "unit", "text"),
    [
        (0.25, 0.25, "ratio", "25 %"), (0.025, 0.005, "ratio", "2.5 %"), (20 * 2**30, 20 * 2**30, "bytes", "20 GiB"),
        (0.0005, 0.0001, "seconds", "0.5 ms"), (0.25, 0.05, "seconds", "250 ms"), (2.5, 0.5, "seconds", "2.5 s"),
        (0.0, 0.5, "seconds", "0 s"), (600.0, 200.0, "seconds", "10 min"), (12_000.0, 2_000.0, "tokens", "12 k"),
        (9_000.0, 1_000.0, "tokens", "9,000"), (1.2e6, 2e5, "tokens", "1.2 M"), (85.0, 5.0, "celsius", "85 °C"),
        (1.98e9, 1e7, "hertz", "1.98 GHz"), (-1e-17, 5.0, "requests", "0"), (0.3, 0.1, "requests", "0.3"),
    ],
)  # fmt: skip
def test_axis_labels_read_as_a_person_would_write_them(value, step, unit, text):
    """No more digits than the grid needs, and always a unit."""
    assert axis_text(value, step, unit) == text


@pytest.mark.parametrize(
    ("seconds", "signed", "words"),
    [
        (-42.0, "−42 s", "42 s before the first 503"), (0.0, "0 s", "at the first 503"),
        (2.0, "+2 s", "2 s after the first 503"), (-0.4, "−0.4 s", "at the first 503"),
        (600.0, "+10 min", "10 min after the first 503"), (-7200.0, "−2 h", "2 h before the first 503"),
    ],
)  # fmt: skip
def test_times_are_told_from_the_first_failure(seconds, signed, words):
    """ "What happened before it?" is the question; a clock time makes the reader subtract."""
    assert offset(ZERO_S + seconds, ZERO_S) == signed
    assert relative(ZERO_S + seconds, ZERO_S, "first 503") == words


finite = st.floats(-1e15, 1e15, allow_nan=False)
units = st.sampled_from(["ratio", "bytes", "seconds", "celsius", "watts", "hertz", "requests"])


@given(st.lists(finite, max_size=8), units)
@example([5e-324], "ratio")
@settings(max_examples=300, deadline=None)
def test_every_value_lies_between_the_outermost_grid_lines(values, unit):
    """Whatever a sick sensor reports, the plot neither fails nor leaves its frame."""
    scale = scale_for(values, unit)

    assert all(-0.2 <= scale.y(value) <= HEIGHT + 0.2 for value in values)
    levels = scale.levels()
    assert 2 <= len(levels) <= 12
    assert all(level.text for level in levels)


@given(st.floats(1.0, 1e7), st.floats(0.0, 1.0))
def test_the_time_axis_has_a_handful_of_labels_at_any_length(length_s, where):
    """Ten seconds or ten weeks: labels must neither vanish nor collide on a phone."""
    start_s = ZERO_S - where * length_s
    drawn = plot(chart(), Span(start_s, start_s + length_s, ZERO_S), "first 503")

    assert len(drawn.x_ticks) <= 20 if length_s > 3e6 else 1 <= len(drawn.x_ticks) <= 7
    assert all(0 <= tick.percent <= 100 and not math.isnan(tick.percent) for tick in drawn.x_ticks)
