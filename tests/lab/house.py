"""
A house: everything one run needs, running in its cell: database, cards, model servers, gateway, chat, daemon, users.

Each part is started by its own module and is an object here; faults reach it through these objects. What a fault ends
on purpose is excused; whatever else ends makes the experiment worthless.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiops.demo.processes import Process, Processes, last_words
from aiops.demo.wire import HOST, Client
from aiops.errors import ChildError
from tests.lab.cards import Cards
from tests.lab.cell import Cell, Group
from tests.lab.daemon import Daemon
from tests.lab.database import Database
from tests.lab.edge import Edge
from tests.lab.faults.fault import Fault
from tests.lab.gateway import Gateway
from tests.lab.kv_peer import Prefill
from tests.lab.load import Load
from tests.lab.plan import Plan
from tests.lab.servers import server_command

FIRST_PORT = 8001
SERVICE = "chat"
PODS = "pods"
"""The control group above those of all replicas."""


class Replica:
    """
    One model server: always on the same port and card, though its process may be another one after a restart.

    Use `start`.
    """

    def __init__(self, house: House, index: int, gpu: int, port: int) -> None:
        self.index, self.gpu, self.port = index, gpu, port
        self.name = f"replica-{index}"
        self.address = f"{HOST}:{port}"
        """As the gateway's log spells it."""
        self.log = house.folder / f"{self.name}.log"
        self.client = Client(port)
        self.process: Process
        self.options: tuple[str, ...] = ()
        """How its next start goes: arguments that are no change of its command line."""
        self.settings: tuple[str, ...] = ()
        """Further arguments of its command line from the next start on."""
        self._house = house

    @property
    def pid(self) -> int:
        """Of its present process."""
        return self.process.pid

    @property
    def group(self) -> Group:
        """The control group of its processes, inside that of all replicas."""
        return self._house.cell.group(f"{PODS}/{self.name}")

    async def start(self) -> None:
        """
        Start its process, and wait until it serves.

        Raises:
            ChildError: it did not.
        """
        command = self.group.command(server_command(self._house, self))
        self.process = await self._house.processes.actor_of(self.name, command)

    def children(self) -> list[int]:
        """Processes that its process has started."""
        return [int(word) for word in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    async def launch(self) -> None:
        """Start its process, and do not wait."""
        command = self.group.command(server_command(self._house, self))
        self.process = await self._house.processes.start(
            self.name, command, output=self._house.folder / f"{self.name}.out"
        )

    async def ready(self) -> bool:
        """Whether it serves."""
        try:
            async with asyncio.timeout(2.0):
                return (await self.client.call("GET", "/health"))[0] == 200
        except (OSError, TimeoutError):
            return False

    async def switch(self, what: str, **value: Any) -> None:
        """
        Change what this server really does.

        Raises:
            ChildError: it did not take it.
        """
        status, answer = await self.client.call("POST", f"/admin/{what}", value)
        if status != 200:
            raise ChildError(f"{self.name} answered {status} to {what}: {answer}")

    async def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal its process, on purpose."""
        self._house.excuse(self.process)
        self.process.signal(number)

    async def restart(self, *, number: int = signal.SIGTERM, wait: bool = True) -> None:
        """End its process, if it has not ended, and start another one."""
        self._house.excuse(self.process)
        self.process.signal(number)
        await self._house.processes.end(self.process)
        await (self.start() if wait else self.launch())


class House:
    """
    The parts of a run. Use `open_house`.

    Args:
        cell: Where it runs.
        folder: For logs, sockets and state.
        plan: How it is furnished.
        rng: Whatever a fault draws while it runs.
    """

    service = SERVICE

    def __init__(self, cell: Cell, folder: Path, plan: Plan, rng: random.Random) -> None:
        self.cell, self.folder, self.plan, self.rng = cell, folder, plan, rng
        self.dialect = plan.dialect
        self.books = folder / "usage"
        """Where model servers write requests down, if they do."""
        self.node_log = folder / "kubelet.log"
        """What the node's agent says; the daemon reads it, as it reads a journal."""
        self.processes = Processes(folder)
        self.replicas: list[Replica] = []
        self.database: Database
        self.cards: Cards
        self.prefill: Prefill | None = None
        self.edge: Edge | None = None
        """The machine the gateway is on; None means this one."""
        self.gateway: Gateway
        self.daemon: Daemon
        self.load: Load
        self._chat: Client
        self.neighbour_log = folder / "neighbour.log"
        self._excused: set[int] = set()
        self._clients: list[Client] = []

    async def start(self, fault: Fault) -> None:
        """
        Start everything, users last, with what *fault* needs.

        Raises:
            ChildError: something did not start.
        """
        self.database = await Database.start(self)
        self.cards = await Cards.start(self)
        if self.plan.split:
            self.prefill = await Prefill.start(self)
        await fault.prepare(self)
        self.replicas = [
            Replica(self, index, self.cards.gpu_of(index), FIRST_PORT + index)
            for index in range(self.plan.replicas + self.plan.later)
        ]
        self._make_books()
        self.cell.group(PODS)
        self.node_log.touch()
        for replica in self.replicas[: self.plan.replicas]:
            await replica.start()
        self.gateway = await Gateway.start(self)
        chat = await self.processes.actor("chat", "chat")
        self._chat = Client(int(chat.ready["port"]))
        self._clients.append(self._chat)
        if self.plan.neighbour:
            await self.python("neighbour", "tests.lab.neighbour", "--log", str(self.neighbour_log), "--rate", "1")
        self.daemon = await Daemon.start(self, self._chat.port)
        self.load = await Load.start(self)

    def _make_books(self) -> None:
        if self.plan.books_mib:
            self.books = self.cell.small_disk("usage", self.plan.books_mib * 2**20)
            with (self.books / "archive").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(int(self.plan.books_full * self.plan.books_mib * 2**20), 1))
        elif self.plan.books:
            self.books.mkdir()

    async def announce(self, action: str, message: str, **labels: str) -> None:
        """Tell the daemon of a change, as a deployer does."""
        await self.daemon.announce(action, message, **labels)

    async def helper(self, name: str, *argv: str, group: str = "") -> Process:
        """
        A further real process of a fault (a neighbour, a writer, a leaker) in a control group of its own or in *group*,
        ended with the house; it may end itself.
        """
        command = self.cell.group(group or name).command(argv)
        process = await self.processes.start(name, command, output=self.folder / f"{name}.out")
        self.excuse(process)
        return process

    async def python(self, name: str, module: str, *arguments: str, group: str = "") -> Process:
        """`helper` of a Python module, such as ``tests.lab.hog``."""
        return await self.helper(name, sys.executable, "-m", module, *arguments, group=group)

    async def service_beside(self, name: str, module: str, *arguments: str) -> Client:
        """A small service of a fault's own, an actor of *module*, ready; for talking to it."""
        process = await self.processes.actor_of(name, (sys.executable, "-m", module, *arguments))
        self._clients.append(Client(int(process.ready["port"])))
        return self._clients[-1]

    def excuse(self, process: Process) -> None:
        """Its end, now or later, is meant."""
        self._excused.add(process.pid)

    def check_alive(self) -> None:
        """
        Nothing may have ended that was not meant to.

        Raises:
            ChildError: something did; the text holds its last words.
        """
        for process in self.processes.dead():
            if process.pid not in self._excused:
                code = process.handle.returncode
                raise ChildError(f"{process.name} ended by itself ({code}): {last_words(process.errors)}")

    async def messages(self) -> list[dict[str, Any]]:
        """What the chat got so far, each with its time of arrival."""
        answer = (await self._chat.call("GET", "/messages"))[1]
        found: list[dict[str, Any]] = answer["messages"]
        return found

    async def close(self) -> None:
        """Close connections, and end everything."""
        for client in [*self._clients, *(replica.client for replica in self.replicas)]:
            await client.close()
        await self.processes.stop()


@asynccontextmanager
async def open_house(cell: Cell, folder: Path, plan: Plan, fault: Fault, rng: random.Random) -> AsyncIterator[House]:
    """Start everything, and end every process after the block."""
    house = House(cell, folder, plan, rng)
    try:
        await house.start(fault)
        yield house
    finally:
        await house.close()
