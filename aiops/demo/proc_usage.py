"""What a process uses, as the kernel counts it: CPU time and resident memory, its children apart."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_STATE, _PARENT, _UTIME, _STIME = 0, 1, 11, 12
"""Fields of /proc/PID/stat after the closing parenthesis of the name."""


@dataclass(frozen=True, slots=True)
class Usage:
    """At one moment; CPU times are totals since the process's start."""

    cpu_s: float
    rss_bytes: int
    children_cpu_s: float
    children_rss_bytes: int


def usage(pid: int, proc: Path = Path("/proc")) -> Usage:
    """
    What *pid* and its living descendants use.

    Raises:
        OSError: *pid* has ended.
    """
    cpu_s, rss_bytes = _cpu_s(_stat(proc, pid)), _rss_bytes(proc, pid)
    children = [_measured(proc, child) for child in _descendants(proc, pid)]
    return Usage(cpu_s, rss_bytes, sum(cpu for cpu, _ in children), sum(rss for _, rss in children))


def _measured(proc: Path, pid: int) -> tuple[float, int]:
    try:
        return _cpu_s(_stat(proc, pid)), _rss_bytes(proc, pid)
    except OSError:
        return 0.0, 0  # it ended meanwhile


def _stat(proc: Path, pid: int) -> list[str]:
    text = (proc / str(pid) / "stat").read_text(errors="replace")
    return text.rpartition(")")[2].split()  # names may hold spaces and parentheses


def _cpu_s(stat: list[str]) -> float:
    return (int(stat[_UTIME]) + int(stat[_STIME])) / _TICKS


def _rss_bytes(proc: Path, pid: int) -> int:
    for line in (proc / str(pid) / "status").read_text(errors="replace").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _descendants(proc: Path, pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(proc, int(entry.name))[_PARENT])
            except (OSError, IndexError, ValueError):
                continue  # it ended meanwhile
    found, frontier = [], {pid}
    while frontier := {child for child, parent in parents.items() if parent in frontier}:
        found += sorted(frontier)
    return found
