"""
Demand: how first attempts changed before the first refusal.

Arrivals are counted net of failures from when failures became more: refusals, but also time-outs, hang-ups and cut
answers. Every retry needs a failure before it, so retries and failover can never lift the net count, however many
there are; a true surge does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from aiops.correlate.steps import rate_rise
from aiops.correlate.terms import MIN_BASELINE_S, SEARCH_S, TermChange, of_service
from aiops.correlate.topology import Topology
from aiops.correlate.view import View
from aiops.model import HURTFUL, SeriesRef
from aiops.ports import Window
from aiops.stats import Floats

_AFTER_S = 3.0
"""Buckets after the first refusal that are looked at: latency of the logs, granularity of the buckets."""
_SETTLED_S = 10.0
"""Requests of a burst that nothing was refused of yet may be this old."""
_USUAL = 1.15
"""Arrivals up to this factor are weather."""
_FAILED = "|".join(sorted(HURTFUL))


def arrivals_change(view: View, topology: Topology, first_bad_s: float) -> TermChange:
    """How first attempts changed before the first refusal."""
    logged = view.windows("http_server_arrival_rate", {"service": topology.service})
    refs = tuple(SeriesRef("http_server_arrival_rate", w.labels) for w in logged)
    if logged:
        at_s, counts = _by_second(logged)
        complete_s = view.now_s - _completion_s(view, topology)
    else:
        at_s, counts, refs = _arrivals_from_pages(view, topology)
        complete_s = view.now_s
    if at_s.size == 0:
        return TermChange(None, missing="no gateway log")
    failed = _failed(view, topology, at_s)
    began_s = _failures_began(at_s, failed, first_bad_s)
    usual = failed[at_s < began_s]
    more = np.maximum(failed - (float(usual.mean()) if usual.size else 0.0), 0.0)
    net = counts - np.where(at_s >= math.floor(began_s), more, 0.0)
    end_s = min(first_bad_s + _AFTER_S, view.now_s - 1.0)
    if began_s < first_bad_s:  # other failures came first: arrivals before those are nobody's retries
        seen = at_s <= min(began_s + _AFTER_S, end_s)
        early = judge_arrivals(at_s[seen], net[seen], first_bad_s=began_s, complete=True, series=refs)
        if early.change:
            return early
    seen = at_s <= end_s
    complete = complete_s >= end_s or _surely_level(view, topology, at_s, net, first_bad_s)
    return judge_arrivals(at_s[seen], net[seen], first_bad_s=first_bad_s, complete=complete, series=refs)


def judge_arrivals(
    at_s: Floats, counts: Floats, *, first_bad_s: float, complete: bool, series: tuple[SeriesRef, ...] = ()
) -> TermChange:
    """
    The change of an arrival rate, from its one-second buckets.

    Args:
        at_s: Starts of the buckets, increasing.
        counts: First attempts that arrived, net of failures from when those became more.
        first_bad_s: The first refusal.
        complete: Whether requests still unfinished could no longer raise the counts: until then a rise is certain
            and a missing one is not.
        series: What to show.
    """
    begun = np.flatnonzero(counts > 0)
    if begun.size:  # seconds before the first request ever seen say nothing about normal traffic
        at_s, counts = at_s[begun[0] :], counts[begun[0] :]
    counts = np.maximum(counts, 0.0)
    if begun.size == 0 or first_bad_s - at_s[0] < MIN_BASELINE_S:
        return TermChange(None, missing=f"less than {MIN_BASELINE_S:.0f} s of history", series=series)
    step = rate_rise(at_s, counts, earliest_s=first_bad_s - SEARCH_S, latest_s=first_bad_s, min_before_s=MIN_BASELINE_S)
    if step is not None:
        undisturbed = counts[(at_s >= step.onset.by_s - 1.0) & (at_s < first_bad_s)]
        after = float(undisturbed.mean()) if undisturbed.size >= 2 else step.after
        after = max(after, step.after)
        return TermChange(math.log(after / max(step.before, 0.1)), step.before, after, step.onset, series=series)
    if not complete:
        return TermChange(None, missing="the last seconds' requests are still under way", series=series, waits=True)
    normal = float(counts[at_s < first_bad_s].mean())
    recent = counts[(at_s >= first_bad_s - MIN_BASELINE_S) & (at_s < first_bad_s)]
    return TermChange(0.0, normal, float(recent.mean()) if recent.size else normal, series=series)


def _by_second(windows: Sequence[Window]) -> tuple[Floats, Floats]:
    """Several series of buckets as one, gaps as zero."""
    start = math.floor(min(float(w.at_s[0]) for w in windows))
    end = math.floor(max(float(w.at_s[-1]) for w in windows))
    counts = np.zeros(end - start + 1)
    for window in windows:
        np.add.at(counts, np.floor(window.at_s).astype(np.intp) - start, window.values)
    return np.arange(start, end + 1, dtype=np.float64), counts


def _completion_s(view: View, topology: Topology) -> float:
    """How long ago a request must have arrived to be in the log by now."""
    slow = view.windows("http_server_request_duration_seconds", {"service": topology.service, "quantile": "0.99"})
    longest = max((float(w.values[-10:].max()) for w in slow), default=2.0)
    return min(max(1.5 * longest, 2.0), 30.0)


def _surely_level(view: View, topology: Topology, at_s: Floats, net: Floats, first_bad_s: float) -> bool:
    """
    Whether all that arrived lately is no more than usual, counting the requests that are in no log yet.

    Those are what the engines hold now. It spares a cause that is no burst the wait for its slow requests to end.
    """
    held = 0.0
    for name in ("requests_running", "requests_waiting"):
        windows = of_service(view, topology, f"gen_ai_server_{name}")
        if len(windows) < len(topology.instances) or any(w.at_s[-1] < first_bad_s for w in windows):
            return False
        held += sum(float(w.values[-1]) for w in windows)
    since_s = min(view.now_s - 2.0 * _completion_s(view, topology), first_bad_s - _SETTLED_S)
    before = net[at_s < since_s]
    if before.size < MIN_BASELINE_S / 2:
        return False
    usual = float(before.mean()) * (view.now_s - since_s)
    return float(net[at_s >= since_s].sum()) + held <= _USUAL * usual + 2.0 * math.sqrt(usual)


def _failed(view: View, topology: Topology, at_s: Floats) -> Floats:
    """Requests per bucket that ended so that a client may try again."""
    failed = np.zeros(at_s.size)
    for window in view.windows("http_server_requests_total", {"service": topology.service, "outcome": _FAILED}):
        totals = np.maximum.accumulate(window.values)
        edges = np.interp(np.append(at_s, at_s[-1] + 1.0), window.at_s, totals)
        failed += np.diff(edges)
    return failed


def _failures_began(at_s: Floats, failed: Floats, first_bad_s: float) -> float:
    """When failures became more: the first bad second, or an earlier rise of failures of another kind."""
    seen = at_s < first_bad_s
    if not failed[seen].any():
        return first_bad_s
    rise = rate_rise(
        at_s[seen], failed[seen],
        earliest_s=first_bad_s - SEARCH_S, latest_s=first_bad_s, min_before_s=MIN_BASELINE_S,
    )  # fmt: skip
    return first_bad_s if rise is None else min(rise.onset.by_s - 1.0, first_bad_s)


def _arrivals_from_pages(view: View, topology: Topology) -> tuple[Floats, Floats, tuple[SeriesRef, ...]]:
    """Arrivals as the engines see them: finished, plus refused, plus the change of what is in flight."""
    names = ("requests_finished_total", "requests_rejected_total", "requests_running", "requests_waiting")
    windows = [w for name in names for w in of_service(view, topology, f"gen_ai_server_{name}") if w.at_s.size > 1]
    if not any(w.values[-1] > w.values[0] for w in windows):
        return np.empty(0), np.empty(0), ()
    start, end = max(float(w.at_s[0]) for w in windows), min(float(w.at_s[-1]) for w in windows)
    if end - start < 2.0:
        return np.empty(0), np.empty(0), ()
    edges = np.arange(math.ceil(start), math.floor(end) + 1.0)
    total = np.zeros(edges.size)
    for window in windows:
        total += np.interp(edges, window.at_s, window.values)
    refs = tuple(
        SeriesRef("gen_ai_server_requests_finished_total", w.labels)
        for w in of_service(view, topology, "gen_ai_server_requests_finished_total")
    )
    return edges[:-1], np.diff(total), refs
