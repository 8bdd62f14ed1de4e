"""The error budget of a real daemon: booked from a gateway's log, on /metrics and the page, and there after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.daemon import Daemon, fetch, wait_for
from tests.integration.gateway_log import line

pytestmark = pytest.mark.timeout(180)


def budget(daemon: Daemon) -> float | None:
    """What /metrics says is left."""
    lines = fetch(f"{daemon.url}/metrics")[1].decode().splitlines()
    found = [each for each in lines if each.startswith("slo_error_budget_remaining_ratio{")]
    return float(found[0].rsplit(" ", 1)[1]) if found else None


def overspent(daemon: Daemon) -> float | None:
    """What is left once all lines are read: of every thousand the first failed, so it is no round number in between."""
    left = budget(daemon)
    return left if left == pytest.approx(-1.0, abs=0.01) else None


def test_the_budget_survives_a_restart_and_stands_on_the_page(tmp_path: Path):
    """A budget of thirty days must not begin anew with every update of the daemon."""
    log = tmp_path / "access.log"
    log.touch()
    daemon = Daemon(tmp_path / "daemon", collect={"access_log": {"paths": [str(log)], "service": "chat"}})
    try:
        daemon.start()
        for _ in range(24):
            with log.open("a") as file:
                file.writelines([line(503), *(line(200) for _ in range(999))])
        left = wait_for(
            lambda: overspent(daemon), 60.0, "of 24,000 answers, which allow 12 failures, 24 failed", every_s=0.5
        )
        wait_for(lambda: "error budget left" in fetch(f"{daemon.url}/")[1].decode(), 30.0, "the tile", every_s=0.5)
        daemon.stop()

        daemon.start()
        again = wait_for(lambda: overspent(daemon), 60.0, "the book is read back", every_s=0.5)
    finally:
        daemon.close()

    assert again == pytest.approx(left, abs=0.01)
