"""
Load accounting: which term made load outgrow capacity.

Overload is always "too much for what is there", which names nothing. The change of ln(load / capacity) up to the first
refusal is the sum of four changes: arrivals, work a request, pace, less capacity. Each is measured on its own series
at its own most likely step, searched in the five minutes before the first refusal; the term that holds the rise is
where the root is looked for. A term whose series are missing is unknown, and said to be: then a share is told as the
least it is, with an allowance for what the unknown terms may have done, so that a small known term never wins for want
of others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aiops.correlate.arrivals import arrivals_change
from aiops.correlate.pace import Demand, Pace, PaceShift, pace_shift, typical
from aiops.correlate.steps import Step, level_step
from aiops.correlate.terms import MIN_BASELINE_S, SEARCH_S, TermChange, of_service
from aiops.correlate.topology import Topology
from aiops.correlate.view import View
from aiops.model import SeriesRef
from aiops.ports import Window
from aiops.rulebook.clauses import Term
from aiops.stats import Floats, increase, median, robust_scale

_SETTLE_S = 60.0
"""Work and pace are read this long after the first refusal: refusing changes neither."""
_STEPS_S = (5.0, 30.0)
"""Between readings of work, at least and at most: as short as there are requests enough."""
_ENOUGH = 10.0
"""Requests that end between two readings of work, on average; fewer are too noisy a mean."""
_EARLY_S = 20.0
"""Until so long after the first refusal, or a few readings if those take longer, a rise of work may not have shown yet."""
_FEW_READINGS = 3
_MATERIAL = math.log(1.15)
"""A smaller change of a term is no cause of an overload."""
_FULL = 0.9
"""Use of a KV cache at which requests begin to wait for blocks."""
_CO_SHARE = 0.25
_UNKNOWN = math.log(1.5)
"""What one unknown term is allowed for; several are independent, so their allowances add as squares."""


@dataclass(frozen=True, slots=True)
class LoadAccount:
    """The four terms, and the pace of each replica behind one of them."""

    terms: Mapping[Term, TermChange]
    shifts: tuple[PaceShift, ...] = ()

    @property
    def unknown(self) -> tuple[Term, ...]:
        """Terms that could not be measured."""
        return tuple(term for term, found in self.terms.items() if found.change is None)

    def share(self, term: Term) -> float | None:
        """The share of the whole rise that *term* holds at least, 0 to 1; None when it is unknown."""
        return self._share(term, _UNKNOWN * math.sqrt(len(self.unknown)))

    def _share(self, term: Term, allowance: float) -> float | None:
        change = self.terms[term].change
        if change is None:
            return None
        rise = allowance + sum(max(t.change, 0.0) for t in self.terms.values() if t.change is not None)
        return change / rise if change >= _MATERIAL else 0.0

    def holds(self, term: Term, share: float) -> bool | None:
        """
        Whether *term* is where the rise comes from: it has *share* of it, or is one of two that share it.

        None when the term is unknown, or holds it only if the unknown terms did nothing.
        """
        least, most = self.share(term), self._share(term, 0.0)
        if least is None or most is None:
            return None
        if least >= share or self._is_sharer(term, share):
            return True
        return None if most >= share else False

    def _is_sharer(self, term: Term, share: float) -> bool:
        """Whether *term* is one of two that hold the rise together, since none has *share* of it."""
        shares = sorted((s for t in self.terms if (s := self.share(t)) is not None), reverse=True)
        own = self.share(term)
        shared = len(shares) > 1 and shares[0] < share and shares[1] >= _CO_SHARE
        return shared and own is not None and own >= shares[1]

    def sharers(self, share: float) -> tuple[Term, ...]:
        """Terms that hold the rise together, none of them *share* of it; empty when one holds it, or nothing rose."""
        return tuple(term for term in self.terms if self._is_sharer(term, share))

    @property
    def demand(self) -> Demand:
        """How much more is asked: arrivals and work."""
        return demand_of(self.terms[Term.ARRIVALS], self.terms[Term.WORK])

    def risen(self, share: float) -> Mapping[Term, str]:
        """Terms that certainly hold the rise, alone or as one of two, with how it is told."""
        return {
            term: _RISEN[term].format(_times(found.change or 0.0))
            for term, found in self.terms.items()
            if self.holds(term, share)
        }

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
            parts.append(f"{term} {_times(sign * (found.change or 0.0))}" if known else f"{term} unknown")
        return ", ".join(parts)


_RISEN = {
    Term.ARRIVALS: "first attempts rose to {}",
    Term.WORK: "work a request grew to {}",
    Term.PACE: "the time a token rose to {}",
    Term.CAPACITY: "the load on what is ready rose to {}",
}


def _times(change: float) -> str:
    """A change of a logarithm as a factor: x1.2, x0.01, x100."""
    times = math.exp(change)
    return f"x{times:.0f}" if times >= 10 else f"x{times:.2g}"


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


# --- work a request -------------------------------------------------------------------------------------------------


def work_change(view: View, topology: Topology, first_bad_s: float) -> TermChange:
    """How the tokens a request changed: uncached prompt tokens and generated ones."""
    at_s, tokens, step_s = tokens_a_request(view, topology)
    refs = tuple(
        SeriesRef("gen_ai_server_generation_tokens_total", w.labels)
        for w in of_service(view, topology, "gen_ai_server_generation_tokens_total")
    )
    if at_s.size == 0:
        return TermChange(None, missing="no token counters", series=refs)
    if first_bad_s - at_s[0] < MIN_BASELINE_S:
        return TermChange(None, missing=f"less than {MIN_BASELINE_S:.0f} s of history", series=refs)
    seen = at_s <= first_bad_s + _SETTLE_S
    step = level_step(
        at_s[seen], np.log(tokens[seen]),
        earliest_s=first_bad_s - SEARCH_S,
        latest_s=first_bad_s + 5.0 + step_s,  # the first reading of a new level may be half of the old one
        floor=0.05, min_before_s=MIN_BASELINE_S / 2, apart=True,
    )  # fmt: skip
    old = at_s < (first_bad_s - step_s if step is None else step.onset.by_s)
    early_s = max(_EARLY_S, _FEW_READINGS * step_s)
    if view.now_s < first_bad_s + early_s and _seems_to_rise(np.log(tokens), old, step):
        return TermChange(None, missing="too few requests ended since then", series=refs, waits=True)
    return _term(step, refs)


def _seems_to_rise(log_tokens: Floats, old: npt.NDArray[np.bool_], step: Step | None) -> bool:
    """Whether a reading since shortly before the first refusal stands out, though too few are there to make a level."""
    past, last = log_tokens[old], log_tokens[~old]
    if past.size < _FEW_READINGS or not last.size or (step is not None and last.size >= _FEW_READINGS):
        return False
    level = median(past) if step is None else step.after
    return float(last.max()) - level > max(2.0 * robust_scale(past, 0.05), _MATERIAL)


def tokens_a_request(view: View, topology: Topology) -> tuple[Floats, Floats, float]:
    """
    Tokens a request between readings of all replicas together: times (n,), tokens (n,), and the seconds between them.

    In an overload finished requests lag behind their tokens. So prompt tokens are divided by requests begun (finished
    plus the change of those running), generated ones by the mean of begun and finished. Where more end than begin it is
    those that ended: some engines count tokens only then. A replica that came or went did nothing before or after.
    """
    names = ("requests_finished_total", "prompt_tokens_total", "generation_tokens_total", "requests_running")
    found = {name: of_service(view, topology, f"gen_ai_server_{name}") for name in names}
    nothing = np.empty(0), np.empty(0), _STEPS_S[0]
    if not all(found.values()):
        return nothing
    flat = [w for windows in found.values() for w in windows]
    start, end = min(float(w.at_s[0]) for w in flat), max(float(w.at_s[-1]) for w in flat)
    if end - start < 2 * _STEPS_S[0]:
        return nothing
    step_s = _spacing(found["requests_finished_total"])
    edges = np.arange(start, end + 1e-9, step_s)
    sums = {name: sum((np.interp(edges, w.at_s, w.values) for w in ws), np.zeros(1)) for name, ws in found.items()}
    cached = [
        np.interp(edges, w.at_s, w.values)
        for w in of_service(view, topology, "gen_ai_server_prompt_tokens_cached_total")
    ]
    finished, growth = np.diff(sums["requests_finished_total"]), np.diff(sums["requests_running"])
    asked, found_cached = np.diff(sums["prompt_tokens_total"]), np.diff(sum(cached, np.zeros(edges.size)))
    prompt = np.maximum(asked - found_cached, 0.0)  # what is found is counted as a request begins, what it asks later
    generated = np.diff(sums["generation_tokens_total"])
    begun, between = finished + np.maximum(growth, 0.0), finished + np.maximum(growth, 0.0) / 2
    whole = (asked >= 0) & (found_cached >= 0) & (generated >= 0)  # no counter began anew
    good = whole & (finished >= 5) & (begun >= 5) & (prompt + generated > 0)
    return edges[1:][good], prompt[good] / begun[good] + generated[good] / between[good], step_s


def _spacing(finished: Sequence[Window]) -> float:
    """Seconds between readings of work, in whole shortest steps: a large model may answer one request in two seconds."""
    a_second = sum(increase(w.values) / max(float(np.ptp(w.at_s)), 1.0) for w in finished)
    shortest, longest = _STEPS_S
    if a_second * longest <= _ENOUGH:
        return longest
    return max(shortest * math.ceil(_ENOUGH / a_second / shortest), shortest)


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
    metric = "gen_ai_server_ready"  # a replica may be up and asleep, or refuse by its health path
    if not (ups := of_service(view, topology, metric)):
        metric = "gen_ai_server_up"
        ups = of_service(view, topology, metric)
    refs = tuple(SeriesRef(metric, w.labels) for w in ups)
    if not ups or first_bad_s - min(float(w.at_s[0]) for w in ups) < MIN_BASELINE_S:
        return TermChange(None, missing="no page of the inference server", series=refs)
    blocks = _blocks(view, topology, first_bad_s)
    usual = median([now for _, now in blocks.values()]) if blocks else 1.0
    before = after = 0.0
    for window in ups:
        had, has = blocks.get(window.labels.get("instance"), (usual, usual))
        past = window.values[window.at_s < first_bad_s - 15.0]
        recent = window.values[(window.at_s >= first_bad_s - 15.0) & (window.at_s <= first_bad_s + 1.0)]
        usually_up = median(past) if past.size else 0.0
        before += had * usually_up
        after += has * (float(recent[-2:].mean()) if recent.size else usually_up)
    if before <= 0:
        return TermChange(None, missing="no replica was ready before", series=refs)
    return TermChange(-math.log(max(after, 0.01 * before) / before), before, after, series=refs)


def _blocks(view: View, topology: Topology, first_bad_s: float) -> dict[str, tuple[float, float]]:
    """
    KV blocks of each replica, before and now.

    A cache that became smaller takes capacity only where it is full now; nobody misses what was never used.
    """
    used = of_service(view, topology, "gen_ai_server_kv_cache_utilization_ratio")
    seen = {w.labels.get("instance"): w.values[w.at_s >= first_bad_s - 15.0] for w in used}
    full = {name for name, values in seen.items() if values.size and float(values.max()) >= _FULL}
    found: dict[str, tuple[float, float]] = {}
    for window in of_service(view, topology, "gen_ai_server_kv_cache_blocks"):
        name, now = window.labels.get("instance"), float(window.values[-1])
        past = window.values[(window.at_s >= first_bad_s - SEARCH_S) & (window.at_s <= first_bad_s)]
        found[name] = (float(past.max()) if past.size and name in full else now, now)
    return found
