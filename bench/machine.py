"""What a measurement ran on, and where its result goes."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def describe() -> dict[str, Any]:
    cpu = next(
        (li.partition(":")[2].strip() for li in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in li),
        platform.machine(),
    )
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kb / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def version_of(program: str, option: str = "--version") -> str:
    done = subprocess.run([program, option], capture_output=True, text=True, check=True)
    return (done.stdout or done.stderr).splitlines()[0].strip()


def revision() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def write(name: str, result: dict[str, Any]) -> Path:
    """*result* as bench/results/NAME.json, with where, when and how it was measured."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    head = {
        "bench": name,
        "command": shlex.join(["python", *sys.argv]),
        "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "revision": revision(),
        "machine": describe(),
        "load_average_at_end": os.getloadavg(),
    }
    path.write_text(json.dumps({**head, **result}, indent=2) + "\n")
    return path


def quantile(values: list[float], share: float) -> float:
    """Linear between order statistics."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
