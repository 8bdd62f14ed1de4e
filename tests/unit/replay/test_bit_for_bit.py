"""A recording replayed is what was live, bit for bit: else no rule could be tried on last night's incident."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aiops.model import to_json
from aiops.replay.playing import play
from aiops.replay.reading import Recording
from tests.recorded import RULES, live, observations
from tests.scenarios.scenario import HERE, read

WORDS = (
    "ERROR 01-02 03:04:05 [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {n}.00 MiB. GPU 0 has a",
    "WARNING 01-02 03:04:05 [odd.py:1] never said before, about {n} things",
    "INFO 01-02 03:04:05 [logger.py:41] Received request cmpl-{n}: prompt: 'canary hello', params: SamplingParams(n=1)",
)
CASES = ["vram_exhaustion", "traffic_burst", "deploy_regression"]


@pytest.mark.parametrize("cause", CASES)
@pytest.mark.parametrize("record_from", [-1000, 41])
def test_incidents_alerts_and_messages_are_the_same(tmp_path: Path, cause: str, record_from: int):
    """From the first second on, and from the middle, where memory already holds what came before."""
    path = next(p for p in sorted((HERE / cause).glob("*.yaml")) if read(p).expect.cause == cause)
    house = asyncio.run(live(observations(read(path), path.stem, WORDS), tmp_path / "r", record_from))
    recording = Recording(tmp_path / "r")
    outcome = asyncio.run(play(recording, RULES))

    assert recording.cut_off == ""
    assert house.outcome.notifications, "an incident was told"
    assert to_json(outcome.notifications) == to_json(house.outcome.notifications)
    assert to_json(outcome.alerts) == to_json(house.outcome.alerts)
    assert to_json(outcome.incidents) == to_json(house.outcome.incidents)
    assert any(incident.diagnosis.templates for incident in outcome.incidents.values())
