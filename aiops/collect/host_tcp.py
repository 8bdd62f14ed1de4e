"""
TCP and sockets of this host: segments sent again, connections refused, dropped and reset, and what runs out.

/proc/net/snmp and netstat are tables of two lines, names over numbers, and kernels differ in the names. Where the
wanted ones stand is looked up once a heading. /proc/net/tcp would tell more and costs by the connection; sockstat
costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiops.collect.procfs import Since, read_file
from aiops.model import Labels, Sample

_MIN_SEGMENTS = 100
"""Below this many sent segments a retransmit ratio says nothing."""
_LIMITS_AGE_S = 60.0
"""How long limits set by an administrator are believed."""


class Table:
    """The wanted columns of one table."""

    def __init__(self, start: bytes, names: tuple[bytes, ...]) -> None:
        self._start = start
        self._names = names
        self._heading: bytes | None = None
        self._places: list[int] = []
        self.found: tuple[bytes, ...] = ()
        """Those of the names that this kernel has."""

    def values(self, text: bytes) -> tuple[int, ...]:
        """
        Values of the names found, in their order.

        Raises:
            ValueError: the table is not there, or its lines do not fit each other.
        """
        rows = [line for line in text.split(b"\n") if line.startswith(self._start)]
        if len(rows) != 2:
            raise ValueError(f"no table {self._start.decode()}")
        heading, values = rows
        if heading != self._heading:
            columns = heading.split()
            self.found = tuple(name for name in self._names if name in columns)
            self._places = [columns.index(name) for name in self.found]
            self._heading = heading
        numbers = values.split()
        return tuple(int(numbers[place]) for place in self._places)


class Tcp:
    """Retransmits, time-outs, resets, failed connects, and drops at full listen queues."""

    subject: Final = "TCP"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._labels = labels
        self._snmp = str(root / "proc/net/snmp")
        self._netstat = str(root / "proc/net/netstat")
        self._sent_table = Table(b"Tcp:", (b"OutSegs", b"RetransSegs"))
        self._sent = Since()
        self._rates = (
            (self._snmp, Table(b"Tcp:", tuple(_SNMP_RATES)), Since()),
            (self._netstat, Table(b"TcpExt:", tuple(_NETSTAT_RATES)), Since()),
        )
        self._metrics = {
            name: (metric, labels.merge(direction=direction) if direction else labels)
            for name, (metric, direction) in {**_SNMP_RATES, **_NETSTAT_RATES}.items()
        }

    def read(self, now_s: float) -> Iterator[Sample]:
        snmp = read_file(self._snmp)
        change = self._sent.advance(now_s, self._sent_table.values(snmp))
        if change and len(change[1]) == 2:
            elapsed_s, (segments, again) = change
            yield Sample("system_network_tcp_retransmits_per_second", self._labels, now_s, again / elapsed_s)
            if segments >= _MIN_SEGMENTS:
                yield Sample("system_network_tcp_retransmit_ratio", self._labels, now_s, min(again / segments, 1.0))
        for path, table, since in self._rates:
            text = snmp if path == self._snmp else read_file(path)
            if change := since.advance(now_s, table.values(text)):
                elapsed_s, increases = change
                for name, increase in zip(table.found, increases, strict=True):
                    metric, labels = self._metrics[name]
                    yield Sample(metric, labels, now_s, increase / elapsed_s)


_SNMP_RATES = {
    b"AttemptFails": ("system_network_tcp_connect_failures_per_second", ""),
    b"EstabResets": ("system_network_tcp_resets_per_second", "receive"),
    b"OutRsts": ("system_network_tcp_resets_per_second", "transmit"),
}
"""Column to metric and direction. EstabResets counts what ended established connections, mostly resets received."""
_NETSTAT_RATES = {
    b"ListenDrops": ("system_network_tcp_listen_drops_per_second", ""),  # of the accept and SYN queues alike
    b"ListenOverflows": ("system_network_tcp_listen_overflows_per_second", ""),
    b"TCPTimeouts": ("system_network_tcp_timeouts_per_second", ""),
    b"TCPSynRetrans": ("system_network_tcp_syn_retransmits_per_second", ""),
    b"TCPLostRetransmit": ("system_network_tcp_lost_retransmits_per_second", ""),
}


class Sockets:
    """
    TCP sockets by state, and how much of TCP's memory and of the ephemeral ports they take.

    Ports are estimated: sockets in use and in time-wait over the range. A port is taken per remote address, and
    accepted connections take none, so this is an upper bound that is near only where one remote end is talked to.
    """

    subject: Final = "sockets"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._sockstat = str(root / "proc/net/sockstat")
        self._sockstat6 = str(root / "proc/net/sockstat6")
        self._sysctl = root / "proc/sys/net/ipv4"
        self._labels = labels
        self._states = {state: labels.merge(state=state) for state in ("in_use", "orphan", "time_wait")}
        self._limits: tuple[int, int] = (0, 0)
        self._limits_s = float("-inf")

    def read(self, now_s: float) -> Iterator[Sample]:
        tcp = _sockstat(read_file(self._sockstat), b"TCP:")
        try:
            six = _sockstat(read_file(self._sockstat6), b"TCP6:").get(b"inuse", 0)
        except OSError:
            six = 0  # no IPv6 here
        in_use, time_wait = tcp[b"inuse"] + six, tcp[b"tw"]
        for state, count in (("in_use", in_use), ("orphan", tcp[b"orphan"]), ("time_wait", time_wait)):
            yield Sample("system_network_tcp_sockets", self._states[state], now_s, float(count))
        ports, pages = self._read_limits(now_s)
        if ports > 0:
            ratio = min((in_use + time_wait) / ports, 1.0)
            yield Sample("system_network_ephemeral_ports_utilization_ratio", self._labels, now_s, ratio)
        if pages > 0:
            yield Sample("system_network_tcp_memory_utilization_ratio", self._labels, now_s, tcp[b"mem"] / pages)

    def _read_limits(self, now_s: float) -> tuple[int, int]:
        """Ephemeral ports there are, and pages TCP may take; 0 where that cannot be read."""
        if not 0.0 <= now_s - self._limits_s < _LIMITS_AGE_S:
            low, high = self._numbers("ip_local_port_range", 2) or (1, 0)
            memory = self._numbers("tcp_mem", 3) or (0, 0, 0)
            self._limits, self._limits_s = (high - low + 1, memory[2]), now_s
        return self._limits

    def _numbers(self, name: str, count: int) -> tuple[int, ...] | None:
        try:
            numbers = tuple(map(int, read_file(str(self._sysctl / name)).split()))
        except (OSError, ValueError):
            return None
        return numbers if len(numbers) == count else None


def _sockstat(text: bytes, start: bytes) -> dict[bytes, int]:
    """Names and numbers of one line."""
    for line in text.split(b"\n"):
        if line.startswith(start):
            words = line.split()[1:]
            return {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}
    raise ValueError(f"no line {start.decode()}")
