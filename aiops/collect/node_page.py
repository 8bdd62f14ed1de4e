"""
What a node_exporter page says of a host, under the names the host collector uses.

The page has running totals where /proc has them, so shares and rates are differences between two readings, as for our own
host. Numbers that node_exporter does not show by default (interrupts, cgroups, congestion control) are absent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from aiops.collect.exposition import Follower, Parser, Series
from aiops.collect.host_devices import NO_DISK, VIRTUAL_LINK
from aiops.collect.procfs import Since
from aiops.errors import SourceMalformed
from aiops.model import Labels, Sample

_MAX_ROWS = 32
"""Disks, cards and file systems of a host, each."""
_MAX_TOTALS = 4_096
_MAX_LABEL = 200
_MIN_SEGMENTS = 100
"""Below this many sent segments a retransmit ratio says nothing."""
_FULL_RATIO = 0.95
_SCALE = 1e6
"""Totals are kept as whole millionths, so that seconds and counts are compared alike."""
_TOO_LARGE = 1e30
"""No host has as much of anything, and sums and millionths of such numbers could be infinite."""
_NO_DATA: Final = frozenset(
    {"tmpfs", "devtmpfs", "ramfs", "rootfs", "overlay", "squashfs", "iso9660", "erofs", "efivarfs", "autofs", "nsfs"}
)

# as the page has them
_GAUGES: Final = (
    ("system_cpu_load_average_1m", "load1"),
    ("system_cpu_runnable_tasks", "procs_running"),
    ("system_blocked_tasks", "procs_blocked"),
    ("system_memory_available_bytes", "memory_MemAvailable_bytes"),
    ("system_memory_limit_bytes", "memory_MemTotal_bytes"),
    ("system_memory_dirty_bytes", "memory_Dirty_bytes"),
    ("system_memory_writeback_bytes", "memory_Writeback_bytes"),
    ("system_memory_oom_kills_total", "vmstat_oom_kill"),
    ("system_network_conntrack_entries", "nf_conntrack_entries"),
    ("system_open_files", "filefd_allocated"),
)
# part over whole
_RATIOS: Final = (
    ("system_network_conntrack_utilization_ratio", "nf_conntrack_entries", "nf_conntrack_entries_limit"),
    ("system_open_files_utilization_ratio", "filefd_allocated", "filefd_maximum"),
)
# whole less what is left, over the whole
_USED: Final = (
    ("system_memory_utilization_ratio", "memory_MemAvailable_bytes", "memory_MemTotal_bytes"),
    ("system_paging_utilization_ratio", "memory_SwapFree_bytes", "memory_SwapTotal_bytes"),
)
# a second: metric, name, direction
_RATES: Final = (
    ("system_paging_major_faults_per_second", "vmstat_pgmajfault", ""),
    ("system_paging_operations_per_second", "vmstat_pswpin", "in"),
    ("system_paging_operations_per_second", "vmstat_pswpout", "out"),
    ("system_network_tcp_listen_drops_per_second", "netstat_TcpExt_ListenDrops", ""),
    ("system_network_tcp_listen_overflows_per_second", "netstat_TcpExt_ListenOverflows", ""),
    ("system_network_tcp_retransmits_per_second", "netstat_Tcp_RetransSegs", ""),
    ("system_network_tcp_timeouts_per_second", "netstat_TcpExt_TCPTimeouts", ""),
    ("system_network_tcp_syn_retransmits_per_second", "netstat_TcpExt_TCPSynRetrans", ""),
    ("system_network_tcp_resets_per_second", "netstat_Tcp_OutRsts", "transmit"),
)
_PRESSURE: Final = (
    ("cpu", "some", "pressure_cpu_waiting_seconds_total"),
    ("memory", "some", "pressure_memory_waiting_seconds_total"),
    ("memory", "full", "pressure_memory_stalled_seconds_total"),
    ("io", "some", "pressure_io_waiting_seconds_total"),
    ("io", "full", "pressure_io_stalled_seconds_total"),
)
_SOCKETS: Final = (
    ("in_use", "sockstat_TCP_inuse"),
    ("orphan", "sockstat_TCP_orphan"),
    ("time_wait", "sockstat_TCP_tw"),
)
_DISK: Final = (
    "disk_reads_completed_total", "disk_writes_completed_total", "disk_read_time_seconds_total",
    "disk_write_time_seconds_total", "disk_io_time_seconds_total", "disk_io_time_weighted_seconds_total",
    "disk_read_bytes_total", "disk_written_bytes_total",
)  # fmt: skip
_NETWORK: Final = ("network_receive_bytes_total", "network_transmit_bytes_total")
_SPEED: Final = "network_speed_bytes"
_FILESYSTEM: Final = (
    "filesystem_size_bytes", "filesystem_free_bytes", "filesystem_avail_bytes", "filesystem_files",
    "filesystem_files_free", "filesystem_readonly",
)  # fmt: skip
_SEGMENTS: Final = ("netstat_Tcp_OutSegs", "netstat_Tcp_RetransSegs")
_CPU: Final = "cpu_seconds_total"
_NAME: Final = "uname_info"
WANTED: Final = frozenset(
    f"node_{name}"
    for name in (
        *(row[1] for row in (*_GAUGES, *_RATIOS, *_USED, *_RATES, *_SOCKETS)),
        *(row[2] for row in (*_RATIOS, *_USED, *_PRESSURE)),
        *_DISK, *_NETWORK, _SPEED, *_FILESYSTEM, *_SEGMENTS, _CPU, _NAME,
    )
)  # fmt: skip

Values = Mapping[str, Mapping[tuple[str, str], float]]
"""Per name without its prefix: what tells its series apart, and the value."""
_ALONE: Final = ("", "")


class NodePage:
    """
    One host's page, read again and again.

    Args:
        host: What the host is called until its page says so.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self._labels = Labels.of(host_name=host)
        self._follower = Follower(Parser(WANTED))
        self._series: Sequence[Series] = ()
        self._keys: list[tuple[str, tuple[str, str]]] = []
        self._since: dict[tuple[str, ...], Since] = {}
        self._writable: set[str] = set()

    def read(self, text: bytes, now_s: float) -> Iterator[Sample]:
        """
        What the page *text* says.

        Raises:
            SourceMalformed: it is no page of node_exporter.
        """
        layout, values = self._follower.read(text)
        yield from self.take(layout.series, values, now_s)

    def take(self, series: Sequence[Series], values: Sequence[float], now_s: float) -> Iterator[Sample]:
        """
        What a page says that somebody else has read.

        Args:
            series: What stands on it; the same object as long as nothing else does.
            values: Of *series*.
            now_s: When it was read.

        Raises:
            SourceMalformed: it is no page of node_exporter.
        """
        if series is not self._series:
            self._keys = [(each.name.removeprefix("node_"), _key(each.labels)) for each in series]
            self._series = series
            self._notice_host()
        found: dict[str, dict[tuple[str, str], float]] = {}
        for (name, key), value in zip(self._keys, values, strict=True):
            if 0.0 <= value < _TOO_LARGE:  # no number at all is neither
                found.setdefault(name, {})[key] = value
        if not found:
            raise SourceMalformed("not a page of node_exporter")
        yield from self._plain(found, now_s)
        yield from self._cpu(found.get(_CPU, {}), now_s)
        yield from self._rates(found, now_s)
        yield from self._disks(found, now_s)
        yield from self._cards(found, now_s)
        yield from self._filesystems(found, now_s)

    def _notice_host(self) -> None:
        name = next((each.labels.get("nodename", "") for each in self._series if each.name == f"node_{_NAME}"), "")
        if name and name != self.host:
            self.host = name[:_MAX_LABEL]
            self._labels = Labels.of(host_name=self.host)
            self._since.clear()

    def _change(self, now_s: float, key: tuple[str, ...], *totals: float) -> tuple[float, tuple[float, ...]] | None:
        """Seconds and growth since the last reading; None at first, and after a restart."""
        if len(self._since) > _MAX_TOTALS:
            self._since.clear()
        since = self._since.setdefault(key, Since())
        change = since.advance(now_s, tuple(round(total * _SCALE) for total in totals))
        return None if change is None else (change[0], tuple(growth / _SCALE for growth in change[1]))

    def _plain(self, found: Values, now_s: float) -> Iterator[Sample]:
        def value(name: str) -> float | None:
            return found.get(name, {}).get(_ALONE)

        for metric, name in _GAUGES:
            if (plain := value(name)) is not None:
                yield Sample(metric, self._labels, now_s, plain)
        for metric, part, whole in _RATIOS:
            if (some := value(part)) is not None and (all_ := value(whole)):
                yield Sample(metric, self._labels, now_s, some / all_)
        for metric, left, whole in _USED:
            if (some := value(left)) is not None and (all_ := value(whole)):
                yield Sample(metric, self._labels, now_s, 1.0 - min(some / all_, 1.0))
        for state, name in _SOCKETS:
            if (plain := value(name)) is not None:
                yield Sample("system_network_tcp_sockets", self._labels.merge(state=state), now_s, plain)

    def _cpu(self, seconds: Mapping[tuple[str, str], float], now_s: float) -> Iterator[Sample]:
        modes: dict[str, float] = {}
        each: dict[str, list[float]] = {}
        for (cpu, mode), total in seconds.items():
            modes[mode] = modes.get(mode, 0.0) + total
            each.setdefault(cpu, [0.0, 0.0])[mode not in {"idle", "iowait"}] += total
        if not each:
            return
        yield Sample("system_cpu_logical_count", self._labels, now_s, float(len(each)))
        resting_s, waited_s = modes.get("idle", 0.0) + modes.get("iowait", 0.0), modes.get("iowait", 0.0)
        names = ("user", "nice", "system", "irq", "softirq", "steal")
        change = self._change(now_s, ("cpu",), *(modes.get(name, 0.0) for name in names), resting_s)
        waited = self._change(now_s, ("cpu", "", "iowait"), waited_s)  # may run backwards; with idle time it does not
        if change is not None and (total := sum(change[1])) > 0.0:
            user, nice, system, irq, softirq, steal, resting = change[1]
            yield Sample("system_cpu_utilization_ratio", self._labels, now_s, 1.0 - resting / total)
            yield Sample("system_cpu_steal_ratio", self._labels, now_s, steal / total)
            if waited is not None:
                yield Sample("system_cpu_iowait_ratio", self._labels, now_s, min(waited[1][0] / total, 1.0))
            for mode, part in (("user", user), ("nice", nice), ("system", system), ("interrupt", irq + softirq)):
                yield Sample("system_cpu_mode_ratio", self._labels.merge(mode=mode), now_s, part / total)
        yield from self._each_cpu(each, now_s)

    def _each_cpu(self, each: Mapping[str, list[float]], now_s: float) -> Iterator[Sample]:
        """The busiest CPU and the number of full ones, from resting and busy seconds of each."""
        shares = [
            growth[1][1] / sum(growth[1])
            for cpu, totals in each.items()
            if (growth := self._change(now_s, ("cpu", cpu), *totals)) and sum(growth[1]) > 0.0
        ]
        if shares:
            yield Sample("system_cpu_busiest_utilization_ratio", self._labels, now_s, max(shares))
            full = sum(share >= _FULL_RATIO for share in shares)
            yield Sample("system_cpu_full_cpus", self._labels, now_s, float(full))

    def _rates(self, found: Values, now_s: float) -> Iterator[Sample]:
        for metric, name, direction in _RATES:
            total = found.get(name, {}).get(_ALONE)
            if total is not None and (change := self._change(now_s, (name,), total)):
                labels = self._labels.merge(direction=direction) if direction else self._labels
                yield Sample(metric, labels, now_s, change[1][0] / change[0])
        for resource, share, name in _PRESSURE:
            total = found.get(name, {}).get(_ALONE)
            if total is not None and (change := self._change(now_s, (name,), total)):
                labels = self._labels.merge(resource=resource, share=share)
                yield Sample("system_pressure_stalled_ratio", labels, now_s, min(change[1][0] / change[0], 1.0))
        sent, again = (found.get(name, {}).get(_ALONE) for name in _SEGMENTS)
        if sent is not None and again is not None and (change := self._change(now_s, _SEGMENTS, sent, again)):
            segments, repeated = change[1]
            if segments >= _MIN_SEGMENTS:
                ratio = min(repeated / segments, 1.0)
                yield Sample("system_network_tcp_retransmit_ratio", self._labels, now_s, ratio)

    def _disks(self, found: Values, now_s: float) -> Iterator[Sample]:
        for device, totals in _whole_rows(found, _DISK, NO_DISK):
            if not any(totals):
                continue
            if (change := self._change(now_s, ("disk", device), *totals)) is None:
                continue
            elapsed_s, (reads, writes, read_s, write_s, busy_s, weighted_s, read_bytes, written_bytes) = change
            labels = self._labels.merge(device=device)
            for direction, count, size, took_s in (
                ("read", reads, read_bytes, read_s),
                ("write", writes, written_bytes, write_s),
            ):
                way = labels.merge(direction=direction)
                yield Sample("system_disk_operations_per_second", way, now_s, count / elapsed_s)
                yield Sample("system_disk_io_bytes_per_second", way, now_s, size / elapsed_s)
                if count:
                    yield Sample("system_disk_operation_seconds", way, now_s, took_s / count)
            yield Sample("system_disk_utilization_ratio", labels, now_s, min(busy_s / elapsed_s, 1.0))
            yield Sample("system_disk_queue_length", labels, now_s, weighted_s / elapsed_s)
            if reads + writes:
                yield Sample("system_disk_await_seconds", labels, now_s, (read_s + write_s) / (reads + writes))

    def _cards(self, found: Values, now_s: float) -> Iterator[Sample]:
        for device, totals in _whole_rows(found, _NETWORK, VIRTUAL_LINK):
            if (change := self._change(now_s, ("card", device), *totals)) is None:
                continue
            labels = self._labels.merge(device=device)
            received, sent = (growth / change[0] for growth in change[1])
            yield Sample("system_network_receive_bytes_per_second", labels, now_s, received)
            yield Sample("system_network_transmit_bytes_per_second", labels, now_s, sent)
            if speed := found.get(_SPEED, {}).get((device, "")):  # -1 of an unknown one was left out as negative
                ratio = max(received, sent) / speed
                yield Sample("system_network_utilization_ratio", labels, now_s, ratio)

    def _filesystems(self, found: Values, now_s: float) -> Iterator[Sample]:
        for mountpoint, (size, free, available, files, files_free, read_only) in _whole_rows(found, _FILESYSTEM):
            labels = self._labels.merge(mountpoint=mountpoint)
            if size <= 0.0:
                continue
            used = max(size - free, 0.0)
            if used + available > 0.0:
                yield Sample("system_filesystem_utilization_ratio", labels, now_s, used / (used + available))
            yield Sample("system_filesystem_free_bytes", labels, now_s, available)
            if files > 0.0:
                ratio = 1.0 - min(files_free / files, 1.0)
                yield Sample("system_filesystem_inodes_utilization_ratio", labels, now_s, ratio)
            if read_only == 0.0 and len(self._writable) < 4 * _MAX_ROWS:
                self._writable.add(mountpoint)
            if mountpoint in self._writable:  # others are mounted so on purpose, as far as anybody can tell
                yield Sample("system_filesystem_read_only", labels, now_s, float(read_only > 0.0))


def _key(labels: Mapping[str, str]) -> tuple[str, str]:
    """What tells a series from others of its name."""
    if "mountpoint" in labels:
        return ("", "") if labels.get("fstype") in _NO_DATA else (labels["mountpoint"][:_MAX_LABEL], "")
    return labels.get("cpu", labels.get("device", ""))[:_MAX_LABEL], labels.get("mode", "")


def _whole_rows(
    found: Values, names: tuple[str, ...], left_out: re.Pattern[bytes] | None = None
) -> Iterator[tuple[str, tuple[float, ...]]]:
    """
    Devices, or file systems, of which all *names* are shown, and their values; the first ones of many.

    Devices called like *left_out* take nobody's place: a node of a cluster has a hundred of them.
    """
    columns = [found.get(name, {}) for name in names]
    keys = [
        key
        for key in columns[0]
        if key != _ALONE
        and all(key in column for column in columns)
        and not (left_out is not None and left_out.fullmatch(key[0].encode("utf-8", "replace")))
    ]
    for key in keys[:_MAX_ROWS]:
        yield key[0], tuple(column[key] for column in columns)
