"""
What this program measures of itself, on a prometheus_client registry that is passed in.

Collected values of the node go through the rings and their cached exposition; these counters are about aiops: is it
working, late, losing something?
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from aiops import __version__


class SelfStat:
    """
    Counters of the daemon.

    Args:
        registry: Where they are registered; one per daemon, never the global one.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        Gauge("aiops_build_info", "1; the version that runs.", ["version"], registry=registry).labels(__version__).set(
            1
        )
        self.collector_runs = Counter(
            "aiops_collector_runs_total",
            "Collector runs by result: ok, error, timeout, skipped.",
            ["collector", "result"],
            registry=registry,
        )
        self.collector_seconds = Gauge(
            "aiops_collector_duration_seconds",
            "How long the collector's last run took.",
            ["collector"],
            registry=registry,
        )
        self.ticks_merged = Counter(
            "aiops_ticks_merged_total",
            "Ticks left out because the one before was still running.",
            ["tick"],
            registry=registry,
        )
        self.tick_seconds = Histogram(
            "aiops_tick_duration_seconds", "How long a tick took.", ["tick"],
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0), registry=registry,
        )  # fmt: skip
        self.series = Gauge("aiops_series", "Series held in memory.", registry=registry)
        self.samples_dropped = Counter(
            "aiops_samples_dropped_total",
            "Samples not stored: too_many_series, late, not_finite, run_limit.",
            ["reason"],
            registry=registry,
        )
        self.inbox_refused = Counter(
            "aiops_inbox_refused_total", "Pushed observations refused because the box was full.", registry=registry
        )
        self.notifications = Counter(
            "aiops_notifications_total",
            "Notification attempts by result: sent, retried, dead.",
            ["receiver", "result"],
            registry=registry,
        )
        self.outbox_waiting = Gauge("aiops_outbox_waiting", "Notifications not acknowledged yet.", registry=registry)
        self.state_errors = Counter("aiops_state_errors_total", "Commits the state file refused.", registry=registry)
        self.log_lines = Counter(
            "aiops_log_lines_total",
            "Log lines by what became of them: skipped, truncated, dropped (may hold a prompt), late (written long before it was read: a template, no count).",
            ["fate"],
            registry=registry,
        )
        self.log_snapshots = Counter(
            "aiops_log_snapshots_total",
            "Snapshots of log templates by result: ok, failed (the disk refused), damaged (could not be read at start).",
            ["result"],
            registry=registry,
        )
        self.internal_errors = Counter(
            "aiops_internal_errors_total", "Exceptions caught where work is isolated.", ["where"], registry=registry
        )
