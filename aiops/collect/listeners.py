"""
Which programs of this machine listen on TCP ports, from /proc, without rights of any kind.

The kernel lists listening sockets before all others, so reading stops at the first that is not one: a busy gateway's
fifty thousand connections cost nothing. Which process owns a socket shows in /proc/<pid>/fd; other users' processes
do not show it to us, and then the owner is unknown.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LISTEN = b"0A"
_CHUNK_BYTES = 32 * 2**10
_MAX_LISTENERS = 1_024
_MAX_PROCESSES = 32_768
_MAX_COMMAND = 120
_MAX_GENERATIONS = 8


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening TCP socket."""

    address: str
    """As bound: ``0.0.0.0``, ``::``, ``127.0.0.1``."""
    port: int
    inode: str
    """The socket's identity: another program on the same port has another."""
    pid: int | None
    """Its process; None if that is another user's."""
    command: str
    """The process's short name; empty if unknown."""


def listening(root: Path) -> Sequence[Listener]:
    """
    Listening TCP sockets of this network namespace, by port.

    Args:
        root: Where the file system begins.

    Raises:
        OSError: neither /proc/net/tcp nor /proc/net/tcp6 can be read.
    """
    found = _all_sockets(root)
    owners = _owners(root / "proc", set(found))
    listeners = [
        Listener(address, port, inode, *owners.get(inode, (None, ""))) for inode, (address, port) in found.items()
    ]
    return sorted(listeners, key=lambda listener: (listener.port, listener.address))


def sockets_at(root: Path, ports: Collection[int]) -> dict[str, int]:
    """
    Inode to port of what listens on any of *ports*.

    Args:
        root: Where the file system begins.
        ports: TCP ports.

    Raises:
        OSError: neither /proc/net/tcp nor /proc/net/tcp6 can be read.
    """
    return {inode: port for inode, (_, port) in _all_sockets(root).items() if port in ports}


def owners_of(root: Path, inodes: Collection[str]) -> dict[str, int]:
    """
    Inode to process id of those sockets of *inodes* whose owner can be seen; looks through every process.

    Args:
        root: Where the file system begins.
        inodes: Inodes of sockets.

    Raises:
        OSError: /proc cannot be listed.
    """
    return {inode: pid for inode, (pid, _) in _owners(root / "proc", set(inodes)).items()}


def ports_of(root: Path, pids: Collection[int]) -> dict[int, frozenset[int]]:
    """
    The TCP ports on which each of *pids*, or a process it descends from, listens.

    An engine's work is often done by a child of the process that serves the requests. Processes that do not show their
    files to us are left out: other users', and those of another pid namespace.

    Args:
        root: Where the file system begins.
        pids: Process ids.

    Raises:
        OSError: neither /proc/net/tcp nor /proc/net/tcp6 can be read.
    """
    ports = {inode: port for inode, (_, port) in _all_sockets(root).items()}
    wanted = {f"socket:[{inode}]": inode for inode in ports}
    own: dict[int, frozenset[int]] = {}
    found: dict[int, frozenset[int]] = {}
    for pid in pids:
        if not _shows_files(root / f"proc/{pid}/fd"):
            continue
        lineage = _lineage(root / "proc", pid)
        for each in lineage:
            if each not in own:
                own[each] = frozenset(ports[inode] for inode in _held(str(root / f"proc/{each}/fd"), wanted))
        found[pid] = frozenset[int]().union(*(own[each] for each in lineage))
    return found


def _shows_files(folder: Path) -> bool:
    try:
        with os.scandir(folder):
            return True
    except OSError:
        return False


def _lineage(proc: Path, pid: int) -> list[int]:
    """*pid*, its parent, and so on, below the first process of all."""
    line: list[int] = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        while pid > 1 and len(line) < _MAX_GENERATIONS:
            line.append(pid)
            stat = (proc / str(pid) / "stat").read_bytes()
            pid = int(stat.rpartition(b")")[2].split()[1])  # names may hold spaces and parentheses
    return line


def _all_sockets(root: Path) -> dict[str, tuple[str, int]]:
    """
    Inode to address and port of every listening TCP socket.

    Raises:
        OSError: neither table can be read.
    """
    found: dict[str, tuple[str, int]] = {}
    failures: list[OSError] = []
    for name in ("tcp", "tcp6"):
        try:
            for address, port, inode in _sockets(root / "proc/net" / name):
                if len(found) < _MAX_LISTENERS:
                    found[inode] = (address, port)
        except OSError as error:
            failures.append(error)
    if len(failures) == 2:
        raise failures[0]
    return found


def _sockets(path: Path) -> Iterator[tuple[str, int, str]]:
    """Address, port and inode of each listening socket in one table."""
    with path.open("rb", buffering=0) as table:
        rest, first = b"", True
        while chunk := table.read(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                fields = line.split()
                if first or len(fields) < 10:
                    first = False  # the heading
                    continue
                if fields[3] != _LISTEN:
                    return
                with contextlib.suppress(ValueError):
                    address, _, port = fields[1].partition(b":")
                    yield _address(address.decode()), int(port, 16), fields[9].decode()


def _address(digits: str) -> str:
    """An address from the kernel's hexadecimal, whose 32-bit words are in the machine's byte order."""
    packed = bytes.fromhex(digits)
    if sys.byteorder == "little":
        packed = b"".join(packed[i : i + 4][::-1] for i in range(0, len(packed), 4))
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _owners(proc: Path, inodes: set[str]) -> dict[str, tuple[int, str]]:
    """Process id and name of those of *inodes* whose owner can be seen."""
    owners: dict[str, tuple[int, str]] = {}
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    with os.scandir(proc) as entries:
        for number, entry in enumerate(entries):
            if number >= _MAX_PROCESSES or len(owners) == len(inodes):
                break
            if entry.name.isdecimal():
                for inode in _held(f"{entry.path}/fd", wanted):
                    owners.setdefault(inode, (int(entry.name), _command(entry.path)))
    return owners


def _held(folder: str, wanted: Mapping[str, str]) -> list[str]:
    """Which of the *wanted* sockets one process has open; none if it has ended or is another user's."""
    held: list[str] = []
    with contextlib.suppress(OSError), os.scandir(folder) as handles:
        for handle in handles:
            inode = wanted.get(os.readlink(handle.path))  # noqa: PTH115 (a Path each would double the time)
            if inode is not None:
                held.append(inode)
    return held


def _command(process: str) -> str:
    try:
        return Path(process, "comm").read_text(encoding="utf-8", errors="replace").strip()[:_MAX_COMMAND]
    except OSError:
        return ""
