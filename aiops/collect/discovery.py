"""
Finding inference servers on this machine: ask the ports they may listen on for a metrics page, politely.

Who listens decides first. A process that is known, and by its name is no inference server, is never asked: a probe
would only end up in its log. Known are our own user's processes, all of them for root; other users' are asked, or a
server run by somebody else would never be found. Names are kept wide (interpreters, the engines' own, what publishes
ports for containers); whoever runs a server under another name gives its address in the settings. A gateway is not
asked: it would pass the question on, and a replica's page would be read under its address. Ports of well-known other
services are never asked, nor those where ranks of one model find each other (torch, vLLM's data parallel ranks and KV
transfer): these are Python too, speak no HTTP, and a stranger's words may upset a start.

A port is asked when it appears and then every ten minutes, a few at a time; one that stays silent is asked again after
a minute, then ever more rarely; one that turned out not to speak HTTP is left alone for as long as its socket lives,
because what listens there may be NCCL or a database that logs strangers.

An upstream that a gateway names is asked at once, and one that answers 503 is a server already: it has been put into
service before it is ready, and users get its 503.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import httpx

from aiops.collect.engines import Dialect, Dialects
from aiops.collect.fetch import Unready, fetch_page
from aiops.collect.listeners import Listener, listening
from aiops.errors import SourceMalformed, SourceUnavailable

ROUND_S = 60.0
"""Seconds between looks at the list of ports."""
_AGAIN_S = 600.0
_PROBE_DEADLINE_S = 1.0
_MAX_PROBES = 64
_AT_ONCE = 4
_NAMED_AGAIN_S = 9.5
"""Where a gateway names the port."""
_OTHER_SERVICES = frozenset(
    {2049, 2181, 2379, 2380, 3306, 4222, 5432, 5672, 6379, 6443, 9042, 9092, 10250, 11211, 26379, 27017}
)
_RENDEZVOUS = frozenset({5600, *range(29_400, 29_600)})
"""vLLM's KV transfer; torch's 29400 and 29500 and what programs count up from there."""
_SERVERS = (
    "python", "pypy", "pt_main_thread", "uvicorn", "gunicorn", "hypercorn", "granian", "ray::",  # as Python calls itself
    "vllm", "sglang", "text-generation", "tritonserver", "trtllm", "llama", "server", "dynamo", "lmdeploy",
    "docker-proxy", "rootlessport", "slirp4netns", "pasta", "conmon",  # publish the ports of containers
)  # fmt: skip
"""How names of processes begin that may answer as an inference server."""
_NEVER = (-math.inf, 0.0)
_JSON = (b"[", b"{")
_SECOND_PATH = "/prometheus/metrics"
_OWN_MARK = b"\naiops_build_info{"


@dataclass(frozen=True, slots=True)
class Found:
    """An inference server, or a port that looks like one."""

    url: str
    instance: str
    dialect: Dialect
    page: bytes
    """Empty if it answers 503 as yet."""
    command: str


@dataclass(frozen=True, slots=True)
class Round:
    """What one look found."""

    found: Sequence[Found]
    ports: int
    """Listening sockets there are."""


class Discovery:
    """
    Looks for servers, round after round.

    Args:
        http: For probes.
        root: Where the file system begins.
        dialects: Whose pages are recognised.
        executor: Where /proc is read.
        list_ports: Lists listening sockets.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        root: Path,
        dialects: Dialects,
        executor: Executor,
        list_ports: Callable[[Path], Sequence[Listener]] = listening,
    ) -> None:
        self._http = http
        self._root = root
        self._dialects = dialects
        self._executor = executor
        self._list_ports = list_ports
        self._asked: dict[str, tuple[float, float]] = {}
        """Per socket: when it was asked, and how long it is left alone."""

    async def look(self, now_s: float, known: Collection[str], named: Collection[str] = ()) -> Round:
        """
        One round.

        Args:
            now_s: Wall time.
            known: Instances that need no probe.
            named: Instances that a gateway calls its upstreams.

        Raises:
            OSError: the list of ports cannot be read.
        """
        listeners = await asyncio.get_running_loop().run_in_executor(self._executor, self._list_ports, self._root)
        present = {listener.inode for listener in listeners}
        self._asked = {inode: asked for inode, asked in self._asked.items() if inode in present}
        # new sockets first, then those asked longest ago
        due = sorted(
            (listener for listener in listeners if self._is_due(listener, now_s, known)),
            key=lambda listener: self._asked.get(listener.inode, _NEVER)[0],
        )
        turn = asyncio.Semaphore(_AT_ONCE)
        probes = (
            self._probe(listener, now_s, turn, is_named=instance_of(listener) in named)
            for listener in due[:_MAX_PROBES]
        )
        answers = await asyncio.gather(*probes)
        return Round([found for found in answers if found is not None], len(listeners))

    def _is_due(self, listener: Listener, now_s: float, known: Collection[str]) -> bool:
        if listener.pid == os.getpid() or instance_of(listener) in known:
            return False
        if (listener.port < 1024 and listener.port != 80) or listener.port in _OTHER_SERVICES | _RENDEZVOUS:
            return False
        if not _may_serve(listener.command):
            return False
        asked_s, pause_s = self._asked.get(listener.inode, _NEVER)
        return not 0.0 <= now_s - asked_s < pause_s

    async def _probe(
        self, listener: Listener, now_s: float, turn: asyncio.Semaphore, *, is_named: bool
    ) -> Found | None:
        url = f"http://{reached_at(listener)}/metrics"
        _, before_s = self._asked.get(listener.inode, _NEVER)
        self._asked[listener.inode] = (now_s, _AGAIN_S)
        async with turn:
            try:
                page = await fetch_page(self._http, url, deadline_s=_PROBE_DEADLINE_S)
                if page.lstrip()[:1] in _JSON:  # trtllm-serve has its own format there, and this one elsewhere
                    url = f"http://{reached_at(listener)}{_SECOND_PATH}"
                    page = await fetch_page(self._http, url, deadline_s=_PROBE_DEADLINE_S)
            except SourceUnavailable as error:
                if is_named and isinstance(error, Unready):
                    return Found(url, instance_of(listener), self._dialects.unknown, b"", listener.command)
                # silent, or answers 503: perhaps it still loads its model; asked ever more rarely
                pause_s = _NAMED_AGAIN_S if is_named else min(max(2.0 * before_s, ROUND_S), _AGAIN_S)
                self._asked[listener.inode] = (now_s, pause_s)
                return None
            except SourceMalformed as error:
                if isinstance(error.__cause__, httpx.ProtocolError):
                    self._asked[listener.inode] = (now_s, math.inf)
                return None
        dialect = None if _OWN_MARK in b"\n" + page else self._dialects.recognise(page)
        return None if dialect is None else Found(url, instance_of(listener), dialect, page, listener.command)


def _may_serve(command: str) -> bool:
    """Whether a process of that name may be an inference server; one that is not known may."""
    return not command or command.lower().startswith(_SERVERS)


def instance_of(listener: Listener) -> str:
    """What labels call the server behind a listener: whatever it is bound to, it is a port of this machine."""
    return f"127.0.0.1:{listener.port}"


def reached_at(listener: Listener) -> str:
    """``host:port`` under which a listener is reached from this machine."""
    local = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}  # noqa: S104 (what others are bound to)
    host = local.get(listener.address, listener.address)
    return f"[{host}]:{listener.port}" if ":" in host else f"{host}:{listener.port}"
