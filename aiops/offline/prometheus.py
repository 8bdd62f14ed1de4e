"""
The threshold table as a file of Prometheus rules, for people who already run Prometheus.

Metrics keep the names of our /metrics page. Where an alert is only nearly ours, a comment above it says why. The file is
written as text, not dumped from a tree, since comments are half of its use.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Iterator, Sequence

from aiops.offline.promql import Condition, condition, duration
from aiops.rulebook.alerts import AlertRule

_INTERVAL_S = 5.0
"""How often the daemon looks at the rows, and reads most of what they are about."""
_HEAD = """\
# The threshold table of aiops as Prometheus rules, written by `aiops rules export --format prometheus`.
# Metrics are those of the daemon's /metrics page. Scrape it every 5 s with `honor_labels: true`: the series' own
# `instance` is the inference server, and rules count on it. Needs Prometheus 2.42 or newer (keep_firing_for).
"""
_VALUES = {
    "ratio": "{{ $value | humanizePercentage }}",
    "seconds": "{{ $value | humanizeDuration }}",
    "bytes": "{{ $value | humanize1024 }}B",
}
_PLAIN_VALUE = '{{ $value | printf "%.4g" }}'


def rules_file(rules: Sequence[AlertRule]) -> tuple[str, tuple[str, ...]]:
    """
    The rules as a file, one group a layer.

    Returns:
        The text, and the ids of alerts that are only nearly ours.
    """
    conditions = {rule.alert: condition(rule) for rule in rules}
    lines = [_HEAD + "groups:"]
    for layer in dict.fromkeys(rule.layer for rule in rules):
        lines += [f"  - name: aiops_{layer}", f"    interval: {duration(_INTERVAL_S)}", "    rules:"]
        for rule in rules:
            if rule.layer is layer:
                lines += _rule(rule, conditions[rule.alert])
    return "\n".join(lines) + "\n", tuple(name for name, each in conditions.items() if each.approximate)


def _rule(rule: AlertRule, found: Condition) -> Iterator[str]:
    yield ""
    if found.approximate:
        yield f"      # approximate: {found.approximate}; the nearest plain condition"
    yield f"      - alert: {rule.alert}"
    yield f"        expr: {_text(found.expression)}"
    for key, span_s in (("for", rule.for_s), ("keep_firing_for", rule.keep_firing_for_s)):
        if span_s:
            yield f"        {key}: {duration(span_s)}"
    labels = [("severity", rule.severity.value), ("layer", rule.layer.value)]
    if rule.symptom:
        labels.append(("symptom", "true"))
    yield f"        labels: {{{', '.join(f'{name}: {_text(value)}' for name, value in labels)}}}"
    yield "        annotations:"
    yield f"          summary: {_text(_summary(rule, found))}"
    yield f"          source: {_text(rule.source)}"


def _text(text: str) -> str:
    """*text* in double quotes, which YAML reads as JSON does."""
    return json.dumps(text, ensure_ascii=False)


def _summary(rule: AlertRule, found: Condition) -> str:
    """The rule's words as a template of Prometheus."""
    return "".join(_pieces(rule, found))


def _pieces(rule: AlertRule, found: Condition) -> Iterable[str]:
    for text, name, _, _ in string.Formatter().parse(rule.summary):
        yield text
        if name is not None:
            yield _filled(name, rule, found)


def _filled(name: str, rule: AlertRule, found: Condition) -> str:
    if name in found.labels:
        return f"{{{{ $labels.{name} }}}}"
    if name == "limit":
        return found.limit
    if rule.detector == "absent":  # the value is 0; how long it has been gone, only the daemon knows
        return f"{found.limit} or longer"
    if rule.detector == "burn_rate" and name == "value":
        return f"more than {found.limit}"
    return "in a minute" if name == "detail" else _VALUES.get(found.unit, _PLAIN_VALUE)
