"""What a host runs out of: CPU, memory, space on a disk, time of a disk."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.lab.faults.fault import Fault
from tests.lab.faults.lifecycle import Supervised
from tests.lab.house import PODS
from tests.lab.lifecycle import Backoff

if TYPE_CHECKING:
    import random

    from aiops.demo.processes import Process
    from tests.lab.house import House
    from tests.lab.plan import Plan

_MIB = 2**20
_HOG = "tests.lab.hog"
_NEED_S = 6.0
"""So long a server's need of CPU is watched before its quota is cut to a share of it."""
_INTERPRETER_MIB = 8
"""Of a neighbour's process that has taken nothing yet."""


class CpuSaturation(Fault):
    """
    Servers that need CPU do not get it: a neighbour with more weight computes on every core, or the pods' quota was cut.
    """

    name = cause = "cpu_saturation"
    alone = True
    wait_s = 75.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("neighbour", "quota")),
            "tokenizer_s": round(rng.uniform(0.002, 0.006), 4),
            "processes": rng.randint(2, 8),
            "weight": rng.choice((8, 16, 32, 64)),
            "quota_share": round(rng.uniform(0.3, 0.7), 2),
        }
        self._neighbours: list[Process] = []

    def furnish(self, plan: Plan) -> Plan:
        """Servers that tokenise, and so need a CPU."""
        return replace(plan, server_options=(*plan.server_options, "--tokenizer", str(self.magnitudes["tokenizer_s"])))

    async def begin(self, house: House) -> None:
        if self.magnitudes["variant"] == "quota":
            used_s = [replica.group.cpu_s() for replica in house.replicas]
            await asyncio.sleep(_NEED_S)
            for replica, before_s in zip(house.replicas, used_s, strict=True):
                needed = (replica.group.cpu_s() - before_s) / _NEED_S
                replica.group.limit_cores(needed * float(self.magnitudes["quota_share"]))
            return
        house.cell.group("batch").weigh(int(self.magnitudes["weight"]))
        for number in range(int(self.magnitudes["processes"])):
            self._neighbours.append(await house.python(f"batch-{number}", _HOG, "compute", group="batch"))

    async def end(self, house: House) -> None:
        for replica in house.replicas:
            replica.group.limit_cores(None)
        while self._neighbours:
            await house.processes.end(self._neighbours.pop())


class HostMemoryLeak(Supervised):
    """A server keeps something of every request; at level traffic it grows until its memory limit ends it, again and again."""

    name = cause = "host_memory_leak"
    alone = True  # every cell sees what the kernel kills and logs
    wait_s = 110.0
    hurt_s = 30.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        lasts_s = rng.uniform(30.0, 75.0)
        mib = round(rng.uniform(1.0, 6.0), 2)
        self.magnitudes |= {
            "variant": rng.choice(("bare", "with_a_sidecar")),
            "mib_a_request": mib, "room_mib": round(lasts_s * mib * 4.0), "backoff_s": round(rng.uniform(2.0, 10.0), 1),
        }  # fmt: skip

    def where(self, house: House) -> dict[str, str]:
        return {}  # memory is the host's; which process grew is part of the evidence

    async def begin(self, house: House) -> None:
        replica = house.replicas[self._victim]
        if self.magnitudes["variant"] == "with_a_sidecar":  # which is in the same pod, and holds what it holds
            await house.python(
                "sidecar", _HOG, "memory", "--mib-a-second", "200", "--most-mib", "60", group=f"{PODS}/{replica.name}"
            )
        replica.group.limit_memory(replica.group.memory() + int(self.magnitudes["room_mib"]) * _MIB)
        self.supervise(house, Backoff(first_s=float(self.magnitudes["backoff_s"])))
        await replica.switch("leak", mib=float(self.magnitudes["mib_a_request"]))

    async def end(self, house: House) -> None:
        await super().end(house)
        house.replicas[self._victim].group.limit_memory(None)


class HostMemoryExhaustion(Supervised):
    """
    Neighbours take the memory that they share with the servers, and the kernel ends servers for it: because the neighbour
    is protected, or because it is many processes, each smaller than a server.
    """

    name = cause = "host_memory_exhaustion"
    needs = ("choom",)
    alone = True
    wait_s = 90.0
    hurt_s = 40.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("protected", "many")),
            "room_mib": rng.randrange(200, 700, 50),
            "mib_a_second": round(rng.uniform(20.0, 120.0), 1),
            "worker_mib": rng.randint(6, 14),
            "backoff_s": round(rng.uniform(2.0, 8.0), 1),
        }
        self._neighbours: list[Process] = []

    def where(self, house: House) -> dict[str, str]:
        return {}

    async def begin(self, house: House) -> None:
        pods, room = house.cell.group(PODS), int(self.magnitudes["room_mib"])
        pods.limit_memory(pods.memory() + room * _MIB)
        for index in range(len(house.replicas)):
            self.supervise(house, Backoff(first_s=float(self.magnitudes["backoff_s"])), index)
        if self.magnitudes["variant"] == "protected":
            await self._neighbour(house, 0, float(self.magnitudes["mib_a_second"]), room + 200)
            house.cell.run("choom", "-n", "-900", "-p", str(self._neighbours[0].pid))
            return
        size = int(self.magnitudes["worker_mib"])
        for number in range(room // (size + _INTERPRETER_MIB) + 4):
            await self._neighbour(house, number, 40.0, size)
            await asyncio.sleep(size / float(self.magnitudes["mib_a_second"]))

    async def _neighbour(self, house: House, number: int, pace: float, most_mib: int) -> None:
        sizes = ("--mib-a-second", f"{pace:.1f}", "--most-mib", str(most_mib))
        name = f"analytics-{number}"
        self._neighbours.append(await house.python(name, _HOG, "memory", *sizes, group=f"{PODS}/analytics"))

    async def end(self, house: House) -> None:
        await super().end(house)
        house.cell.group(PODS).limit_memory(None)
        while self._neighbours:
            await house.processes.end(self._neighbours.pop())


class DiskFull(Fault):
    """The disk on which servers write down every request is full: of bytes, because somebody fills it, or of names."""

    name = cause = "disk_full"
    needs = ("mkfs.ext4",)
    wait_s = 75.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("bytes", "bytes", "names")),
            "size_mib": rng.randrange(48, 200, 8),
            "full_at_start": round(rng.uniform(0.2, 0.85), 2),
            "fills_s": round(rng.uniform(3.0, 30.0), 1),
        }
        self._filler: Process | None = None

    def furnish(self, plan: Plan) -> Plan:
        how = "spool" if self.magnitudes["variant"] == "names" else "file"
        size, full = int(self.magnitudes["size_mib"]), float(self.magnitudes["full_at_start"])
        return replace(plan, books=how, books_mib=size, books_full=full)

    async def begin(self, house: House) -> None:
        names = ("--names",) if self.magnitudes["variant"] == "names" else ()
        self._filler = await house.python(
            "dumper", _HOG, "fill", "--folder", str(house.books), "--seconds", str(self.magnitudes["fills_s"]), *names
        )

    async def end(self, house: House) -> None:
        if self._filler is not None:
            await house.processes.end(self._filler)
        for path in house.books.glob("core.*"):
            path.unlink()


class DiskIoSaturation(Fault):
    """Neighbours write and sync on the disk on which servers write down every request before they go on."""

    name = cause = "disk_io_saturation"
    needs = ("fio",)
    alone = True
    wait_s = 75.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("checkpoint", "backup")),
            "jobs": rng.randint(6, 12),
            "depth": rng.choice((32, 64, 128)),
            "read_s": round(rng.uniform(3.0, 8.0), 1),
        }
        self._neighbour: Process | None = None

    def furnish(self, plan: Plan) -> Plan:
        gateway = {**plan.gateway_settings, "read_s": float(self.magnitudes["read_s"])}
        return replace(plan, books="synced", gateway_settings=gateway)

    async def begin(self, house: House) -> None:
        scratch = house.folder / "scratch"
        scratch.mkdir()
        how, size = ("write", "1m") if self.magnitudes["variant"] == "checkpoint" else ("randrw", "256k")
        self._neighbour = await house.helper(
            "fio", "fio", "--name=fio", f"--directory={scratch}", f"--rw={how}", f"--bs={size}", "--size=64m",
            f"--numjobs={self.magnitudes['jobs']}", f"--iodepth={self.magnitudes['depth']}", "--ioengine=libaio", "--direct=1",
            "--time_based", "--runtime=300",
        )  # fmt: skip

    async def end(self, house: House) -> None:
        if self._neighbour is not None:
            await house.processes.end(self._neighbour)
