import re
from pathlib import Path

import pytest

from tests.lab.lifecycle import Backoff, KubeletLog


@pytest.mark.parametrize(("restarts", "wait_s"), [(0, 10.0), (1, 20.0), (2, 40.0), (3, 60.0), (50, 60.0)])
def test_a_supervisor_waits_longer_each_time_but_never_for_ever(restarts: int, wait_s: float) -> None:
    assert Backoff(first_s=10.0).after(restarts) == wait_s


def test_the_kubelet_logs_probes_and_ends_in_its_own_form(tmp_path: Path) -> None:
    path = tmp_path / "kubelet.log"
    log = KubeletLog(path, wall=lambda: 1_795_000_000.25)
    log.failed(1, 'Get "http://127.0.0.1:8002/health": EOF')
    log.ends(1)
    lines = path.read_text().splitlines()
    assert all(re.fullmatch(r'I\d{4} \d\d:\d\d:\d\d\.250000 +\d+ \S+\.go:\d+\] ".*', line) for line in lines)
    assert 'output="Get \\"http://127.0.0.1:8002/health\\": EOF"' in lines[0]
    assert "failed liveness probe, will be restarted" in lines[1]
    assert "gracePeriod=30" in lines[2]
