"""
A value past a fixed limit: the plain rows of the threshold table.

Each series of the metric is reduced to one number over a window, divided by a second metric if the limit is relative,
and compared. Between the clearing and the firing limit the breach is marked ``starts=False``: the alert book lets it
keep a firing alert alive but not begin one, so that a value swinging around the limit is one alert, and the detector
itself needs no memory. Series that fall together under the kept labels give the worst of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from aiops.detect.labelling import check_names
from aiops.document import Duration, FieldError, Quantity, doc
from aiops.model import Breach, Labels
from aiops.ports import SeriesReader, Window
from aiops.rulebook.alerts import AlertRule, Selector
from aiops.rulebook.reduce import Reduce
from aiops.stats import increase
from aiops.units import format_quantity


@dataclass(frozen=True, slots=True)
class Config:
    """The ``threshold`` block of a rule."""

    metric: Selector = field(metadata=doc("The series watched."))
    per: Selector | None = field(
        default=None, metadata=doc("A metric the value is divided by: its newest reading under the same labels.")
    )
    reduce: Reduce = field(default=Reduce.LAST, metadata=doc("How the window becomes one number."))
    over: Duration = field(default=0.0, metadata=doc("Length of the window; `last` needs none."))
    above: Quantity | None = field(default=None, metadata=doc("Breach above this; either this or `below`."))
    below: Quantity | None = field(default=None, metadata=doc("Breach below this."))
    clear: Quantity | None = field(
        default=None, metadata=doc("A firing alert ends only when the value is back past this; default: the limit.")
    )
    rising: bool = field(
        default=False,
        metadata=doc("Whether the window's last third must also lie above its first (for `below`: under it)."),
    )
    max_age: Duration = field(default=60.0, metadata=doc("A newest sample older than this is no reading."))

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError("expected either above or below")
        if self.reduce is not Reduce.LAST and self.over <= 0:
            raise FieldError("over", f"expected a window, because {self.reduce} needs one")
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
        ValueError: the rule names a label the metric has not.
    """
    check_names(rule, config.metric.labels)
    unit = config.metric.unit if config.per is None or config.per.unit != config.metric.unit else "ratio"
    return Threshold(rule, config, unit)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Breach while a reduced value is past its clearing limit; see the module."""

    rule: AlertRule
    config: Config
    unit: str

    def evaluate(self, series: SeriesReader, now_s: float) -> Iterator[Breach]:
        config = self.config
        clear = config.limit if config.clear is None else config.clear
        worst: dict[Labels, Breach] = {}
        for labels, at_s, value, starts in self._values(series, now_s):
            if (value - clear) * config.sign <= 0:
                continue
            kept = labels.only(self.rule.by) if self.rule.by else labels
            known = worst.get(kept)
            if known is None or (value - known.value) * config.sign > 0:
                starts_here = starts and (value - config.limit) * config.sign > 0
                worst[kept] = Breach(
                    self.rule.alert, kept, at_s, value, config.limit, None, self._text(kept, value), starts_here
                )
        yield from worst.values()

    def _values(self, series: SeriesReader, now_s: float) -> Iterator[tuple[Labels, float, float, bool]]:
        """Labels, time, value and whether it moves the wrong way, of every series with enough history."""
        config = self.config
        divisors = self._divisors(series, now_s)
        start_s = now_s - max(config.over, config.max_age)
        for window in series.window(config.metric.name, start_s, now_s, config.metric.match):
            if now_s - window.at_s[-1] > config.max_age:
                continue
            value = self._reduced(window, now_s)
            if divisors is not None:
                by = divisors.get(window.labels, 0.0)
                value = value / by if by else math.nan
            if math.isfinite(value):
                yield window.labels, float(window.at_s[-1]), value, not config.rising or self._moves(window, now_s)

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
        inside = window.at_s >= now_s - config.over
        times, values = window.at_s[inside], window.values[inside]
        short = times.size < 2 or times[0] > now_s - config.over / 2
        if short and not (config.grows and times.size >= (1 if config.reduce in {Reduce.MIN, Reduce.MAX} else 2)):
            return math.nan
        if config.reduce is Reduce.MIN:
            return float(values.min())
        if config.reduce is Reduce.MAX:
            return float(values.max())
        if config.reduce is Reduce.MEAN:
            return float(values.mean())
        added = increase(values)
        return added if config.reduce is Reduce.INCREASE else added / float(times[-1] - times[0])

    def _moves(self, window: Window, now_s: float) -> bool:
        """Whether the last third of the window lies beyond the first, in the bad direction."""
        values = window.values[window.at_s >= now_s - self.config.over]
        third = values.size // 3
        if third < 2:
            return False
        return bool((np.mean(values[-third:]) - np.mean(values[:third])) * self.config.sign > 0)

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
