"""
Load accounting: which term made load outgrow capacity.

Overload is always "too much for what is there", which names nothing. The change of ln(load / capacity) up to the first
refusal is the sum of four changes: arrivals, work a request, pace, less capacity. Each is measured on its own series
at its own most likely step, searched in the five minutes before the first refusal; the term that holds the rise is
where the root is looked for. A term whose series are missing is unknown, and said to be.

Arrivals after the first refusal are counted net of refusals. Every retry needs a refusal before it, so retries and
failover can never lift the net count, however many there are; a true surge does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aiops.correlate.pace import Demand, Pace, PaceShift, pace_shift, typical
from aiops.correlate.steps import Step, level_step, rate_rise
from aiops.correlate.topology import Topology
from aiops.correlate.view import View
from aiops.model import Onset, SeriesRef
from aiops.ports import Window
from aiops.rulebook.causes import Term
from aiops.stats import Floats, median

SEARCH_S = 300.0
"""A step older than this before the first refusal is the new normal."""
MIN_BASELINE_S = 30.0
"""Shorter histories are no baseline."""
_AFTER_S = 3.0
"""Buckets after the first refusal that are looked at: latency of the logs, granularity of the buckets."""
_SETTLE_S = 60.0
"""Work and pace are read this long after the first refusal: refusing changes neither."""
_MATERIAL = math.log(1.15)
"""A smaller change of a term is no cause of an overload."""
_SETTLED_S = 10.0
"""Requests of a burst that nothing was refused of yet may be this old."""
_USUAL = 1.15
"""Arrivals up to this factor are weather."""
_CO_SHARE = 0.25
_BAD = "503|5xx|429"


@dataclass(frozen=True, slots=True)
class TermChange:
    """What became of one term."""

    change: float | None
    """ln(after / before), positive when load grew or capacity fell; None when unknown."""
    before: float = math.nan
    after: float = math.nan
    onset: Onset | None = None
    missing: str = ""
    """What would be needed to know."""
    series: tuple[SeriesRef, ...] = ()
    waits: bool = False
    """Unknown only for now: requests still under way will tell."""


@dataclass(frozen=True, slots=True)
class LoadAccount:
    """The four terms, and the pace of each replica behind one of them."""

    terms: Mapping[Term, TermChange]
    shifts: tuple[PaceShift, ...] = ()

    def share(self, term: Term) -> float | None:
        """The share of the whole rise that *term* holds, 0 to 1; None when it is unknown."""
        change = self.terms[term].change
        if change is None:
            return None
        rise = sum(max(t.change, 0.0) for t in self.terms.values() if t.change is not None)
        return change / rise if change >= _MATERIAL and rise > 0 else 0.0

    def holds(self, term: Term, share: float) -> bool | None:
        """
        Whether *term* is where the rise comes from: it has *share* of it, or is one of two that share it.

        None when the term is unknown.
        """
        own = self.share(term)
        if own is None or own >= share:
            return None if own is None else True
        shares = sorted((s for t in self.terms if (s := self.share(t)) is not None), reverse=True)
        shared = shares[0] < share and len(shares) > 1 and shares[1] >= _CO_SHARE
        return shared and own >= shares[1]

    @property
    def demand(self) -> Demand:
        """How much more is asked: arrivals and work."""
        return demand_of(self.terms[Term.ARRIVALS], self.terms[Term.WORK])

    @property
    def waits(self) -> bool:
        """Whether a term is unknown only for now, so that shares may still change."""
        return any(term.waits for term in self.terms.values())

    def in_words(self) -> str:
        """All four terms as factors: "arrivals x3.4, work x1.0, pace x1.2, capacity x1.0"."""
        parts = []
        for term, found in self.terms.items():
            sign = -1.0 if term is Term.CAPACITY else 1.0
            known = found.change is not None
            parts.append(f"{term} x{math.exp(sign * (found.change or 0.0)):.2g}" if known else f"{term} unknown")
        return ", ".join(parts)


def account(view: View, topology: Topology, paces: Mapping[str, Pace], first_bad_s: float) -> LoadAccount:
    """The load accounting of *topology*'s service up to *first_bad_s*."""
    arrived = arrivals_change(view, topology, first_bad_s)
    worked = work_change(view, topology, first_bad_s)
    paced, shifts = pace_change(paces, first_bad_s, view.now_s, demand_of(arrived, worked))
    capable = capacity_change(view, topology, first_bad_s)
    return LoadAccount(
        {Term.ARRIVALS: arrived, Term.WORK: worked, Term.PACE: paced, Term.CAPACITY: capable}, tuple(shifts)
    )


def demand_of(arrived: TermChange, worked: TermChange) -> Demand:
    """Both terms together; the earlier onset is the demand's."""
    onsets = [term.onset for term in (arrived, worked) if term.onset is not None and (term.change or 0.0) > 0]
    onset = min(onsets, key=lambda o: o.by_s, default=None)
    return Demand((arrived.change or 0.0) + (worked.change or 0.0), onset)


# --- arrivals -------------------------------------------------------------------------------------------------------


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
    end_s = min(first_bad_s + _AFTER_S, view.now_s - 1.0)
    seen = at_s <= end_s
    net = counts - _refused(view, topology, at_s, first_bad_s)
    complete = complete_s >= end_s or _surely_level(view, topology, at_s, net, first_bad_s)
    return judge_arrivals(at_s[seen], net[seen], first_bad_s=first_bad_s, complete=complete, series=refs)


def judge_arrivals(
    at_s: Floats, counts: Floats, *, first_bad_s: float, complete: bool, series: tuple[SeriesRef, ...] = ()
) -> TermChange:
    """
    The change of an arrival rate, from its one-second buckets.

    Args:
        at_s: Starts of the buckets, increasing.
        counts: First attempts that arrived, net of refusals from the first refusal on.
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
        windows = _of_service(view, topology, f"gen_ai_server_{name}")
        if len(windows) < len(topology.instances) or any(w.at_s[-1] < first_bad_s for w in windows):
            return False
        held += sum(float(w.values[-1]) for w in windows)
    since_s = min(view.now_s - 2.0 * _completion_s(view, topology), first_bad_s - _SETTLED_S)
    before = net[at_s < since_s]
    if before.size < MIN_BASELINE_S / 2:
        return False
    usual = float(before.mean()) * (view.now_s - since_s)
    return float(net[at_s >= since_s].sum()) + held <= _USUAL * usual + 2.0 * math.sqrt(usual)


def _refused(view: View, topology: Topology, at_s: Floats, first_bad_s: float) -> Floats:
    """Refusals per bucket from the first refusal on."""
    refused = np.zeros(at_s.size)
    for window in view.windows("http_server_requests_total", {"service": topology.service, "outcome": _BAD}):
        totals = np.maximum.accumulate(window.values)
        edges = np.interp(np.append(at_s, at_s[-1] + 1.0), window.at_s, totals)
        refused += np.diff(edges)
    return np.where(at_s >= math.floor(first_bad_s), refused, 0.0)


def _arrivals_from_pages(view: View, topology: Topology) -> tuple[Floats, Floats, tuple[SeriesRef, ...]]:
    """Arrivals as the engines see them: finished, plus refused, plus the change of what is in flight."""
    names = ("requests_finished_total", "requests_rejected_total", "requests_running", "requests_waiting")
    windows = [w for name in names for w in _of_service(view, topology, f"gen_ai_server_{name}") if w.at_s.size > 1]
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
        for w in _of_service(view, topology, "gen_ai_server_requests_finished_total")
    )
    return edges[:-1], np.diff(total), refs


def _of_service(view: View, topology: Topology, metric: str) -> list[Window]:
    return [w for w in view.windows(metric) if w.labels.get("instance") in topology.instances]


# --- work a request -------------------------------------------------------------------------------------------------


def work_change(view: View, topology: Topology, first_bad_s: float) -> TermChange:
    """How the tokens a request changed: uncached prompt tokens and generated ones."""
    at_s, tokens = tokens_a_request(view, topology)
    refs = tuple(
        SeriesRef("gen_ai_server_generation_tokens_total", w.labels)
        for w in _of_service(view, topology, "gen_ai_server_generation_tokens_total")
    )
    if at_s.size == 0:
        return TermChange(None, missing="no token counters", series=refs)
    if first_bad_s - at_s[0] < MIN_BASELINE_S:
        return TermChange(None, missing=f"less than {MIN_BASELINE_S:.0f} s of history", series=refs)
    seen = at_s <= first_bad_s + _SETTLE_S
    return _term(_log_step(at_s[seen], tokens[seen], first_bad_s, floor=0.05), refs)


def tokens_a_request(view: View, topology: Topology) -> tuple[Floats, Floats]:
    """
    Tokens a request between readings of all replicas together: times (n,), tokens (n,).

    In an overload finished requests lag behind their tokens. So prompt tokens are divided by requests begun (finished
    plus the change of those running), generated ones by the mean of begun and finished.
    """
    names = ("requests_finished_total", "prompt_tokens_total", "generation_tokens_total", "requests_running")
    found = {name: _of_service(view, topology, f"gen_ai_server_{name}") for name in names}
    if not all(found.values()):
        return np.empty(0), np.empty(0)
    flat = [w for windows in found.values() for w in windows]
    start, end = max(float(w.at_s[0]) for w in flat), min(float(w.at_s[-1]) for w in flat)
    if end - start < 10.0:
        return np.empty(0), np.empty(0)
    edges = np.arange(start, end + 1e-9, 5.0)  # shorter steps hold too few requests
    sums = {name: sum((np.interp(edges, w.at_s, w.values) for w in ws), np.zeros(1)) for name, ws in found.items()}
    cached = [
        np.interp(edges, w.at_s, w.values)
        for w in _of_service(view, topology, "gen_ai_server_prompt_tokens_cached_total")
    ]
    finished, growth = np.diff(sums["requests_finished_total"]), np.diff(sums["requests_running"])
    prompt = np.diff(sums["prompt_tokens_total"] - sum(cached, np.zeros(1)))
    generated = np.diff(sums["generation_tokens_total"])
    begun, between = finished + growth, finished + growth / 2
    good = (finished >= 5) & (begun >= 5) & (prompt >= 0) & (generated >= 0) & (prompt + generated > 0)
    return edges[1:][good], prompt[good] / begun[good] + generated[good] / between[good]


def _log_step(at_s: Floats, values: Floats, first_bad_s: float, *, floor: float) -> Step | None:
    return level_step(
        at_s,
        np.log(values),
        earliest_s=first_bad_s - SEARCH_S,
        latest_s=first_bad_s + 5.0,
        floor=floor,
        min_before_s=MIN_BASELINE_S / 2,
    )


def _term(step: Step | None, series: tuple[SeriesRef, ...]) -> TermChange:
    if step is None:
        return TermChange(0.0, series=series)
    return TermChange(step.after - step.before, math.exp(step.before), math.exp(step.after), step.onset, series=series)


# --- pace, capacity -------------------------------------------------------------------------------------------------


def pace_change(
    paces: Mapping[str, Pace], first_bad_s: float, now_s: float, demand: Demand
) -> tuple[TermChange, list[PaceShift]]:
    """How the replicas' pace changed, at equal clock and batch."""
    refs = tuple(pace.series for pace in paces.values())
    shifts: list[PaceShift] = []
    for pace in paces.values():
        seen = pace.at_s <= min(now_s, first_bad_s + _SETTLE_S)
        if not seen.any() or first_bad_s - pace.at_s[0] < MIN_BASELINE_S:
            continue
        batch = pace.log_batch[seen] if pace.log_batch.size else pace.log_batch
        short = Pace(pace.instance, pace.at_s[seen], pace.log_s[seen], batch, pace.clock_known, pace.series)
        shifts.append(
            pace_shift(
                short, earliest_s=first_bad_s - SEARCH_S, latest_s=first_bad_s + 5.0, demand=demand,
                min_before_s=MIN_BASELINE_S / 2,
            )
        )  # fmt: skip
    mean = typical(shifts)
    if mean is None:
        missing = f"less than {MIN_BASELINE_S:.0f} s of pages" if paces else "no page of the inference server"
        return TermChange(None, missing=missing, series=refs), shifts
    steps = [shift.step for shift in shifts if shift.step is not None and shift.residual > 0]
    earliest = min(steps, key=lambda step: step.onset.by_s, default=None)
    return TermChange(max(mean, 0.0), onset=earliest.onset if earliest else None, series=refs), shifts


def capacity_change(view: View, topology: Topology, first_bad_s: float) -> TermChange:
    """How ready replicas times KV blocks changed."""
    ups = _of_service(view, topology, "gen_ai_server_up")
    refs = tuple(SeriesRef("gen_ai_server_up", w.labels) for w in ups)
    if not ups or first_bad_s - min(float(w.at_s[0]) for w in ups) < MIN_BASELINE_S:
        return TermChange(None, missing="no page of the inference server", series=refs)
    blocks = {
        w.labels.get("instance"): float(w.values[-1])
        for w in _of_service(view, topology, "gen_ai_server_kv_cache_blocks")
    }
    usual = median(list(blocks.values())) if blocks else 1.0
    before = after = 0.0
    for window in ups:
        weight = blocks.get(window.labels.get("instance"), usual)
        past = window.values[window.at_s < first_bad_s - 15.0]
        recent = window.values[(window.at_s >= first_bad_s - 15.0) & (window.at_s <= first_bad_s + 1.0)]
        usually_up = median(past) if past.size else 0.0
        before += weight * usually_up
        after += weight * (float(recent[-2:].mean()) if recent.size else usually_up)
    if before <= 0:
        return TermChange(None, missing="no replica was ready before", series=refs)
    return TermChange(-math.log(max(after, 0.01 * before) / before), before, after, series=refs)
