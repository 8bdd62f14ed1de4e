"""What the lab writes for nginx is what nginx takes."""

import os
import subprocess

import pytest

from tests.integration.conftest import require_program
from tests.lab.gateway import Settings, nginx_conf

pytestmark = [
    pytest.mark.external_service,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab's nginx runs as root"),
]


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"keep": 0, "max_fails": 3}, {"rate": 5.0, "burst": 10}, {"rate": 3.0, "refuses_with": 429}, {"in_flight": 4},
        {"files": 40, "connections": 64}, {"tries": 2, "read_s": 1.5, "connect_s": 0.5},
    ],
)  # fmt: skip
def test_nginx_accepts_every_setting(settings, tmp_path):
    """A fault that nginx refuses would be a run that fails."""
    require_program("nginx")
    path = tmp_path / "nginx.conf"
    path.write_text(
        nginx_conf(Settings(("127.0.0.1:8001", "127.0.0.1:8002"), **settings), tmp_path, f"unix:{tmp_path}/front")
    )

    asked = subprocess.run(["nginx", "-t", "-c", str(path)], capture_output=True, text=True, check=False)

    assert asked.returncode == 0, asked.stderr
