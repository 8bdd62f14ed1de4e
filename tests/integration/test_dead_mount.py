"""A dead NFS server hangs whoever asks for its space; the daemon names it and goes on (node_exporter issue 244)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon import Daemon, wait_for
from tests.integration.dead_mount import DEVICE, dead_mount

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not DEVICE.exists(), reason="mounting needs root and /dev/fuse")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "daemon", collect={"host": {"interval": "1s"}})
    yield daemon
    daemon.close()


def responding(daemon: Daemon, mount: Path) -> list[float]:
    return [
        value
        for series, value in daemon.metrics().items()
        if series.startswith("system_filesystem_responding{") and str(mount) in series
    ]


def test_a_dead_mount_is_named_and_delays_nobody(daemon: Daemon, tmp_path: Path) -> None:
    mount = tmp_path / "models"
    with dead_mount(mount):
        daemon.start()
        wait_for(lambda: responding(daemon, mount) == [0.0], 40.0, "the mount is said not to answer")
        ran = daemon.total("aiops_collector_runs_total", collector="host", result="ok")
        began_s = time.monotonic()
        wait_for(
            lambda: daemon.total("aiops_collector_runs_total", collector="host", result="ok") >= ran + 4,
            15.0,
            "four more runs",
        )
        assert time.monotonic() - began_s < 4.0 + 2.0

    assert daemon.stop() == 0
