"""
The node that the footprint is measured on: eight stub GPUs, two inference servers' pages, 500 processes, logs.

The pages are recorded ones of real servers; their running totals grow from reading to reading, so that nothing downstream
may take a page for the one before. The cards are a C stand-in for libnvidia-ml that answers at once, so what is measured
is our cost and not the driver's.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[1]
STUB = ROOT / "tests/cases/collect/nvml_stub/nvml_stub.c"
GPUS = 8
PROCESSES = 500
LINES_PER_S = 20.0
REQUESTS_PER_S = 10.0
MIB = 2**20
LOG_LINES = (
    "INFO 11-24 10:{m:02d}:{s:02d} [loggers.py:123] Engine 000: Avg prompt throughput: {n}.{s} tokens/s, Running: {s} reqs, Waiting: {m} reqs, GPU KV cache usage: {m}.{s}%",
    'INFO:     127.0.0.1:{n} - "POST /v1/chat/completions HTTP/1.1" 200 OK',
    "INFO 11-24 10:{m:02d}:{s:02d} [async_llm.py:269] Added request cmpl-{n:08x}-{m}{s}.",
)
_MODEL = re.compile(rb'model_name="[^"]*')
_TOTAL = re.compile(
    rb"^([a-zA-Z_:][\w:]*_(?:total|count|sum|bucket)(?:\{.*\})? )(\d+(?:\.\d+)?(?:e[+-]?\d+)?)$", re.MULTILINE
)


@dataclass(frozen=True)
class Node:
    """Where everything is."""

    folder: Path
    server_ports: tuple[int, ...]
    log: Path
    access_log: Path

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process see the stub cards."""
        return {
            "LD_LIBRARY_PATH": str(self.folder / "nvml"),
            "NVML_STUB_STATE": str(self.folder / "cards"),
            "NVML_STUB_READ_ONCE": "1",
        }


@contextlib.contextmanager
def open_node(folder: Path, pages: Path, speed: float = 1.0) -> Iterator[Node]:
    """
    Everything running in *folder*; ended with the block.

    Args:
        pages: Folder with recorded pages, ``vllm-*.prom`` and ``sglang-*.prom``.
        speed: How much faster than time pages grow, logs are written and stamped.
    """
    build_cards(folder)
    log, access_log = folder / "server.log", folder / "access.log"
    log.touch()
    access_log.touch()
    ports: multiprocessing.Queue = multiprocessing.Queue()
    recorded = [next(iter(sorted(pages.glob(pattern)))) for pattern in ("vllm-*.prom", "sglang-*.prom")]
    actors = [
        *(multiprocessing.Process(target=serve, args=(page, ports, speed), daemon=True) for page in recorded),
        multiprocessing.Process(target=write_logs, args=(log, access_log, speed), daemon=True),
    ]
    for actor in actors:
        actor.start()
    here = sum(entry.name.isdigit() for entry in Path("/proc").iterdir())
    sleep = shutil.which("sleep") or "/bin/sleep"
    idle = [subprocess.Popen([sleep, "7200"]) for _ in range(max(0, PROCESSES - here))]
    try:
        yield Node(folder, tuple(ports.get(timeout=60) for _ in recorded), log, access_log)
    finally:
        for actor in actors:
            actor.terminate()
        for process in idle:
            process.kill()
        for process in idle:
            process.wait()


def build_cards(folder: Path) -> None:
    """The stand-in for libnvidia-ml and what its cards show."""
    (folder / "nvml").mkdir()
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O2", "-o", folder / "nvml/libnvidia-ml.so.1", STUB], check=True, timeout=60
    )
    lines = [f"count={GPUS}"]
    for card in range(GPUS):
        values = {"total": 80 * 1024 * MIB, "reserved": 600 * MIB, "used": 70 * 1024 * MIB, "gpu": 63 + card, "mem": 30,
                  "temp": 55 + card, "limit": 90, "power": 410_000, "cap": 700_000, "clock": 1_755}  # fmt: skip
        lines += [f"{name}.{card}={value}" for name, value in values.items()]
    (folder / "cards").write_text("\n".join(lines) + "\n")


def serve(recorded: Path, ports: multiprocessing.Queue, speed: float) -> None:
    """One inference server's page; every total on it doubles in ten minutes, every hour its model has another name."""
    text = recorded.read_bytes()
    started_s = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            passed_s = speed * (time.monotonic() - started_s)
            body = _TOTAL.sub(lambda m: m[1] + repr(round(float(m[2]) * (1.0 + passed_s / 600.0), 3)).encode(), text)
            if hour := int(passed_s / 3600.0):
                body = _MODEL.sub(b"\\g<0>-%d" % hour, body)
            known = self.path.partition("?")[0] in {"/metrics", "/health"}
            body = body if self.path.startswith("/metrics") else b""
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # an agent that ends breaks off what it was reading
    ports.put(server.server_address[1])
    server.serve_forever()


def write_logs(log: Path, access_log: Path, speed: float) -> None:
    """An engine's log and a gateway's, at a steady pace, for two hours at most."""
    started_s, wall_s, number = time.monotonic(), time.time(), 0
    with log.open("ab", buffering=0) as engine, access_log.open("ab", buffering=0) as gateway:
        while time.monotonic() - started_s < 7_200.0:
            line = LOG_LINES[number % len(LOG_LINES)].format(m=number % 60, s=number * 7 % 60, n=number * 7919 % 65_536)
            engine.write(line.encode() + b"\n")
            if number % round(LINES_PER_S / REQUESTS_PER_S) == 0:
                gateway.write(access_line(number, wall_s + number / LINES_PER_S).encode() + b"\n")
            number += 1
            time.sleep(max(0.0, started_s + number / LINES_PER_S / speed - time.monotonic()))


def access_line(number: int, at_s: float) -> str:
    took = 0.2 + number * 37 % 100 / 100
    return json.dumps({
        "t": f"{at_s:.3f}", "st": 200, "rt": round(took, 3), "uht": f"{took / 4:.3f}", "urt": f"{took:.3f}", "ust": "200",
        "ua": f"10.0.0.{number % 4 + 1}:8000", "uri": "/v1/chat/completions", "rc": "OK", "retry": "",
    })  # fmt: skip
