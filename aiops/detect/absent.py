"""
Something that was there is gone: an "up" series at 0, or one that stopped coming.

A threshold cannot see the second: a series without samples has no value to compare. A series that was never 1 in
memory still counts when it reads 0, since somebody asked for it to be watched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from aiops.detect.labelling import check_names
from aiops.document import Duration, FieldError, doc
from aiops.model import Breach, Labels
from aiops.ports import SeriesReader, Window
from aiops.rulebook.alerts import AlertRule, Selector
from aiops.units import format_duration


@dataclass(frozen=True, slots=True)
class Config:
    """The ``absent`` block of a rule."""

    metric: Selector = field(metadata=doc("A series that is 1 (or more) while all is well."))
    down: Duration = field(default=10.0, metadata=doc("How long it must have read 0."))
    silent: Duration = field(
        default=0.0, metadata=doc("How long it must have sent nothing; 0: silence says nothing by itself.")
    )
    remember: Duration = field(
        default=600.0, metadata=doc("A series silent for longer than this was taken away on purpose.")
    )

    def __post_init__(self) -> None:
        if self.silent and self.remember <= self.silent:
            raise FieldError("remember", "expected more than silent")


def build(rule: AlertRule, config: Config) -> Absent:
    """
    The detector of *rule*.

    Raises:
        ValueError: the rule names a label the metric has not.
    """
    check_names(rule, config.metric.labels)
    return Absent(rule, config)


@dataclass(frozen=True, slots=True)
class Absent:
    """Breach while a series reads 0, or sends nothing; see the module."""

    rule: AlertRule
    config: Config

    def evaluate(self, series: SeriesReader, now_s: float) -> Iterator[Breach]:
        config = self.config
        if not config.silent and not self._any_down(series, now_s):
            return  # nearly always, and a tenth of the cost of looking at every window
        found: dict[Labels, Breach] = {}
        for window in series.window(config.metric.name, now_s - config.remember, now_s, config.metric.match):
            since_s = self._gone_since(window, now_s)
            if since_s is None:
                continue
            labels = window.labels.only(self.rule.by) if self.rule.by else window.labels
            known = found.get(labels)
            if known is None or since_s < (known.since_s or now_s):
                found[labels] = Breach(
                    self.rule.alert,
                    labels,
                    float(window.at_s[-1]),
                    0.0,
                    1.0,
                    since_s,
                    self._text(labels, since_s, now_s),
                )
        yield from found.values()

    def _any_down(self, series: SeriesReader, now_s: float) -> bool:
        metric = self.config.metric
        newest = series.latest(metric.name, now_s, metric.match, self._freshness_s())
        return any(sample.value <= 0 for sample in newest)

    def _freshness_s(self) -> float:
        """How old a reading of 0 may be; where silence counts, it is told by itself."""
        return max(self.config.down, 60.0)

    def _gone_since(self, window: Window, now_s: float) -> float | None:
        """Since when it has been gone, if that is long enough; None while it is there."""
        config = self.config
        last_s = float(window.at_s[-1])
        if config.silent and now_s - last_s >= config.silent:
            return last_s
        if not window.values[-1] <= 0 or (config.silent == 0 and now_s - last_s > self._freshness_s()):
            return None
        up = np.flatnonzero(window.values > 0)
        first_down_s = float(window.at_s[up[-1] + 1 if up.size else 0])
        return first_down_s if now_s - first_down_s >= config.down else None

    def _text(self, labels: Labels, since_s: float, now_s: float) -> str:
        return self.rule.words({**dict(labels.pairs), "value": format_duration(now_s - since_s), "limit": "1"})
