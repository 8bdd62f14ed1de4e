"""A real Prometheus on a free port."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.integration.conftest import require_program
from tests.integration.daemon import fetch, wait_for
from tests.integration.nginx import free_ports


@contextlib.contextmanager
def scraping(folder: Path, jobs: Mapping[str, str], *, every: str = "1s") -> Iterator[str]:
    """The URL of a Prometheus that scrapes each job's address."""
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    settings = {
        "global": {"scrape_interval": every, "scrape_timeout": every},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in jobs.items()
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(settings))
    command = [
        require_program("prometheus"), f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"})

    def ready() -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        try:
            return fetch(f"http://{address}/-/ready")[0] == 200
        except OSError:
            return False

    try:
        wait_for(ready, 60.0, "Prometheus starts")
        yield f"http://{address}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10.0)
