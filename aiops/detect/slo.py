"""
The error budget: how fast a service spends the failures its objective allows.

An objective of 99.95 % a month allows 0.05 % of requests to fail. A burn rate of 1 spends that exactly in a month. A
breach needs the rate over a long window, so that a blip is no page, and over a short one, so that it ends soon after the
failures do.

Memory holds minutes: this detector is for windows of minutes, read from the counters themselves. The book's windows of
hours and days are kept by `aiops.detect.budget`, and read by plain thresholds.

Source: Beyer et al., The Site Reliability Workbook (2018), ch. 5, "Alerting on SLOs".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aiops.detect.counting import Counted, check_counters, moved, read_counted
from aiops.document import Duration, FieldError, Ratio, doc
from aiops.model import Breach, Labels
from aiops.ports import SeriesReader
from aiops.rulebook.alerts import AlertRule, Selector, placeholders
from aiops.units import format_quantity

OBJECTIVE = "slo_objective_ratio"
OBJECTIVE_MAX_AGE_S = 60.0
"""It is written every few seconds for as long as its service answers."""


@dataclass(frozen=True, slots=True)
class Config:
    """The ``burn_rate`` block of a rule."""

    bad: tuple[Selector, ...] = field(metadata=doc("Counters of failed requests."))
    total: tuple[Selector, ...] = field(metadata=doc("Counters that together count all requests."))
    burn: float = field(metadata=doc("Breach when the budget is spent this many times faster than on time."))
    objective: Ratio | None = field(
        default=None, metadata=doc("Promised share of good requests; not given: each service's own, as `slo` sets it.")
    )
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
        if self.objective is not None and not 0.0 < self.objective < 1.0:
            raise FieldError("objective", f"expected between 0% and 100%, found {self.objective:%}")
        if not 0.0 < self.burn * (1.0 - (self.objective or 0.0)) < (1.0 if self.objective else math.inf):
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
        if not moved(config.bad, series, now_s - config.short, now_s):
            return
        shares = self._shares(series, now_s - config.short, now_s)
        if not shares:
            return
        limits = self._limits(series, now_s, shares)
        burning = {service for service, share in shares.items() if share > limits.get(service, math.inf)}
        if not burning:
            return
        for service, share in self._shares(series, now_s - config.long, now_s, min_bad=config.min_bad).items():
            if service in burning and share > limits[service]:
                rate = config.burn * share / limits[service]
                labels = Labels.of(service=service)
                text = self._text(service, rate, share)
                yield Breach(self.rule.alert, labels, now_s, rate, config.burn, None, text)

    def _limits(self, series: SeriesReader, now_s: float, services: Iterable[str]) -> Mapping[str, float]:
        """Error share at which each service burns at the limit; services without a known objective are absent."""
        burn, objective = self.config.burn, self.config.objective
        if objective is not None:
            return dict.fromkeys(services, burn * (1.0 - objective))
        promised = series.latest(OBJECTIVE, now_s, max_age_s=OBJECTIVE_MAX_AGE_S)
        return {sample.labels.get("service"): burn * (1.0 - sample.value) for sample in promised}

    def _shares(self, series: SeriesReader, after_s: float, now_s: float, min_bad: int = 1) -> dict[str, float]:
        """Error share of each service with at least *min_bad* failures, if half of the window is in memory."""
        config = self.config
        failed = read_counted(config.bad, series, after_s, now_s, config.service_label)
        counts = {service: _count(bad) for service, bad in failed.items() if _count(bad) >= min_bad}
        if not counts:
            return {}
        answered = read_counted(config.total, series, after_s, now_s, config.service_label)
        shares: dict[str, float] = {}
        for service, bad in counts.items():
            total = answered.get(service, [])
            count = _count(total)
            if count > 0 and min(each.from_s for each in total) <= (after_s + now_s) / 2:
                shares[service] = bad / count
        return shares

    def _text(self, service: str, rate: float, share: float) -> str:
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
