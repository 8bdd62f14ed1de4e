"""
A node on which nothing is wrong: replicas with a bounded batch and queue, their cards, a gateway, a host, logs.

An honest little queueing model, a second a step. Arrivals are Poisson at the rate it is given; the gateway spreads them over
the replicas by how full they are; a replica admits as many as its batch and its KV cache hold, the others wait, and who
finds the queue full is refused with 503. Lengths are geometric, so whoever runs finishes in a second with the same chance;
a token takes longer the larger the batch. From that follow counters, times, KV cache, and what the cards do.

What belongs to everyday life: some clients err (4xx), hang up (499) or are over their limit (429); 0.01 to 0.05 % of answers
are 5xx, and a fifth of those fail again when they are tried again; replicas are restarted and deployed one after
another, drained, with now and then one broken answer; host signals have noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from aiops.model import Event, EventKind, Labels, LogRecord, Observation, Sample

SERVICE = "chat"
HOST = "n1"
DRAIN_S, DOWN_S = 45, 75
_FULL_CLOCK = 1.98e9
_LINES = (
    'INFO:     10.0.0.{b}:{n} - "POST /v1/chat/completions HTTP/1.1" 200 OK',
    "INFO 11-24 10:{b:02d}:{c:02d} [async_llm.py:269] Added request cmpl-{n:08x}-{b}.",
    "INFO 11-24 10:{b:02d}:{c:02d} [loggers.py:123] Engine 000: Avg prompt throughput: {n}.{c} tokens/s, Running: {b} reqs, Waiting: 0 reqs, GPU KV cache usage: {b}.{c}%",
    "WARNING 11-24 10:{b:02d}:{c:02d} [protocol.py:71] The following fields were present in the request but ignored: {{'stop_{b}'}}",
)  # fmt: skip


@dataclass(frozen=True)
class Build:
    """What a node is, drawn once."""

    replicas: int
    batch: int
    queue: int
    kv_tokens: float
    prompt: float
    """Mean tokens of a prompt, and of an answer."""
    answer: float
    base_s: float
    """Seconds a token at batch 1, and what each further request adds."""
    added_s: float
    errors: float
    client_errors: float
    gave_up: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Build:
        batch = int(rng.integers(16, 65))
        prompt, answer = float(rng.uniform(200, 2_000)), float(rng.uniform(60, 350))
        return cls(
            replicas=int(rng.integers(2, 4)), batch=batch, queue=batch * 4,
            kv_tokens=batch * (prompt + answer) * float(rng.uniform(0.9, 1.6)), prompt=prompt, answer=answer,
            base_s=float(rng.uniform(0.008, 0.02)), added_s=float(rng.uniform(0.0001, 0.0004)),
            errors=float(rng.uniform(0.0001, 0.0005)), client_errors=float(rng.uniform(0.002, 0.02)),
            gave_up=float(rng.uniform(0.005, 0.03)),
        )  # fmt: skip

    @property
    def capacity(self) -> float:
        """Requests a second that all replicas can finish."""
        full = min(self.batch, self.kv_tokens / (self.prompt + self.answer / 2))
        return self.replicas * full / (self.answer * (self.base_s + self.added_s * full))


class Node:
    """
    The node, a second at a time.

    Args:
        build: What it is.
        rng: Everything random comes from it.
        start_s: Epoch of second 0.
    """

    def __init__(self, build: Build, rng: np.random.Generator, start_s: float) -> None:
        self.build, self._rng, self._start_s = build, rng, start_s
        n = build.replicas
        self.refused = self.answered = 0
        """Of the last second, by full queues; and all answers."""
        self._running, self._waiting = np.zeros(n, int), np.zeros(n, int)
        self._up, self._taking = np.ones(n, bool), np.ones(n, bool)
        self._began_s = np.full(n, start_s - 90_000.0)
        self._sums = {name: np.zeros(n) for name in _COUNTERS}
        self._busy, self._temperature = np.zeros(n), np.full(n, 45.0)
        self._ttft_s, self._token_s = np.full(n, 0.2), np.full(n, build.base_s)
        self._answers: dict[Labels, float] = {}
        self._again = 0
        self._names = [f"127.0.0.1:{8001 + i}" for i in range(n)]
        self._version = 1
        self._maintenance: list[tuple[int, int, bool]] = []
        self._walk = 0.0
        self._fixed = _Series(self._names)
        for name in self._names:
            self._counts("ok", name)
        self._counts("4xx", self._names[0])
        self._counts("499", self._names[0])

    def plan(self, seconds: int) -> None:
        """A rollout every two days, a restart every three, at random times: second, replica, whether it is the first."""
        for every_s, rollout in ((2 * 86_400, True), (3 * 86_400, False)):
            for _ in range(self._rng.poisson(seconds / every_s)):
                at = int(self._rng.uniform(600, max(seconds - 1_200, 601)))
                whom = range(self.build.replicas) if rollout else [int(self._rng.integers(self.build.replicas))]
                self._maintenance += [(at + 300 * i, which, rollout and i == 0) for i, which in enumerate(whom)]

    def step(self, second: int, rate: float) -> list[list[Observation]]:
        """What each collector sees in *second*, with *rate* first attempts a second."""
        now_s = self._start_s + second
        events = list(self._maintain(second, now_s))
        arrived = int(self._rng.poisson(rate)) + self._again
        self._again = 0
        self._serve(arrived)
        seen: list[list[Observation]] = [self._gateway(now_s, arrived), list(self._logs(now_s))]
        if second % 5 == 0:
            self._cards()
            seen += [self._pages(now_s), self._card_samples(now_s)]
        if second % 15 == 0:
            seen.append(self._host(now_s))
        if events:
            seen.append(events)
        return seen

    # --- life -------------------------------------------------------------------------------------------------------

    def _maintain(self, second: int, now_s: float) -> Iterator[Observation]:
        for at, which, tells in self._maintenance:
            if second == at:
                if tells:
                    self._version += 1
                    labels = Labels.of(service=SERVICE, version=f"v{self._version}")
                    yield Event(EventKind.CHANGE, "deploy", now_s, labels)
                self._taking[which] = False
            elif second == at + DRAIN_S:
                self._up[which] = False
                lost = int(self._running[which] + self._waiting[which] > 0)  # the last one is cut off
                self._running[which] = self._waiting[which] = 0
                self._count("5xx", self._names[which], lost)
            elif second == at + DRAIN_S + DOWN_S:
                self._up[which] = self._taking[which] = True
                self._began_s[which] = now_s
                for total in self._sums.values():
                    total[which] = 0.0

    def _serve(self, arrived: int) -> None:
        build, rng = self.build, self._rng
        weights = np.where(self._taking, 1.0 / (1.0 + self._running + self._waiting), 0.0)
        whole = weights.sum()
        came = rng.multinomial(arrived, weights / whole) if whole else np.zeros(build.replicas, int)
        self._token_s = build.base_s + build.added_s * self._running
        done = rng.binomial(self._running, -np.expm1(-1.0 / (build.answer * self._token_s)))
        self._running -= done
        self._waiting += came
        refused = np.maximum(self._waiting - build.queue, 0)
        self._waiting -= refused
        room = np.minimum(build.batch, int(build.kv_tokens / (build.prompt + build.answer / 2))) - self._running
        admitted = np.where(self._up, np.minimum(self._waiting, np.maximum(room, 0)), 0)
        self._waiting -= admitted
        self._running += admitted
        made = self._running / self._token_s * rng.normal(1.0, 0.02, build.replicas)
        wait_s = self._waiting / np.maximum(admitted, 1.0)
        self._ttft_s = 0.05 + build.prompt / 20_000 + wait_s
        for name, added in (
            ("requests_finished_total", done), ("requests_rejected_total", refused),
            ("prompt_tokens_total", admitted * build.prompt * rng.normal(1.0, 0.05)), ("generation_tokens_total", made),
            ("prompt_tokens_cached_total", admitted * build.prompt * 0.2),
            ("time_per_output_token_seconds_count", made), ("time_per_output_token_seconds_sum", made * self._token_s),
            ("time_to_first_token_seconds_count", admitted), ("time_to_first_token_seconds_sum", admitted * self._ttft_s),
        ):  # fmt: skip
            self._sums[name] += np.where(self._up, np.maximum(added, 0.0), 0.0)
        self._busy += 0.2 * (np.minimum(self._running / build.batch * 1.5, 1.0) - self._busy)
        self._answer(done, refused)

    def _answer(self, done: np.ndarray, refused: np.ndarray) -> None:
        """How those who are done with were answered."""
        build, rng = self.build, self._rng
        self.refused, self.answered = int(refused.sum()), int(done.sum() + refused.sum())
        for name, count, turned_away in zip(self._names, done.tolist(), refused.tolist(), strict=True):
            if turned_away:
                self._count("503", name, turned_away)
            if not count:
                continue
            gave_up, erred, failed = rng.multinomial(
                count, [build.gave_up, build.client_errors, build.errors, 1 - build.gave_up - build.client_errors - build.errors]
            ).tolist()[:3]  # fmt: skip
            self._count("ok", name, count - gave_up - erred - failed)
            for outcome, added in (("499", gave_up), ("4xx", erred), ("5xx", failed)):
                if added:
                    self._count(outcome, name, added)
            for _ in range(failed):  # tried again; of those that fail again some are given up for good
                extra = min(int(rng.geometric(0.8)) - 1, 2)
                if extra:
                    self._count("5xx", name, extra)
        if rng.random() < 0.001:
            self._count("429", "none", 1)

    def _counts(self, outcome: str, upstream: str) -> Labels:
        by = "gateway" if upstream == "none" else "upstream"
        labels = Labels.of(host_name=HOST, service=SERVICE, outcome=outcome, answered_by=by, upstream=upstream)
        self._answers.setdefault(labels, 0.0)
        return labels

    def _count(self, outcome: str, upstream: str, count: int) -> None:
        if count:
            self._answers[self._counts(outcome, upstream)] += count

    # --- what collectors see ----------------------------------------------------------------------------------------

    def _gateway(self, now_s: float, arrived: int) -> list[Observation]:
        fixed = self._fixed
        seen: list[Observation] = [Sample("http_server_arrival_rate", fixed.service, now_s, float(arrived))]
        for labels, total in self._answers.items():
            if labels not in fixed.begun:
                fixed.begun.add(labels)  # who makes a series writes its zero first
                seen.append(Sample("http_server_requests_total", labels, now_s - 1.0, 0.0))
            seen.append(Sample("http_server_requests_total", labels, now_s, total))
        if int(now_s) % 5 == 0:
            seen.append(Sample("http_server_log_up", fixed.service, now_s, 1.0))
            took = self._ttft_s + self.build.answer * self._token_s
            for i, replica in enumerate(fixed.replicas):
                noise = float(self._rng.lognormal(0.0, 0.05))
                seen.append(
                    Sample("http_server_time_to_first_byte_seconds", replica.median, now_s, self._ttft_s[i] * noise)
                )
                seen.append(Sample("http_server_request_duration_seconds", replica.tail, now_s, took[i] * 4 * noise))
        return seen  # fmt: skip

    def _logs(self, now_s: float) -> Iterator[Observation]:
        fixed, second = self._fixed, int(now_s)
        if second % 5 == 0:
            for replica in fixed.replicas:
                yield Sample("log_source_up", replica.log, now_s, 1.0)
        which = second // 3 % len(fixed.replicas)
        if second % 3 == 0 and self._up[which]:
            drawn = int(self._rng.integers(0, 1 << 30))
            kind = 3 if drawn % 97 == 0 else drawn % 3
            text = _LINES[kind].format(n=10_000 + drawn % 50_000, b=drawn % 60, c=drawn // 60 % 60)
            yield LogRecord(now_s, fixed.replicas[which].writer, text)

    def _pages(self, now_s: float) -> list[Observation]:
        build, seen = self.build, []
        kv = np.minimum(self._running * (build.prompt + build.answer / 2) / build.kv_tokens, 1.0)
        for i, replica in enumerate(self._fixed.replicas):
            up = bool(self._up[i])
            values = {"up": float(up), "ready": float(up), "health_up": float(up)}
            if up:
                values |= {
                    "requests_running": float(self._running[i]), "requests_waiting": float(self._waiting[i]),
                    "kv_cache_utilization_ratio": float(kv[i]), "kv_cache_blocks": build.kv_tokens // 16,
                    "preemptions_total": 0.0, "no_progress_seconds": 0.0, "loading": 0.0,
                    "health_seconds": 0.004 * float(self._rng.lognormal(0, 0.3)),
                    "start_time_seconds": float(self._began_s[i]),
                } | {name: math.floor(total[i]) if name.endswith("total") else float(total[i]) for name, total in self._sums.items()}  # fmt: skip
            seen += [Sample(f"gen_ai_server_{name}", replica.server, now_s, float(v)) for name, v in values.items()]
            seen.append(Sample("gen_ai_server_gpu", replica.runs_on, now_s, 1.0))
        return seen

    def _cards(self) -> None:
        target = 38.0 + 40.0 * self._busy
        self._temperature += (target - self._temperature) * 0.05

    def _card_samples(self, now_s: float) -> list[Observation]:
        noise = self._rng.normal(0.0, 1.0, (3, self.build.replicas))
        seen: list[Observation] = []
        for i, replica in enumerate(self._fixed.replicas):
            busy = min(max(float(self._busy[i] + 0.03 * noise[0, i]), 0.0), 1.0)
            for name, value in (
                ("hw_gpu_up", 1.0), ("hw_gpu_utilization_ratio", busy),
                ("hw_gpu_memory_utilization_ratio", 0.9 if self._up[i] else 0.05),
                ("hw_gpu_clock_hertz", _FULL_CLOCK - 1.5e7 * int(3 * busy)),
                ("hw_temperature_celsius", round(float(self._temperature[i] + 0.5 * noise[1, i]))),
                ("hw_temperature_limit_celsius", 90.0), ("hw_power_limit_watts", 700.0),
                ("hw_power_watts", 90.0 + 520.0 * busy + 8.0 * float(noise[2, i])),
            ):  # fmt: skip
                seen.append(Sample(name, replica.card, now_s, float(value)))
            seen.append(Sample("hw_gpu_throttled_ratio", replica.heat, now_s, 0.0))
        return seen

    def _host(self, now_s: float) -> list[Observation]:
        rng, fixed = self._rng, self._fixed
        self._walk = 0.99 * self._walk + float(rng.normal(0, 0.01))
        seen = [
            Sample(name, labels, now_s, base * float(rng.lognormal(0.0, spread)) if spread else base)
            for name, labels, base, spread in fixed.host
        ]
        seen.append(Sample("system_memory_utilization_ratio", fixed.node, now_s, 0.5 + self._walk))
        for i, replica in enumerate(fixed.replicas):
            for name, value in (
                ("process_uptime_seconds", now_s - float(self._began_s[i])), ("process_restarts_total", 0.0),
                ("process_busiest_thread_ratio", 0.2 + 0.5 * float(self._busy[i])),
                ("process_memory_anonymous_bytes", 8e9 * (1 + 0.01 * float(rng.normal()))),
                ("process_open_files_utilization_ratio", 0.01 + 1e-4 * float(self._running[i])),
            ):  # fmt: skip
                if self._up[i]:
                    seen.append(Sample(name, replica.process, now_s, value))
        return seen


_COUNTERS = (
    "requests_finished_total", "requests_rejected_total", "prompt_tokens_total", "generation_tokens_total",
    "prompt_tokens_cached_total", "time_per_output_token_seconds_count", "time_per_output_token_seconds_sum",
    "time_to_first_token_seconds_count", "time_to_first_token_seconds_sum",
)  # fmt: skip


class _Replica:
    """Labels of one replica's series, made once."""

    def __init__(self, name: str, gpu: str) -> None:
        self.server = Labels.of(host_name=HOST, instance=name, model=SERVICE, server="vllm")
        self.runs_on = Labels.of(host_name=HOST, instance=name, gpu=gpu)
        self.card = Labels.of(host_name=HOST, gpu=gpu)
        self.heat = Labels.of(host_name=HOST, gpu=gpu, reason="thermal")
        self.process = Labels.of(host_name=HOST, instance=name, process="server")
        self.log = Labels.of(host_name=HOST, instance=name, source="server.log")
        self.writer = Labels.of(instance=name, source="server.log")
        self.median = Labels.of(host_name=HOST, service=SERVICE, upstream=name, quantile="0.5")
        self.tail = Labels.of(host_name=HOST, service=SERVICE, upstream=name, quantile="0.99")


class _Series:
    """Labels of the node's series, and the host's signals with what they are about and their noise."""

    def __init__(self, names: Sequence[str]) -> None:
        self.replicas = [_Replica(name, str(i)) for i, name in enumerate(names)]
        self.service = Labels.of(host_name=HOST, service=SERVICE)
        self.node = Labels.of(host_name=HOST)
        self.begun: set[Labels] = set()
        disk, nic = self.node.merge(device="nvme0n1"), self.node.merge(device="eth0")
        self.host = [
            ("system_cpu_utilization_ratio", self.node, 0.3, 0.15), ("system_cpu_runnable_tasks", self.node, 3.0, 0.3),
            ("system_cpu_logical_count", self.node, 32.0, 0.0), ("system_cpu_steal_ratio", self.node, 0.0, 0.0),
            ("system_memory_oom_kills_total", self.node, 0.0, 0.0),
            ("system_disk_await_seconds", disk, 0.002, 0.4), ("system_disk_utilization_ratio", disk, 0.08, 0.4),
            ("system_disk_operations_per_second", disk.merge(direction="write"), 120.0, 0.3),
            ("system_filesystem_utilization_ratio", self.node.merge(mountpoint="/"), 0.6, 0.0),
            ("system_filesystem_inodes_utilization_ratio", self.node.merge(mountpoint="/"), 0.1, 0.0),
            ("system_network_utilization_ratio", nic, 0.1, 0.3),
            ("system_network_tcp_retransmit_ratio", self.node, 0.001, 0.5),
            ("system_network_tcp_timeouts_per_second", self.node, 0.3, 0.5),
            ("system_network_tcp_connect_failures_per_second", self.node, 0.2, 0.5),
            ("system_network_tcp_resets_per_second", self.node.merge(direction="receive"), 0.5, 0.6),
            ("system_network_tcp_listen_drops_per_second", self.node, 0.0, 0.0),
            ("system_network_ephemeral_ports_utilization_ratio", self.node, 0.05, 0.1),
            ("system_network_conntrack_utilization_ratio", self.node, 0.1, 0.1),
            *(
                ("system_pressure_stalled_ratio", self.node.merge(resource=of, share="some"), 0.01, 0.4)
                for of in ("cpu", "memory", "io")
            ),
            *(("system_network_errors_per_second", nic.merge(direction=way), 0.0, 0.0) for way in ("receive", "transmit")),
            *(("system_network_dropped_packets_per_second", nic.merge(direction=way), 0.0, 0.0) for way in ("receive", "transmit")),
        ]  # fmt: skip
