"""
Pictures of the evidence, kept with the incident because the rings forget.

At most eight charts, of the series behind what speaks for the first hypotheses; while no root is named, also of what
moved. A pair of counters such as "seconds summed" and "tokens counted" is drawn as their quotient, which is what people
read: seconds a token.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from aiops.catalog import CATALOG, MetricKind
from aiops.correlate.findings import clean
from aiops.correlate.scene import Scene
from aiops.correlate.view import cut
from aiops.model import Chart, EvidenceState, Hypothesis, Line, Mover, Onset, SeriesRef, Verdict
from aiops.ports import Window
from aiops.stats import Floats, median, rate_points

MAX_CHARTS = 8
MAX_LINES = 4
MAX_POINTS = 240
_HISTORY_S = 600.0
_HYPOTHESES = 3


def draw(hypotheses: Sequence[Hypothesis], movers: Sequence[Mover], scene: Scene) -> tuple[Chart, ...]:
    """Charts for the first hypotheses that have any support; without a root, for the movers too."""
    charts: list[Chart] = []
    shown: set[str] = set()
    for refs, onset in _wanted(hypotheses, movers):
        metric = refs[0].metric
        if len(charts) == MAX_CHARTS:
            break
        if metric in shown:
            continue
        chart = _chart(metric, refs, onset, scene)
        if chart.lines:
            shown.add(metric)
            charts.append(chart)
    return tuple(charts)


def _wanted(
    hypotheses: Sequence[Hypothesis], movers: Sequence[Mover]
) -> Iterable[tuple[Sequence[SeriesRef], Onset | None]]:
    supported = [h for h in hypotheses if h.verdict in {Verdict.ROOT, Verdict.CANDIDATE, Verdict.CONSEQUENCE}]
    for hypothesis in supported[:_HYPOTHESES]:
        present = [e for e in hypothesis.evidence if e.state is EvidenceState.PRESENT and e.series]
        for evidence in sorted(present, key=lambda e: -abs(e.log_odds)):
            yield evidence.series, evidence.onset
    if any(h.verdict is Verdict.ROOT for h in hypotheses):
        return
    for mover in movers:
        yield (mover.series,), mover.onset


def _chart(metric: str, refs: Sequence[SeriesRef], onset: Onset | None, scene: Scene) -> Chart:
    known = CATALOG[metric]
    counter = known.kind is MetricKind.COUNTER
    wanted = {ref.labels for ref in refs}
    start_s = max(scene.now_s - _HISTORY_S, scene.view.start_s)
    windows = [cut(w, start_s, scene.now_s) for w in scene.view.windows(metric) if w.labels in wanted]
    windows.sort(key=_liveliness, reverse=True)
    windows = windows[:MAX_LINES]
    title, unit = known.help.split(";")[0].rstrip("."), f"{known.unit}/s" if counter else known.unit
    counted = CATALOG.get(metric.removesuffix("_sum") + "_count") if metric.endswith("_sum") else None
    if counted is None:
        lines = [_line(w, counter=counter) for w in windows]
    else:
        title = title.replace("Summed", "Mean", 1)
        unit = known.unit
        counts = {w.labels: cut(w, start_s, scene.now_s) for w in scene.view.windows(counted.name)}
        lines = [_quotient(w, counts[w.labels]) for w in windows if w.labels in counts]
    return Chart(title, unit, tuple(line for line in lines if line.at_s), onset)


def _liveliness(window: Window) -> float:
    """How much a line has to show."""
    return float(np.ptp(window.values)) if window.values.size else 0.0


def _line(window: Window, *, counter: bool) -> Line:
    if counter:
        return _named(window, window.at_s[1:], rate_points(window.at_s, window.values))
    return _named(window, window.at_s, window.values)


def _quotient(summed: Window, counted: Window) -> Line:
    """What was summed over what was counted, between readings in which anything was."""
    at_s, counts = summed.at_s[1:], np.interp(summed.at_s, counted.at_s, counted.values)
    added, number = np.diff(summed.values), np.diff(counts)
    good = (number > 0) & (added >= 0)
    return _named(summed, at_s[good], added[good] / number[good])


def _named(window: Window, at_s: Floats, values: Floats) -> Line:
    at_s, values = _thinned(at_s, values)
    names = [clean(value) for name, value in window.labels.pairs if name not in {"host_name", "model", "server"}]
    return Line(
        name=" ".join(name for name in names if name) or "value",
        at_s=tuple(round(at, 3) for at in at_s.tolist()),
        values=tuple(round(value, 6) for value in values.tolist()),
    )


def _thinned(at_s: Floats, values: Floats) -> tuple[Floats, Floats]:
    """At most `MAX_POINTS` points; of each group the one furthest from the median, so that peaks stay."""
    if at_s.size <= MAX_POINTS:
        return at_s, values
    edges = np.linspace(0, at_s.size, MAX_POINTS + 1).astype(np.intp)
    away = np.abs(values - median(values))
    kept = [first + int(np.argmax(away[first:end])) for first, end in itertools.pairwise(edges.tolist())]
    return at_s[kept], values[kept]
