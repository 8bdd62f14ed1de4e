"""What a person says of an answer, by command: to a daemon that runs, to one that hangs, to none, and over its restart."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon import Daemon, wait_for
from tests.integration.gateway_log import GatewayLog

pytestmark = pytest.mark.timeout(180)


class Desk:
    """A daemon with an incident nobody ends, and the command beside it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.log = GatewayLog(folder / "access.log")
        self.daemon = Daemon(
            folder,
            collect={"access_log": {"paths": [str(self.log.path)], "service": "chat"}, "host": {"enabled": False}},
        )
        self._settings = folder / "command.yaml"

    def start(self) -> None:
        self.daemon.start()
        listen = self.daemon.url.removeprefix("http://")  # another one after each start
        self._settings.write_text(json.dumps({"web": {"listen": listen}, "state": {"dir": str(self.daemon.state)}}))

    def close(self) -> None:
        self.daemon.close()
        self.log.stop()

    def command(self, *words: str) -> tuple[int, str]:
        """``aiops incidents`` with *words*: exit status, and what it said."""
        ended = subprocess.run(
            [sys.executable, "-m", "aiops", "incidents", *words, "-c", str(self._settings)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60.0,
        )  # fmt: skip
        return ended.returncode, ended.stdout

    def asked(self, *words: str) -> Any:
        """What it answers as JSON."""
        status, said = self.command(*words, "--json")
        assert status == 0, said
        return json.loads(said)

    def counted(self) -> dict[str, int]:
        """Which causes were at work, by what was said."""
        stand = self.asked("causes")
        return {row["cause"]: row["was"] for row in stand["causes"] if row["was"]}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "desk")
    yield made
    made.close()


def test_a_word_is_kept_whatever_becomes_of_the_daemon(desk: Desk):
    """An open incident lives in the daemon, which writes it again and again: no word may be lost below that."""
    desk.start()
    time.sleep(3.0)
    desk.log.bad = True
    (incident,) = wait_for(desk.daemon.incidents, 30.0, "an incident")
    name = incident["id"]

    status, said = desk.command("confirm", name, "--cause", "traffic_burst")
    assert (status, "It was: traffic_burst." in said) == (0, True), said
    assert desk.counted() == {"traffic_burst": 1}

    desk.daemon.process.send_signal(signal.SIGSTOP)
    status, said = desk.command("confirm", name, "--cause", "vram_leak")
    assert (status, "say it again when it answers" in said) == (1, True), said
    desk.daemon.process.send_signal(signal.SIGCONT)
    assert desk.counted() == {"traffic_burst": 1}

    desk.daemon.kill()
    assert desk.counted() == {"traffic_burst": 1}, "it was on the disk when it was answered"
    status, said = desk.command("confirm", name, "--cause", "vram_leak")
    assert (status, "It was: vram_leak." in said) == (0, True), said
    status, said = desk.command("confirm", "inc-never", "--cause", "vram_leak")
    assert (status, "no incident 'inc-never'" in said) == (1, True), said

    desk.start()
    assert desk.counted() == {"vram_leak": 1}, "the last word counts, and once"
    status, said = desk.command("confirm", name, "--cause", "slow_node")
    assert status == 0, said
    assert desk.counted() == {"slow_node": 1}
    shown = desk.asked("show", name)
    assert (shown["state"], shown["judgement"]["causes"]) == ("open", ["slow_node"])
    spoken = [entry["text"] for entry in shown["timeline"] if entry["kind"] == "person"]
    assert len(spoken) == 3, "what the daemon has in memory now is what the file had, and one more"
