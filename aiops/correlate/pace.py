"""
How fast each replica works: seconds a token, set right for SM clock and batch.

A replica can look slow for three reasons that are not its own: the card's clock was cut (heat, power), the batch is
larger (more is asked of it), or requests are longer. The clock is divided out reading by reading. The batch is set
right by the part of its growth that demand explains: with elasticity e of seconds a token to batch, Little's law lets
a demand that grew by d (logarithm) grow the batch by d / (1 - e); what the batch grew beyond that, it grew because the
replica became slower, and may not excuse it. Nor may a demand that grew only after the replica was slow.

Readings are the differences of the server's own running sums. Where a server has no page, the gateway's time to first
byte stands in for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from aiops.correlate.steps import Step, level_step
from aiops.correlate.terms import of_service
from aiops.correlate.topology import Topology
from aiops.correlate.view import View
from aiops.model import Onset, SeriesRef
from aiops.ports import Window
from aiops.stats import Floats, median

_SUM = "gen_ai_server_time_per_output_token_seconds_sum"
_COUNT = "gen_ai_server_time_per_output_token_seconds_count"
_RUNNING = "gen_ai_server_requests_running"
_FIRST_BYTE = "http_server_time_to_first_byte_seconds"
_MIN_TOKENS = 3
"""Fewer tokens between two readings make no mean."""
_SPREAD_FLOOR = 0.05
"""Smallest spread of ln(seconds a token) to believe in: 5 %."""
_DEFAULT_ELASTICITY = 0.5
"""Between 0 (decode bound by memory bandwidth, small batches) and 1 (bound by compute); used when no fit is possible."""
_ELASTICITY_RANGE = (0.1, 0.9)
"""A fit outside is noise: the batch is read at an instant, tokens over an interval, which pulls slopes to 0."""
_MIN_FIT_POINTS = 12
_REACHED = 0.95
"""Quantile of its clock that a card is taken to reach; the highest reading may be an odd one."""
_IDLE_RATIO = 0.05
"""A card that works less lets its clock rest and wake as it likes, which slows nothing down."""


@dataclass(frozen=True, slots=True)
class Pace:
    """One replica's pace over time."""

    instance: str
    at_s: Floats
    log_s: Floats
    """ln(seconds a token), clock set right; of the time to first byte where there is no page."""
    log_batch: Floats
    """ln(requests running), same times; empty when not known."""
    clock_known: bool
    series: SeriesRef
    log_clock: Floats = field(default_factory=lambda: np.empty(0))
    """ln of the SM clock over the full clock, same times, already in `log_s`; empty when not known."""

    def between(self, start_s: float, end_s: float) -> Floats:
        """Readings of (start_s, end_s]."""
        return self.log_s[(self.at_s > start_s) & (self.at_s <= end_s)]


def read_paces(view: View, topology: Topology) -> dict[str, Pace]:
    """The pace of every replica of the service that can be read, by instance."""
    clocks = _clocks(view, topology)
    counts = {window.labels: window for window in of_service(view, topology, _COUNT)}
    running = {window.labels.get("instance"): window for window in of_service(view, topology, _RUNNING)}
    paces: dict[str, Pace] = {}
    for window in of_service(view, topology, _SUM):
        instance = window.labels.get("instance")
        count = counts.get(window.labels)
        if instance in topology.instances and count is not None:
            pace = _from_page(window, count, running.get(instance), clocks.get(instance))
            if pace is not None:
                paces[instance] = pace
    return paces or _from_gateway(view, topology)


def _from_page(sums: Window, counts: Window, running: Window | None, clock: Window | None) -> Pace | None:
    at_s, where_sum, where_count = np.intersect1d(sums.at_s, counts.at_s, return_indices=True)
    if at_s.size < 2:
        return None
    seconds, tokens = np.diff(sums.values[where_sum]), np.diff(counts.values[where_count])
    good = (tokens >= _MIN_TOKENS) & (seconds > 0)  # a restart makes both negative and is left out
    if not good.any():
        return None
    times = at_s[1:][good]
    log_s = np.log(seconds[good] / tokens[good])
    log_clock = np.empty(0)
    if clock is not None:
        log_clock = np.log(np.interp(times, clock.at_s, clock.values))
        log_s = log_s + log_clock
    batch = np.empty(0)
    if running is not None:
        ends = np.interp(times, running.at_s, running.values)
        starts = np.interp(at_s[:-1][good], running.at_s, running.values)
        batch = np.log(np.maximum((starts + ends) / 2, 0.5))
    ref = SeriesRef(_SUM, sums.labels)
    return Pace(sums.labels.get("instance"), times, log_s, batch, clock is not None, ref, log_clock)


def _from_gateway(view: View, topology: Topology) -> dict[str, Pace]:
    """Time to first byte by upstream: coarser, since it holds the queue too."""
    paces: dict[str, Pace] = {}
    for window in view.windows(_FIRST_BYTE, {"service": topology.service, "quantile": "0.5"}):
        instance = window.labels.get("upstream")
        positive = window.values > 0
        if instance in topology.instances and positive.any():
            times, log_s = window.at_s[positive], np.log(window.values[positive])
            ref = SeriesRef(_FIRST_BYTE, window.labels)
            paces[instance] = Pace(instance, times, log_s, np.empty(0), clock_known=False, series=ref)
    return paces


def _clocks(view: View, topology: Topology) -> Mapping[str, Window]:
    """
    The SM clock of each replica's card over its full clock; replicas on several cards, and cards that idle, are left out.

    The full clock is the card's own limit; where that is not told, what it reaches: a card that was cut for most of the
    time must not be taken for one that always was like that.
    """
    load = view.windows("hw_gpu_utilization_ratio")
    idle = {window.labels.get("gpu") for window in load if median(window.values) < _IDLE_RATIO}
    clocks = [window for window in view.windows("hw_gpu_clock_hertz") if bool((window.values > 0).all())]
    limits = {w.labels.get("gpu"): float(w.values[-1]) for w in view.windows("hw_gpu_clock_limit_hertz")}
    by_gpu = {gpu: _over(window, limits.get(gpu)) for window in clocks if (gpu := window.labels.get("gpu")) not in idle}
    found: dict[str, Window] = {}
    for instance, gpus in topology.gpus_of.items():
        if len(gpus) == 1 and (window := by_gpu.get(next(iter(gpus)))) is not None:
            found[instance] = window
    return found


def _over(clock: Window, limit: float | None) -> Window:
    reached = float(np.quantile(clock.values, _REACHED))
    full = limit if limit is not None and limit >= reached else reached
    return Window(clock.labels, clock.at_s, clock.values / full)


@dataclass(frozen=True, slots=True)
class Demand:
    """How much more is asked of the service: ln(after / before) of arrivals and work, and since when."""

    change: float = 0.0
    onset: Onset | None = None


@dataclass(frozen=True, slots=True)
class PaceShift:
    """How much slower a replica became."""

    instance: str
    residual: float
    """ln(after / before) of seconds a token, clock set right, and the batch as far as demand explains it."""
    step: Step | None
    """None when no step stands out: then the residual is 0."""


def pace_shift(pace: Pace, *, earliest_s: float, latest_s: float, demand: Demand, min_before_s: float) -> PaceShift:
    """
    How *pace* changed at its most likely step.

    Args:
        pace: One replica's readings.
        earliest_s: The first slow reading may not be older.
        latest_s: … nor newer.
        demand: How much more is asked of the service; nothing more excuses nothing.
        min_before_s: Time the old pace must have been watched.
    """
    step = level_step(
        pace.at_s, pace.log_s,
        earliest_s=earliest_s, latest_s=latest_s, floor=_SPREAD_FLOOR / 2, min_before_s=min_before_s,
    )  # fmt: skip
    if step is None:
        return PaceShift(pace.instance, 0.0, None)
    raw = step.after - step.before
    return PaceShift(pace.instance, raw - batch_share(pace, step.onset, raw, demand), step)


def gone_at_equal_clock(pace: Pace, *, earliest_s: float, latest_s: float) -> tuple[float, float, Onset] | None:
    """
    A slowdown as measured, what is left of it at an equal SM clock (logarithms), and its onset; None without one.

    Args:
        pace: One replica's readings, clock known.
        earliest_s: The first slow reading may not be older.
        latest_s: … nor newer.
    """
    measured = pace.log_s - pace.log_clock
    step = level_step(pace.at_s, measured, earliest_s=earliest_s, latest_s=latest_s, floor=_SPREAD_FLOOR / 2)
    if step is None or step.after <= step.before:
        return None
    since = pace.at_s >= step.onset.by_s
    return step.after - step.before, median(pace.log_s[since]) - median(pace.log_s[~since]), step.onset


def batch_share(pace: Pace, onset: Onset, raw: float, demand: Demand) -> float:
    """The part of a slowdown *raw* that a batch grown by *demand* explains; logarithms, 0 to *raw*."""
    if raw <= 0 or demand.change <= 0 or (demand.onset is not None and onset.before(demand.onset)):
        return 0.0
    e = elasticity(pace, onset.by_s)
    grown = demand.change / (1.0 - e)
    if pace.log_batch.size:
        before, after = pace.log_batch[pace.at_s < onset.by_s], pace.log_batch[pace.at_s >= onset.by_s]
        if before.size and after.size:
            grown = min(grown, max(median(after) - median(before), 0.0))
    return min(e * grown, raw)


def elasticity(pace: Pace, until_s: float) -> float:
    """Slope of ln(seconds a token) over ln(batch) before *until_s*; a default where the batch hardly varied."""
    if not pace.log_batch.size:
        return _DEFAULT_ELASTICITY
    normal = pace.at_s < until_s
    x, y = pace.log_batch[normal], pace.log_s[normal]
    if x.size < _MIN_FIT_POINTS or float(x.std()) < 0.15:
        return _DEFAULT_ELASTICITY
    x, y = x - x.mean(), y - y.mean()
    low, high = _ELASTICITY_RANGE
    return float(np.clip((x @ y) / (x @ x), low, high))


def typical(shifts: Iterable[PaceShift]) -> float | None:
    """Mean residual of the replicas: what the service as a whole lost; None without replicas."""
    residuals = [shift.residual for shift in shifts]
    return sum(residuals) / len(residuals) if residuals else None


def against_peers(paces: Mapping[str, Pace], instance: str, start_s: float, end_s: float) -> float | None:
    """
    ln(pace of *instance* / median pace of the others) in a window; None with fewer than two others.

    A slow replica works at a larger batch because it is slow, so nothing is set right for the batch here.
    """
    own = paces.get(instance)
    if own is None:
        return None
    mine = own.between(start_s, end_s)
    others = [p.between(start_s, end_s) for name, p in paces.items() if name != instance]
    medians = [median(values) for values in others if values.size]
    if not mine.size or len(medians) < 2:
        return None
    return median(mine) - median(medians)
