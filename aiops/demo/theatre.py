"""
Everything the demo needs, running: cards, metadata service, replicas, gateway, users, chat, and the daemon.

The daemon is started as anybody would start it, with a settings file that says where things are and nothing about what
will happen to them.
"""

from __future__ import annotations

import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aiops.demo.cards import Cards, Seat, find_cards
from aiops.demo.daemon_client import DaemonClient
from aiops.demo.proc_usage import Usage, usage
from aiops.demo.processes import Process, Processes, last_words
from aiops.demo.wire import HOST, Client
from aiops.errors import ChildError

REPLICAS = 3
SERVICE = "chat"
_READY_S = 30.0


@dataclass(frozen=True, slots=True)
class Replica:
    """One model server."""

    index: int
    seat: Seat
    process: Process
    client: Client
    log: Path

    @property
    def address(self) -> str:
        """As the gateway's log spells it."""
        return f"{HOST}:{self.client.port}"

    async def switch(self, what: str, **value: Any) -> None:
        """
        Change what this server really does.

        Raises:
            ChildError: it did not take it.
        """
        status, _ = await self.client.call("POST", f"/admin/{what}", value)
        if status != 200:
            raise ChildError(f"replica {self.index} answered {status} to {what}")


class Theatre:
    """The running demo. Use `open_theatre`."""

    def __init__(self, folder: Path, processes: Processes, seed: int) -> None:
        self.folder, self.processes = folder, processes
        self.random = random.Random(seed)
        self.replicas: list[Replica] = []
        self.state = folder / "state"
        self.url = ""
        self._seed = seed
        self._clients: list[Client] = []
        self.cards: Cards
        self._daemon: Process
        self._load: Client
        self._chat: Client
        self._api: DaemonClient

    async def start(self, daemon: Sequence[str]) -> None:
        """
        Start everything; *daemon* is its command, to which ``-c FILE`` is added.

        Raises:
            ChildError: something did not start.
        """
        actor = self.processes.actor
        self.cards = await find_cards(REPLICAS, self.folder / "card.sock", self.processes)
        metadata = await actor("metadata", "pool")
        chat = await actor("chat", "chat")
        self.replicas = [await self._replica(i, seat, metadata) for i, seat in enumerate(self.cards.seats)]
        upstreams = [word for r in self.replicas for word in ("--upstream", str(r.client.port))]
        access_log = self.folder / "access.log"
        gateway = await actor("gateway", "gateway", *upstreams, "--log", str(access_log))
        self._chat = self._client(chat.ready["port"])
        await self._start_daemon(daemon, access_log)
        load = await actor("load", "load", "--gateway", str(gateway.ready["port"]), "--seed", str(self._seed))
        self._load = self._client(load.ready["port"])

    async def stats(self) -> dict[str, Any]:
        """What users got so far."""
        found: dict[str, Any] = (await self._load.call("GET", "/stats"))[1]
        return found

    async def set_rate(self, factor: float, ramp_s: float = 0.0) -> None:
        """Let users come *factor* times as often as normally."""
        await self._load.call("POST", "/admin/rate", {"factor": factor, "ramp_s": ramp_s})

    async def messages(self) -> tuple[list[dict[str, Any]], int]:
        """What the chat got so far, each with its time of arrival, and how many bytes that was."""
        answer = (await self._chat.call("GET", "/messages"))[1]
        return answer["messages"], answer["bytes"]

    async def announce(self, action: str, message: str, **labels: str) -> None:
        """
        Tell the daemon of a change, as a deployer does.

        Raises:
            ChildError: it was not taken.
        """
        await self._api.announce(action, message, **labels)

    async def incident(self, incident_id: str) -> dict[str, Any]:
        """An incident as the daemon's API gives it; empty if it does not."""
        return await self._api.get(f"incidents/{incident_id}")

    @property
    def daemon_pid(self) -> int:
        """The daemon's process."""
        return self._daemon.pid

    def daemon_usage(self) -> Usage:
        """
        CPU and memory of the daemon.

        Raises:
            ChildError: it has ended.
        """
        self.check_alive()
        return usage(self._daemon.pid)

    async def close(self) -> None:
        """Close connections to the actors."""
        for client in self._clients:
            await client.close()

    def _client(self, port: int) -> Client:
        self._clients.append(Client(port))
        return self._clients[-1]

    def check_alive(self) -> None:
        """
        Nothing may have ended by itself.

        Raises:
            ChildError: something did; the text holds its last words.
        """
        for process in self.processes.dead():
            raise ChildError(f"{process.name} ended: {last_words(process.errors)}")

    async def _replica(self, index: int, seat: Seat, metadata: Process) -> Replica:
        log = self.folder / f"replica-{index}.log"
        process = await self.processes.actor(
            f"replica-{index}", "model_server",
            *seat.arguments, "--hold", f"{seat.held_mib:.0f}", "--log", str(log),
            "--metadata-port", str(metadata.ready["port"]), "--seed", str(self._seed + index),
        )  # fmt: skip
        return Replica(index, seat, process, self._client(process.ready["port"]), log)

    async def _start_daemon(self, command: Sequence[str], access_log: Path) -> None:
        self.state.mkdir(mode=0o700)
        port = free_port()
        self._api = DaemonClient(self._client(port), self.state)
        self.url = self._api.url
        settings = self.folder / "aiops.yaml"
        settings.write_text(yaml.safe_dump(self._settings(port, access_log), sort_keys=False))
        self._daemon = await self.processes.start(
            "daemon", (*command, "-c", str(settings)), ends_by=signal.SIGTERM, output=self.folder / "daemon.out"
        )
        if not await self._api.ready(_READY_S, self.check_alive):
            raise ChildError(f"the daemon was not ready within {_READY_S:.0f} s: {last_words(self._daemon.errors)}")

    def _settings(self, port: int, access_log: Path) -> dict[str, Any]:
        targets = [{"url": f"http://{r.address}/metrics"} for r in self.replicas]
        if not self.cards.shows_processes:
            for target, replica in zip(targets, self.replicas, strict=True):
                target["gpu"] = str(replica.seat.gpu)
        return {
            "web": {"listen": f"{HOST}:{port}"},
            "state": {"dir": str(self.state)},
            "collect": {
                "inference": {"discover": False, "targets": targets},
                **self.cards.settings(),
                "access_log": {"paths": [str(access_log)], "service": SERVICE},
                "log_tail": {"files": [{"path": str(r.log), "instance": r.address} for r in self.replicas]},
            },
            "notify": {"receivers": [{"name": "chat", "kind": "webhook", "url": f"http://{HOST}:{self._chat.port}/"}]},
        }


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


DAEMON = (sys.executable, "-m", "aiops", "run")


@asynccontextmanager
async def open_theatre(folder: Path, seed: int, daemon: Sequence[str] = DAEMON) -> AsyncIterator[Theatre]:
    """Start everything, and end every process after the block."""
    processes = Processes(folder)
    theatre = Theatre(folder, processes, seed)
    try:
        await theatre.start(daemon)
        yield theatre
    finally:
        await theatre.close()
        await processes.stop()
