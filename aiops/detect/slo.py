"""
The error budget: how fast a service spends the failures its objective allows.

An objective of 99.95 % a month allows 0.05 % of requests to fail. A burn rate of 1 spends that exactly in a month. A
breach needs the rate over a long window, so that a blip is no page, and over a short one, so that it ends soon after the
failures do.

Source: Beyer et al., The Site Reliability Workbook (2018), ch. 5, "Alerting on SLOs". The pairs there reach back hours;
memory holds minutes, so the shipped rule spends the book's 2 % of a month's budget in ten minutes instead of an hour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from aiops.detect.counting import Counted, check_counters, per_stretch, read_counted
from aiops.document import Duration, FieldError, Ratio, doc
from aiops.model import Breach, Labels
from aiops.ports import SeriesReader
from aiops.rulebook.alerts import AlertRule, Selector, placeholders
from aiops.stats import Floats
from aiops.units import format_quantity


@dataclass(frozen=True, slots=True)
class Config:
    """The ``burn_rate`` block of a rule."""

    bad: tuple[Selector, ...] = field(metadata=doc("Counters of failed requests."))
    total: tuple[Selector, ...] = field(metadata=doc("Counters that together count all requests."))
    burn: float = field(metadata=doc("Breach when the budget is spent this many times faster than on time."))
    objective: Ratio = field(default=0.9995, metadata=doc("Promised share of good requests."))
    long: Duration = field(
        default=600.0, metadata=doc("The window that says it matters; half of it must be in memory.")
    )
    short: Duration = field(default=60.0, metadata=doc("The window that says it goes on."))
    min_bad: int = field(default=10, metadata=doc("Failures needed in the long window: no verdict on a handful."))
    service_label: str = field(
        default="service", metadata=doc("The label that names the service; the alert calls it `service`.")
    )

    def __post_init__(self) -> None:
        for selector in self.bad:
            check_counters(selector, self.total, self.service_label)
        if not self.bad:
            raise FieldError("bad", "expected at least one counter")
        if not 0.0 < self.objective < 1.0:
            raise FieldError("objective", f"expected between 0% and 100%, found {self.objective:%}")
        if not 0.0 < self.burn * (1.0 - self.objective) < 1.0:
            raise FieldError("burn", "expected a rate that some error ratio below 100% can reach")
        if not 0.0 < self.short < self.long:
            raise FieldError("short", "expected less than long")


def build(rule: AlertRule, config: Config) -> BurnRate:
    """
    The detector of *rule*.

    Raises:
        ValueError: the rule names a label the alert will not have.
    """
    if rule.by:
        raise ValueError("by: this detector's alerts have the label service, no others")
    for name in placeholders(rule.summary) - {"value", "limit", "share", "service"}:
        raise ValueError(f"summary: {{{name}}} is not one of value, limit, share, service")
    return BurnRate(rule, config)


@dataclass(frozen=True, slots=True)
class BurnRate:
    """Breach while a service burns its error budget too fast over both windows; see the module."""

    rule: AlertRule
    config: Config

    def evaluate(self, series: SeriesReader, now_s: float) -> Iterator[Breach]:
        config = self.config
        start_s = now_s - config.long
        failed = read_counted(config.bad, series, start_s, now_s, config.service_label)
        if not failed:
            return
        answered = read_counted(config.total, series, start_s, now_s, config.service_label)
        for service, bad in failed.items():
            total = answered.get(service, [])
            count = sum(each.between(start_s, now_s) for each in bad)
            first_s = min((each.from_s for each in total), default=now_s)
            if count < config.min_bad or now_s - first_s < config.long / 2:
                continue
            rates = [self._rate(bad, total, now_s - over_s, now_s) for over_s in (config.long, config.short)]
            if all(rate > config.burn for rate in rates):
                labels = Labels.of(service=service)
                yield Breach(self.rule.alert, labels, now_s, rates[0], config.burn, None, self._text(service, rates[0]))

    def _text(self, service: str, rate: float) -> str:
        share = rate * (1.0 - self.config.objective)
        return self.rule.words(
            {
                "service": service,
                "value": f"{rate:.1f}",
                "limit": f"{self.config.burn:g}",
                "share": format_quantity(share, "ratio"),
            }
        )

    def _rate(self, bad: Sequence[Counted], total: Sequence[Counted], after_s: float, by_s: float) -> float:
        # the first stretch takes what lies before the window
        edges = np.array([after_s - self.config.long, after_s, by_s])
        return burn_rate(per_stretch(bad, edges)[1:], per_stretch(total, edges)[1:], objective=self.config.objective)


def burn_rate(bad: Floats, total: Floats, *, objective: float) -> float:
    """
    Speed at which a window spends its error budget; 1.0 spends it exactly on time.

    Args:
        bad: Failed requests per step, shape (n,), oldest first; NaN where no scrape succeeded.
        total: All requests per step, same shape and steps as *bad*.
        objective: Promised share of good requests, in the open interval (0, 1).

    Returns:
        Error share over error budget, 0 or more; NaN when the window saw no request.

    Raises:
        ValueError: *objective* is outside (0, 1), or the shapes differ.

    Source:
        Beyer et al., The Site Reliability Workbook (2018), ch. 5, "Alerting on SLOs".
    """
    if not 0.0 < objective < 1.0:
        raise ValueError(f"objective must be between 0 and 1, got {objective}")
    if bad.shape != total.shape:
        raise ValueError(f"bad and total need one shape, got {bad.shape} and {total.shape}")
    known = np.isfinite(bad) & np.isfinite(total)
    requests = float(total[known].sum())
    if requests <= 0:
        return math.nan
    return float(bad[known].sum()) / requests / (1.0 - objective)
