"""Prometheus's own checker of metrics pages."""

from __future__ import annotations

import subprocess

NAMED_COUNT = {"db_client_connection_count", "hw_gpu_count", "process_thread_count", "system_cpu_logical_count"}
"""Gauges whose OpenTelemetry name ends in count; the linter would keep that ending to histograms."""


def remarks(promtool: str, page: bytes) -> list[str]:
    """What ``promtool check metrics`` has against *page*, but for names we did not choose."""
    checked = subprocess.run([promtool, "check", "metrics"], check=False, input=page, capture_output=True, timeout=30)
    lines = (checked.stdout + checked.stderr).decode().splitlines()
    assert checked.returncode in {0, 3}, lines  # 3: read, but the linter has remarks
    return [line for line in lines if line.strip() and line.split()[0] not in NAMED_COUNT]
