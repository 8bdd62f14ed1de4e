"""
What a flood of log lines does to the daemon: is it alive, small, on time, and do its counts add up.

A child writes so many lines a second into a real file, rotated by rename every half minute; a quiet log beside it gets one
line a second, and a gateway's log five requests. The real daemon follows all three. It is asked for its metrics once a
second. At the end lines read and lines skipped must be the lines written, and every line of the quiet log must
have been read.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import machine

RATE, SECONDS = 50_000, 600.0
ROTATE_S = 30.0
BATCH_S = 0.02
TROUBLE_EVERY = 5_000
"""One line of trouble among so many."""
LIMIT_RSS_BYTES = 80 * 2**20
LIMIT_CPU_SHARE = 0.20
LINES = (
    "INFO 11-24 10:{m:02d}:{s:02d} [loggers.py:123] Engine 000: Avg prompt throughput: {n}.{s} tokens/s, Running: {s} reqs, Waiting: {m} reqs, GPU KV cache usage: {m}.{s}%",
    'INFO:     10.0.{m}.{s}:{n} - "POST /v1/chat/completions HTTP/1.1" 200 OK',
    "INFO 11-24 10:{m:02d}:{s:02d} [async_llm.py:269] Added request cmpl-{n:08x}-{m}{s}.",
    "DEBUG 11-24 10:{m:02d}:{s:02d} [core.py:77] batch {n} took {m}.{s} ms on rank {s}",
    "{n} worker {m}: step {s} done in {n} us",
)
TROUBLE = "ERROR 11-24 10:00:00 [engine.py:158] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.33 GiB"


def write(path: Path, rate: int, seconds: float, told: multiprocessing.Queue) -> None:
    """Write the flood; tells lines and bytes written and how far it fell behind."""
    lines = [LINES[i % len(LINES)].format(m=i % 60, s=(i * 7) % 60, n=i * 7919 % 65_536) for i in range(20_000)]
    batch_lines = int(rate * BATCH_S)
    batches = [
        ("\n".join(lines[start : start + batch_lines]) + "\n").encode() for start in range(0, len(lines), batch_lines)
    ]
    written = written_bytes = trouble = number = 0
    behind_s = 0.0
    started_s = rotated_s = time.monotonic()
    handle = path.open("ab", buffering=0)
    while (now_s := time.monotonic()) - started_s < seconds:
        batch = batches[number % len(batches)]
        lines_in_batch = batch.count(b"\n")
        if written // TROUBLE_EVERY != (written + lines_in_batch) // TROUBLE_EVERY:
            batch += TROUBLE.encode() + b"\n"
            lines_in_batch += 1
            trouble += 1
        handle.write(batch)
        written += lines_in_batch
        written_bytes += len(batch)
        number += 1
        if now_s - rotated_s > ROTATE_S:
            rotated_s = now_s
            handle.close()
            path.rename(path.with_name(path.name + ".1"))
            handle = path.open("ab", buffering=0)
        due_s = started_s + number * BATCH_S
        behind_s = max(behind_s, time.monotonic() - due_s)
        time.sleep(max(0.0, due_s - time.monotonic()))
    handle.close()
    told.put({"lines": written, "bytes": written_bytes, "trouble": trouble, "behind_s": behind_s})


@dataclass
class Daemon:
    """The real one, on a free port."""

    folder: Path
    process: subprocess.Popen | None = None
    url: str = ""
    asked_s: list[float] = field(default_factory=list)

    def start(self, logs: list[Path], gateway: Path) -> None:
        settings = {
            "web": {"listen": "127.0.0.1:0"},
            "state": {"dir": str(self.folder / "state")},
            "collect": {
                "gpu_nvml": {"enabled": False}, "dcgm": {"enabled": False}, "inference": {"discover": False},
                "journal": {"enabled": False}, "kernel_log": {"enabled": False},
                "host": {"interval": "1s"},
                "access_log": {"discover": False, "paths": [str(gateway)]},
                "log_tail": {"discover": False, "files": [{"path": str(log)} for log in logs]},
            },
        }  # fmt: skip
        file, said = self.folder / "aiops.yaml", self.folder / "daemon.log"
        file.write_text(json.dumps(settings))
        with said.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aiops", "run", "-c", str(file)], stdout=output, stderr=output
            )
        until_s = time.monotonic() + 60.0
        while not self.url:
            for line in said.read_text().splitlines():
                if '"started"' in line:
                    self.url = json.loads(line)["page"].rstrip("/")
            if time.monotonic() > until_s or self.process.poll() is not None:
                raise SystemExit(said.read_text())
            time.sleep(0.1)

    def metrics(self) -> dict[str, float]:
        started_s = time.monotonic()
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"{self.url}/metrics", timeout=10
        ) as page:
            text = page.read().decode()
        self.asked_s.append(time.monotonic() - started_s)
        rows = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {series: float(value) for series, _, value in rows}

    def rss_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def series(metrics: dict[str, float], name: str, *parts: str) -> float:
    return sum(v for s, v in metrics.items() if s.partition("{")[0] == name and all(part in s for part in parts))


def watch(daemon: Daemon, seconds: float, quiet: Path, gateway: Path) -> dict:
    """Once a second: a line for the quiet log, requests for the gateway's, and a look at the daemon."""
    rss, longest, quiet_lines = [], {}, 0
    started_s, cpu_s = time.monotonic(), daemon.cpu_s()
    second = 0
    while time.monotonic() - started_s < seconds:
        with quiet.open("a") as file:
            file.write(f"INFO heartbeat number {quiet_lines}\n")
        quiet_lines += 1
        with gateway.open("a") as file:
            for _ in range(5):
                file.write(
                    json.dumps({"t": round(time.time(), 3), "st": 200, "rt": 0.1, "uht": "0.1", "ust": "200"}) + "\n"
                )
        metrics = daemon.metrics()
        rss.append(daemon.rss_bytes())
        for name, value in metrics.items():
            if name.startswith("aiops_collector_duration_seconds{"):
                collector = name.split('"')[1]
                longest[collector] = max(longest.get(collector, 0.0), value)
        second += 1
        time.sleep(max(0.0, started_s + second - time.monotonic()))
    took_s = time.monotonic() - started_s
    return {
        "seconds": took_s, "cpu_share": (daemon.cpu_s() - cpu_s) / took_s, "rss_bytes_max": max(rss),
        "rss_bytes_by_tenth": [max(rss[i * len(rss) // 10 : (i + 1) * len(rss) // 10] or [0]) for i in range(10)],
        "longest_run_s": longest, "quiet_lines": quiet_lines,
    }  # fmt: skip


def measure(args: argparse.Namespace, folder: Path) -> dict:
    flood, quiet, gateway = folder / "flood.log", folder / "quiet.log", folder / "gateway.log"
    for path in (flood, quiet, gateway):
        path.touch()
    daemon = Daemon(folder)
    told: multiprocessing.Queue = multiprocessing.Queue()
    writer = multiprocessing.Process(target=write, args=(flood, args.rate, args.seconds, told))
    try:
        daemon.start([flood, quiet], gateway)
        time.sleep(10.0)
        before = daemon.metrics()
        calm = {"rss_bytes": daemon.rss_bytes()}
        writer.start()
        seen = watch(daemon, args.seconds, quiet, gateway)
        written = told.get(timeout=60.0)
        time.sleep(12.0)
        after = daemon.metrics()
        stopped_s = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        status = daemon.process.wait(15.0)
        stopped_s = time.monotonic() - stopped_s
    finally:
        if writer.is_alive():
            writer.kill()
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.kill()
    return summary(args, daemon, before, after, {**seen, "calm": calm, "written": written}, (status, stopped_s))


def summary(args, daemon, before, after, seen, end) -> dict:
    def gained(name: str, *parts: str) -> int:
        return int(series(after, name, *parts) - series(before, name, *parts))

    read = gained("log_lines_read_total", "flood.log")
    skipped = gained("log_lines_skipped_total", "flood.log", 'reason="flood"')
    unseen = gained("log_lines_skipped_total", "flood.log", 'reason="backlog"')
    runs = {
        name: {result: gained("aiops_collector_runs_total", f'collector="{name}"', f'result="{result}"')
               for result in ("ok", "timeout", "error", "skipped")}
        for name in ("host", "access_log", "log_tail", "changes")
    }  # fmt: skip
    asked = sorted(daemon.asked_s)
    result = {
        "settings": {"lines_per_s": args.rate, "seconds": args.seconds, "rotate_s": ROTATE_S},
        "limits": {"rss_bytes": LIMIT_RSS_BYTES, "cpu_share": LIMIT_CPU_SHARE},
        "written": seen["written"],
        "counted": {"read": read, "skipped": skipped, "backlog_skips": unseen,
                    "trouble": gained("log_records_total", "flood.log", "vram_exhaustion")},
        "quiet": {"written": seen["quiet_lines"], "read": gained("log_lines_read_total", "quiet.log")},
        "daemon": {key: seen[key] for key in ("cpu_share", "rss_bytes_max", "rss_bytes_by_tenth", "longest_run_s")}
        | {"rss_bytes_calm": seen["calm"]["rss_bytes"], "exit_status": end[0], "stopped_within_s": round(end[1], 2)},
        "runs": runs,
        "metrics_page_s": {"median": machine.quantile(asked, 0.5), "p99": machine.quantile(asked, 0.99), "max": asked[-1]},
        "internal_errors": gained("aiops_internal_errors_total"),
    }  # fmt: skip
    on_time = all(runs[name]["ok"] >= 0.98 * seen["seconds"] / 1.0 for name in ("host", "access_log", "log_tail"))
    result["held"] = {
        "alive": end[0] == 0,
        "rss": seen["rss_bytes_max"] <= LIMIT_RSS_BYTES,
        "cpu": seen["cpu_share"] <= LIMIT_CPU_SHARE,
        "counts_add_up": read + skipped == seen["written"]["lines"] and not unseen,
        "quiet_log_whole": result["quiet"]["read"] == result["quiet"]["written"],
        "others_on_time": on_time and not any(runs[n][r] for n in runs for r in ("timeout", "error", "skipped")),
        "no_internal_error": result["internal_errors"] == 0,
    }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="The daemon under a flood of log lines.")
    parser.add_argument("--rate", type=int, default=RATE, help="lines a second")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--name", default="flood", help="of the result file; empty: write none")
    args = parser.parse_args()
    os.chdir(Path(__file__).parent.parent)
    with tempfile.TemporaryDirectory(prefix="aiops-flood-") as folder:
        result = measure(args, Path(folder))
    print(json.dumps(result, indent=2))
    if args.name:
        print(machine.write(args.name, result))


if __name__ == "__main__":
    main()
