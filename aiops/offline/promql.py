"""
Alert rules as PromQL: the condition of each detector in words that Prometheus has too.

A window's ends belong to it in both worlds. "Half full" is a sample in the window's older half; a reading that is too
old is one outside a range; hysteresis asks Prometheus' own ALERTS series whether the alert fires. What a counter added
is its largest less its smallest reading: `increase` would extrapolate to the window's ends, which only a share of two
counters forgives, and only if both reach equally far back. Where a counter restarted inside the window only `increase`
knows: rounded down to whole events, it is off by what it extrapolates beyond one of them.

Two things have no words in PromQL: the exact binomial test of symptoms, and the rate of a counter between its first and
last reading. For these the nearest plain condition is given, and named so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiops.detect import build_detectors
from aiops.detect.absent import Absent
from aiops.detect.error_ratio import ErrorRatio
from aiops.detect.slo import OBJECTIVE, OBJECTIVE_MAX_AGE_S, BurnRate
from aiops.detect.threshold import Also, Config, Threshold
from aiops.rulebook.alerts import AlertRule, Selector
from aiops.rulebook.reduce import Reduce
from aiops.units import format_duration, format_quantity

_NEAREST_S = 60.0
"""The longest window of the binomial test: what a Prometheus that scrapes every few seconds can still count in."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What makes a rule's alert."""

    expression: str
    labels: tuple[str, ...]
    """Labels of the alert."""
    unit: str
    """Of the expression's value."""
    limit: str
    """In words."""
    approximate: str = ""
    """Why it is only the nearest that PromQL has; empty when it is the same condition."""


def condition(rule: AlertRule) -> Condition:
    """The condition of *rule* in PromQL."""
    urgent, steady = build_detectors([rule])
    (detector,) = (*urgent, *steady)
    if isinstance(detector, Threshold):
        labels = rule.by or detector.config.metric.labels
        approximate = "`rate` reaches to the window's ends" if detector.config.reduce is Reduce.RATE else ""
        limit = format_quantity(detector.config.limit, detector.unit)
        return Condition(_threshold(rule, detector, labels), labels, detector.unit, limit, approximate)
    if isinstance(detector, Absent):
        labels = rule.by or detector.config.metric.labels
        return Condition(_absent(rule, detector), labels, "bool", format_duration(detector.config.down))
    if isinstance(detector, BurnRate):
        return Condition(_burn_rate(detector), ("service",), "ratio", f"{detector.config.burn:g}")
    if isinstance(detector, ErrorRatio):
        limit = format_quantity(max(detector.config.min_ratio, detector.config.max_baseline), "ratio")
        return Condition(_error_ratio(detector), ("service",), "ratio", limit, "PromQL has no exact binomial test")
    message = f"{rule.alert}: no words in PromQL for {rule.detector}"
    raise NotImplementedError(message)


# --- threshold ------------------------------------------------------------------------------------------------------


def _threshold(rule: AlertRule, detector: Threshold, labels: Sequence[str]) -> str:
    config = detector.config
    worse, worst = (">", "max") if config.sign > 0 else ("<", "min")

    def of_group(expression: str) -> str:
        return f"{worst} by ({', '.join(rule.by)}) ({expression})" if rule.by else expression

    value = f"({_value(config)})"
    moves = f" and {_moves(config)}" if config.rising else ""
    raised = of_group(f"{value} {worse} {_number(config.limit)}{moves}")
    clear = config.limit if config.clear is None else config.clear
    if clear != config.limit or config.rising:
        on = f"on ({', '.join(labels)})"
        firing = f'ALERTS{{alertname="{rule.alert}", alertstate="firing"}}'
        raised = f"({raised}) or (({of_group(f'{value} {worse} {_number(clear)}')}) and {on} {firing})"
    return _with_others(raised, config.also, detector.shared, config.max_age)


def _with_others(found: str, others: Iterable[Also], shared: Iterable[Sequence[str]], max_age_s: float) -> str:
    conditions = []
    for each, names in zip(others, shared, strict=True):
        limit = f"> {_number(each.above)}" if each.above is not None else f"< {_number(each.below or 0.0)}"
        newest = f"last_over_time({selector(each.metric, max_age_s)}) {limit}"
        conditions.append(f" and on ({', '.join(names)}) ({newest})")
    return f"({found}){''.join(conditions)}" if conditions else found


def _value(config: Config) -> str:
    """What is compared with the limits."""
    value = _reduced(config)
    if config.per is not None:
        per = f"last_over_time({selector(config.per, config.max_age)})"
        return f"({value}) / ({per} != 0)"
    if config.times_earlier is not None:
        over_s, back_s = config.times_earlier.over, config.over
        earlier = f"clamp_min(avg_over_time({selector(config.metric, over_s, back_s)}), {_number(config.times_earlier.at_least)})"
        held = f"count_over_time({selector(config.metric, over_s / 2, back_s + over_s / 2)}) > 0"
        several = f"count_over_time({selector(config.metric, over_s, back_s)}) > 1"
        return f"({value}) / ({earlier} and {held} and {several})"
    return value


def _reduced(config: Config) -> str:
    if config.reduce is Reduce.LAST:
        return f"last_over_time({selector(config.metric, config.max_age)})"
    window, over_s = selector(config.metric, config.over), config.over
    value = {
        Reduce.MIN: f"min_over_time({window})",
        Reduce.MAX: f"max_over_time({window})",
        Reduce.MEAN: f"avg_over_time({window})",
        Reduce.INCREASE: f"({_added(window)})",
        Reduce.RATE: f"rate({window})",
    }[config.reduce]
    guards = []
    if not config.grows:
        guards.append(f"count_over_time({selector(config.metric, over_s / 2, over_s / 2)}) > 0")
    if config.reduce not in {Reduce.MIN, Reduce.MAX} or not config.grows:
        guards.append(f"count_over_time({window}) > 1")
    if config.max_age < over_s:
        guards.append(f"count_over_time({selector(config.metric, config.max_age)}) > 0")
    return " and ".join([value, *guards])


def _added(window: str) -> str:
    """What a counter added between its first and last reading in *window*."""
    return f"(max_over_time({window}) - min_over_time({window}) and resets({window}) == 0) or floor(increase({window}))"


def _moves(config: Config) -> str:
    third_s = config.over / 3
    last, first = selector(config.metric, third_s), selector(config.metric, third_s, 2 * third_s)
    side = ">" if config.sign > 0 else "<"
    counted = f"count_over_time({last}) > 1 and count_over_time({first}) > 1"
    return f"(avg_over_time({last}) {side} avg_over_time({first})) and {counted}"


# --- absent ---------------------------------------------------------------------------------------------------------


def _absent(rule: AlertRule, detector: Absent) -> str:
    config = detector.config
    metric, down_s = config.metric, config.down
    fresh_s = config.remember if config.silent else max(down_s, 60.0)
    down = (
        f"last_over_time({selector(metric, fresh_s)}) <= 0"
        f" and last_over_time({selector(metric, config.remember - down_s, down_s)}) <= 0"
        f" unless max_over_time({selector(metric, down_s)}) > 0"
    )
    if config.silent:
        # a range includes its ends, and silence of just that long is silence
        quiet = f"last_over_time({selector(metric, config.remember)}) unless count_over_time({selector(metric, config.silent - 0.001)})"
        down = f"({down}) or ({quiet})"
    return f"max by ({', '.join(rule.by)}) ({down})" if rule.by else down


# --- shares of counters ---------------------------------------------------------------------------------------------


def _burn_rate(detector: BurnRate) -> str:
    config = detector.config
    burn = f"{_number(config.burn)} * " if config.burn != 1 else ""
    if config.objective is not None:
        limit = f"> {burn}(1 - {_number(config.objective)})"
    else:
        promised = f"last_over_time({OBJECTIVE}[{duration(OBJECTIVE_MAX_AGE_S)}])"
        limit = f"> on (service) {burn}(1 - max by (service) ({promised}))"

    def past(over_s: float, min_bad: int) -> str:
        bad, total = (_sum(each, over_s, config.service_label) for each in (config.bad, config.total))
        held = _any(config.total, over_s / 2, over_s / 2, config.service_label)
        return f"(({bad} >= {min_bad}) / ({total} > 0) and {held}) {limit}"

    return f"({past(config.long, config.min_bad)}) and ({past(config.short, 1)})"


def _error_ratio(detector: ErrorRatio) -> str:
    config = detector.config
    bad = _sum((config.bad,), _NEAREST_S, config.service_label)
    total = _sum(config.total, _NEAREST_S, config.service_label)
    limit = max(config.min_ratio, config.max_baseline)
    nearest = f"(({bad} >= {2 * config.min_bad}) / ({total} > 0) > {_number(limit)})"
    if config.unless is None:
        return nearest
    watched = f"last_over_time({selector(config.unless, config.max_age)}) > 0"
    return f"{nearest} unless on () ({watched})"


def _sum(selectors: Sequence[Selector], over_s: float, label: str) -> str:
    """What the counters of *selectors* added, by service."""
    return _by_service("sum", selectors, label, lambda each: _added(f"{each}[{duration(over_s)}]"))


def _any(selectors: Sequence[Selector], over_s: float, back_s: float, label: str) -> str:
    """Whether any counter of *selectors* has a sample in the range, by service."""
    ranged = f"[{duration(over_s)}] offset {duration(back_s)}"
    return _by_service("max", selectors, label, lambda each: f"count_over_time({each}{ranged})")


def _by_service(function: str, selectors: Sequence[Selector], label: str, of: Callable[[str], str]) -> str:
    parts = [of(each) for each in _merged(selectors)]
    # functions drop the name of a metric, so that two of them could be taken for one series
    marked = [f'label_replace({part}, "part", "{i}", "", "")' for i, part in enumerate(parts)] if parts[1:] else parts
    summed = f"{function} by ({label}) ({' or '.join(marked)})"
    if label == "service":
        return summed
    return f'sum by (service) (label_replace({summed}, "service", "$1", "{label}", "(.*)"))'


def _merged(selectors: Sequence[Selector]) -> list[str]:
    """Selectors as text; those that differ in the value of one label become one."""
    groups: dict[tuple[str, tuple[str, ...]], list[Mapping[str, str]]] = {}
    for each in selectors:
        groups.setdefault((each.name, tuple(sorted(each.match))), []).append(each.match)
    merged: list[str] = []
    for (name, labels), matches in groups.items():
        differing = [label for label in labels if len({match[label] for match in matches}) > 1]
        if len(differing) > 1:
            merged += [_matched(Selector(name, dict(match))) for match in matches]
            continue
        matchers = []
        for label in labels:
            values = list(dict.fromkeys(match[label] for match in matches))
            either = _quoted("|".join(map(re.escape, values)))
            matchers.append(f"{label}=~{either}" if values[1:] else f"{label}={_quoted(values[0])}")
        merged.append(f"{name}{{{', '.join(matchers)}}}" if matchers else name)
    return merged


# --- words ----------------------------------------------------------------------------------------------------------


def selector(metric: Selector, over_s: float, back_s: float = 0.0) -> str:
    """The samples of *metric* in [now - back - over, now - back]."""
    offset = f" offset {duration(back_s)}" if back_s else ""
    return f"{_matched(metric)}[{duration(over_s)}]{offset}"


def _matched(metric: Selector) -> str:
    matchers = ", ".join(f"{name}={_quoted(value)}" for name, value in metric.match.items())
    return f"{metric.name}{{{matchers}}}" if matchers else metric.name


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _number(value: float) -> str:
    return repr(int(value)) if value == int(value) else repr(value)


def duration(span_s: float) -> str:
    """A duration as Prometheus writes it, whole milliseconds."""
    left_ms = round(span_s * 1000)
    parts = []
    for unit, size_ms in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left_ms = divmod(left_ms, size_ms)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
