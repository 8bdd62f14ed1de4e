"""
A GPU driver that hangs for a minute, crashes, loses a card or is unloaded, under the real daemon.

The driver is the stand-in of tests/nvml_stub.py, read through the real pynvml. When a collector ran shows in the daemon's
own counters, which its page renders anew at every request: they are watched twenty times a second.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.chat_server import ChatServer, chat_server
from tests.integration.daemon import Daemon, wait_for, webhook
from tests.nvml_stub import StubState, build_library

pytestmark = pytest.mark.timeout(300)

HANG_S = 60.0
INTERVAL_S = 1.0
OTHERS = ("host", "changes", "inference")


class Watch:
    """When the runs of each collector ended, seen from outside."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._ended = threading.Event()
        self.runs: dict[str, list[float]] = {name: [] for name in OTHERS}
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        seen: dict[str, float] = {}
        while not self._ended.wait(0.05):
            metrics, now_s = self._daemon.metrics(), time.monotonic()
            for name, runs in self.runs.items():
                count = metrics.get(f'aiops_collector_runs_total{{collector="{name}",result="ok"}}', 0.0)
                if count > seen.get(name, count):
                    runs.append(now_s)
                seen[name] = count

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(10.0)

    def delays_s(self, name: str) -> list[float]:
        """By how much each run of collector *name* came late, shortest first."""
        runs = self.runs[name]
        return sorted(max(0.0, after - before - INTERVAL_S) for before, after in itertools.pairwise(runs))


@dataclass
class Node:
    """The daemon on a machine with two cards."""

    daemon: Daemon
    state: StubState
    chat: ChatServer
    delays_s: dict[str, list[float]] = field(default_factory=dict)

    def value(self, name: str, **labels: str) -> float | None:
        """The one series of *name* with *labels*."""
        pairs = [f'{key}="{value}"' for key, value in labels.items()]
        found = [
            value
            for series, value in self.daemon.metrics().items()
            if series.partition("{")[0] == name and all(pair in series for pair in pairs)
        ]
        return found[0] if found else None

    def until(self, name: str, wanted: float, within_s: float = 30.0, **labels: str) -> float:
        """Seconds until that series has the *wanted* value."""
        started_s = time.monotonic()
        wait_for(lambda: self.value(name, **labels) == wanted, within_s, f"{name} {labels} is {wanted}")
        return time.monotonic() - started_s

    def firing(self, alert: str) -> list[dict[str, Any]]:
        return [each for each in self.daemon.json("/api/v1/alerts")["alerts"] if each["rule"] == alert]

    def messages(self, words: str) -> list[dict[str, Any]]:
        return [r.json for r in self.chat.requests if words in r.body.decode()]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("gpu")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        state = StubState(folder / "state")
        state.set("count=2")
        for name, value in state.environment(build_library(folder)).items():
            patch.setenv(name, value)
        chat = stack.enter_context(chat_server())
        every = {"interval": f"{INTERVAL_S:g}s"}
        daemon = Daemon(
            folder / "daemon",
            collect={
                "gpu_nvml": {"enabled": True, "interval": "1s", "deadline": "1s"},
                **dict.fromkeys(OTHERS, every),
            },
            receivers=[webhook(chat.url)],
        )
        stack.callback(daemon.close)
        daemon.start()
        yield Node(daemon, state, chat)


def test_a_driver_that_hangs_for_a_minute_is_one_alert_and_delays_nobody(node: Node) -> None:
    """Poll loops that call the driver themselves stand still with it, for hours."""
    node.until("hw_gpu_up", 1.0, gpu="1")
    watch = Watch(node.daemon)
    hung_s = time.monotonic()
    node.state.set("count=2", "hang=nvmlDeviceGetUtilizationRates")
    noticed_s = node.until("hw_gpu_driver_responding", 0.0)
    wait_for(lambda: node.firing("GpuDriverHung"), 30.0, "the alert")
    time.sleep(max(0.0, hung_s + HANG_S - time.monotonic()))
    node.state.set("count=2")
    recovered_s = node.until("hw_gpu_driver_responding", 1.0, within_s=45.0)
    wait_for(lambda: not node.firing("GpuDriverHung"), 60.0, "the alert ends")
    watch.stop()
    wait_for(lambda: node.messages("driver has not answered"), 60.0, "the message")

    delays = {name: watch.delays_s(name) for name in OTHERS}
    print(f"noticed after {noticed_s:.1f} s, recovered after {recovered_s:.1f} s")
    for name, each in delays.items():
        assert len(each) > HANG_S / 2, name
        p99_s = each[int(0.99 * (len(each) - 1))]
        print(f"{name}: {len(each)} runs, delay p99 {p99_s:.2f} s, most {each[-1]:.2f} s")
        assert p99_s <= 1.0, name
    assert noticed_s < 10.0
    assert len(node.messages("driver has not answered")) == 1
    assert node.value("hw_gpu_utilization_ratio", gpu="0") == 0.9


def test_a_library_that_crashes_is_no_hang_and_is_tried_again(node: Node) -> None:
    """abort() in a library of the daemon's own process would have been the daemon's end."""
    node.state.set("count=2", "crash=nvmlDeviceGetPowerUsage")
    wait_for(
        lambda: [e for e in node.daemon.said() if "NVML reader failed" in str(e.get("detail"))], 20.0, "it is said"
    )
    node.state.set("count=2", "gpu.0=50")
    node.until("hw_gpu_utilization_ratio", 0.5, within_s=45.0, gpu="0")

    assert node.daemon.running
    assert node.firing("GpuDriverHung") == []


def test_a_lost_card_is_an_alert_and_the_other_is_read_on(node: Node) -> None:
    """One call of a lost card must not spoil the round of all."""
    node.state.set("count=2", "lost=1", "gpu.0=25")
    node.until("hw_gpu_up", 0.0, gpu="1")
    wait_for(lambda: node.firing("GpuLost"), 30.0, "the alert")

    assert [each["labels"]["gpu"] for each in node.firing("GpuLost")] == ["1"]
    assert (node.value("hw_gpu_count"), node.value("hw_gpus_expected")) == (1.0, 2.0)
    node.until("hw_gpu_utilization_ratio", 0.25, gpu="0")

    node.state.set("count=2")
    node.until("hw_gpu_up", 1.0, within_s=90.0, gpu="1")
    wait_for(lambda: not node.firing("GpuLost"), 60.0, "the alert ends")


def test_a_driver_that_is_unloaded_and_comes_back_needs_no_restart_of_the_daemon(node: Node) -> None:
    """That is how drivers are updated."""
    node.state.set("count=2", "unloaded=1")
    node.until("hw_gpu_count", 0.0)
    node.state.set("count=2")
    node.until("hw_gpu_count", 2.0)

    assert node.value("hw_gpu_up", gpu="0") == 1.0
