"""
Symptoms: a jump in the share of requests that end badly, found within seconds, quiet on the noise of small numbers.

Over the last 5, 10, 30 and 60 seconds the bad answers of a service are held against its recent baseline by an exact
one-sided binomial test: how likely are this many failures if nothing has changed? A window also needs a minimum count
and a minimum share, so that three errors out of ten at night stay three errors.

The baseline is everything older than the longest window that memory holds, half an hour at most; in the first two
minutes of a daemon it is what was seen first. Its ratio is a median of means (nine equal stretches, the median of their
ratios), so that an incident inside it does not become the normal as long as it covers less than half; then the upper
confidence bound, so that little history excuses more, not less; and at most ``max_baseline``, so that an incident of any
length goes on being one, and a daemon that starts in the middle of one sees it at once.

The test takes failures for independent, and they are not: a client tries again, and what has just failed fails more
often than the rest. So failures come in clumps, and five of them may be two requests. How clumped a service's failures
are is learned from its baseline, as the dispersion of their counts, and the logarithm of a p-value counts for that much
less. Which answers are attempts of one request few gateways' logs can tell; the counts always do.

Where time goes: as long as no window holds the minimum count, which is nearly always, only the few bad series of the
last two minutes are read.

Source: exact binomial test, Clopper & Pearson, Biometrika 26 (1934); median of means, Nemirovsky & Yudin, Problem
Complexity and Method Efficiency in Optimization (1983); dispersion, quasi-likelihood: McCullagh & Nelder, Generalized
Linear Models (1989), 4.5.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from aiops.detect.counting import Counted, check_counters, last_added_s, moved, per_stretch, read_counted
from aiops.document import Duration, FieldError, Ratio, doc
from aiops.model import Breach, Labels
from aiops.ports import SeriesReader
from aiops.rulebook.alerts import AlertRule, Selector, placeholders
from aiops.stats import Floats, beta_upper, binomial_tail, median
from aiops.units import format_quantity

_WINDOWS_S = (5.0, 10.0, 30.0, 60.0)
_READ_S = 120.0
"""How far back a spike's first bad second is looked for."""
_BASELINE_S = 1800.0
_MIN_BASELINE_S = 30.0
_FIRST_S = 60.0
"""Until two minutes were seen the first of them is the baseline, as far as it is over: a spike may come as early."""
_STRETCHES = 9
_CONFIDENCE = 0.99
_FLOOR = 0.001
"""No service is believed to fail less often than once in a thousand requests."""
_CLUMP_S = 10.0
"""A client's further attempts follow within seconds."""
_DISPERSION, _MAX_DISPERSION, _DISPERSION_WEIGHT = 2.0, 3.0, 20.0
"""
Client libraries try twice more: a request is one failure to three, and two until its service has shown better. After as
many failures as the weight says, that assumption and what was seen count alike: little history excuses more, not less.
"""
_FRESH_S = 10.0
"""The breach ends when bad answers were below the minimum share for this long; also the longest gap in one spike."""


@dataclass(frozen=True, slots=True)
class Config:
    """The ``error_ratio`` block of a rule."""

    bad: Selector = field(metadata=doc("Counters of bad answers."))
    total: tuple[Selector, ...] = field(metadata=doc("Counters that together count all answers, bad ones included."))
    outcome: str = field(metadata=doc("The symptom's name, a label of the alert: 503, 5xx, 429, …"))
    service_label: str = field(
        default="service", metadata=doc("The label that names the service; the alert calls it `service`.")
    )
    unless: Selector | None = field(
        default=None, metadata=doc("Silent while such a series is above 0: somebody better placed is watching.")
    )
    probability: float = field(default=1e-6, metadata=doc("Chance of a false alarm that one window may have."))
    min_bad: int = field(
        default=5, metadata=doc("Bad answers needed in a window of up to 10 s; in a longer one twice as many.")
    )
    min_ratio: Ratio = field(default=0.02, metadata=doc("Smallest share of bad answers worth telling."))
    max_baseline: Ratio = field(default=0.02, metadata=doc("A background above this is never taken as normal."))
    bucket: Duration = field(
        default=1.0, metadata=doc("Time one sample of `bad` stands for: a second of a log, or the scrape interval.")
    )
    max_age: Duration = field(default=10.0, metadata=doc("How old the newest `unless` reading may be."))

    def __post_init__(self) -> None:
        check_counters(self.bad, self.total, self.service_label)
        if not 0.0 < self.probability < 0.01:
            raise FieldError("probability", f"expected more than 0 and less than 0.01, found {self.probability:g}")
        if self.min_bad < 2:
            raise FieldError("min_bad", f"expected 2 or more, found {self.min_bad}")
        if not _FLOOR <= self.max_baseline < 1.0:
            raise FieldError("max_baseline", f"expected {_FLOOR:.1%} or more, less than 100%")


def build(rule: AlertRule, config: Config) -> ErrorRatio:
    """
    The detector of *rule*.

    Raises:
        ValueError: the rule names a label the alert will not have.
    """
    if rule.by:
        raise ValueError("by: this detector's alerts have the labels service and outcome, no others")
    for name in placeholders(rule.summary) - {"value", "limit", "detail", "service", "outcome"}:
        raise ValueError(f"summary: {{{name}}} is not one of value, limit, detail, service, outcome")
    return ErrorRatio(rule, config)


class _Finding(NamedTuple):
    """The most telling window."""

    over_s: float
    bad: int
    total: int

    @property
    def ratio(self) -> float:
        return self.bad / self.total


class _Baseline(NamedTuple):
    """What was normal until a minute ago."""

    ratio: float
    """The robust ratio itself."""
    excused: float
    """What is tested against: its upper bound between floor and cap."""
    dispersion: float
    """How many failures tell as much as one would if failures were independent."""
    known: bool


@dataclass(frozen=True, slots=True)
class ErrorRatio:
    """Breach while bad answers are far more frequent than the recent baseline explains; see the module."""

    rule: AlertRule
    config: Config

    def evaluate(self, series: SeriesReader, now_s: float) -> Iterator[Breach]:
        config = self.config
        if not moved((config.bad,), series, now_s - _FRESH_S, now_s):
            return
        bad_by_service = self._read((config.bad,), series, now_s - _READ_S, now_s)
        hurt = {service: bad for service, bad in bad_by_service.items() if self._has_enough(bad, now_s)}
        if not hurt or self._is_watched_better(series, now_s):
            return
        totals = self._read(config.total, series, now_s - _READ_S, now_s)
        for service, bad in hurt.items():
            total = totals.get(service, [])
            findings = self._findings(bad, total, now_s)
            if not findings:
                continue
            baseline = self._baseline(series, service, now_s)
            p_values = [_p_value(each, baseline) for each in findings]
            if min(p_values) < config.probability:
                finding = findings[p_values.index(min(p_values))]
                since_s = _first_bad_s(bad, total, finding.ratio, baseline.ratio, config.bucket)
                detail = _describe(finding, baseline, _by_answerer(bad, finding.over_s, now_s))
                limit = max(config.min_ratio, baseline.excused)
                labels = Labels.of(service=service, outcome=config.outcome)
                text = self._text(labels, finding.ratio, limit, detail)
                yield Breach(self.rule.alert, labels, now_s, finding.ratio, limit, since_s, text)

    def _read(
        self, selectors: Sequence[Selector], series: SeriesReader, start_s: float, end_s: float
    ) -> dict[str, list[Counted]]:
        return read_counted(selectors, series, start_s, end_s, self.config.service_label)

    def _is_watched_better(self, series: SeriesReader, now_s: float) -> bool:
        unless = self.config.unless
        if unless is None:
            return False
        return any(s.value > 0 for s in series.latest(unless.name, now_s, unless.match, self.config.max_age))

    def _needed(self, over_s: float) -> int:
        """Bad answers a window needs."""
        return self.config.min_bad * (1 if over_s <= _FRESH_S else 2)

    def _has_enough(self, bad: Sequence[Counted], now_s: float) -> bool:
        """Whether any window could matter, whatever the total: spares reading it."""
        if last_added_s(bad) <= now_s - _FRESH_S:
            return False
        return any(
            round(sum(each.between(now_s - over_s, now_s) for each in bad)) >= self._needed(over_s)
            for over_s in _WINDOWS_S
        )

    def _findings(self, bad: Sequence[Counted], total: Sequence[Counted], now_s: float) -> list[_Finding]:
        """Windows with enough bad answers to be worth a test; none once the last ten seconds were good."""
        found: list[_Finding] = []
        for over_s in _WINDOWS_S:
            bad_count = round(sum(each.between(now_s - over_s, now_s) for each in bad))
            # two counters read a moment apart may disagree by an answer
            total_count = max(round(sum(each.between(now_s - over_s, now_s) for each in total)), bad_count)
            high = bad_count >= max(self.config.min_ratio * total_count, 1)
            if over_s == _FRESH_S and not high:
                return []  # over; the longer windows only remember it
            if high and bad_count >= self._needed(over_s):
                found.append(_Finding(over_s, bad_count, total_count))
        return found

    def _baseline(self, series: SeriesReader, service: str, now_s: float) -> _Baseline:
        """The normal ratio of *service*, from before the longest window; at first from the first that was seen."""
        newest_s = now_s - _FRESH_S
        bad = self._read((self.config.bad,), series, now_s - _BASELINE_S, newest_s).get(service, [])
        total = self._read(self.config.total, series, now_s - _BASELINE_S, newest_s).get(service, [])
        start_s = min((each.from_s for each in total), default=newest_s)
        end_s = max(now_s - _WINDOWS_S[-1], min(start_s + _FIRST_S, newest_s))
        cap = self.config.max_baseline
        if end_s - start_s < _MIN_BASELINE_S:
            return _Baseline(0.0, cap, _DISPERSION, known=False)
        cells = max(round((end_s - start_s) / (_STRETCHES * _CLUMP_S)), 1)
        edges = np.linspace(start_s, end_s, _STRETCHES * cells + 1)
        bad_cells = per_stretch(bad, edges).reshape(_STRETCHES, cells)
        total_cells = per_stretch(total, edges).reshape(_STRETCHES, cells)
        bad_counts, total_counts = bad_cells.sum(axis=1), total_cells.sum(axis=1)
        answered = total_counts > 0
        count = round(float(total_counts.sum()))
        if not count:
            return _Baseline(0.0, cap, _DISPERSION, known=False)
        ratio = min(median(bad_counts[answered] / total_counts[answered]), 1.0)
        calm = bad_counts <= cap * total_counts  # an incident is no clump
        dispersion = _dispersion(bad_cells[calm], total_cells[calm])
        return _Baseline(ratio, _excused(round(ratio * count), count, cap), dispersion, known=True)

    def _text(self, labels: Labels, ratio: float, limit: float, detail: str) -> str:
        return self.rule.words(
            {
                **dict(labels.pairs),
                "value": format_quantity(ratio, "ratio"),
                "limit": format_quantity(limit, "ratio"),
                "detail": detail,
            }
        )


def _excused(bad: int, total: int, cap: float) -> float:
    """The upper bound of a failure ratio, between floor and cap: nearly always one of these, which a test shows."""
    if bad < total and binomial_tail(bad + 1, total, _FLOOR) >= _CONFIDENCE:
        return _FLOOR
    if bad == total or binomial_tail(bad + 1, total, cap) < _CONFIDENCE:
        return cap
    return beta_upper(bad, total, _CONFIDENCE)


def _p_value(finding: _Finding, baseline: _Baseline) -> float:
    """
    How likely the finding is if nothing has changed.

    Either the ratio is as high as history lets it be, or failures come in clumps. Both at once would excuse, on a
    service with little traffic, that nobody is served any more.
    """
    alone = binomial_tail(finding.bad, finding.total, baseline.excused)
    likeliest = min(max(baseline.ratio, _FLOOR), baseline.excused)
    clumped = math.pow(binomial_tail(finding.bad, finding.total, likeliest), 1.0 / baseline.dispersion)
    return max(alone, clumped)


def _dispersion(bad: Floats, total: Floats) -> float:
    """Variance of the counts *bad* over what it were if each of *total* failed for itself; see the constants."""
    expected = total * (bad.sum() / max(total.sum(), 1.0))
    varied = float(((bad - expected) ** 2).sum()) + _DISPERSION * _DISPERSION_WEIGHT
    return min(max(varied / (float(expected.sum()) + _DISPERSION_WEIGHT), 1.0), _MAX_DISPERSION)


def _first_bad_s(
    bad: Sequence[Counted], total: Sequence[Counted], spike: float, normal: float, bucket_s: float
) -> float:
    """
    Start of the first bad second of the spike that is going on.

    Without a background: from the newest bad second back, as long as gaps are no longer than ten seconds. With one, bad
    seconds before the spike are background, so it is the bad second from which on the counts speak most for the
    spike's ratio against the background's: the maximum likelihood estimate of the change (Hinkley, Biometrika 57, 1970).

    Args:
        bad: Bad answers of the last two minutes, at least one.
        total: All answers likewise.
        spike: Share of bad answers in the spike.
        normal: Share of bad answers before.
        bucket_s: Time one sample stands for.
    """
    ends = np.unique(np.concatenate([each.at_s for each in (*bad, *total)]))
    bad_counts = _counts_at(bad, ends)
    hurt = np.flatnonzero(bad_counts > 0)
    if normal > 0:
        others = np.maximum(_counts_at(total, ends) - bad_counts, 0.0)
        spike, normal = min(spike, 0.999), min(normal, 0.998)
        gain = bad_counts * np.log(spike / normal) + others * np.log((1 - spike) / (1 - normal))
        first = int(hurt[np.argmax(np.cumsum(gain[::-1])[::-1][hurt])])
    else:
        gaps = np.flatnonzero(np.diff(ends[hurt]) > _FRESH_S)
        first = int(hurt[gaps[-1] + 1 if gaps.size else 0])
    # a sample stands at the end of the time it counts; the sample before may lie nearer than a bucket
    return float(max(ends[first - 1] if first else -np.inf, ends[first] - bucket_s))


def _counts_at(counters: Sequence[Counted], ends: Floats) -> Floats:
    """What all *counters* added at each of the times *ends*."""
    added = np.zeros(ends.size)
    for each in counters:
        added += np.bincount(np.searchsorted(ends, each.at_s), weights=each.added, minlength=ends.size)
    return added


def _by_answerer(bad: Sequence[Counted], over_s: float, now_s: float) -> Counter[str]:
    """Bad answers by who gave them: upstream, gateway, or unknown; empty where the counter does not say."""
    found: Counter[str] = Counter()
    for each in bad:
        if who := each.labels.get("answered_by"):
            found[who] += round(each.between(now_s - over_s, now_s))
    return found


def _describe(finding: _Finding, baseline: _Baseline, answered_by: Counter[str]) -> str:
    text = f"{finding.bad} of {finding.total} in {finding.over_s:.0f} s"
    if not baseline.known:
        text += ", too little history to compare with"
    else:
        text += f", normally under {format_quantity(baseline.excused, 'ratio')}"
    if answered_by["upstream"] or answered_by["gateway"]:
        text += f"; {answered_by['upstream']} by upstream, {answered_by['gateway']} by the gateway"
    return text
