"""A real daemon recorded through an incident, and what other programs make of the recording."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiops.export.recording import SAMPLES, RecordingFolder
from aiops.model import to_json
from aiops.replay.playing import play
from aiops.replay.reading import Held, Recording, Took
from tests.chat_server import ChatServer, chat_server
from tests.integration.conftest import require_program
from tests.integration.daemon import Daemon, wait_for, webhook
from tests.integration.gateway_log import GatewayLog
from tests.integration.record_command import Recorder
from tests.recorded import RULES, live, observations
from tests.scenarios.scenario import HERE, read

pytestmark = pytest.mark.timeout(180)

CALM_S = 12.0


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with chat_server() as server:
        yield server


@pytest.fixture
def closing() -> Iterator[Callable[[Recorder], Recorder]]:
    """Takes recorders that must not outlive the test."""
    taken: list[Recorder] = []

    def take(recorder: Recorder) -> Recorder:
        taken.append(recorder)
        return recorder

    yield take
    for recorder in taken:
        recorder.close()


def daemon_with(folder: Path, access: Path, chat: ChatServer) -> Daemon:
    return Daemon(
        folder,
        collect={"access_log": {"paths": [str(access)], "service": "chat", "format": "json"}},
        receivers=[webhook(chat.url)],
    )


def test_an_incident_of_a_real_daemon_is_the_same_when_it_is_replayed(
    tmp_path: Path, chat: ChatServer, closing: Callable[[Recorder], Recorder]
):
    """Collectors in threads, ticks that overlap, commits on a disk: none of it may show in the answer."""
    access = tmp_path / "access.log"
    daemon = daemon_with(tmp_path / "daemon", access, chat)
    gateway = GatewayLog(access)
    try:
        daemon.start()
        time.sleep(CALM_S / 2)
        recorder = closing(Recorder(daemon, tmp_path / "recording"))
        time.sleep(CALM_S / 2)
        gateway.bad = True
        wait_for(daemon.incidents, 30.0, "an incident is told")
        gateway.bad = False
        wait_for(lambda: daemon.incidents()[0]["state"] == "resolved", 60.0, "and ends")
        status, said = recorder.end()
        assert (status, "somebody ended it" in said) == (0, True), said
        incident = daemon.json(f"/api/v1/incidents/{daemon.incidents()[0]['id']}")
        assert daemon.stop() == 0
    finally:
        gateway.stop()
        daemon.close()

    recording = Recording(tmp_path / "recording")
    outcome = asyncio.run(play(recording, RULES))
    assert recording.cut_off == ""
    assert [json.loads(to_json(each)) for each in outcome.incidents.values()] == [incident]
    assert len(outcome.notifications) == len(chat.requests)
    said = subprocess.run(
        [sys.executable, "-m", "aiops", "replay", str(tmp_path / "recording"), "--json"],
        capture_output=True, text=True, check=True, timeout=60.0,
    ).stdout  # fmt: skip
    (told,) = json.loads(said)["incidents"]
    assert (told["opened_at"], told["resolved_at"]) == (incident["opened_at_s"], incident["resolved_at_s"])


def test_a_full_disk_and_a_second_recorder_end_cleanly(
    tmp_path: Path, chat: ChatServer, closing: Callable[[Recorder], Recorder]
):
    """The one keeps what was whole, the other leaves nothing behind; the daemon minds neither."""
    daemon = daemon_with(tmp_path / "daemon", tmp_path / "access.log", chat)
    try:
        daemon.start()
        status, said = closing(Recorder(daemon, tmp_path / "full", limit_kib=2)).end(None)
        assert (status, "the disk refused" in said) == (1, True), said
        killed = closing(Recorder(daemon, tmp_path / "killed"))
        wait_for((tmp_path / "killed" / SAMPLES).exists, 20.0, "the daemon is free for another")
        status, said = closing(Recorder(daemon, tmp_path / "second")).end(None)
        assert (status, "one at a time" in said, (tmp_path / "second").exists()) == (1, True, False), said
        killed.end(signal.SIGKILL)
        again = closing(Recorder(daemon, tmp_path / "again"))
        wait_for((tmp_path / "again" / SAMPLES).exists, 20.0, "and again")
        assert daemon.stop() == 0
        status, said = again.end(None)
        assert (status, "the daemon stopped" in said) == (0, True), said
    finally:
        daemon.close()
    for name, cut_off in (("again", ""), ("killed", "it was not ended"), ("full", "")):
        recording = Recording(tmp_path / name)
        steps = list(recording.steps())
        assert recording.cut_off == cut_off, name
    assert steps == [], "not even what memory held had room"


def backfill(promtool: str, recording: Path, to: Path) -> None:
    """Blocks of Prometheus' database made from *recording*, all of whose samples it must take."""
    text = to.with_name("samples.om")
    text.write_bytes(gzip.decompress((recording / SAMPLES).read_bytes()))

    made = subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", str(text), str(to)],
        capture_output=True, text=True, check=False, timeout=60.0,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr


@pytest.mark.external_service
def test_promtool_makes_blocks_of_a_recording(tmp_path: Path):
    """Whoever has a Prometheus looks at a recording there; every sample must have arrived."""
    promtool = require_program("promtool")
    scenario = read(HERE / "traffic_burst" / "burst_fills_the_kv_cache.yaml")
    asyncio.run(live(observations(scenario, "promtool", ()), tmp_path / "r", 30))
    backfill(promtool, tmp_path / "r", tmp_path / "data")
    (tmp_path / "data" / "wal").mkdir()  # without one it has nothing to dump
    dumped = subprocess.run(
        [promtool, "tsdb", "dump", str(tmp_path / "data")], capture_output=True, text=True, check=True, timeout=60.0
    ).stdout.splitlines()
    steps = Recording(tmp_path / "r").steps()
    samples = [sample for step in steps if isinstance(step, Held | Took) for sample in step.samples]
    # to Prometheus two samples of a series within a millisecond are one
    expected = {(sample.metric, sample.labels, round(sample.at_s * 1e3)): sample.value for sample in samples}
    assert len(dumped) == len(expected) > 1_000
    values = sorted(float(line.split("} ")[1].split(" ")[0]) for line in dumped)
    assert values == sorted(expected.values())


@pytest.mark.external_service
def test_promtool_takes_a_recording_in_which_samples_were_revised(tmp_path: Path):
    """It commits every 5,000 samples, and refuses whatever is older than what it has committed."""
    promtool = require_program("promtool")
    folder = RecordingFolder(tmp_path / "r")
    folder.take(b'["begin", {"format": 3}]')
    for number in range(100):
        folder.take(b'["series", %d, "http_server_arrival_rate", {"service": "s%d"}]' % (number, number))
    every = json.dumps(list(range(100))).encode()
    for second in range(200):
        for at_s in (second, second - 2, second - 1, second):
            times = json.dumps([18e8 + at_s] * 100).encode()
            folder.take(b'["samples", "collected", %d, %b, %b, %b]' % (18e8 + second, every, every, times))
        folder.take(b'["tick", "evaluate", %d]' % (18e8 + second))
    folder.close("")
    backfill(promtool, tmp_path / "r", tmp_path / "data")
