"""The /metrics page as Prometheus's own checker reads it."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from aiops.catalog import CATALOG
from aiops.export.metrics import Exposition
from aiops.model import Labels, Sample
from aiops.selfstat import SelfStat
from tests.integration.conftest import require_program
from tests.integration.promtool import remarks


@pytest.mark.external_service
def test_promtool_reads_the_page_and_laments_nothing_but_names_we_did_not_choose():
    """Whoever runs Prometheus scrapes this page as it is."""
    promtool = require_program("promtool")
    stat = SelfStat(CollectorRegistry())
    stat.tick_seconds.labels("evaluate").observe(0.01)
    exposition = Exposition(stat.registry)
    hostile = Labels.of(host_name='n"\\\n1', gpu="0", device="sd a{}")
    exposition.render([Sample(name, hostile, 1.0, 0.5) for name in CATALOG])

    assert remarks(promtool, exposition.page()) == []
