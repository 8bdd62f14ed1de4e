"""Servers, gateway and users as processes for a few seconds: real requests, valid lines, vLLM's names."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from aiops.demo.processes import Processes
from aiops.demo.theatre import open_theatre
from aiops.errors import ChildError

STUB = (sys.executable, str(Path(__file__).with_name("stub_daemon.py")))
WANTED = (
    "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:cache_config_info",
    "vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:num_preemptions_total",
    "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total", "vllm:admission_rejections_total",
    "vllm:request_success_total", "vllm:time_to_first_token_seconds_sum", "vllm:inter_token_latency_seconds_sum",
    "vllm:e2e_request_latency_seconds_sum", "vllm:request_queue_time_seconds_sum", "process_start_time_seconds",
    "db_client_connection_count", "db_client_connection_max", "db_client_connection_pending_requests",
    "db_client_connection_timeouts_total",
)  # fmt: skip


def test_five_seconds_of_traffic_are_served_logged_and_measured(tmp_path: Path):
    """Everything the daemon will read must be there and mean what it says."""

    async def play():
        async with open_theatre(tmp_path, 1, STUB) as theatre:
            await asyncio.sleep(4.0)
            stats = await theatre.stats()
            replica = theatre.replicas[0]
            page = (await (await replica.client.send("GET", "/metrics")).read()).decode()
            await theatre.announce("deploy", "other service", service="other")
            return stats, page, replica.log.read_text()

    stats, page, log = asyncio.run(play())
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]

    assert set(stats["answers"]) == {"200"}
    assert stats["first_503"] is None
    assert len({line["ua"] for line in lines}) == 3
    assert {line["st"] for line in lines} == {200}
    assert all(0 < float(line["uht"]) <= float(line["urt"]) <= line["rt"] + 0.001 for line in lines)
    assert [name for name in WANTED if f"\n{name}" not in page] == []
    assert 'vllm:num_requests_running{engine="0",model_name="demo-7b"}' in page
    assert "Starting server" in log


def test_an_actor_that_cannot_start_is_reported_with_its_last_words(tmp_path: Path):
    """A demo that fails must say why on the spot."""

    async def play():
        processes = Processes(tmp_path)
        try:
            with pytest.raises(ChildError, match="required: --socket"):
                await processes.actor("card", "gpu")
        finally:
            await processes.stop()

    asyncio.run(play())
