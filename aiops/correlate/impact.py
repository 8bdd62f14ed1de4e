"""How many requests were hurt: the blast radius of an incident, from the gateway's counters."""

from __future__ import annotations

from collections import Counter

from aiops.correlate.view import cut_with_reference
from aiops.model import HURTFUL, NOBODY, Impact
from aiops.ports import SeriesReader
from aiops.stats import increase

_REACH_S = 15.0
"""How old the reading before the start may be that counters are measured from."""

NO_IMPACT = Impact(0, 0, 0, 0)


def count_impact(series: SeriesReader, service: str, start_s: float, end_s: float) -> Impact:
    """Requests of *service* answered in (start, end], and how."""
    outcomes: Counter[str] = Counter()
    answered = by_gateway = by_upstream = 0
    for window in series.window("http_server_requests_total", start_s - _REACH_S, end_s, {"service": service}):
        part = cut_with_reference(window, start_s + 1e-6, end_s)
        added = round(increase(part.values)) if part.values.size > 1 else 0
        answered += added
        outcome = window.labels.get("outcome")
        if outcome not in HURTFUL or not added:
            continue
        outcomes[outcome] += added
        if window.labels.get("answered_by") == "gateway" or window.labels.get("upstream") == NOBODY:
            by_gateway += added
        else:
            by_upstream += added
    return Impact(answered, outcomes.total(), by_gateway, by_upstream, tuple(outcomes.most_common()))


def add(one: Impact, other: Impact) -> Impact:
    """Both together."""
    outcomes = Counter(dict(one.outcomes))
    outcomes.update(dict(other.outcomes))
    return Impact(
        one.requests + other.requests,
        one.failed + other.failed,
        one.by_gateway + other.by_gateway,
        one.by_upstream + other.by_upstream,
        tuple(outcomes.most_common()),
    )
