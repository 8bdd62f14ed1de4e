"""What a host runs out of: CPU, memory, space on a disk, time of a disk."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.lab.faults.fault import Fault
from tests.lab.faults.lifecycle import Supervised
from tests.lab.lifecycle import Backoff

if TYPE_CHECKING:
    import random

    from aiops.demo.processes import Process
    from tests.lab.house import House
    from tests.lab.plan import Plan

_MIB = 2**20
_HOG = "tests.lab.hog"


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
            "quota_cores": round(rng.uniform(0.02, 0.035), 4),
        }
        self._neighbours: list[Process] = []

    async def begin(self, house: House) -> None:
        for replica in house.replicas:
            await replica.switch("tokenizer", seconds=float(self.magnitudes["tokenizer_s"]))
        if self.magnitudes["variant"] == "quota":
            for replica in house.replicas:
                house.cell.group(replica.name).limit_cores(float(self.magnitudes["quota_cores"]))
            return
        house.cell.group("batch").weigh(int(self.magnitudes["weight"]))
        for number in range(int(self.magnitudes["processes"])):
            self._neighbours.append(await house.python(f"batch-{number}", _HOG, "compute", group="batch"))

    async def end(self, house: House) -> None:
        for replica in house.replicas:
            house.cell.group(replica.name).limit_cores(None)
            await replica.switch("tokenizer", seconds=0.0)
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

    async def begin(self, house: House) -> None:
        replica = house.replicas[self._victim]
        group = house.cell.group(replica.name)
        if self.magnitudes["variant"] == "with_a_sidecar":  # which is in the same pod, and holds what it holds
            await house.python(
                "sidecar", _HOG, "memory", "--mib-a-second", "200", "--most-mib", "60", group=replica.name
            )
        group.limit_memory(group.memory() + int(self.magnitudes["room_mib"]) * _MIB)
        self.supervise(house, Backoff(first_s=float(self.magnitudes["backoff_s"])))
        await replica.switch("leak", mib=float(self.magnitudes["mib_a_request"]))

    async def end(self, house: House) -> None:
        await super().end(house)
        replica = house.replicas[self._victim]
        house.cell.group(replica.name).limit_memory(None)


class HostMemoryExhaustion(Supervised):
    """
    A neighbour takes the memory that it shares with the servers, and the kernel ends a server for it, because the
    neighbour is protected; or nobody is ended, and all wait for pages of programs that are dropped and read again.
    """

    name = cause = "host_memory_exhaustion"
    alone = True
    wait_s = 90.0
    hurt_s = 40.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("protected_neighbour", "growing_neighbour")),
            "room_mib": rng.randrange(200, 700, 50),
            "mib_a_second": round(rng.uniform(20.0, 120.0), 1),
            "backoff_s": round(rng.uniform(2.0, 8.0), 1),
        }

    def where(self, house: House) -> dict[str, str]:
        return {}

    async def begin(self, house: House) -> None:
        pods = house.cell.group("pods")
        for replica in house.replicas:
            pods.move(replica.pid)
        pods.limit_memory(pods.memory() + int(self.magnitudes["room_mib"]) * _MIB)
        for index in range(len(house.replicas)):
            self.supervise(house, Backoff(first_s=float(self.magnitudes["backoff_s"])), index)
        neighbour = await house.python(
            "analytics", _HOG, "memory", "--mib-a-second", str(self.magnitudes["mib_a_second"]),
            "--most-mib", str(int(self.magnitudes["room_mib"]) + 300), group="pods",
        )  # fmt: skip
        if self.magnitudes["variant"] == "protected_neighbour":
            house.cell.run("choom", "-n", "-900", "-p", str(neighbour.pid))
        self._neighbour = neighbour

    async def end(self, house: House) -> None:
        await super().end(house)
        self._neighbour.signal(signal.SIGKILL)
        house.cell.group("pods").limit_memory(None)


class DiskFull(Fault):
    """The disk on which servers write down every request is full: of bytes, because somebody fills it, or of names."""

    name = cause = "disk_full"
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
        return replace(plan, books=how, books_mib=int(self.magnitudes["size_mib"]))

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
    alone = True
    wait_s = 75.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("sync_writers", "fio")),
            "writers": rng.randint(4, 16),
            "block_kib": rng.choice((64, 256, 1024, 4096)),
            "read_s": round(rng.uniform(3.0, 8.0), 1),
        }
        self._writers: list[Process] = []

    def furnish(self, plan: Plan) -> Plan:
        gateway = {**plan.gateway_settings, "read_s": float(self.magnitudes["read_s"])}
        return replace(plan, books="synced", gateway_settings=gateway)

    async def begin(self, house: House) -> None:
        scratch = house.folder / "scratch"
        scratch.mkdir()
        size, count = int(self.magnitudes["block_kib"]) * 1024, int(self.magnitudes["writers"])
        if self.magnitudes["variant"] == "sync_writers":
            for number in range(count):
                self._writers.append(
                    await house.python(
                        f"compaction-{number}", _HOG, "sync", "--folder", str(scratch), "--size", str(size)
                    )
                )
            return
        self._writers.append(await house.helper(
            "backup", "fio", "--name=backup", f"--directory={scratch}", "--rw=randrw", f"--bs={size}", "--size=64m",
            f"--numjobs={count}", "--iodepth=32", "--ioengine=libaio", "--direct=1", "--time_based", "--runtime=300",
        ))  # fmt: skip

    async def end(self, house: House) -> None:
        while self._writers:
            await house.processes.end(self._writers.pop())
