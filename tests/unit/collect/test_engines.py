"""The alias table and its arithmetic; whole pages stand in tests/cases/collect/inference."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.catalog import CATALOG, MetricKind
from aiops.collect.engines import Combine, Server, dialects, increase, quantile
from aiops.errors import SourceMalformed

INF = float("inf")


def test_the_table_cites_only_catalogued_metrics_and_their_labels():
    """A typing error in the table would emit a metric that no rule can cite."""
    own = {"host_name", "instance", "model", "server"}
    for dialect in (*dialects().known, dialects().unknown):
        for metric, source, _ in dialect.rows:
            assert set(CATALOG[metric].labels) == own | set(source.labels)


def test_counters_and_queues_are_added_up_and_shares_are_not():
    """The sum of two KV-cache shares is the bug of a well-known dashboard: 180 % full."""
    for dialect in dialects().known:
        for metric, source, _ in dialect.rows:
            metric_line = CATALOG[metric]
            if metric_line.unit == "ratio":
                assert source.combine is Combine.MAX
            if metric_line.kind is MetricKind.COUNTER:
                assert source.combine is Combine.SUM


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (b"vllm:num_requests_running 1\n", "vLLM"),
        (b"vllm_num_requests_waiting 1\n", "vLLM"),
        (b"# TYPE sglang:num_running_reqs gauge\n", "SGLang"),
        (b"x 1\ntrtllm_num_requests_running 1\n", "trtllm-serve"),
        (b"nv_inference_request_success 1\n", "Triton"),
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


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ({}, None),
        ({0.5: 0.0, INF: 0.0}, None),
        ({0.5: 100.0, INF: 100.0}, 0.495),
        ({0.5: 0.0, 1.0: 100.0, INF: 100.0}, 0.995),
        ({0.5: 10.0, 1.0: 20.0, INF: 100.0}, 1.0),
        ({INF: 5.0}, 0.0),
    ],
)
def test_the_p99_is_interpolated_in_the_server_s_own_buckets(buckets, expected):
    """As Prometheus does it, so that our number and their dashboard agree."""
    found = quantile(0.99, buckets)
    assert found == (None if expected is None else pytest.approx(expected))


@given(st.dictionaries(st.floats(0.001, 100.0), st.floats(0.0, 1e6), max_size=12))
def test_a_quantile_of_any_buckets_lies_within_their_edges(counts):
    """Buckets written one after another may even fall; the answer must stay an honest number."""
    found = quantile(0.99, {**counts, INF: max(counts.values(), default=0.0)})
    assert found is None or 0.0 <= found <= max(counts)


def test_a_restart_counts_all_that_is_new():
    """The requests since the restart are what happened since the last reading."""
    assert increase({1.0: 90.0, INF: 100.0}, {1.0: 3.0, INF: 5.0}) == {1.0: 3.0, INF: 5.0}
    assert increase({1.0: 90.0, INF: 100.0}, {1.0: 93.0, INF: 105.0}) == {1.0: 3.0, INF: 5.0}
    assert increase({2.0: 90.0, INF: 100.0}, {1.0: 93.0, INF: 105.0}) == {1.0: 93.0, INF: 105.0}


def test_a_counter_s_zero_is_written_once_and_never_before_the_first_reading():
    """A server watched for the first time may have a long past: its total is not an increase."""
    dialect = dialects().known[0]
    server = Server(dialect, "n1", "h:1")
    base = b'vllm:num_requests_running{model_name="m"} 1\n'
    counter = b'vllm:num_preemptions_total{model_name="m"} 4\n'

    def totals(page: bytes, at_s: float) -> list[tuple[float, float]]:
        return [(s.at_s, s.value) for s in server.read(page, at_s) if s.metric == "gen_ai_server_preemptions_total"]

    assert totals(base, 0.0) == []
    assert totals(base + counter, 5.0) == [(0.0, 0.0), (5.0, 4.0)]
    assert totals(base + counter, 10.0) == [(10.0, 4.0)]
    assert Server(dialect, "n1", "h:2").read(base + counter, 5.0)[-1].value == 4.0


@given(st.lists(st.binary(max_size=120), max_size=8))
def test_any_page_gives_samples_or_the_own_error(lines):
    """Whatever a server writes after a name we want, the collector of all servers goes on."""
    for dialect in (*dialects().known, dialects().unknown):
        server = Server(dialect, "n1", "h:1")
        names = sorted(name for _, _, names in dialect.rows for name in names)
        page = b"".join(name.encode() + line + b"\n" for line in lines for name in names[:40])
        for at_s in (0.0, 5.0):
            try:
                samples = server.read(page, at_s)
            except SourceMalformed:
                continue
            assert {sample.metric for sample in samples} <= set(CATALOG)
            assert all(math.isfinite(sample.value) for sample in samples)


def test_labels_without_end_are_cut_and_their_number_is_bounded():
    """A model name of a megabyte, or a new pool a scrape, must not become our memory."""
    server = Server(dialects().known[0], "n1", "h:1")
    page = b'vllm:num_requests_running{model_name="' + b"m" * 5_000 + b'"} 1\n'
    pools = b"".join(b'db_client_connection_max{pool="p%d"} 1\n' % number for number in range(3_000))
    samples = server.read(page + pools, 0.0)
    assert max(len(sample.labels.get("model")) for sample in samples) == 200
    assert sum(1 for sample in samples if sample.metric == "db_client_connection_max") == 1_024
