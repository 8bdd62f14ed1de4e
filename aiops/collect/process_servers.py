"""
Which processes make up which inference server, and under which name the rest of the program knows it.

A server is the topmost process that runs an engine's program, or that listens on a port named in the settings; all its
descendants are part of it. It is known as ``host:port``: the port its command line asks for, else one on which it or
a descendant listens, else the engine's usual one, so that a server still loading its weights has its name already.
In a network of its own (a container) the host is that network's address, or 127.0.0.1 and the published port where
Docker's proxy publishes it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiops.collect.addresses import first_address
from aiops.collect.listeners import owners_of, ports_of, sockets_at
from aiops.collect.process_coming import coming
from aiops.collect.process_files import seconds
from aiops.collect.process_names import OTHER, Engine, port_option, program, role_of
from aiops.collect.process_table import Process
from aiops.collect.procfs import read_file

MAX_PROCESSES = 64
"""Followed in all; eight engines with seven workers each."""
_MAX_SERVERS = 32
_MAX_GENERATIONS = 12
_EPHEMERAL = 32_768
_SOCKETS_EVERY_S = 9.5
_MAX_ASKED = 16
"""Processes of a server whose sockets are looked at to find its port."""
_OWNERS_EVERY_S = 300.0
_COMING_S = 3_600.0
"""Who has not listened by then is no server that is being started."""
_LOOPBACK = "127.0.0.1"
_FORWARDERS = {
    "docker-proxy",
    "rootlessport",
    "slirp4netns",
    "pasta",
    "pasta.avx2",
    "conmon",
    "kubectl",
    "ssh",
    "sshd",
    "socat",
}
"""Hold the port of a server that runs elsewhere."""


@dataclass(frozen=True, slots=True)
class Member:
    """One process of a server."""

    process: Process
    instance: str
    engine: str
    role: str


@dataclass(frozen=True, slots=True)
class Found:
    """What one look found."""

    members: tuple[Member, ...]
    """Servers first, then their children; at most so many."""
    refused: int
    """Processes beyond that number."""
    coming: frozenset[str] = frozenset()
    """Servers that do not listen yet, and were started as others were that do."""


@dataclass(slots=True)
class _Name:
    """What a server is called, and whether that may still change."""

    instance: str
    settled: bool
    asked_s: float


class Servers:
    """
    Finds the servers among all processes.

    Args:
        root: Where the file system begins.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[tuple[int, int], _Name] = {}
        self._sockets: dict[str, int] = {}
        self._owners: dict[int, int] = {}
        self._owners_s = float("-inf")
        self._commands: dict[tuple[str, ...], int] = {}
        """Command lines of those that owned a port, with the port: who is started with one again will own it again."""
        self._coming: dict[int, int] = {}

    def find(self, processes: Mapping[int, Process], ports: Collection[int], uptime_s: float) -> Found:
        """
        Servers and their processes.

        Args:
            processes: All of this machine, by id.
            ports: Ports whose owners are servers, whatever they are called.
            uptime_s: Time of this look.
        """
        self._coming = {}
        owners = self._port_owners(processes, ports, uptime_s) if ports else {}
        tops = list(self._tops(processes, owners))[:_MAX_SERVERS]
        if not tops:
            self._names.clear()
            return Found((), 0)
        children: dict[int, list[Process]] = {}
        for process in processes.values():
            children.setdefault(process.parent, []).append(process)
        published = _published(processes.values())
        trees = [(top, engine, list(_tree(top, children))) for top, engine in tops]
        names = {
            top.pid: self._name(top, [each.pid for _, each in tree], owners, published, uptime_s)
            for top, _, tree in trees
        }
        self._names = {(top.pid, top.start_ticks): self._names[top.pid, top.start_ticks] for top, _ in tops}
        names |= self._ray_workers(tops, names)
        ranked: list[tuple[int, int, Member]] = []
        for top, engine, tree in trees:
            for depth, process in tree:
                own_name = "::" not in program(process.command)[0]
                if role := role_of(process.command, first=depth == 0 and own_name):
                    ranked.append((depth, process.pid, Member(process, names[top.pid], engine.name, role)))
        ranked.sort(key=lambda each: each[:2])
        expected = frozenset(names[pid] for pid in self._coming if pid in names)
        return Found(tuple(m for _, _, m in ranked[:MAX_PROCESSES]), max(len(ranked) - MAX_PROCESSES, 0), expected)

    def _tops(self, processes: Mapping[int, Process], owners: Mapping[int, int]) -> Iterator[tuple[Process, Engine]]:
        """Servers: what runs an engine, or owns a named port, and descends from no such process."""
        for pid in sorted(processes):
            process = processes[pid]
            engine = process.engine or (OTHER if pid in owners else None)
            if engine is None:
                continue
            above, generations = processes.get(process.parent), 0
            while above is not None and above.pid != pid and generations < _MAX_GENERATIONS:
                if above.engine is not None or above.pid in owners:
                    break
                above, generations = processes.get(above.parent), generations + 1
            else:
                yield process, engine

    def _port_owners(
        self, processes: Mapping[int, Process], ports: Collection[int], uptime_s: float
    ) -> Mapping[int, int]:
        """Process to port; owners are looked for when a socket is new, and now and then while one is unknown."""
        try:
            sockets = sockets_at(self._root, ports)
            new = sockets.keys() - self._sockets.keys()
            unknown = set(sockets.values()) - set(self._owners.values())
            if new or (unknown and not 0.0 <= uptime_s - self._owners_s < _OWNERS_EVERY_S):
                self._owners = {pid: sockets[inode] for inode, pid in owners_of(self._root, sockets).items()}
                self._owners_s = uptime_s
            self._sockets = sockets
        except OSError:
            return {}  # those known by name are still followed
        owners = {
            pid: port
            for pid, port in self._owners.items()
            if pid in processes and program(processes[pid].command)[0] not in _FORWARDERS
        }
        owners |= self._starting(processes, owners)
        young = [p for p in processes.values() if 0.0 <= uptime_s - seconds(p.start_ticks) < _COMING_S]
        self._coming = coming((p for p in young if p.pid not in owners), self._commands, set(owners.values()))
        return owners | self._coming

    def _starting(self, processes: Mapping[int, Process], owners: Mapping[int, int]) -> dict[int, int]:
        """Processes that do not listen yet, with the port that whoever had their command line before them owned."""
        for pid, port in owners.items():
            self._commands.pop(processes[pid].command, None)
            self._commands[processes[pid].command] = port
        for command in list(self._commands)[:-_MAX_SERVERS]:
            del self._commands[command]
        free = {command: port for command, port in self._commands.items() if port not in owners.values()}
        if not free:
            return {}
        alike = sorted((p for p in processes.values() if p.command in free), key=lambda p: p.start_ticks)
        youngest = {process.command: process.pid for process in alike}  # who ended may still be listed
        return {pid: free[command] for command, pid in youngest.items()}

    def _name(
        self,
        top: Process,
        pids: list[int],
        owners: Mapping[int, int],
        published: Mapping[tuple[str, int], int],
        uptime_s: float,
    ) -> str:
        identity = (top.pid, top.start_ticks)
        name = self._names.get(identity)
        if name is None or not (name.settled or 0.0 <= uptime_s - name.asked_s < _SOCKETS_EVERY_S):
            known = next((owners[pid] for pid in pids if pid in owners), None) or port_option(top.command)
            usual = top.engine.port if top.engine else 0
            heard = None if known else self._heard(pids, usual)
            port = known or heard or usual
            host = self._address(top.pid)
            if (host, port) in published:
                host, port = _LOOPBACK, published[host, port]
            name = self._names[identity] = _Name(f"{host}:{port}", settled=bool(known or heard), asked_s=uptime_s)
        return name.instance

    def _heard(self, pids: list[int], usual: int) -> int | None:
        """The port on which the server or a child of it listens: the usual one, or the lowest that is not a passing one."""
        try:
            found = ports_of(self._root, pids[:_MAX_ASKED])
        except OSError:
            return None
        ports = frozenset[int]().union(*found.values())
        return usual if usual in ports else min((port for port in ports if port < _EPHEMERAL), default=None)

    def _address(self, pid: int) -> str:
        proc = self._root / "proc"
        try:
            apart = os.readlink(proc / f"{pid}/ns/net") != os.readlink(proc / "self/ns/net")  # noqa: PTH115
        except OSError:
            return _LOOPBACK  # another user's; most run in the host's network
        return (first_address(proc / f"{pid}/net/fib_trie") if apart else "") or _LOOPBACK

    def _ray_workers(self, tops: list[tuple[Process, Engine]], names: Mapping[int, str]) -> dict[int, str]:
        """Ray's processes in a server's control group do that server's work, though they are no children of it."""
        ray = [top for top, engine in tops if engine.name == "ray"]
        if not ray or len(ray) == len(tops):
            return {}
        servers = {self._group(top.pid): names[top.pid] for top, engine in tops if engine.name != "ray"}
        servers.pop(b"", None)
        return {top.pid: servers[group] for top in ray if (group := self._group(top.pid)) in servers}

    def _group(self, pid: int) -> bytes:
        try:
            return read_file(str(self._root / f"proc/{pid}/cgroup"))
        except OSError:
            return b""


def _published(processes: Collection[Process]) -> dict[tuple[str, int], int]:
    """Address and port in a container to the port of this machine, of those that Docker's proxy publishes."""
    found: dict[tuple[str, int], int] = {}
    for process in processes:
        if process.command and process.command[0].endswith("docker-proxy"):
            options = dict(zip(process.command[1::2], process.command[2::2], strict=False))
            inner, outer = options.get("-container-port", ""), options.get("-host-port", "")
            if inner.isdecimal() and outer.isdecimal():
                found[options.get("-container-ip", ""), int(inner)] = int(outer)
    return found


def _tree(top: Process, children: Mapping[int, list[Process]]) -> Iterator[tuple[int, Process]]:
    """*top* and its descendants with their depth."""
    level, seen = [top], {top.pid}
    for depth in range(_MAX_GENERATIONS):
        for process in level:
            yield depth, process
        level = [child for process in level for child in children.get(process.pid, ()) if child.pid not in seen]
        seen.update(child.pid for child in level)
        if not level:
            return
