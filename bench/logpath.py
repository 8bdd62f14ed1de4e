"""
The daemon's log path as the measurements use it.

``python logpath.py TEMPLATES`` prints what it holds resident in a process that does nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import loglines
from prometheus_client import CollectorRegistry

from aiops.logs.path import LogPath
from aiops.model import Labels, LogRecord
from aiops.rulebook.signatures import load_signatures
from aiops.selfstat import SelfStat

RULES = Path(__file__).parent.parent / "rules"
SOURCE = Labels.from_mapping({"source": "bench"})


def log_path() -> LogPath:
    return LogPath("bench", load_signatures([RULES]), SelfStat(CollectorRegistry()))


def records(lines: Sequence[str], start_s: float = 0.0, per_second: float = 1_000.0) -> list[LogRecord]:
    return [LogRecord(start_s + number / per_second, SOURCE, line) for number, line in enumerate(lines)]


def memory(templates: int, seed: int = 503) -> dict:
    """Resident bytes: what came with the first line, and with *templates* templates, thrice each, after it."""
    lines = loglines.many_templates(3 * templates, templates, seed)
    path = log_path()
    gc.collect()
    empty = resident_bytes()
    path.feed(records(["warm"]))
    one = resident_bytes()
    for start in range(0, len(lines), 250):  # so many are given to drain3 at once
        path.feed(records(lines[start : start + 250], start / 1_000))
    gc.collect()
    kept = sum(1 for _ in path._clusters)
    return {"clusters": kept, "first_line_bytes": one - empty, "clusters_bytes": resident_bytes() - one}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(memory(int(sys.argv[1]))))
