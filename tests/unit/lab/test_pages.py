"""The lab's metric pages: the daemon takes them for vLLM's and SGLang's, and SGLang's stands still while it hangs."""

import pytest

from aiops.collect.engines import dialects
from aiops.demo.kv import Batcher
from tests.lab.pages import LabRequest, open_page


class NoPool:
    used = idle = limit = pending = 0


def batcher() -> Batcher:
    return Batcher(blocks=100, block_size=16, max_running=8, max_waiting=8)


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
@pytest.mark.parametrize("split", [True, False])
def test_the_daemon_knows_whose_page_it_is(dialect, split):
    page = open_page(dialect, "m", batcher(), NoPool(), split=split)

    found = dialects().recognise(page.page())

    assert found is not None
    assert found.name == dialect


def value(page, name: str) -> float:
    lines = [line for line in page.page().decode().splitlines() if line.startswith(f"{name}{{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_sglang_shows_what_its_scheduler_last_noted():
    requests = batcher()
    page = open_page("sglang", "m", requests, NoPool(), split=False)
    requests.offer(LabRequest("a", 40, 10, 0.0))
    page.generation_tokens.inc()
    before = value(page, "sglang:num_queue_reqs"), value(page, "sglang:realtime_tokens_total")

    page.noted(prefill=False, throughput=120.0)

    assert before == (0.0, 0.0)
    assert value(page, "sglang:num_queue_reqs") == 1.0
    assert value(page, "sglang:realtime_tokens_total") == 1.0
    assert value(page, "sglang:gen_throughput") == 120.0


def test_requests_that_wait_for_a_transfer_wait_and_are_told_apart_in_vllm():
    requests = batcher()
    page = open_page("vllm", "m", requests, NoPool(), split=True)
    page.deferred = lambda: 3
    requests.offer(LabRequest("a", 40, 10, 0.0))
    page.stepped()
    text = page.page().decode()

    assert value(page, "vllm:num_requests_waiting") == 4.0
    assert 'reason="deferred"} 3.0' in text


def test_vllm_shows_the_last_step_until_there_is_nothing_to_do():
    requests = batcher()
    page = open_page("vllm", "m", requests, NoPool(), split=False)
    request = LabRequest("a", 40, 10, 0.0)
    requests.offer(request)
    hanging = value(page, "vllm:num_requests_waiting")
    page.stepped()
    shown = value(page, "vllm:num_requests_waiting")
    requests.remove(request)

    assert (hanging, shown, value(page, "vllm:num_requests_waiting")) == (0.0, 1.0, 0.0)


def test_token_counters_of_sglang_move_when_a_request_ends():
    page = open_page("sglang", "m", batcher(), NoPool(), split=False)
    request = LabRequest("a", 40, 10, 0.0, generated=10, cached=16, started_s=0.5, first_token_s=0.6)

    page.done(request, 2.0)

    assert value(page, "sglang:prompt_tokens_total") == 40.0
    assert value(page, "sglang:generation_tokens_total") == 10.0
    assert value(page, "sglang:e2e_request_latency_seconds_sum") == 2.0
