"""
What reading a metrics page costs: ``python bench/exposition.py``.

The page has the families, labels and bucket edges of vLLM 0.33 with two engines and some 840 samples, made here with
prometheus_client; from one reading to the next its numbers move as those of a busy server do. Timed is the way from
bytes to the wanted samples, CPU of the thread, in turns with prometheus_client's parser on the same bytes, which stops at its
families. Writes bench/results/exposition.json.
"""

from __future__ import annotations

import argparse
import asyncio
import http.server
import importlib.metadata
import random
import threading
import time
from collections.abc import Callable, Sequence

import httpx
import machine
import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from aiops.collect.engines import dialects
from aiops.collect.fetch import fetch_page
from aiops.collect.server_page import server

MODEL = "deepseek-ai/DeepSeek-V3"
ENGINES = ("0", "1")
GAUGES = {
    "num_requests_running": (), "num_requests_waiting": (), "kv_cache_usage_perc": (),
    "num_requests_waiting_by_reason": ("reason", "capacity", "deferred"),
    "engine_sleep_state": ("sleep_state", "awake", "weights_offloaded", "discard_all"),
}  # fmt: skip
COUNTERS = {
    **dict.fromkeys((
        "prefix_cache_queries", "prefix_cache_hits", "external_prefix_cache_queries", "external_prefix_cache_hits",
        "mm_cache_queries", "mm_cache_hits", "num_preemptions", "prompt_tokens", "prompt_tokens_cached", "generation_tokens",
    ), ()),
    "prompt_tokens_by_source": ("source", "local_compute", "local_cache_hit", "external_kv_transfer"),
    "prompt_tokens_cached_by_source": ("source", "gpu", "cpu", "disk", "remote", "peer"),
    "request_success": ("finished_reason", "stop", "length", "abort", "error", "repetition"),
    "admission_rejections": ("reason", "max_num_queued_reqs"),
}  # fmt: skip
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5)
SECONDS = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
FIRST = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
    160,
    640,
    2560,
)
BETWEEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
HISTOGRAMS = {
    **dict.fromkeys(("request_prompt_tokens", "request_generation_tokens", "request_max_num_generation_tokens",
                     "request_params_max_tokens", "request_prefill_kv_computed_tokens"), TOKENS),
    "iteration_tokens_total": (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384),
    "request_params_n": (1, 2, 5, 10, 20),
    "request_num_preemptions": (0, 1, 2, 3, 5, 10, 20),
    "time_to_first_token_seconds": FIRST,
    "inter_token_latency_seconds": BETWEEN,
    "request_time_per_output_token_seconds": BETWEEN,
    **dict.fromkeys(("e2e_request_latency_seconds", "request_queue_time_seconds", "request_inference_time_seconds",
                     "request_prefill_time_seconds", "request_decode_time_seconds"), SECONDS),
}  # fmt: skip


def children(kind, name: str, label: Sequence[str], registry: CollectorRegistry, **more) -> list:
    """A family with a child for each engine and label value."""
    names = ["engine", "model_name", *label[:1]]
    family = kind(
        f"vllm:{name}", f"What {name.replace('_', ' ')} means, in a sentence.", names, registry=registry, **more
    )
    return [family.labels(engine, MODEL, *value) for engine in ENGINES for value in ([[v] for v in label[1:]] or [[]])]


class Server:
    """A busy server's registry."""

    def __init__(self) -> None:
        self.random = random.Random(7)
        self.registry = CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        prometheus_client.GCCollector(registry=self.registry)
        prometheus_client.PlatformCollector(registry=self.registry)
        self.gauges = [c for name, label in GAUGES.items() for c in children(Gauge, name, label, self.registry)]
        self.counters = [c for name, label in COUNTERS.items() for c in children(Counter, name, label, self.registry)]
        self.histograms = [
            (child, edges)
            for name, edges in HISTOGRAMS.items()
            for child in children(Histogram, name, (), self.registry, buckets=edges)
        ]
        web = Histogram("http_request_duration_highr_seconds", "x", registry=self.registry, buckets=SECONDS)
        self.histograms.append((web, SECONDS))

    def move(self, amount: int = 20) -> bytes:
        """The page after some more requests."""
        for gauge in self.gauges:
            gauge.set(self.random.randrange(100))
        for counter in self.counters:
            counter.inc(self.random.randrange(1_000))
        for histogram, edges in self.histograms:
            for _ in range(amount):
                histogram.observe(self.random.choice(edges) * self.random.random())
        return generate_latest(self.registry, escaping="allow-utf-8")


def taken(work: Callable[[bytes], object], pages: Sequence[bytes]) -> list[float]:
    """CPU milliseconds for each of *pages*."""
    costs = []
    for page in pages:
        started_s = time.thread_time()
        work(page)
        costs.append((time.thread_time() - started_s) * 1e3)
    return costs


def fetched(page: bytes, rounds: int) -> list[float]:
    """CPU milliseconds of asking for the page on loopback and taking it in; the server has a thread of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_args: object) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()

    async def scene() -> list[float]:
        costs = []
        async with httpx.AsyncClient(trust_env=False) as client:
            for _ in range(rounds):
                started_s = time.thread_time()
                await fetch_page(client, f"http://127.0.0.1:{web.server_port}/metrics", deadline_s=5.0)
                costs.append((time.thread_time() - started_s) * 1e3)
        return costs

    try:
        return asyncio.run(scene())
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    busy = Server()
    busy.move(200)
    pages = [busy.move() for _ in range(rounds)]
    dialect = dialects().recognise(pages[0])
    assert dialect is not None
    known = server(dialect, "n1", "127.0.0.1:8000")
    known.read(pages[0], 0.0)
    clock = iter(range(1, 1_000_000))
    ways: dict[str, Callable[[bytes], object]] = {
        "again": lambda page: known.read(page, float(next(clock))),
        "first": lambda page: server(dialect, "n1", "127.0.0.1:8000").read(page, 0.0),
        "prometheus_client": lambda page: list(text_string_to_metric_families(page.decode())),
    }
    costs: dict[str, list[float]] = {way: [] for way in ways}
    for page in pages:
        for way, work in ways.items():
            costs[way] += taken(work, [page])
    grown = server(dialect, "n1", "127.0.0.1:8000")
    costs["grown"] = taken(
        lambda page: grown.read(page, float(next(clock))),
        [page + b"other_total 1\n" * number for number, page in enumerate(pages)],
    )[1:]
    costs["fetch"] = fetched(pages[0], rounds)[1:]
    medians = {way: machine.quantile(numbers, 0.5) for way, numbers in costs.items()}
    result = {
        "page": {
            "bytes": len(pages[0]),
            "samples": sum(1 for line in pages[0].split(b"\n") if line and not line.startswith(b"#")),
            "wanted_lines": sum(map(len, dialect.parser.parse(pages[0]).readings.values())),
            "samples_out": len(known.read(pages[-1], 1e6)),
        },
        "milliseconds": {
            way: {"median": round(medians[way], 3), "p95": round(machine.quantile(numbers, 0.95), 3)}
            for way, numbers in costs.items()
        },
        "ratio": round(medians["prometheus_client"] / medians["again"], 1),
        "goal_ms": 0.5,
        "versions": {"prometheus_client": importlib.metadata.version("prometheus-client")},
    }
    print(machine.write("exposition", result).read_text())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
