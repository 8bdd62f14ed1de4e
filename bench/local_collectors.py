"""
What the collectors of the host and of servers' processes cost at their default cadence, on this machine.

    python bench/local_collectors.py [SECONDS]

Beside whatever runs here it starts 500 processes that sleep, and one that is called vllm with eight children of sixty
threads each, one thread of which is full. CPU is that of this process alone, in percent of one core.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aiops.collect import host, process
from aiops.model import Sample
from tests.worlds import make_world

_CHILD = """
import os, threading, time
def idle():
    while os.getppid() != 1: time.sleep(0.5)
for _ in range(60): threading.Thread(target=idle).start()
if {spins}:
    while os.getppid() != 1: sum(range(10_000))
"""
_SERVER = f"""
import subprocess, sys
children = [subprocess.Popen([sys.executable, "-c", {_CHILD!r}.format(spins=n == 0)]) for n in range(8)]
for child in children: child.wait()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def measure(seconds: float) -> None:
    world = make_world(root=Path("/"))
    collectors = {"host": host.build(host.Config(), world), "process": process.build(process.Config(), world)}
    cpu_s = dict.fromkeys(collectors, 0.0)
    series: dict[str, set[object]] = {name: set() for name in collectors}
    due_s = dict.fromkeys(collectors, 0.0)
    warm_s = time.monotonic() + 25.0  # the first looks read everything
    ends_s = warm_s + seconds
    while time.monotonic() < ends_s:
        for name, collector in collectors.items():
            if time.monotonic() < due_s[name]:
                continue
            due_s[name] = time.monotonic() + collector.interval_s
            began_s = time.process_time()
            for seen in collector.collect(time.time()):
                if isinstance(seen, Sample):
                    series[name].add((seen.metric, seen.labels))
            if time.monotonic() > warm_s:
                cpu_s[name] += time.process_time() - began_s
        time.sleep(0.05)
    for name, used_s in cpu_s.items():
        print(f"{name}: {100.0 * used_s / seconds:.3f} % of a core, {len(series[name])} series")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "vllm").write_text(_SERVER)
        commands = [["sleep", "3600"]] * 500
        commands.append([sys.executable, str(folder / "vllm"), "serve", "--port", str(free_port())])
        for command in commands:
            running = stack.enter_context(subprocess.Popen(command))
            stack.callback(running.kill)
        measure(seconds)


if __name__ == "__main__":
    main()
