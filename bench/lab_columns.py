"""
A recording as the table of `aiops explain`: a row a second, a column a series, called ``<service>_<metric>``.

The service is the thing a series is about: a card, a replica, the gateway, or the host. What a metric has of other labels
stands behind its name. Counters become rates, for whoever ranks columns knows nothing of counters; between two readings
the older one stands, so that there is no hole. What alerted, the gateway's bad answers and what the daemon made of them,
is in the table only where it is asked for, and then in one column.

``python bench/lab_columns.py RUN FILE.csv``
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import lab_runs
import numpy as np

from aiops.catalog import CATALOG, MetricKind
from aiops.correlate.movers import _NOT_CAUSES
from aiops.model import NOBODY, Labels
from aiops.offline.columns import TIME, Columns
from aiops.offline.explain import metric_of, service_of
from aiops.replay.reading import Held, Recording, Took
from aiops.rulebook.causes import CauseRule, Scope
from aiops.rulebook.clauses import EventTest, LogTest, MetricTest, PaceTest
from aiops.stats import rate_points

GATEWAY, HOST = "gateway", "host"
SYMPTOM = f"{GATEWAY}_failed"
_REQUESTS = "http_server_requests_total"
_BAD = frozenset({"503", "5xx", "429", "499", "truncated", "stalled"})
_NAMELESS = frozenset({"host_name", "model", "server", "hw_id", "service", "instance", "upstream", "gpu"})
_STALE_S = 60.0
"""A counter that was not read for so long has ended, and counts nothing."""
_MEAN_S = 5
"""Every row is the mean of so many seconds: collectors run five times as often while users are hurt, and shorter readings
scatter more, which is no sign of a fault."""


def columns(recording: Path, from_s: float = -np.inf, *, symptom: bool = False) -> Columns:
    """The table of a recording, to its last sample; from *from_s* on, where what began with it has settled."""
    points = _points(Recording(recording))
    first_s = max(min(min(held) for held in points.values()), from_s)
    at_s = np.arange(np.floor(first_s), max(max(held) for held in points.values()) + 1.0)
    named: dict[str, np.ndarray] = {}
    failed = np.zeros(at_s.size)
    for (metric, labels), held in points.items():
        filled = _filled(metric, held, at_s)
        if metric == _REQUESTS and labels.get("outcome") in _BAD:
            failed += filled
        if metric in CATALOG and metric not in _NOT_CAUSES and not metric.startswith(("aiops_", "slo_")):
            named[name_of(metric, labels)] = filled
    if symptom:
        named[SYMPTOM] = failed
    return Columns(str(recording), tuple(named), at_s, np.array(list(named.values())))


def name_of(metric: str, labels: Labels) -> str:
    others = [Path(value).name.replace("_", "-") for name, value in labels.pairs if name not in _NAMELESS]
    return "_".join([thing(labels), metric, *others])


def thing(labels: Labels) -> str:
    """What a series is about."""
    replica = labels.get("upstream") or labels.get("instance")
    if labels.get("gpu"):
        return f"gpu{labels.get('gpu')}"
    if labels.get("gateway") or "gateway" in Path(labels.get("source") or "").name:
        return GATEWAY
    if replica and replica != NOBODY:
        return replica.replace("_", "-")
    return GATEWAY if labels.get("service") else HOST


def _points(recording: Recording) -> dict[tuple[str, Labels], dict[float, float]]:
    found: dict[tuple[str, Labels], dict[float, float]] = {}
    for step in recording.steps():
        for sample in step.samples if isinstance(step, Held | Took) else ():
            found.setdefault((sample.metric, sample.labels), {})[sample.at_s] = sample.value
    return found


def _filled(metric: str, held: Mapping[float, float], at_s: np.ndarray) -> np.ndarray:
    times = np.array(sorted(held))
    values = np.array([held[time] for time in times])
    counts = (metric in CATALOG and CATALOG[metric].kind is MetricKind.COUNTER) or metric.endswith("_uptime_seconds")
    if counts:  # nothing was counted before it was there
        times, values = np.insert(times[1:], 0, times[0]), np.insert(rate_points(times, values), 0, 0.0)
    place = np.searchsorted(times, at_s, "right") - 1
    filled = values[np.maximum(place, 0)]
    return _averaged(np.where(at_s - times[-1] > _STALE_S, 0.0, filled) if counts else filled)


def _averaged(values: np.ndarray) -> np.ndarray:
    """The mean of each value and those just before it."""
    padded = np.concatenate([np.full(_MEAN_S - 1, values[0]), values])
    return np.lib.stride_tricks.sliding_window_view(padded, _MEAN_S).mean(axis=1)


def true_things(truth: lab_runs.Truth, rule: CauseRule, names: Sequence[str]) -> frozenset[str]:
    """
    What is to be found, any of them: where the truth says it was, or what the cause is always about.

    A cause of a whole service is at no one of its things; so it may be any in whose series, by *names*, it shows.
    """
    if truth.where.get("gpu"):
        return frozenset({f"gpu{truth.where['gpu']}"})
    if truth.where.get("instance"):
        return frozenset({str(truth.where["instance"]).replace("_", "-")})
    if rule.scope in {Scope.HOST, Scope.LINK}:
        return frozenset({HOST})
    return frozenset(service_of(name) for name in names if shows(name, family(rule))) - {HOST}


def shows(name: str, metrics: Collection[str]) -> bool:
    """Whether a column is of one of *metrics*."""
    metric = metric_of(name)
    return any(metric == each or metric.startswith(f"{each}_") for each in metrics)


def family(rule: CauseRule) -> frozenset[str]:
    """The metrics in which a cause shows, as its file has it."""
    found: set[str] = set()
    for clause in rule.evidence:
        test = clause.test
        if isinstance(test, MetricTest):
            found.add(test.name)
        elif isinstance(test, LogTest):
            found.add("log_records_total")
        elif isinstance(test, PaceTest):
            found |= {f"gen_ai_server_time_per_output_token_seconds_{part}" for part in ("sum", "count")}
        elif not isinstance(test, EventTest):
            found |= {
                "http_server_arrival_rate",
                "gen_ai_server_prompt_tokens_total",
                "gen_ai_server_generation_tokens_total",
            }
    return frozenset(found)


def write(table: Columns, path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([TIME, *table.names])
        writer.writerows([at_s, *row] for at_s, row in zip(table.at_s.tolist(), table.values.T.tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="A recording as the table of aiops explain.")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run of the lab")
    parser.add_argument("file", type=Path, metavar="FILE.csv")
    args = parser.parse_args()
    write(columns(args.run / lab_runs.RECORDING, symptom=True), args.file)


if __name__ == "__main__":
    main()
