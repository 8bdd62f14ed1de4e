"""The daemon of a house, its chat and its recorder: started as anybody starts them, told as little as anybody tells."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from aiops.demo.daemon_client import DaemonClient
from aiops.demo.processes import Process, last_words
from aiops.demo.theatre import free_port
from aiops.demo.wire import HOST, Client
from aiops.errors import ChildError

if TYPE_CHECKING:
    from tests.lab.house import House

_READY_S = 45.0
_RECORD_ENDS_S = 15.0


class Daemon:
    """``aiops run`` in a house. Use `start`."""

    def __init__(self, process: Process, port: int, state: Path, settings: Path) -> None:
        self.process, self._settings = process, settings
        self._api = DaemonClient(Client(port), state)
        self._recorder: Process | None = None

    @classmethod
    async def start(cls, house: House, chat_port: int) -> Daemon:
        """
        Start it, and wait until it has collected once.

        Raises:
            ChildError: it did not get ready.
        """
        port, state, settings = free_port(), house.folder / "state", house.folder / "aiops.yaml"
        state.mkdir(mode=0o700)
        settings.write_text(yaml.safe_dump(_settings(house, port, state, chat_port), sort_keys=False))
        settled = [f"{name}={value}" for name, value in house.cards.environment().items()]
        command = ("env", *settled, sys.executable, "-m", "aiops", "run", "-c", str(settings))
        process = await house.processes.start(
            "daemon", command, ends_by=signal.SIGTERM, output=house.folder / "daemon.out"
        )
        daemon = cls(process, port, state, settings)
        if not await daemon._api.ready(_READY_S, daemon._check_alive):
            raise ChildError(f"the daemon was not ready: {last_words(process.errors)}")
        return daemon

    async def announce(self, action: str, message: str, **labels: str) -> None:
        """
        Tell it of a change, as a deployer does.

        Raises:
            ChildError: it was not taken.
        """
        await self._api.announce(action, message, **labels)

    def _check_alive(self) -> None:
        if not self.process.running:
            raise ChildError(f"the daemon ended: {last_words(self.process.errors)}")

    async def record(self, house: House, folder: Path) -> None:
        """Record from now on into *folder*."""
        command = (sys.executable, "-m", "aiops", "record", "-c", str(self._settings), "--for", "30m", str(folder))
        self._recorder = await house.processes.start("record", command, output=folder.parent / "record.out")
        deadline = asyncio.get_running_loop().time() + _READY_S
        while not (folder / "meta.json").exists():
            if not self._recorder.running or asyncio.get_running_loop().time() > deadline:
                raise ChildError(f"nothing was recorded: {last_words(self._recorder.errors)}")
            await asyncio.sleep(0.1)

    async def end_recording(self, house: House) -> None:
        """
        Close the recording.

        Raises:
            ChildError: it was not closed in time.
        """
        recorder = self._recorder
        if recorder is None:
            return
        house.excuse(recorder)
        with contextlib.suppress(ProcessLookupError):
            os.kill(recorder.pid, signal.SIGINT)
        try:
            async with asyncio.timeout(_RECORD_ENDS_S):
                await recorder.handle.wait()
        except TimeoutError:
            raise ChildError("the recording was not closed in time") from None

    async def incidents(self) -> list[dict[str, Any]]:
        """Every incident it had, in full."""
        found = (await self._api.get("incidents")).get("incidents", [])
        return [await self._api.get(f"incidents/{entry['id']}") for entry in found]


def _settings(house: House, port: int, state: Path, chat_port: int) -> dict[str, Any]:
    """Where the access log is, where messages go; everything else it finds by itself."""
    logs = [{"path": str(replica.log), "instance": replica.address} for replica in house.replicas]
    logs += [{"path": str(house.gateway.error_log)}, {"path": str(house.node_log)}]
    if house.plan.neighbour:
        logs.append({"path": str(house.neighbour_log)})
    collect: dict[str, Any] = {
        "inference": {"discover": True},
        "access_log": {"paths": [str(house.gateway.log)], "service": house.service, **house.gateway.log_settings()},
        "log_tail": {"files": logs},
        **house.cards.settings(),
    }
    urls = house.gateway.status_urls()
    if urls:
        collect["gateway"] = {"urls": list(urls)}
    receiver = {
        "name": "chat", "kind": "webhook", "url": f"http://{HOST}:{chat_port}/", "severities": ["page", "ticket"],
    }  # fmt: skip
    return {
        "web": {"listen": f"{HOST}:{port}"},
        "state": {"dir": str(state)},
        "log": {"format": "json"},
        "collect": collect,
        "notify": {"receivers": [receiver]},
    }


def as_text(value: Any) -> str:
    """JSON a person can read."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
