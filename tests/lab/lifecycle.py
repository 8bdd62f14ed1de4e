"""
Who ends and starts servers: a supervisor that starts again what has ended, and the kubelet's liveness probe.

Both do what they do in a cluster and know nothing of causes: the supervisor waits longer from one start to the next, the
probe asks the health path in time or counts a failure, and ends the server with SIGTERM after some in a row.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiops.demo.wire import Client

if TYPE_CHECKING:
    from tests.lab.house import House, Replica

_LOOK_S = 0.2
_LONGEST_S = 60.0
_GRACE_S = 30
POD = "serving/chat-{}"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a supervisor waits before it starts a server again."""

    first_s: float = 10.0
    """As the kubelet's; systemd's RestartSec is shorter."""
    factor: float = 2.0

    def after(self, restarts: int) -> float:
        """Before the next start, after so many of them."""
        return min(self.first_s * self.factor**restarts, _LONGEST_S)


async def keep_running(house: House, replica: Replica, backoff: Backoff) -> None:
    """Start *replica* again whenever its process has ended, for ever."""
    restarts = 0
    house.excuse(replica.process)
    while True:
        if replica.process.running:
            await asyncio.sleep(_LOOK_S)
            continue
        await asyncio.sleep(backoff.after(restarts))
        restarts += 1
        await house.processes.end(replica.process)
        await replica.launch()
        house.excuse(replica.process)


@dataclass(frozen=True, slots=True)
class Probe:
    """A liveness probe; the kubelet's defaults are 10 s, 1 s and 3."""

    period_s: float = 10.0
    timeout_s: float = 1.0
    failures: int = 3
    path: str = "/health"


class KubeletLog:
    """What the kubelet logs of probes and of the containers it ends, in klog's form."""

    def __init__(self, path: Path, wall: Callable[[], float] = time.time) -> None:
        self._path, self._wall = path, wall

    def failed(self, index: int, output: str) -> None:
        """A probe of replica *index* failed."""
        quoted = output.replace('"', '\\"')
        self._line(
            "prober.go:107",
            f'"Probe failed" probeType="Liveness" pod="{POD.format(index)}" podUID="{_uid(index)}" '
            f'containerName="server" probeResult="failure" output="{quoted}"',
        )

    def ends(self, index: int) -> None:
        """Replica *index* is ended because of it."""
        self._line(
            "kuberuntime_manager.go:1107",
            f'"Message for Container of pod" containerName="server" containerStatusID="containerd://{_uid(index)}" '
            f'pod="{POD.format(index)}" containerMessage="Container server failed liveness probe, will be restarted"',
        )
        self._line(
            "kuberuntime_container.go:779",
            f'"Killing container with a grace period" pod="{POD.format(index)}" podUID="{_uid(index)}" '
            f'containerName="server" containerID="containerd://{_uid(index)}" gracePeriod={_GRACE_S}',
        )

    def _line(self, place: str, text: str) -> None:
        now_s = self._wall()
        stamp = time.strftime("%m%d %H:%M:%S", time.localtime(now_s))
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"I{stamp}.{int(now_s % 1 * 1e6):06d}    1187 {place}] {text}\n")


def _uid(index: int) -> str:
    return f"5d1c0f3e-7a52-4a0e-9a41-0c6e8f2b4d{index:02d}"


async def probe_for_ever(replica: Replica, probe: Probe, log: KubeletLog) -> None:
    """Probe *replica*, and end its process whenever it does not answer in time too often."""
    while True:
        process = replica.process
        failures = 0
        while replica.process is process and process.running:
            await asyncio.sleep(probe.period_s)
            if not process.running:  # nothing is probed while nothing runs
                break
            output = await _ask(replica, probe)
            if output is None or not process.running:
                failures = 0
                continue
            log.failed(replica.index, output)
            failures += 1
            if failures >= probe.failures:
                log.ends(replica.index)
                process.signal(signal.SIGTERM)
                break
        while replica.process is process:  # until the supervisor has started another one
            await asyncio.sleep(_LOOK_S)


async def _ask(replica: Replica, probe: Probe) -> str | None:
    """What is wrong with its health path, in the kubelet's words; None when nothing is."""
    url, client = f"http://{replica.address}{probe.path}", Client(replica.port, keep=0)
    try:
        async with asyncio.timeout(probe.timeout_s):
            status, _ = await client.call("GET", probe.path)
    except TimeoutError:
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    except ConnectionRefusedError:
        return f'Get "{url}": dial tcp {replica.address}: connect: connection refused'
    except OSError:
        return f'Get "{url}": EOF'
    return None if status < 400 else f"HTTP probe failed with statuscode: {status}"


async def cancel(*tasks: asyncio.Task[None]) -> None:
    """
    End *tasks*.

    Raises:
        Exception: what one of them failed with before.
    """
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
