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

from aiops.detect.counting import Counted, check_counters, read_counted
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
        # the short window first: it costs little to read, and nearly always settles the matter
        burning = self._rates(series, now_s - config.short, now_s)
        if not any(rate > config.burn for rate in burning.values()):
            return
        for service, rate in self._rates(series, now_s - config.long, now_s, min_bad=config.min_bad).items():
            if rate > config.burn and burning.get(service, 0.0) > config.burn:
                labels = Labels.of(service=service)
                yield Breach(self.rule.alert, labels, now_s, rate, config.burn, None, self._text(service, rate))

    def _rates(self, series: SeriesReader, after_s: float, now_s: float, min_bad: int = 1) -> dict[str, float]:
        """Burn rate of each service with at least *min_bad* failures, if half of the window is in memory."""
        config = self.config
        failed = read_counted(config.bad, series, after_s, now_s, config.service_label)
        counts = {service: _count(bad) for service, bad in failed.items() if _count(bad) >= min_bad}
        if not counts:
            return {}
        answered = read_counted(config.total, series, after_s, now_s, config.service_label)
        rates: dict[str, float] = {}
        for service, bad in counts.items():
            total = answered.get(service, [])
            if min((each.from_s for each in total), default=now_s) <= (after_s + now_s) / 2:
                rates[service] = burn_rate(np.array([bad]), np.array([_count(total)]), objective=config.objective)
        return rates

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


def _count(counters: Sequence[Counted]) -> float:
    return sum(float(each.added.sum()) for each in counters)


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
