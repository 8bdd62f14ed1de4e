"""What every collector that reads a page over HTTP survives: each kind of sick server, and its recovery."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from aiops.catalog import CATALOG
from aiops.clock import SystemClock
from aiops.collect import dcgm, gateway, inference, node_exporter
from aiops.collect.runner import Runner
from aiops.model import Observation, Sample
from aiops.ports import AsyncCollector, World
from aiops.selfstat import SelfStat
from tests.pageserver import Answer, hang, page, raw, serving
from tests.worlds import make_world

GOOD = (
    b"vllm:num_requests_running 1\nenvoy_cluster_membership_healthy 2\nnode_load1 0.5\n"
    b'DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-0"} 50\n'
)  # fmt: skip
"""A page on which each of them finds something of its own."""
PROOF = {
    "inference": "gen_ai_server_requests_running",
    "gateway": "http_gateway_upstreams_healthy",
    "node_exporter": "system_cpu_load_average_1m",
    "dcgm": "hw_gpu_utilization_ratio",
}
DEADLINE_S = 0.3


def collector(name: str, url: str, world: World) -> AsyncCollector:
    """The collector *name*, told to read *url* and nothing else."""
    modules: dict[str, tuple[Any, dict[str, Any]]] = {
        "inference": (inference, {"targets": (inference.TargetConfig(url),), "discover": False}),
        "gateway": (gateway, {"urls": (url,), "discover": False}),
        "node_exporter": (node_exporter, {"urls": (url,)}),
        "dcgm": (dcgm, {"urls": (url,)}),
    }
    module, settings = modules[name]
    built: AsyncCollector = module.build(module.Config(deadline=DEADLINE_S, **settings), world)
    return built


async def drip(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.01)


async def drop(writer: asyncio.StreamWriter) -> None:
    """The other side is killed in the middle of its answer."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nvllm:num_requests_running 1\n")
    await writer.drain()
    writer.close()


FLOOD = b"".join(
    b'vllm:request_success_total{finished_reason="%d"} 1\nDCGM_FI_DEV_GPU_UTIL{gpu="%d"} 1\n' % (n, n)
    for n in range(40_000)
)
SICK: dict[str, Answer] = {
    "hangs": hang,
    "drips": drip,
    "is killed": drop,
    "is no HTTP": raw(b"\x00\x01\x02" * 50 + b"\r\n\r\n"),
    "is a login page": page(b"<html>login</html>", content_type="text/html"),
    "is loading": page(b"Loading model", status="503 Service Unavailable"),
    "is empty": page(b""),
    "is random": page(bytes(range(256)) * 500),
    "has values that are none": page(
        GOOD.replace(b" 1\n", b" NaN\n").replace(b" 2\n", b" +Inf\n").replace(b"0.5", b"x")
    ),
    "has negative values": page(GOOD.replace(b" 1\n", b" -1\n").replace(b" 2\n", b" -1e300\n")),
    "has values too large": page(GOOD.replace(b" 1\n", b" 1.7e308\n").replace(b"0.5", b"1.7e308") * 2),
    "is blank in odd ways": page(b"\x0b\n\x0c{\n\x1c 1\n\t{\n \r\n" + GOOD),
    "has digits without end": page(
        GOOD + b'DCGM_EXP_XID_ERRORS_TOTAL{gpu="0",UUID="GPU-0",xid="1' + b"0" * 5_000 + b'"} 1\n'
    ),
    "floods labels": page(FLOOD[: 3 * 2**20]),
    "is endless": page(b"#" * 5_000_000),
    "repeats itself": page(GOOD * 50),
    "has names in quotes": page(b'{"weird.name",l="x"} 1\n{"vllm:num_requests_running",l="}"} 1\n' + GOOD),
}


def rounds(name: str, *answers: Answer) -> tuple[list[Sequence[Observation]], float]:
    """
    What the runner hands on while the server behaves in each way in turn, and the longest round in seconds.

    The runner survives any error of a collector; one that is none of a source's would have stopped the other pages too.
    """
    registry = CollectorRegistry()

    async def scene(executor: ThreadPoolExecutor) -> tuple[list[Sequence[Observation]], float]:
        loop, seen, longest_s = asyncio.get_running_loop(), [], 0.0
        async with serving(hang) as server, httpx.AsyncClient(trust_env=False) as http:
            one = collector(name, server.url, make_world(http=http, clock=SystemClock()))
            runner = Runner(name, one, executor, SelfStat(registry), SystemClock())
            for number, answer in enumerate(answers):
                server.answer = answer
                started_s = loop.time()
                seen.append(list(await runner.run(100.0 * number, hastened=True)))
                longest_s = max(longest_s, loop.time() - started_s)
            if (close := getattr(one, "close", None)) is not None:
                close()
                await asyncio.sleep(0)
        return seen, longest_s

    with ThreadPoolExecutor(1) as executor:
        found = asyncio.run(scene(executor))
    assert registry.get_sample_value("aiops_internal_errors_total", {"where": f"collect {name}"}) is None
    return found


def metrics(observations: Sequence[Observation]) -> list[str]:
    return [seen.metric for seen in observations if isinstance(seen, Sample)]


@pytest.mark.parametrize("sickness", SICK)
@pytest.mark.parametrize("name", PROOF)
def test_a_sick_page_gives_catalogued_numbers_or_none_in_time_and_a_good_one_afterwards_is_read(name, sickness):
    """This is when the daemon is needed: it must not hang, invent, or stay blind."""
    (sick, *_, well), longest_s = rounds(name, SICK[sickness], page(GOOD), page(GOOD))
    samples = [seen for seen in sick if isinstance(seen, Sample)]

    assert {sample.metric for sample in samples} <= CATALOG.keys()
    assert all(math.isfinite(sample.value) for sample in samples)
    assert len(samples) < 2_000
    assert PROOF[name] in metrics(well)
    assert longest_s < DEADLINE_S + 1.5
