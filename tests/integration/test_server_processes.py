"""A real process that listens, has a child with a full thread, and is started again: seen from the real /proc."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiops.collect import process, process_servers
from aiops.model import Event, Observation, Sample
from tests.worlds import make_world

SERVER = """
import os, socket, subprocess, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[-1])))
child = subprocess.Popen([sys.executable, "-c", '''
import os, threading, time
def idle():
    while os.getppid() != 1: time.sleep(0.2)
def spin():
    while os.getppid() != 1: sum(range(10_000))
threading.Thread(target=spin).start()
idle()
'''])
child.wait()
"""


@pytest.fixture
def port() -> int:
    """A free one below those that outgoing connections take: higher ones are no server's."""
    for number in range(21_000, 32_000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", number)):
            return number
    raise AssertionError("no free port")


@contextlib.contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program called vllm, as the console script is; ends with its child."""
    script = folder / "vllm"
    script.write_text(SERVER)
    with subprocess.Popen([sys.executable, str(script), "serve", str(port)]) as running:
        try:
            yield running
        finally:
            running.kill()


def until(collector: process.Processes, found: Callable[[list[Observation]], bool]) -> list[Observation]:
    """Everything seen until it was found, at most a minute long."""
    seen: list[Observation] = []
    ends_s = time.monotonic() + 60.0
    while not found(seen):
        assert time.monotonic() < ends_s, seen[-60:]
        seen += collector.collect(time.time())
        time.sleep(0.2)
    return seen


def values(seen: list[Observation], metric: str, instance: str) -> dict[str, float]:
    return {
        o.labels.get("process"): o.value
        for o in seen
        if isinstance(o, Sample) and o.metric == metric and o.labels.get("instance") == instance
    }


def test_a_full_thread_in_a_child_and_a_restart_are_seen(tmp_path, port, monkeypatch: pytest.MonkeyPatch):
    """The whole way, against the kernel of this machine."""
    monkeypatch.setattr(process, "_SLOW_S", 0.5)
    monkeypatch.setattr(process_servers, "_SOCKETS_EVERY_S", 0.0)
    instance = f"127.0.0.1:{port}"
    collector = process.build(process.Config(), make_world(root=Path("/")))

    def full(seen: list[Observation]) -> bool:
        # a busy machine gives even a spinning thread only its share
        return values(seen, "process_busiest_thread_ratio", instance).get("child", 0.0) > 0.2

    with server(tmp_path, port):
        seen = until(collector, full)
    assert values(seen, "process_busiest_thread_ratio", instance)["server"] < 0.1
    assert values(seen, "process_memory_usage_bytes", instance)["server"] > 2**20
    assert values(seen, "process_open_files", instance)["server"] >= 4
    assert values(seen, "process_thread_count", instance)["child"] == 2

    def again(seen: list[Observation]) -> bool:
        return values(seen, "process_restarts_total", instance).get("server") == 1.0

    with server(tmp_path, port):
        seen = until(collector, again)
    events = [
        (o.action, o.labels.get("process"))
        for o in seen
        if isinstance(o, Event) and o.labels.get("instance") == instance
    ]
    assert [event for event in events if event[1] == "server"] == [("exit", "server"), ("start", "server")]
