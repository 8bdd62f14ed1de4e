"""A model server's /metrics page under the names vLLM uses, with its labels and bucket edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from aiops.demo.kv import Batcher

# edges as vLLM 0.33's page shows them, so that a quantile is interpolated here as it would be there
_TTFT_EDGES = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
               80.0, 160.0, 640.0, 2560.0)  # fmt: skip
_ITL_EDGES = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_REQUEST_EDGES = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
                  480.0, 960.0, 1920.0, 7680.0)  # fmt: skip
_LABELS = ("model_name", "engine")
FINISHED = ("stop", "length", "abort", "error")


class Pool(Protocol):
    """What is shown of a connection pool."""

    @property
    def used(self) -> int:
        """Connections taken now."""
        ...

    @property
    def idle(self) -> int:
        """Connections open and free."""
        ...

    @property
    def limit(self) -> int:
        """Connections at most."""
        ...

    @property
    def pending(self) -> int:
        """Callers waiting."""
        ...


class ServerMetrics:
    """
    Everything the page shows.

    Args:
        model: The model's name.
        batcher: Read at scrape time.
        pool: Read at scrape time.
    """

    def __init__(self, model: str, batcher: Batcher, pool: Pool) -> None:
        self.registry = CollectorRegistry()
        self._batcher = batcher
        self._labels = (model, "0")
        ProcessCollector(registry=self.registry)
        self._gauge("num_requests_running", "Number of requests in model execution batches.",
                    lambda: len(batcher.running))  # fmt: skip
        self._gauge("num_requests_waiting", "Number of requests waiting to be processed.",
                    self._waiting)  # fmt: skip
        self._gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", lambda: batcher.usage)
        Gauge("vllm:cache_config_info", "Information of the LLMEngine CacheConfig",
              ["engine", "block_size", "num_gpu_blocks"], registry=self.registry,
              ).labels("0", str(batcher.block_size), str(batcher.blocks)).set(1)  # fmt: skip
        self.prompt_tokens = self._counter("prompt_tokens", "Number of prefill tokens processed.")
        self.generation_tokens = self._counter("generation_tokens", "Number of generation tokens processed.")
        self.prefix_queries = self._counter(
            "prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens."
        )
        self.prefix_hits = self._counter("prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.")
        self.preemptions = self._counter("num_preemptions", "Cumulative number of preemption from the engine.")
        success = Counter("vllm:request_success", "Count of successfully processed requests.",
                          [*_LABELS, "finished_reason"], registry=self.registry)  # fmt: skip
        self.finished = {reason: success.labels(*self._labels, reason) for reason in FINISHED}
        self.rejected = Counter(
            "vllm:admission_rejections", "Number of admission attempts rejected by a queue limit, by reason.",
            ["model_name", "reason"], registry=self.registry,
        ).labels(model, "max_num_queued_reqs")  # fmt: skip
        self.ttft = self._histogram("time_to_first_token_seconds", "time to first token", _TTFT_EDGES)
        self.itl = self._histogram("inter_token_latency_seconds", "inter-token latency", _ITL_EDGES)
        self.e2e = self._histogram("e2e_request_latency_seconds", "e2e request latency", _REQUEST_EDGES)
        self.queued = self._histogram("request_queue_time_seconds", "time spent in WAITING phase", _REQUEST_EDGES)
        self.pool_timeouts = pool_metrics(self.registry, pool)

    def page(self) -> bytes:
        """The page; colons in names stay colons, as vLLM's page has them."""
        return generate_latest(self.registry, escaping="allow-utf-8")

    def _gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(f"vllm:{name}", text, _LABELS, registry=self.registry).labels(*self._labels).set_function(read)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"vllm:{name}", text, _LABELS, registry=self.registry).labels(*self._labels)

    def _histogram(self, name: str, what: str, edges: tuple[float, ...]) -> Histogram:
        text = f"Histogram of {what} in seconds."
        return Histogram(f"vllm:{name}", text, _LABELS, buckets=edges, registry=self.registry).labels(*self._labels)

    def _waiting(self) -> float:
        return len(self._batcher.waiting)


def pool_metrics(registry: CollectorRegistry, pool: Pool) -> Counter:
    """Show *pool* in OpenTelemetry's names, in Prometheus spelling; returns the counter of callers that waited in vain."""
    count = Gauge("db_client_connection_count", "Connections of the pool by state.", ["pool", "state"],
                  registry=registry)  # fmt: skip
    count.labels("metadata", "used").set_function(lambda: pool.used)
    count.labels("metadata", "idle").set_function(lambda: pool.idle)
    for name, text, read in (
        ("db_client_connection_max", "Connections the pool may open.", lambda: pool.limit),
        ("db_client_connection_pending_requests", "Callers waiting for a connection.", lambda: pool.pending),
    ):
        Gauge(name, text, ["pool"], registry=registry).labels("metadata").set_function(read)
    return Counter("db_client_connection_timeouts", "Callers that waited in vain.", ["pool"], registry=registry).labels(
        "metadata"
    )
