"""The simulated card: memory is conserved, load heats, the page speaks dcgm-exporter."""

import asyncio
from pathlib import Path

import pytest

from aiops.cards import CardBook
from aiops.collect.dcgm_page import DcgmPage
from aiops.demo.card import OutOfMemory, Room, open_card, simulated_at
from aiops.demo.gpu import Cards, SimulatedGpu, card_process


def test_memory_given_is_memory_used_until_its_owner_leaves():
    """A driver frees what a process held when it exits; so must the card, or recovery would be a lie."""
    cards = Cards([SimulatedGpu(0, total_mib=1000.0, used_mib=0.0)])

    cards.alloc(1, 0, 300.0)
    second = cards.alloc(2, 0, 500.0)
    refused = cards.alloc(1, 0, 300.0)
    cards.leave(1)
    after_leaving = cards.gpus[0].used_mib
    cards.free(second["id"])
    cards.free(second["id"])

    assert refused == {"ok": False, "free": 200.0, "total": 1000.0, "own": 300.0}
    assert after_leaving == 500.0
    assert cards.gpus[0].used_mib == 0.0


def test_load_draws_power_and_heats_and_is_forgotten_when_nobody_reports():
    """A dead engine's card must cool, not stay busy."""
    gpu = SimulatedGpu(0, share=0.9, reported_s=100.0, warmed_s=100.0)

    busy_w, idle_w = gpu.power_w(101.0), gpu.power_w(103.0)
    cold = gpu.temperature_c
    gpu.warm(101.0)

    assert busy_w > 200 > idle_w
    assert gpu.temperature_c > cold


def test_the_daemon_reads_the_page_as_any_exporters():
    """The demo speaks dcgm-exporter's format, not a private one."""
    page = Cards([SimulatedGpu(0), SimulatedGpu(1)]).page(0.0)

    found = {
        (s.metric, s.labels.get("gpu")): s.value
        for s in DcgmPage("n1", local=True, book=CardBook()).read(page.encode(), 1.0)
    }

    assert found["hw_gpu_up", "1"] == 1.0
    assert found["hw_gpu_memory_usage_bytes", "0"] == pytest.approx(300 * 2**20)
    assert {"hw_gpu_utilization_ratio", "hw_temperature_celsius", "hw_gpu_clock_hertz"} <= {m for m, _ in found}


def test_a_refused_allocation_reads_like_pytorch(tmp_path: Path):
    """The daemon recognises the line in people's logs; the demo must write the same one."""

    async def play():
        async with card_process(1, tmp_path / "s"):
            card = await open_card(simulated_at(tmp_path / "s"), 0)
            assert await card.room() == Room(24_276.0, 24_576.0)
            handle = await card.alloc(20_000)
            with pytest.raises(OutOfMemory, match=r"CUDA out of memory. Tried to allocate 9000.00 MiB. GPU 0 has") as e:
                await card.alloc(9_000)
            await card.free(handle)
            await card.alloc(9_000)
            await card.busy(0.5)
            card.close()
            await asyncio.sleep(0.01)
            return str(e.value)

    assert "this process has 19.53 GiB memory in use" in asyncio.run(play())
