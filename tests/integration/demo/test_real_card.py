"""
The demo on real cards, with a fake driver in their place: memory is really taken, really refused, and comes back.

Beside the fake, everything is real: the processes, the CUDA calls they make, the NVML child.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import httpx
import pytest

from aiops.clock import ManualClock
from aiops.collect.gpu_nvml import Config, GpuNvml
from aiops.demo.cards import SimulatedCards, find_cards
from aiops.demo.processes import Processes
from aiops.demo.real_cards import NoCard, usable_cards
from aiops.demo.theatre import open_theatre
from aiops.errors import ChildError
from aiops.model import Sample
from aiops.ports import World
from tests.fake_cards import MIB, FakeCards, build_driver
from tests.fakes import FakeCheckpoints, FakeInbox

STUB = (sys.executable, str(Path(__file__).with_name("stub_daemon.py")))
Plug = Callable[..., FakeCards]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def plug(driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plug:
    """Gives the processes that are started from now on a driver and cards."""

    def plugged(**features: int) -> FakeCards:
        cards = FakeCards(tmp_path / "ledger", driver, **features)
        for name in ("LD_LIBRARY_PATH", "CARD_STUB_LEDGER"):
            monkeypatch.setenv(name, cards.environment[name])
        return cards

    return plugged


async def ports_seen() -> set[tuple[str, int]]:
    """Card and port of what the daemon's own collector finds."""
    world = World("n1", Path("/"), ManualClock(), cast("httpx.AsyncClient", None), FakeCheckpoints(), FakeInbox())
    collector = GpuNvml(Config(deadline=20.0), world)
    try:
        samples = [each for each in await collector.gather(1.8e9) if isinstance(each, Sample)]
    finally:
        collector.close()
    found = (sample.labels for sample in samples if sample.metric == "hw_gpu_process_port")
    return {(labels.get("gpu"), int(labels.get("port"))) for labels in found}


def refusal(deadline_s: float = 25.0) -> str:
    with pytest.raises(NoCard) as refused:
        asyncio.run(usable_cards(3, deadline_s))
    return str(refused.value)


def test_idle_cards_are_found_whatever_order_cuda_counts_them_in(plug: Plug):
    """CUDA's device 0 is its fastest; NVML's is the first on the bus. A mix-up would fill another card."""
    cards = plug(cards=3)
    cards.take(1, 20_000, os.getpid())

    found = asyncio.run(usable_cards(3))

    assert [(gpu.index, gpu.name, gpu.free_mib, gpu.total_mib) for gpu in found] == [
        (0, "Fake Card", 24_176.0, 24_576.0), (2, "Fake Card", 24_176.0, 24_576.0),
    ]  # fmt: skip
    assert {pid for pid, _, _ in cards.held()} == {os.getpid()}


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ({"integrated": 1}, "GPU 0 cannot be used: its memory is the host's"),
        ({"exclusive": 1}, "GPU 0 cannot be used: it admits one process at a time only"),
        ({"total_mib": 300}, "GPU 0 cannot be used: not enough free memory"),
        ({"cards": 0}, "no NVIDIA GPU answers here"),
    ],
)
def test_a_card_that_would_do_harm_or_cannot_do_it_is_refused(plug: Plug, features: dict[str, int], reason: str):
    """Filling memory that is the host's would take the machine down."""
    plug(**features)

    assert refusal() == reason


def test_a_driver_that_hangs_is_given_up_and_its_caller_is_killed(plug: Plug):
    """Calls of a sick driver never return; the demo must start all the same, with a simulation."""
    plug().hang()

    assert refusal(deadline_s=2.0) == "the NVIDIA driver does not answer"


def test_without_a_driver_the_simulation_says_so(tmp_path: Path, driver: Path, monkeypatch: pytest.MonkeyPatch):
    """Nobody should take a simulated GPU for theirs."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver))
    monkeypatch.setenv("CARD_STUB_LEDGER", "")

    async def play():
        processes = Processes(tmp_path)
        try:
            return await find_cards(2, tmp_path / "s", processes)
        finally:
            await processes.stop()

    cards = asyncio.run(play())

    assert isinstance(cards, SimulatedCards)
    assert cards.told.startswith("simulated, one for each server (no NVIDIA driver here: ")


def test_a_filled_card_refuses_its_servers_and_recovers(plug: Plug, tmp_path: Path):
    """The whole fault without the daemon: 503s, the line of the log with real sizes, and back."""
    cards = plug(cards=2)

    async def play():
        async with open_theatre(tmp_path, 1, STUB) as theatre:
            await asyncio.sleep(2.0)
            held, seen, healthy = cards.held(), await ports_seen(), await theatre.stats()
            seat = theatre.replicas[1].seat
            notebook = await theatre.processes.actor("notebook", "notebook", *seat.arguments, "--over", "1")
            await asyncio.sleep(4.0)
            await theatre.processes.end(notebook)
            await asyncio.sleep(1.0)
            hurt = await theatre.stats()
            await asyncio.sleep(2.0)
            return theatre, held, seen, healthy["answers"], hurt["answers"], (await theatre.stats())["answers"]

    theatre, held, seen, healthy, hurt, at_last = asyncio.run(play())

    seats = [(replica.process.pid, replica.seat) for replica in theatre.replicas]
    largest = {pid: (card, max(size for p, _, size in held if p == pid)) for pid, card, _ in held}
    assert largest == {pid: (seat.gpu, -(-round(seat.held_mib) // 2) * 2 * MIB) for pid, seat in seats}
    assert {(str(r.seat.gpu), r.client.port) for r in theatre.replicas} <= seen
    assert set(healthy) == {"200"}
    assert hurt["503"] > 0
    assert at_last["503"] == hurt["503"]
    assert at_last["200"] > hurt["200"]
    line = re.search(
        r"torch\.OutOfMemoryError: CUDA out of memory\. Tried to allocate (\S+) MiB\. GPU 1 has a total capacity of "
        r"24\.00 GiB of which (\S+) MiB is free\. .* this process has (\S+) GiB memory in use",
        theatre.replicas[1].log.read_text(),
    )
    assert line is not None
    assert float(line[2]) < float(line[1])
    assert float(line[3]) * 1024 == pytest.approx(theatre.replicas[1].seat.held_mib, rel=0.05)
    assert "OutOfMemory" not in theatre.replicas[0].log.read_text()
    assert cards.held() == []


def test_the_card_is_not_filled_when_somebody_else_came(plug: Plug, tmp_path: Path):
    """Between the look at the start and the fault lies a minute; a colleague's job may have begun."""
    cards = plug()

    async def play():
        async with open_theatre(tmp_path, 1, STUB) as theatre:
            await theatre.cards.check_alone(0)
            cards.take(0, 100, os.getpid())
            with pytest.raises(ChildError, match="another process came to GPU 0"):
                await theatre.cards.check_alone(0)

    asyncio.run(play())


def test_the_daemon_finds_them_by_itself(plug: Plug, tmp_path: Path):
    """It is told no card of any server: it must see them as it would anybody's."""
    plug()

    async def play():
        async with open_theatre(tmp_path, 1, STUB):
            return (tmp_path / "aiops.yaml").read_text()

    settings = asyncio.run(play())

    assert "gpu_nvml:\n    enabled: true" in settings
    assert "gpu:" not in settings


def test_a_killed_server_gives_its_memory_back(plug: Plug):
    """No path of ending the demo may leave memory taken, not even SIGKILL."""
    cards = plug()
    code = (
        "import asyncio, sys; from aiops.demo.card import open_card\n"
        "async def main():\n"
        " card = await open_card(sys.argv[1], 0); await card.alloc(5000.0); print(flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    uuid = asyncio.run(usable_cards(1))[0].uuid
    with subprocess.Popen([sys.executable, "-c", code, f"cuda:{uuid}"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        taken = sum(size for _, _, size in cards.held())
        process.kill()

    assert taken == 5_400 * MIB
    assert cards.held() == []
