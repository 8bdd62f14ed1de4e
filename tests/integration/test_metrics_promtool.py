"""The /metrics page as Prometheus's own checker reads it."""

from __future__ import annotations

import subprocess

import pytest
from prometheus_client import CollectorRegistry

from aiops.catalog import CATALOG
from aiops.export.metrics import Exposition
from aiops.model import Labels, Sample
from aiops.selfstat import SelfStat
from tests.integration.conftest import require_program

_NAMED_COUNT = {"db_client_connection_count", "hw_gpu_count", "system_cpu_logical_count"}
"""Gauges whose OpenTelemetry name ends in count; the linter would keep that ending to histograms."""


@pytest.mark.external_service
def test_promtool_reads_the_page_and_laments_nothing_but_names_we_did_not_choose():
    """Whoever runs Prometheus scrapes this page as it is."""
    promtool = require_program("promtool")
    stat = SelfStat(CollectorRegistry())
    stat.collector_up.labels("host").set(1)
    stat.tick_seconds.labels("evaluate").observe(0.01)
    exposition = Exposition(stat.registry)
    hostile = Labels.of(host_name='n"\\\n1', gpu="0", device="sd a{}")
    exposition.render([Sample(name, hostile, 1.0, 0.5) for name in CATALOG])

    checked = subprocess.run(
        [promtool, "check", "metrics"], check=False, input=exposition.page(), capture_output=True, timeout=30
    )

    lines = (checked.stdout + checked.stderr).decode().splitlines()
    assert checked.returncode in {0, 3}, lines  # 3: read, but the linter has remarks
    remarks = [line for line in lines if line.strip() and line.split()[0] not in _NAMED_COUNT]
    assert remarks == []
