"""
A model server's /metrics page as vLLM and as SGLang show it: names, types, labels and bucket edges of recent versions.

The two differ in what they can tell. vLLM's gauges are those of its last step, SGLang's are what its scheduler noted when
it last logged a batch: both stand still while a step hangs. SGLang's token counters move when a request ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from aiops.demo.kv import Batcher
from aiops.demo.kv import Sequence as Request
from aiops.demo.server_metrics import FINISHED, Pool, ServerMetrics, pool_metrics

_TIME_EDGES = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
               960.0, 1920.0, 7680.0)  # fmt: skip
_TOKEN_EDGES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)
_NIXL_EDGES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 5.0)
_SGLANG_TTFT = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0)
_SGLANG_E2E = (*_SGLANG_TTFT, 600.0, 1200.0, 1800.0, 2400.0)
_SGLANG_ITL = (0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6,
               0.8, 1.0, 2.0, 4.0, 6.0, 8.0)  # fmt: skip
_SGLANG_QUEUE = (0.0, 0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0,
                 50.0, 60.0, 70.0, 80.0, 90.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0)  # fmt: skip
_SGLANG_MS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0)


@dataclass(slots=True, eq=False)
class LabRequest(Request):
    """A request that also knows when it left the queue."""

    started_s: float | None = None


class Page(Protocol):
    """What the engine and the HTTP face count, beyond the demo's `ServerMetrics`."""

    registry: CollectorRegistry
    deferred: Callable[[], int]
    """Requests that wait for a transfer."""
    pool_timeouts: Any

    def page(self) -> bytes:
        """The page."""
        ...

    def done(self, request: LabRequest, now_s: float) -> None:
        """*request* has all its tokens."""
        ...

    def answered(self, path: str, status: int) -> None:
        """One HTTP answer."""
        ...

    def stepped(self) -> None:
        """The engine did a step."""
        ...

    def noted(self, *, prefill: bool, throughput: float) -> None:
        """The scheduler logged a batch."""
        ...

    def transferred(self, seconds: float, size: int) -> None:
        """Blocks came from the other engine."""
        ...

    def transfer_failed(self, stage: str) -> None:
        """They did not: ``bootstrap`` when it was not reached, ``transfer`` when it broke."""
        ...


class _LastStep:
    """
    A scheduler as its engine last told of it: after a step, or when there was nothing to do.

    Args:
        batcher: The scheduler.
    """

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self.blocks, self.block_size = batcher.blocks, batcher.block_size
        self.note()

    def note(self) -> None:
        """A step is done."""
        batcher = self._batcher
        self._running, self._waiting, self._usage = tuple(batcher.running), tuple(batcher.waiting), batcher.usage

    @property
    def running(self) -> Sequence[Request]:
        """Requests in the batch."""
        return self._now()._running

    @property
    def waiting(self) -> Sequence[Request]:
        """Requests in the queue."""
        return self._now()._waiting

    @property
    def usage(self) -> float:
        """Share of KV blocks in use, 0 to 1."""
        return self._now()._usage

    def _now(self) -> _LastStep:
        if not self._batcher.running and not self._batcher.waiting:
            self.note()
        return self


class VllmPage(ServerMetrics):
    """
    vLLM's page.

    Args:
        model: The model's name.
        batcher: Read at scrape time.
        pool: Read at scrape time.
        split: Whether blocks come from another engine.
    """

    def __init__(self, model: str, batcher: Batcher, pool: Pool, *, split: bool) -> None:
        self.deferred: Callable[[], int] = lambda: 0
        self._last = _LastStep(batcher)
        super().__init__(model, self._last, pool)  # the same face
        by_reason = Gauge("vllm:num_requests_waiting_by_reason", "Number of waiting requests by reason.",
                          ["model_name", "engine", "reason"], registry=self.registry)  # fmt: skip
        by_reason.labels(*self._labels, "capacity").set_function(lambda: len(self._last.waiting))
        by_reason.labels(*self._labels, "deferred").set_function(self._deferred_now)
        state = Gauge("vllm:engine_sleep_state", "Engine sleep state.", ["model_name", "engine", "sleep_state"],
                      registry=self.registry)  # fmt: skip
        for name, value in (("awake", 1.0), ("weights_offloaded", 0.0), ("discard_all", 0.0)):
            state.labels(*self._labels, name).set(value)
        self._cached = self._counter("prompt_tokens_cached", "Number of cached prompt tokens (local + external).")
        self._prefill = self._histogram("request_prefill_time_seconds", "time spent in PREFILL phase", _TIME_EDGES)
        self._decode = self._histogram("request_decode_time_seconds", "time spent in DECODE phase", _TIME_EDGES)
        self._inference = self._histogram("request_inference_time_seconds", "time in RUNNING phase", _TIME_EDGES)
        self._prompt = self._histogram("request_prompt_tokens", "prefill tokens", _TOKEN_EDGES)
        self._generated = self._histogram("request_generation_tokens", "generation tokens", _TOKEN_EDGES)
        self._http = Counter("http_requests", "Total number of requests by method, status and handler.",
                             ["handler", "method", "status"], registry=self.registry)  # fmt: skip
        self._failed = {}
        if split:
            self._transfers = self._histogram("nixl_xfer_time_seconds", "transfer duration for NIXL KV Cache transfers",
                                              _NIXL_EDGES)  # fmt: skip
            self._bytes = self._histogram("nixl_bytes_transferred", "bytes transferred per NIXL KV Cache transfers",
                                          tuple(2.0 ** (10 + i) for i in range(1, 25, 2)))  # fmt: skip
            failed = self._counter("nixl_num_failed_transfers", "Number of failed NIXL KV Cache transfers.")
            self._failed = {"transfer": failed, "bootstrap": failed}
            self._counter("nixl_num_failed_notifications", "Number of failed NIXL KV Cache notifications.")
            self._counter("nixl_num_kv_expired_reqs", "Number of requests that had their KV expire.")

    def done(self, request: LabRequest, now_s: float) -> None:
        self.finished["length"].inc()
        self.e2e.observe(now_s - request.arrived_s)
        self._cached.inc(request.cached)
        self._prompt.observe(request.prompt_tokens)
        self._generated.observe(request.generated)
        if request.started_s is not None and request.first_token_s is not None:
            self._prefill.observe(request.first_token_s - request.started_s)
            self._decode.observe(now_s - request.first_token_s)
            self._inference.observe(now_s - request.started_s)

    def answered(self, path: str, status: int) -> None:
        self._http.labels(path, "POST", f"{status // 100}xx").inc()

    def stepped(self) -> None:
        self._last.note()

    def noted(self, *, prefill: bool, throughput: float) -> None:
        """Its gauges are those of every step."""

    def transferred(self, seconds: float, size: int) -> None:
        self._transfers.observe(seconds)
        self._bytes.observe(size)

    def transfer_failed(self, stage: str) -> None:
        self._failed[stage].inc()

    def _waiting(self) -> float:
        return len(self._batcher.waiting) + self.deferred()

    def _deferred_now(self) -> float:
        return self.deferred()  # which is set later


class _Rest:
    """Something the other dialect counts and this one does not."""

    def inc(self, amount: float = 1.0) -> None:
        """Forget it."""

    def observe(self, value: float) -> None:
        """Forget it."""


class SglangPage:
    """
    SGLang's page, with --enable-metrics.

    Args:
        model: The model's name.
        batcher: Noted when the scheduler logs a batch.
        pool: Read at scrape time.
        split: Whether blocks come from another engine.
    """

    def __init__(self, model: str, batcher: Batcher, pool: Pool, *, split: bool) -> None:
        self.registry = CollectorRegistry()
        self.deferred: Callable[[], int] = lambda: 0
        self._batcher, self._split = batcher, split
        self._ours = {"model_name": model, "engine_type": "unified"}
        self._ranks = {**self._ours, "tp_rank": "0", "pp_rank": "0", "moe_ep_rank": "0"}
        ProcessCollector(registry=self.registry)
        self._make_gauges()
        self.prefix_hits, self.prefix_queries, self.rejected = _Rest(), _Rest(), _Rest()
        self.preemptions = self._counter("num_retracted_requests", "Total number of retracted requests.", self._ranks)
        streaming = {**self._ours, "is_streaming": "true"}
        self.queued = self._histogram("queue_time_seconds", "queueing time", _SGLANG_QUEUE, self._ranks)
        self.ttft = self._histogram("time_to_first_token_seconds", "time to first token", _SGLANG_TTFT, streaming)
        self.itl = self._histogram("inter_token_latency_seconds", "inter-token latency", _SGLANG_ITL, self._ours)
        self.e2e = self._histogram("e2e_request_latency_seconds", "End-to-end request latency", _SGLANG_E2E, streaming)
        self._stage = self._histogram("per_stage_req_latency_seconds", "each stage's latency", _SGLANG_QUEUE,
                                      {**self._ranks, "stage": "prefill_forward"})  # fmt: skip
        self._prompt = self._counter("prompt_tokens", "Number of prefill tokens processed.", streaming)
        self._generated = self._counter("generation_tokens", "Number of generation tokens processed.", streaming)
        self._cached = self._counter("cached_tokens", "Number of cached prompt tokens.",
                                     {**self._ours, "cache_source": "device"})  # fmt: skip
        self._requests = self._counter("num_requests", "Number of requests processed.", streaming)
        aborted = self._counter("num_aborted_requests", "Number of requests aborted.", self._ours)
        self.finished: dict[str, Any] = {reason: _Rest() for reason in FINISHED} | {"abort": aborted}
        realtime = Counter("sglang:realtime_tokens", "Total number of tokens processed in realtime.",
                           [*self._ranks, "mode"], registry=self.registry)  # fmt: skip
        self.prompt_tokens = _Held(realtime.labels(*self._ranks.values(), "prefill_compute"))
        self.generation_tokens = _Held(realtime.labels(*self._ranks.values(), "decode"))
        self._asked = Counter("sglang:http_requests", "Total number of HTTP requests by endpoint and method",
                              ["endpoint", "method"], registry=self.registry)  # fmt: skip
        self._answers = Counter("sglang:http_responses", "Total number of HTTP responses by endpoint and status code",
                                ["endpoint", "status_code", "method"], registry=self.registry)  # fmt: skip
        self._make_transfers()
        self.pool_timeouts = pool_metrics(self.registry, pool)
        self.noted(prefill=False, throughput=0.0)

    def page(self) -> bytes:
        """The page; colons in names stay colons, as SGLang's page has them."""
        return generate_latest(self.registry, escaping="allow-utf-8")

    def done(self, request: LabRequest, now_s: float) -> None:
        self._requests.inc()
        self.e2e.observe(now_s - request.arrived_s)
        self._prompt.inc(request.prompt_tokens)
        self._cached.inc(request.cached)
        self._generated.inc(request.generated)
        if request.started_s is not None and request.first_token_s is not None:
            self._stage.observe(request.first_token_s - request.started_s)

    def answered(self, path: str, status: int) -> None:
        self._asked.labels(path, "POST").inc()
        self._answers.labels(path, str(status), "POST").inc()

    def stepped(self) -> None:
        """It notes less often."""

    def noted(self, *, prefill: bool, throughput: float) -> None:
        batcher = self._batcher
        used, whole = batcher.used * batcher.block_size, batcher.blocks * batcher.block_size
        values: dict[str, float] = {
            "num_running_reqs": len(batcher.running), "num_queue_reqs": len(batcher.waiting),
            "token_usage": round(batcher.usage, 2), "full_token_usage": round(batcher.usage, 2),
            "num_used_tokens": used, "kv_used_tokens": used, "kv_available_tokens": whole - used,
        }  # fmt: skip
        if self._split:
            values["num_decode_transfer_queue_reqs"] = self.deferred()
        if not prefill:
            values["gen_throughput"] = round(throughput, 2)
        for name, value in values.items():
            self._gauges[name].set(value)
        self.prompt_tokens.give()
        self.generation_tokens.give()

    def transferred(self, seconds: float, size: int) -> None:
        self._transfers.observe(seconds * 1e3)

    def transfer_failed(self, stage: str) -> None:
        self._failed[stage].inc()

    def _make_gauges(self) -> None:
        self._gauges = {
            name: Gauge(f"sglang:{name}", text, list(self._ranks), registry=self.registry).labels(*self._ranks.values())
            for name, text in (
                ("num_running_reqs", "The number of running requests."),
                ("num_queue_reqs", "The number of requests in the waiting queue."),
                ("num_grammar_queue_reqs", "The number of requests in the grammar waiting queue."),
                ("gen_throughput", "The generation throughput (token/s)."),
                ("token_usage", "The token usage."),
                ("full_token_usage", "The token usage for full attention layers."),
                ("num_used_tokens", "The number of used tokens."),
                ("kv_used_tokens", "Number of actively used token slots in the KV cache pool."),
                ("kv_available_tokens", "Number of free token slots in the KV cache pool."),
                ("max_total_num_tokens", "Maximum total number of tokens in the KV cache pool."),
            )
        }
        self._gauges["max_total_num_tokens"].set(self._batcher.blocks * self._batcher.block_size)

    def _make_transfers(self) -> None:
        self._failed: dict[str, Any] = {}
        if not self._split:
            return
        queue = "The number of requests in the decode {} queue."
        for name in ("prealloc", "transfer"):
            gauge = Gauge(f"sglang:num_decode_{name}_queue_reqs", queue.format(name), list(self._ranks),
                          registry=self.registry)  # fmt: skip
            self._gauges[f"num_decode_{name}_queue_reqs"] = gauge.labels(*self._ranks.values())
        self._failed = {
            stage: self._counter(f"num_{stage}_failed_reqs", f"The number of {stage} failed requests.", self._ranks)
            for stage in ("bootstrap", "transfer")
        }
        self._transfers = Histogram("sglang:kv_transfer_latency_ms", "Histogram of KV cache transfer latency in ms.",
                                    list(self._ranks), buckets=_SGLANG_MS, registry=self.registry,
                                    ).labels(*self._ranks.values())  # fmt: skip

    def _counter(self, name: str, text: str, labels: dict[str, str]) -> Counter:
        return Counter(f"sglang:{name}", text, list(labels), registry=self.registry).labels(*labels.values())

    def _histogram(self, name: str, what: str, edges: Sequence[float], labels: dict[str, str]) -> Histogram:
        text = f"Histogram of {what} in seconds"
        made = Histogram(f"sglang:{name}", text, list(labels), buckets=edges, registry=self.registry)
        return made.labels(*labels.values())


class _Held:
    """A counter that is told of what happened when the scheduler logs it."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._amount = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Remember it."""
        self._amount += amount

    def give(self) -> None:
        """Count it."""
        self._counter.inc(self._amount)
        self._amount = 0.0


def open_page(dialect: str, model: str, batcher: Batcher, pool: Pool, *, split: bool) -> Any:
    """The page in the words of *dialect*; both have the face of `ServerMetrics` and of `Page`."""
    kind = VllmPage if dialect == "vllm" else SglangPage
    return kind(model, batcher, pool, split=split)
