"""
"Right now" on the first page: services, replicas, GPUs and the host, from the newest samples.

Pure: a series reader and the time in, plain values out. What has no series has no tile; a page that shows 0 for what it
does not know would be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from aiops.export.charts import axis_text
from aiops.export.views import Tile
from aiops.model import HURTFUL, Labels
from aiops.ports import SeriesReader
from aiops.stats import increase
from aiops.units import format_quantity

SPARK_WIDTH, SPARK_HEIGHT = 300, 36
_SPARK_S = 600.0
_RECENT_S = 60.0
_SETTLED_S = 2.0
"""The newest arrival buckets are still being revised, and would look like a drop."""
_MAX_METERS = 32


@dataclass(frozen=True, slots=True)
class Meter:
    """One thing and its numbers."""

    name: str
    tiles: tuple[Tile, ...]
    css: str = ""
    path: str = ""
    area: str = ""
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Things of one kind."""

    title: str
    meters: tuple[Meter, ...]


_GPU_READINGS = (
    ("busy", "hw_gpu_utilization_ratio", "ratio"),
    ("VRAM", "hw_gpu_memory_utilization_ratio", "ratio"),
    ("core", "hw_temperature_celsius", "celsius"),
    ("power", "hw_power_watts", "watts"),
)
_REPLICA_READINGS = (
    ("running", "gen_ai_server_requests_running", "requests"),
    ("waiting", "gen_ai_server_requests_waiting", "requests"),
    ("KV cache", "gen_ai_server_kv_cache_utilization_ratio", "ratio"),
)
_HOST_READINGS = (
    ("CPU", "system_cpu_utilization_ratio", "ratio"),
    ("memory", "system_memory_utilization_ratio", "ratio"),
)


def overview(series: SeriesReader, now_s: float) -> tuple[Group, ...]:
    """Groups that have something to show, what users feel first."""
    groups = (
        Group("Services", _services(series, now_s)),
        Group("Replicas", _things(series, now_s, _REPLICA_READINGS, lambda labels: labels.get("instance"), "gen_ai_server_up")),
        Group("GPUs", _things(series, now_s, _GPU_READINGS, lambda labels: f"GPU {labels.get('gpu')}", "hw_gpu_up")),
        Group("Host", _things(series, now_s, _HOST_READINGS, lambda labels: labels.get("host_name"), "")),
    )  # fmt: skip
    return tuple(group for group in groups if group.meters)


def _things(
    series: SeriesReader,
    now_s: float,
    readings: tuple[tuple[str, str, str], ...],
    name_of: Callable[[Labels], str],
    up_metric: str,
) -> tuple[Meter, ...]:
    found: dict[str, list[Tile]] = {}
    down: set[str] = set()
    for sample in series.latest(up_metric, now_s) if up_metric else ():
        found.setdefault(name_of(sample.labels), [])
        if sample.value == 0:
            down.add(name_of(sample.labels))
    for title, metric, unit in readings:
        for sample in series.latest(metric, now_s):
            tiles = found.setdefault(name_of(sample.labels), [])
            if all(tile.name != title for tile in tiles):
                tiles.append(Tile(format_quantity(sample.value, unit), title))
    return tuple(
        Meter(name, (Tile("no answer", "state"),) if name in down else tuple(tiles), "down" if name in down else "")
        for name, tiles in sorted(found.items())[:_MAX_METERS]
        if tiles or name in down
    )


def _services(series: SeriesReader, now_s: float) -> tuple[Meter, ...]:
    failing = _failing(series, now_s)
    left = series.latest("slo_error_budget_remaining_ratio", now_s)
    budgets = {sample.labels.get("service"): sample.value for sample in left}
    meters = []
    for window in series.window("http_server_arrival_rate", now_s - _SPARK_S, now_s - _SETTLED_S):
        service = window.labels.get("service")
        recent = window.values[window.at_s >= now_s - _RECENT_S]
        tiles = [Tile(axis_text(float(recent.mean()), 0.1, "requests"), "requests a second")] if recent.size else []
        if service in failing:
            share = failing[service]
            tiles.append(Tile(f"{share * 100:.{0 if share >= 0.1 or share == 0 else 1}f} %", "failing, last minute"))
        if service in budgets:
            tiles.append(Tile(format_quantity(budgets[service], "ratio"), "error budget left, 30 days"))
        path, area = _spark(window.at_s - (now_s - _SPARK_S), window.values)
        caption = f"Requests a second to {service}, last {_SPARK_S / 60:.0f} minutes"
        css = "down" if failing.get(service, 0.0) >= 0.01 else ""
        meters.append(Meter(service, tuple(tiles), css, path, area, caption))
    return tuple(sorted(meters, key=lambda meter: meter.name)[:_MAX_METERS])


def _failing(series: SeriesReader, now_s: float) -> Mapping[str, float]:
    """Share of the last minute's answers that failed, per service; services without an answer are absent."""
    rises: dict[str, list[float]] = {}
    for window in series.window("http_server_requests_total", now_s - _RECENT_S, now_s):
        rise = increase(window.values) if len(window.values) > 1 else 0.0
        totals = rises.setdefault(window.labels.get("service"), [0.0, 0.0])
        totals[0] += rise
        totals[1] += rise if window.labels.get("outcome") in HURTFUL else 0.0
    return {service: bad / total for service, (total, bad) in rises.items() if total > 0}


def _spark(
    ages_s: np.ndarray[tuple[int, ...], np.dtype[np.float64]], values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> tuple[str, str]:
    """A line of means over equal stretches, and the area under it."""
    bins = np.clip((ages_s / _SPARK_S * 100).astype(int), 0, 99)
    counts = np.bincount(bins, minlength=100)
    sums = np.bincount(bins, weights=values, minlength=100)
    top = max(float(np.max(sums / np.maximum(counts, 1))), 1e-9)
    points = [
        f"{(i + 0.5) * SPARK_WIDTH / 100:.1f} {SPARK_HEIGHT - 2 - (SPARK_HEIGHT - 5) * sums[i] / counts[i] / top:.1f}"
        for i in np.flatnonzero(counts)
    ]
    line = "M" + "L".join(points if len(points) > 1 else points * 2)
    start, end = points[0].split()[0], points[-1].split()[0]
    return line, f"M{start} {SPARK_HEIGHT}L{'L'.join(points)}L{end} {SPARK_HEIGHT}Z"
