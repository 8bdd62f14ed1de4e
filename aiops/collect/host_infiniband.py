"""
InfiniBand and RoCE ports, from /sys/class/infiniband.

A link that flaps or loses symbols shows as a slow rank or a hung NCCL call; the port's own counters name it. Machines
without such cards have no folder, which is nothing to complain about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiops.collect.procfs import Since, read_file
from aiops.model import Labels, Sample

_MAX_PORTS = 16
"""A dozen series each; the largest nodes have ten cards with one port in use."""
_LIST_AGE_S = 60.0
_ERRORS = {
    "symbol_error": "symbol",
    "link_error_recovery": "link_recovered",
    "link_downed": "link_downed",
    "port_rcv_errors": "receive",
    "port_xmit_discards": "transmit_discarded",
}
"""The kernel's counter to our error_type."""
_WORD_BYTES = 4
"""The unit of port_rcv_data and port_xmit_data: four lanes' octets."""
_ACTIVE = b"4:"


@dataclass(slots=True)
class Port:
    """One port of a card."""

    folder: str
    labels: Labels
    errors: dict[str, Labels]
    since: Since = field(default_factory=Since)


class Infiniband:
    """State, rate, traffic and errors of each port."""

    subject: Final = "InfiniBand"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._folder = root / "sys/class/infiniband"
        self._host = labels
        self._ports: dict[str, Port] = {}
        self._listed_s = float("-inf")

    def read(self, now_s: float) -> Iterator[Sample]:
        if not 0.0 <= now_s - self._listed_s < _LIST_AGE_S:
            self._list()
            self._listed_s = now_s
        for port in self._ports.values():
            yield from self._port(port, now_s)

    def _list(self) -> None:
        found = sorted(self._folder.glob("*/ports/*"))[:_MAX_PORTS]
        ports: dict[str, Port] = {}
        for path in found:
            labels = self._host.merge(device=path.parts[-3], port=path.name)
            errors = {file: labels.merge(error_type=kind) for file, kind in _ERRORS.items()}
            ports[str(path)] = self._ports.get(str(path)) or Port(str(path), labels, errors)
        self._ports = ports

    def _port(self, port: Port, now_s: float) -> Iterator[Sample]:
        try:
            state = read_file(f"{port.folder}/state")
            # the rate is written as 100 Gb/sec, and then how: 4X EDR
            limit = float(read_file(f"{port.folder}/rate").split(maxsplit=1)[0]) * 1e9 / 8
        except (OSError, ValueError, IndexError):
            return  # taken out, or its driver is gone
        yield Sample("system_infiniband_port_active", port.labels, now_s, float(state.startswith(_ACTIVE)))
        for file, labels in port.errors.items():
            if (count := _number(f"{port.folder}/counters/{file}")) is not None:
                yield Sample("system_infiniband_errors_total", labels, now_s, float(count))
        received = _number(f"{port.folder}/counters/port_rcv_data")
        sent = _number(f"{port.folder}/counters/port_xmit_data")
        if received is None or sent is None or not (change := port.since.advance(now_s, (received, sent))):
            return
        rates = [words * _WORD_BYTES / change[0] for words in change[1]]
        yield Sample("system_infiniband_receive_bytes_per_second", port.labels, now_s, rates[0])
        yield Sample("system_infiniband_transmit_bytes_per_second", port.labels, now_s, rates[1])
        if limit > 0:
            yield Sample("system_infiniband_utilization_ratio", port.labels, now_s, max(rates) / limit)


def _number(path: str) -> int | None:
    """A counter; None where the card does not keep it, or the driver cannot tell."""
    try:
        return int(read_file(path))
    except (OSError, ValueError):
        return None
