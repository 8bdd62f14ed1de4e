"""The alias tables; whole pages stand in tests/cases/collect/inference and gateway."""

from __future__ import annotations

import pytest

from aiops.catalog import CATALOG, MetricKind
from aiops.collect.engines import FACTORS, Combine, Dialect, Source, dialects, gateways

TABLES: tuple[Dialect, ...] = (*dialects().known, dialects().unknown, *gateways().known)


def test_the_table_cites_only_catalogued_metrics_and_their_labels():
    """A typing error in the table would emit a metric that no rule can cite."""
    servers = {"host_name", "instance", "model", "server"}
    assert len(TABLES) == 10
    for dialect in TABLES:
        own = {"host_name", "instance", "gateway"} if dialect in gateways().known else servers
        for source in (row.source for row in dialect.rows):
            assert set(CATALOG[source.metric].labels) == own | set(source.labels) | set(source.fixed)


def test_counters_and_queues_are_added_up_and_shares_are_not():
    """The sum of two KV-cache shares is the bug of a well-known dashboard: 180 % full."""
    for source in (row.source for dialect in TABLES for row in dialect.rows):
        line = CATALOG[source.metric]
        if line.unit in {"ratio", "bool"}:
            assert source.combine is Combine.MAX
        if line.kind is MetricKind.COUNTER:
            assert source.combine is Combine.SUM


def test_a_family_is_read_in_one_unit():
    """Values are converted where they stand: two units for one name would convert twice, or not at all."""
    for dialect in TABLES:
        units: dict[str, set[float]] = {}
        for row in dialect.rows:
            for name in row.names:
                units.setdefault(name, set()).add(FACTORS[row.source.unit])
        assert [name for name, found in units.items() if len(found) > 1] == []


def test_a_unit_that_is_not_in_the_table_is_refused():
    """Milliseconds read as seconds look like an outage."""
    with pytest.raises(ValueError, match="unit: expected one of ms, us"):
        Source("gen_ai_server_info", ("x",), unit="min")


def test_every_engine_tells_the_terms_of_the_load():
    """Arrivals, work, pace and capacity decide which cause is named; what an engine cannot tell is listed here."""
    terms = {
        "requests_running", "requests_waiting", "requests_finished_total", "prompt_tokens_total",
        "generation_tokens_total", "time_per_output_token_seconds_sum", "kv_cache_blocks",
    }  # fmt: skip
    missing = {
        dialect.name: terms - {row.source.metric.removeprefix("gen_ai_server_") for row in dialect.rows}
        for dialect in dialects().known
    }
    assert missing.pop("llamacpp") == {"requests_finished_total", "kv_cache_blocks"}
    assert set(map(frozenset, missing.values())) == {frozenset()}


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (b"vllm:num_requests_running 1\n", "vLLM"),
        (b"vllm_num_requests_waiting 1\n", "vLLM"),
        (b"# TYPE sglang:num_running_reqs gauge\n", "SGLang"),
        (b"x 1\ntrtllm_num_requests_running 1\n", "trtllm-serve"),
        (b"nv_inference_request_success 1\n", "Triton"),
        (b"vllm:generation_tokens_total 1\nnv_inference_request_success 1\n", "Triton"),
        (b"ray_vllm_num_requests_running 1\n", "Ray Serve"),
        (b"tgi_queue_size 1\n", "TGI"),
        (b"llamacpp:requests_processing 1\n", "llama.cpp"),
    ],
)
def test_an_engine_is_recognised_by_its_page(page, title):
    """So that a person reads "vLLM at …" and not "port 8000"."""
    found = dialects().recognise(page)
    assert found is not None
    assert found.title == title


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"go_info 1\n",
        b"# a comment that mentions vllm:num_requests_running\n",
        b'up{job="vllm:"} 1\n',
        b"vllm:num_requests_running 1\nvllm:current_qps 2\n",
    ],
)
def test_a_page_that_only_mentions_an_engine_is_not_its_own(page):
    """A router repeats its servers' metrics: reading it would count every request twice."""
    assert dialects().recognise(page) is None
