"""
Charts of evidence as numbers for an SVG: what the template draws, without any markup.

There is no script on our pages, so a chart must fit a phone and a wide screen as it is. The plot is therefore laid out
in percent of its width and in pixels of its height: text keeps its size, only distances stretch. All charts of an
incident share one time axis, counted from the first failure, so that the eye can go straight down from one to the next.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from aiops.model import Chart, Line, Onset
from aiops.units import format_bytes, format_duration

WIDTH = 1000.0
"""Units across the data part of a plot, stretched to whatever width there is."""
HEIGHT = 132.0
"""Pixels between the lowest and the highest grid line."""
MAX_LINES = 8
"""More would be unreadable; the rest is counted in words."""
_MAX_POINTS = 240
_GAP_FACTOR = 4.0
"""A pause of four usual steps is missing data, and drawn as a hole."""
_TIME_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400, 604_800)
_SPELLED_ON_AXIS = frozenset({"ratio", "bytes", "seconds", "celsius", "watts", "hertz"})
_FLOATING = frozenset({"celsius", "hertz"})
"""Units whose zero means nothing to a reader: the axis starts where the data does."""


@dataclass(frozen=True, slots=True)
class Span:
    """The time axis: epoch seconds, and the moment that counts as zero."""

    start_s: float
    end_s: float
    zero_s: float

    def percent(self, at_s: float) -> float:
        """Where *at_s* lies, 0 to 100 of the width."""
        share = (at_s - self.start_s) / (self.end_s - self.start_s)
        return round(min(max(share, 0.0), 1.0) * 100, 3)


@dataclass(frozen=True, slots=True)
class Scale:
    """The value axis: lowest and highest grid line, the step between them, and the unit of the catalogue."""

    low: float
    high: float
    step: float
    unit: str

    def y(self, value: float) -> float:
        """Pixels from the top of the plot."""
        return round(HEIGHT * (1 - (value - self.low) / (self.high - self.low)), 1)

    def fine_text(self, value: float) -> str:
        """*value* to a hundredth of the axis: as exact as an eye could read it."""
        return axis_text(value, (self.high - self.low) / 100, self.unit)

    def levels(self) -> tuple[Level, ...]:
        """The grid lines, lowest first."""
        count = round((self.high - self.low) / self.step) + 1
        values = (self.low + i * self.step for i in range(count))
        return tuple(Level(self.y(value), axis_text(value, self.step, self.unit)) for value in values)


@dataclass(frozen=True, slots=True)
class Mark:
    """Something at a place on the time axis; ``anchor`` is which end of the label stands there."""

    percent: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Band:
    """The interval in which something began."""

    percent: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Level:
    """A height in the plot with its label."""

    y: float
    text: str


@dataclass(frozen=True, slots=True)
class PlotLine:
    """One series: its path, the area under it when it is the only one, and the last value in words."""

    name: str
    path: str
    area: str
    last: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything the template needs to draw one chart."""

    title: str
    unit: str
    summary: str
    lines: tuple[PlotLine, ...]
    more_lines: int
    x_ticks: tuple[Mark, ...]
    y_ticks: tuple[Level, ...]
    zero: Mark
    band: Band | None


def common_span(charts: Sequence[Chart], zero_s: float) -> Span:
    """The time axis all of *charts* fit on; never empty."""
    times = [t for chart in charts for line in chart.lines if line.at_s for t in (line.at_s[0], line.at_s[-1])]
    start_s, end_s = min([zero_s, *times]), max([zero_s, *times])
    if end_s - start_s < 1.0:
        start_s, end_s = start_s - 30.0, end_s + 30.0
    return Span(start_s, end_s, zero_s)


def plot(chart: Chart, span: Span, zero_name: str) -> Plot:
    """
    *chart* laid out on *span*.

    Args:
        chart: What to draw; a chart without a point becomes an empty grid.
        span: The time axis.
        zero_name: What happened at its zero: "first 503".
    """
    shown = [line for line in chart.lines if line.at_s][:MAX_LINES]
    values = [value for line in shown for value in line.values]
    scale = scale_for(values, chart.unit)
    zero = span.percent(span.zero_s)
    return Plot(
        title=chart.title,
        unit="" if chart.unit in _SPELLED_ON_AXIS else chart.unit,
        summary="" if chart.onset is None else f"Left its normal {relative(chart.onset.by_s, span.zero_s, zero_name)}",
        lines=tuple(_plot_line(line, span, scale, shaded=len(shown) == 1) for line in shown),
        more_lines=sum(bool(line.at_s) for line in chart.lines) - len(shown),
        x_ticks=_time_ticks(span),
        y_ticks=scale.levels(),
        zero=Mark(zero, zero_name, "end" if zero > 80 else "start" if zero < 20 else "middle"),
        band=_band(chart.onset, span),
    )


def relative(at_s: float, zero_s: float, zero_name: str) -> str:
    """A time in words: "42 s before the first 503"."""
    offset_s = at_s - zero_s
    if abs(offset_s) < 1.0:
        return f"at the {zero_name}"
    return f"{span_text(abs(offset_s))} {'before' if offset_s < 0 else 'after'} the {zero_name}"


def offset(at_s: float, zero_s: float) -> str:
    """A time as a signed distance: "−42 s"."""
    seconds = at_s - zero_s
    if abs(seconds) < 0.05:
        return "0 s"
    return ("−" if seconds < 0 else "+") + span_text(abs(seconds))


def span_text(seconds: float) -> str:
    """A length of time in words; whole seconds without a point."""
    return format_duration(seconds) if seconds >= 10 else f"{seconds:.1f}".removesuffix(".0") + " s"


def axis_text(value: float, step: float, unit: str) -> str:
    """A label of the value axis, no more exact than *step* needs."""
    if abs(value) < step * 1e-6:
        value = 0.0
    if unit == "ratio":
        return f"{value * 100:.{_decimals(step * 100)}f} %"
    if unit == "bytes":
        return format_bytes(value).replace(".0 ", " ")
    if unit == "seconds":
        if abs(value) >= 120:
            return format_duration(value)
        if value == 0 or abs(value) >= 1:
            return f"{value:.{min(2, _decimals(step))}f} s" if value else "0 s"
        return f"{value * 1000:.{_decimals(step * 1000)}f} ms"
    for scale, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if step >= scale / 100 and abs(value) >= scale:
            scale = 1e3 if suffix == "k" else scale  # noqa: PLW2901 - 9,000 stays in full, 12,000 becomes 12 k
            return f"{value / scale:.{_decimals(step / scale)}f} {suffix}" + _SIGN.get(unit, "")
    return f"{value:,.{_decimals(step)}f}" + _SIGN.get(unit, "")


_SIGN = {"celsius": " °C", "watts": " W", "hertz": "Hz"}


_LEAST = 1e-300
"""Differences below this have no quarters in floating point."""


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1 else 0


def scale_for(values: Sequence[float], unit: str) -> Scale:
    """A value axis around *values*, with about four steps of a round size."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if unit not in _FLOATING:
        low, high = min(low, 0.0), max(high, 0.0)
    if unit == "ratio" and low >= 0 and 0.5 < high <= 1:
        return Scale(0.0, 1.0, 0.25, unit)
    if high - low <= max(abs(high) * 1e-6, _LEAST):
        high = low + (abs(low) if abs(low) > _LEAST else 1.0)
    base = 1024.0 ** min(4, max(0, int(math.log(max(high, 1.0), 1024)))) if unit == "bytes" else 1.0
    rough = (high - low) / base / 4
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(n * magnitude for n in (1, 2, 2.5, 5, 10) if n * magnitude >= rough * 0.999) * base
    return Scale(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step, unit)


Points = list[tuple[float, float]]


def _plot_line(line: Line, span: Span, scale: Scale, *, shaded: bool) -> PlotLine:
    path = area = ""
    for run in _runs(list(zip(line.at_s, line.values, strict=True))):
        corners = [f"{span.percent(t) * WIDTH / 100:.1f} {scale.y(v):.1f}" for t, v in _thin(run)]
        # a lone point gets a stroke of no length, which round caps turn into a dot
        path += "M" + "L".join(corners if len(corners) > 1 else corners * 2)
        if shaded:
            first, last = corners[0].split()[0], corners[-1].split()[0]
            area += f"M{first} {HEIGHT:.0f}L{'L'.join(corners)}L{last} {HEIGHT:.0f}Z"
    return PlotLine(line.name, path, area, scale.fine_text(line.values[-1]))


def _runs(points: Points) -> list[Points]:
    """*points* cut where data is missing, so that no line is drawn through the unknown."""
    steps_s = sorted(b[0] - a[0] for a, b in itertools.pairwise(points))
    longest_s = _GAP_FACTOR * steps_s[len(steps_s) // 2] if steps_s else 0.0
    runs = [[points[0]]]
    for before, point in itertools.pairwise(points):
        if point[0] - before[0] > longest_s:
            runs.append([])
        runs[-1].append(point)
    return runs


def _thin(points: Points) -> Points:
    """At most `_MAX_POINTS` of *points*: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(points) <= _MAX_POINTS:
        return points
    kept: Points = []
    stretches = _MAX_POINTS // 2
    for i in range(stretches):
        part = points[i * len(points) // stretches : (i + 1) * len(points) // stretches]
        kept.extend(sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}))
    return kept


def _time_ticks(span: Span) -> tuple[Mark, ...]:
    length_s = span.end_s - span.start_s
    step_s = next((s for s in _TIME_STEPS_S if length_s / s <= 6), _TIME_STEPS_S[-1])
    divisor, unit = (86_400, "d") if step_s >= 86_400 else (3600, "h") if step_s >= 3600 else (60, "min")
    if step_s < 60:
        divisor, unit = 1, "s"
    first = math.ceil((span.start_s - span.zero_s) / step_s)
    last = math.floor((span.end_s - span.zero_s) / step_s)
    marks = []
    for i in range(first, min(last, first + 50) + 1):
        percent = span.percent(span.zero_s + i * step_s)
        number = f"{abs(i * step_s) / divisor:g}"
        text = "0" if i == 0 else f"{'−' if i < 0 else '+'}{number} {unit}"
        marks.append(Mark(percent, text, "start" if percent < 4 else "end" if percent > 96 else "middle"))
    return tuple(marks)


def _band(onset: Onset | None, span: Span) -> Band | None:
    if onset is None or onset.by_s < span.start_s or onset.after_s > span.end_s:
        return None
    start, end = span.percent(onset.after_s), span.percent(onset.by_s)
    width = max(end - start, 0.8)  # an interval of a second would be thinner than a hair
    return Band(round(min(start, 100 - width), 3), round(width, 3), offset(onset.by_s, span.zero_s))
