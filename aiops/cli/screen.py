"""
The picture that ``aiops top`` draws: two readings of the daemon's pages in, lines for a terminal out.

Pure, so that a test can look at it. Totals become rates against the reading before. What has no series has no cell, and
a section without rows is left out: a 0 for what nobody knows would be believed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiops.catalog import CATALOG
from aiops.collect.exposition import Reading
from aiops.model import HURTFUL, Incident
from aiops.offline.table import Look, cut, printable
from aiops.units import format_duration, format_quantity

BOLD, DIM, RED, YELLOW, GREEN = "\033[1m", "\033[2m", "\033[31m", "\033[33m", "\033[32m"
_MAX_ROWS = 24
"""Of one section; a screen is not higher."""
_BAR_CELLS = 8
_HOT, _FULL = 0.80, 0.95
"""From here a bar is yellow, and red."""
_BAD_SHARE = 0.01
"""From here failures are red."""

Pages = Mapping[str, Sequence[Reading]]
"""Readings of the daemon's /metrics page by name."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What the daemon said at one moment."""

    at_s: float
    pages: Pages
    status: Mapping[str, Any]
    """As /api/v1/status."""
    alerts: Sequence[Mapping[str, Any]]
    """As /api/v1/alerts."""
    incidents: Sequence[Incident]
    """Open ones."""


@dataclass(frozen=True, slots=True)
class _Cell:
    """A column: a title, where its value comes from, and how it looks."""

    title: str
    metric: str
    labels: tuple[tuple[str, str], ...] = ()
    is_rate: bool = False
    bar: bool = False


@dataclass(frozen=True, slots=True)
class _Kind:
    """A table: what its rows are, and its columns."""

    title: str
    up: str
    """The metric every one of them has; 0 when it does not answer."""
    label: str
    """What its name stands in."""
    cells: tuple[_Cell, ...]


_REPLICA = (
    _Cell("running", "gen_ai_server_requests_running"),
    _Cell("waiting", "gen_ai_server_requests_waiting"),
    _Cell("KV cache", "gen_ai_server_kv_cache_utilization_ratio", bar=True),
    _Cell("TTFT p99", "gen_ai_server_time_to_first_token_p99_seconds"),
    _Cell("tokens/s", "gen_ai_server_generation_tokens_total", is_rate=True),
    _Cell("preempted/s", "gen_ai_server_preemptions_total", is_rate=True),
)
_GPU = (
    _Cell("busy", "hw_gpu_utilization_ratio", bar=True),
    _Cell("VRAM", "hw_gpu_memory_utilization_ratio", bar=True),
    _Cell("core", "hw_temperature_celsius"),
    _Cell("power", "hw_power_watts"),
    _Cell("SM clock", "hw_gpu_clock_hertz", (("domain", "sm"),)),
)
_HOST = (
    _Cell("CPU", "system_cpu_utilization_ratio", bar=True),
    _Cell("memory", "system_memory_utilization_ratio", bar=True),
    _Cell("stolen", "system_cpu_steal_ratio"),
    _Cell("waiting for I/O", "system_cpu_iowait_ratio"),
    _Cell("retransmitted", "system_network_tcp_retransmit_ratio"),
)
WANTED = frozenset(
    cell.metric for cell in (*_REPLICA, *_GPU, *_HOST)
) | {
    "gen_ai_server_up", "hw_gpu_up", "hw_gpu_throttled_ratio", "http_server_requests_total", "http_server_time_to_first_byte_seconds",
    "log_records_total", "system_disk_utilization_ratio", "system_filesystem_utilization_ratio", "system_network_utilization_ratio",
}  # fmt: skip
"""Names on the daemon's page that are drawn."""


class Screen:
    """
    Draws *now*, with rates since *before*.

    Args:
        before: An earlier reading; None for a first one, which has no rates.
        now: The reading to show.
        look: The terminal.
    """

    def __init__(self, before: Frame | None, now: Frame, look: Look) -> None:
        self._before = before
        self._now = now
        self._look = look

    def lines(self) -> list[str]:
        """All of it, from top to bottom."""
        sections = (self._head(), self._incidents(), self._services(), self._replicas(), self._gpus(), self._host(),
                    self._logs(), self._alerts(), self._blind())  # fmt: skip
        return [line for section in sections if (drawn := list(section)) for line in (*drawn, "")][:-1]

    # --- sections ---------------------------------------------------------------------------------------------------

    def _head(self) -> Iterator[str]:
        status = self._now.status
        clock = datetime.fromtimestamp(self._now.at_s, UTC).strftime("%H:%M:%S UTC")
        state = "ready" if status.get("ready") else "starting"
        waiting = f", {status['outbox_waiting']} messages wait" if status.get("outbox_waiting") else ""
        dead = f", {status['dead_letters']} messages given up" if status.get("dead_letters") else ""
        text = f"aiops {status.get('version', '')} on {status.get('host', '')}  {clock}  {state}{waiting}{dead}"
        yield self._paint(BOLD, self._cut(text))

    def _incidents(self) -> Iterator[str]:
        for incident in self._now.incidents[:_MAX_ROWS]:
            root = incident.diagnosis.root
            cause = f"{root.title} ({root.place}), {root.probability * 100:.0f} %" if root else "cause not known yet"
            age = format_duration(max(0.0, self._now.at_s - incident.opened_at_s))
            yield self._paint(RED, self._cut(f"● {incident.service}, for {age}: {cause}   {incident.id}"))

    def _services(self) -> Iterator[str]:
        rows: dict[str, list[tuple[str, str]]] = {}
        for name, (answers, failed) in self._answers().items():
            share = failed / answers if answers else 0.0
            state = (format_quantity(share, "ratio"), RED if share >= _BAD_SHARE else GREEN) if answers else ("", "")
            rows[name] = [(f"{answers:.1f}", ""), state, (self._slowest(name), "")]
        yield from self._table("service", ["answers/s", "failing", "first byte p99"], rows)

    def _answers(self) -> dict[str, tuple[float, float]]:
        """Answers a second, and those that failed, per service."""
        rates: dict[str, tuple[float, float]] = {}
        for reading in self._now.pages.get("http_server_requests_total", ()):
            rate = self._rate("http_server_requests_total", reading)
            if rate is not None:
                answers, failed = rates.get(reading.labels.get("service", ""), (0.0, 0.0))
                bad = rate if reading.labels.get("outcome") in HURTFUL else 0.0
                rates[reading.labels.get("service", "")] = (answers + rate, failed + bad)
        return rates

    def _slowest(self, service: str) -> str:
        slow = [
            reading.value
            for reading in self._now.pages.get("http_server_time_to_first_byte_seconds", ())
            if reading.labels.get("service") == service and reading.labels.get("quantile") == "0.99"
        ]
        return format_duration(max(slow)) if slow else ""

    def _replicas(self) -> Iterator[str]:
        yield from self._things(_Kind("replica", "gen_ai_server_up", "instance", _REPLICA), {})

    def _gpus(self) -> Iterator[str]:
        throttled: dict[str, list[str]] = {}
        for name, reading in self._each("hw_gpu_throttled_ratio", "gpu"):
            if reading.value > 0:
                throttled.setdefault(name, []).append(reading.labels.get("reason", ""))
        notes = {name: "clocks cut: " + ", ".join(_apart(reasons)) for name, reasons in throttled.items()}
        yield from self._things(_Kind("GPU", "hw_gpu_up", "gpu", _GPU), notes)

    def _host(self) -> Iterator[str]:
        cells = [
            (cell.title, self._value(cell, reading))
            for cell in _HOST
            for reading in self._now.pages.get(cell.metric, ())
            if self._is_here(reading)
        ]
        for title, metric, label in (
            ("disk", "system_disk_utilization_ratio", "device"),
            ("fullest", "system_filesystem_utilization_ratio", "mountpoint"),
            ("link", "system_network_utilization_ratio", "device"),
        ):
            here = (pair for pair in self._each(metric, label) if self._is_here(pair[1]))
            worst = max(here, key=lambda pair: pair[1].value, default=None)
            if worst is not None:
                cells.append(
                    (f"{title} {worst[0]}", (format_quantity(worst[1].value, "ratio"), _colour(worst[1].value)))
                )
        fitting, used = [], 0
        for title, (text, colour) in cells:
            used += len(title) + len(text) + 3
            if used <= self._look.cells + 2:
                fitting.append(f"{self._paint(DIM, printable(title))} {self._paint(colour, text)}")
        if fitting:
            yield "  ".join(fitting)

    def _logs(self) -> Iterator[str]:
        totals: dict[str, float] = {}
        for reading in self._now.pages.get("log_records_total", ()):
            kind = reading.labels.get("log_class", "")
            if kind != "benign" and (rate := self._rate("log_records_total", reading)):
                totals[kind] = totals.get(kind, 0.0) + rate
        if totals:
            text = ", ".join(f"{kind} {rate:.1f}/s" for kind, rate in sorted(totals.items(), key=lambda pair: -pair[1]))
            yield self._paint(DIM, "logs ") + self._paint(YELLOW, self._cut(text, 5))

    def _alerts(self) -> Iterator[str]:
        for alert in self._now.alerts[:_MAX_ROWS]:
            severity = str(alert.get("severity", ""))
            text = f"{severity:<6}  {alert.get('rule', '')}  {alert.get('summary', '')}"
            yield self._paint(RED if severity == "page" else YELLOW, self._cut(text))

    def _blind(self) -> Iterator[str]:
        for sight in [each for each in self._now.status.get("sights", ()) if not each.get("seen")][:_MAX_ROWS]:
            yield self._paint(DIM, self._cut(f"not watching {sight.get('subject', '')}: {sight.get('detail', '')}"))

    # --- parts ------------------------------------------------------------------------------------------------------

    def _things(self, kind: _Kind, notes: Mapping[str, str]) -> Iterator[str]:
        rows: dict[str, list[tuple[str, str]]] = {name: [] for name, _ in self._each(kind.up, kind.label)}
        known = [cell for cell in kind.cells if self._now.pages.get(cell.metric)]
        for cell in known:
            found = {
                name: self._value(cell, reading)
                for name, reading in self._each(cell.metric, kind.label)
                if all(reading.labels.get(key, value) == value for key, value in cell.labels)
            }
            for name, row in rows.items():
                row.append(found.get(name, ("", "")))
        for name, reading in self._each(kind.up, kind.label):
            if not reading.value:
                rows[name] = [("no answer", RED)]
        for name, note in notes.items():
            rows.get(name, []).append((note, YELLOW))
        yield from self._table(kind.title, [cell.title for cell in known], rows)

    def _table(self, title: str, heads: Sequence[str], rows: Mapping[str, list[tuple[str, str]]]) -> Iterator[str]:
        if not rows:
            return
        names = sorted(rows, key=_natural)[:_MAX_ROWS]
        first = max(len(title), *(min(len(name), 32) for name in names))
        columns = range(len(heads))
        widths = [
            max(
                len(heads[i]),
                *(len(rows[name][i][0]) for name in names if i < len(rows[name]) and len(rows[name]) >= len(heads)),
                0,
            )
            for i in columns
        ]
        yield self._paint(
            DIM, self._cut("  ".join([f"{title:<{first}}", *(f"{heads[i]:>{widths[i]}}" for i in columns)]))
        )
        for name in names:
            padded = [
                self._paint(colour, f"{text:>{widths[i]}}" if i < len(widths) else text)
                for i, (text, colour) in enumerate(rows[name])
            ]
            yield "  ".join([f"{cut(printable(name), first):<{first}}", *padded])
        if len(rows) > _MAX_ROWS:
            yield self._paint(DIM, f"… {len(rows) - _MAX_ROWS} more")

    def _value(self, cell: _Cell, reading: Reading) -> tuple[str, str]:
        if cell.is_rate:
            rate = self._rate(cell.metric, reading)
            return ("", "") if rate is None else (f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}", "")
        text = format_quantity(reading.value, CATALOG[cell.metric].unit)
        if not cell.bar:
            return text, ""
        full = round(max(0.0, min(reading.value, 1.0)) * _BAR_CELLS)
        return f"{'█' * full}{'░' * (_BAR_CELLS - full)} {text:>5}", _colour(reading.value)

    def _rate(self, metric: str, reading: Reading) -> float | None:
        """Growth a second since the reading before; a fall is a restart, and the new total has grown since then."""
        if self._before is None or (elapsed_s := self._now.at_s - self._before.at_s) <= 0:
            return None
        earlier = next((old for old in self._before.pages.get(metric, ()) if old.text == reading.text), None)
        if earlier is None:
            return None
        growth = reading.value - earlier.value
        return (growth if growth >= 0 else reading.value) / elapsed_s

    def _each(self, metric: str, label: str) -> Iterator[tuple[str, Reading]]:
        for reading in self._now.pages.get(metric, ()):
            if math.isfinite(reading.value):
                name = reading.labels.get(label, "")
                yield name if self._is_here(reading) else f"{reading.labels['host_name']} {name}", reading

    def _is_here(self, reading: Reading) -> bool:
        """Whether it is of the daemon's own host; each host has a GPU 0."""
        here = str(self._now.status.get("host", ""))
        return reading.labels.get("host_name", here) == here

    def _cut(self, text: str, used: int = 0) -> str:
        return cut(printable(text), max(self._look.cells - used, 20))

    def _paint(self, colour: str, text: str) -> str:
        return self._look.paint(colour, text)


def _colour(ratio: float) -> str:
    return RED if ratio >= _FULL else YELLOW if ratio >= _HOT else ""


def _apart(reasons: Sequence[str]) -> Sequence[str]:
    """Why clocks are cut: "thermal" says nothing more beside "thermal_hardware"."""
    return sorted(reason for reason in reasons if not any(other.startswith(f"{reason}_") for other in reasons))


def _natural(name: str) -> tuple[str, int, str]:
    """GPU 10 after GPU 9, other hosts' after ours."""
    host, _, last = name.rpartition(" ")
    return (host, int(last), "") if last.isdecimal() else (host, 1 << 30, last)
