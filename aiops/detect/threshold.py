"""
A value past a fixed limit: the plain rows of the threshold table.

Each series of the metric is reduced to one number over a window, divided by a second metric if the limit is relative,
and compared. A limit may be relative: to a second metric (the card's own temperature limit), or to the same series a
moment earlier (ten times as many resets as in the minute before). Other metrics may be named that must be past limits
of their own as well, such as the count that makes a ratio worth reading.

Between the clearing and the firing limit the breach is marked ``starts=False``: the alert book lets it keep a firing
alert alive but not begin one, so that a value swinging around the limit is one alert, and the detector itself needs no
memory. Series that fall together under the kept labels give the worst of them, and one that starts is enough.

What a window holds is said in words that PromQL has too (`aiops rules export`): its ends belong to it, "half full"
means a sample in its older half, "rises" compares its last third of time with its first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from aiops.detect.labelling import check_names
from aiops.document import Duration, FieldError, Quantity, doc
from aiops.model import Breach, Labels
from aiops.ports import SeriesReader, Window
from aiops.rulebook.alerts import AlertRule, Selector
from aiops.rulebook.reduce import Reduce
from aiops.stats import Floats, increase
from aiops.units import format_quantity

_FEW = 32
"""Up to so many values Python's own sum is faster than numpy's."""


@dataclass(frozen=True, slots=True)
class Also:
    """Another metric that must be past a limit of its own."""

    metric: Selector = field(
        metadata=doc("Its newest reading counts, of series with the alert's values of the labels both have.")
    )
    above: Quantity | None = field(default=None, metadata=doc("It must be above this; either this or `below`."))
    below: Quantity | None = field(default=None, metadata=doc("It must be below this."))

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError("expected either above or below")

    def holds(self, value: float) -> bool:
        """Whether *value* is past the limit."""
        return value > self.above if self.above is not None else self.below is not None and value < self.below


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the value is held against: the mean of the same series in the time before the window."""

    over: Duration = field(metadata=doc("How much time before the window."))
    at_least: Quantity = field(metadata=doc("A smaller mean counts as this: ten times almost nothing is nothing."))

    def __post_init__(self) -> None:
        if self.over <= 0:
            raise FieldError("over", "expected more than 0s")
        if self.at_least <= 0:
            raise FieldError("at_least", "expected more than 0")


@dataclass(frozen=True, slots=True)
class Config:
    """The ``threshold`` block of a rule."""

    metric: Selector = field(metadata=doc("The series watched."))
    per: Selector | None = field(
        default=None, metadata=doc("A metric the value is divided by: its newest reading under the same labels.")
    )
    times_earlier: Earlier | None = field(
        default=None, metadata=doc("The limits are multiples of what the series was just before; not with `per`.")
    )
    also: tuple[Also, ...] = field(default=(), metadata=doc("What must hold besides."))
    reduce: Reduce = field(default=Reduce.LAST, metadata=doc("How the window becomes one number."))
    over: Duration = field(default=0.0, metadata=doc("Length of the window; `last` needs none."))
    above: Quantity | None = field(default=None, metadata=doc("Breach above this; either this or `below`."))
    below: Quantity | None = field(default=None, metadata=doc("Breach below this."))
    clear: Quantity | None = field(
        default=None, metadata=doc("A firing alert ends only when the value is back past this; default: the limit.")
    )
    rising: bool = field(
        default=False,
        metadata=doc(
            "Whether the mean of the window's last third must also lie above that of its first (`below`: under it)"
        ),
    )
    max_age: Duration = field(default=60.0, metadata=doc("A newest sample older than this is no reading."))

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError("expected either above or below")
        if self.reduce is not Reduce.LAST and self.over <= 0:
            raise FieldError("over", f"expected a window, because {self.reduce} needs one")
        if self.times_earlier is not None and (self.per is not None or self.over <= 0):
            raise FieldError("times_earlier", "expected a window in `over`, and no `per`")
        if self.rising and self.over <= 0:
            raise FieldError("rising", "expected a window in `over` too")
        if self.clear is not None and (self.clear - self.limit) * self.sign > 0:
            side = "at or below above" if self.above is not None else "at or above below"
            raise FieldError("clear", f"expected a value {side} ({self.limit:g}), found {self.clear:g}")

    @property
    def limit(self) -> float:
        """The bound itself."""
        return self.above if self.above is not None else self.below if self.below is not None else math.nan

    @property
    def end(self) -> float:
        """The bound a firing alert has to be back past."""
        return self.limit if self.clear is None else self.clear

    @property
    def sign(self) -> int:
        """1 when more is worse, -1 when less is."""
        return 1 if self.above is not None else -1

    @property
    def grows(self) -> bool:
        """Whether more of the window can only make it worse, so that a part of it is enough for a breach."""
        return self.reduce is Reduce.MIN if self.sign < 0 else self.reduce in {Reduce.MAX, Reduce.INCREASE}


def build(rule: AlertRule, config: Config) -> Threshold:
    """
    The detector of *rule*.

    Raises:
        ValueError: the rule names a label the metric has not, or `also` a metric that shares none.
    """
    check_names(rule, config.metric.labels)
    unit = config.metric.unit if config.per is None or config.per.unit != config.metric.unit else "ratio"
    kept = rule.by or config.metric.labels
    shared = tuple(tuple(name for name in each.metric.labels if name in kept) for each in config.also)
    for each, names in zip(config.also, shared, strict=True):
        if not names:
            raise ValueError(f"also: {each.metric.name} shares no label with the alert")
    return Threshold(rule, config, "times" if config.times_earlier else unit, shared)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Breach while a reduced value is past its clearing limit; see the module."""

    rule: AlertRule
    config: Config
    unit: str
    shared: tuple[tuple[str, ...], ...] = ()
    """For each of `also`: the labels by which its series are told from those of other alerts."""

    def evaluate(self, series: SeriesReader, now_s: float) -> Iterator[Breach]:
        config = self.config
        clear = config.end
        worst: dict[Labels, Breach] = {}
        for labels, at_s, value, moves in self._values(series, now_s):
            if (value - clear) * config.sign <= 0:
                continue
            kept = labels.only(self.rule.by) if self.rule.by else labels
            starts = moves and (value - config.limit) * config.sign > 0
            known = worst.get(kept)
            if known is None or (value - known.value) * config.sign > 0:
                starts = starts or (known is not None and known.starts)
                worst[kept] = Breach(self.rule.alert, kept, at_s, value, config.limit, starts=starts)
            elif starts and not known.starts:
                worst[kept] = replace(known, starts=True)
        if worst and config.also:
            worst = self._confirmed(worst, series, now_s)
        for kept, breach in worst.items():
            yield replace(breach, text=self._text(kept, breach.value))

    def _confirmed(self, found: dict[Labels, Breach], series: SeriesReader, now_s: float) -> dict[Labels, Breach]:
        """Those of *found* for which everything in `also` holds."""
        for each, names in zip(self.config.also, self.shared, strict=True):
            newest = series.latest(each.metric.name, now_s, each.metric.match, self.config.max_age)
            holding = {sample.labels.only(names) for sample in newest if each.holds(sample.value)}
            found = {labels: breach for labels, breach in found.items() if labels.only(names) in holding}
        return found

    def _values(self, series: SeriesReader, now_s: float) -> Iterator[tuple[Labels, float, float, bool]]:
        """Labels, time, value and whether it moves the wrong way, of every series with enough history."""
        config = self.config
        divisors = self._divisors(series, now_s)
        if config.reduce is Reduce.LAST and not config.over:  # no window to copy
            for sample in series.latest(config.metric.name, now_s, config.metric.match, config.max_age):
                value = sample.value if divisors is None else _ratio(sample.value, divisors.get(sample.labels, 0.0))
                if math.isfinite(value):
                    yield sample.labels, sample.at_s, value, True
            return
        start_s = now_s - max(config.over, config.max_age)
        for window in series.window(config.metric.name, start_s, now_s, config.metric.match):
            last_s = float(window.at_s[-1])
            if now_s - last_s > config.max_age:
                continue
            value = self._reduced(window, now_s)
            if divisors is not None:
                value = _ratio(value, divisors.get(window.labels, 0.0))
            elif config.times_earlier is not None:
                value = self._times(value, config.times_earlier, series, window.labels, now_s - config.over)
            if math.isfinite(value):
                yield window.labels, last_s, value, not config.rising or self._moves(window, now_s)

    def _divisors(self, series: SeriesReader, now_s: float) -> dict[Labels, float] | None:
        per = self.config.per
        if per is None:
            return None
        newest = series.latest(per.name, now_s, per.match, self.config.max_age)
        return {sample.labels: sample.value for sample in newest}

    def _reduced(self, window: Window, now_s: float) -> float:
        """The window as one number; NaN when it holds less than half of its time and more could change the verdict."""
        config = self.config
        if config.reduce is Reduce.LAST:
            return float(window.values[-1])
        times, values = _within(window, now_s - config.over, now_s)
        short = times.size < 2 or times[0] > now_s - config.over / 2
        if short and not (config.grows and times.size >= (1 if config.reduce in {Reduce.MIN, Reduce.MAX} else 2)):
            return math.nan
        if config.reduce is Reduce.MIN:
            return float(values.min())
        if config.reduce is Reduce.MAX:
            return float(values.max())
        if config.reduce is Reduce.MEAN:
            return _mean(values)
        added = _increase(values)
        return added if config.reduce is Reduce.INCREASE else added / float(times[-1] - times[0])

    def _times(self, value: float, earlier: Earlier, series: SeriesReader, labels: Labels, end_s: float) -> float:
        """*value* over the mean of the time before the window; NaN when less than half of that is held."""
        if self.config.sign > 0 and value / earlier.at_least <= self.config.end:
            return math.nan  # no past could make it a breach: spares reading the long one
        start_s = end_s - earlier.over
        for window in series.window(self.config.metric.name, start_s, end_s, dict(labels.pairs)):
            if window.labels == labels and window.at_s.size >= 2 and window.at_s[0] <= end_s - earlier.over / 2:
                return value / max(_mean(window.values), earlier.at_least)
        return math.nan

    def _moves(self, window: Window, now_s: float) -> bool:
        """Whether the last third of the window lies beyond the first, in the bad direction."""
        third_s = self.config.over / 3
        _, first = _within(window, now_s - self.config.over, now_s - 2 * third_s)
        _, last = _within(window, now_s - third_s, now_s)
        if first.size < 2 or last.size < 2:
            return False
        return (_mean(last) - _mean(first)) * self.config.sign > 0

    def _text(self, labels: Labels, value: float) -> str:
        config = self.config
        suffix = " a second" if config.reduce is Reduce.RATE else ""
        return self.rule.words(
            {
                **dict(labels.pairs),
                "value": format_quantity(value, self.unit) + suffix,
                "limit": format_quantity(config.limit, self.unit) + suffix,
            }
        )


def _ratio(value: float, by: float) -> float:
    return value / by if by else math.nan


def _within(window: Window, start_s: float, end_s: float) -> tuple[Floats, Floats]:
    """Times and values of *window* in [start_s, end_s]."""
    at_s, values = window.at_s, window.values
    if at_s[0] < start_s:  # seldom: a series is mostly asked for as much as is needed
        first = int(np.searchsorted(at_s, start_s, side="left"))
        at_s, values = at_s[first:], values[first:]
    if at_s.size and at_s[-1] > end_s:
        end = int(np.searchsorted(at_s, end_s, side="right"))
        at_s, values = at_s[:end], values[:end]
    return at_s, values


def _mean(values: Floats) -> float:
    # the mean of equal values is that value, to the last bit: otherwise a series that stands at its limit is past it
    if values.size <= _FEW:
        plain: list[float] = values.tolist()
        first = plain[0]
        return first + sum([value - first for value in plain]) / len(plain)
    start = float(values[0])
    return start + float(np.add.reduce(values - start)) / values.size


def _increase(values: Floats) -> float:
    """What a counter added; most stand still, and that is seen in a third of the time."""
    plain: list[float] = values.tolist()
    return 0.0 if plain.count(plain[0]) == len(plain) else increase(values)
