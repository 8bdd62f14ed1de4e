"""A recording replayed is what was live, bit for bit: else no rule could be tried on last night's incident."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aiops.errors import RecordingError
from aiops.export.tape import Ruling
from aiops.model import Judgement, Tally, Word, to_json
from aiops.model.judging import Said
from aiops.replay.playing import play
from aiops.replay.reading import Recording
from tests.recorded import RULES, live, observations
from tests.scenarios.scenario import HERE, read

WORDS = (
    "ERROR 01-02 03:04:05 [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {n}.00 MiB. GPU 0 has a",
    "WARNING 01-02 03:04:05 [odd.py:1] never said before, about {n} things",
    "INFO 01-02 03:04:05 [logger.py:41] Received request cmpl-{n}: prompt: 'canary hello', params: SamplingParams(n=1)",
)
SAID = [Judgement(Word.CONFIRMED, 1.0, ("vram_exhaustion",), ("vram_exhaustion",))] * 40
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


@pytest.mark.parametrize("record_from", [-1000, 0])
def test_what_people_say_meanwhile_is_replayed_too(tmp_path: Path, record_from: int):
    """Priors and timelines hang on it, and so do the answers that follow."""
    path = next(p for p in sorted((HERE / "vram_exhaustion").glob("*.yaml")) if read(p).expect.cause)
    scenario = read(path)
    middle = scenario.end - 20
    words = {middle: (Said.CONFIRM, ""), middle + 5: (Said.CONFIRM, ""), middle + 9: (Said.REJECT, "vram_leak")}
    house = asyncio.run(live(observations(scenario, path.stem, WORDS), tmp_path / "r", record_from, words))
    outcome = asyncio.run(play(Recording(tmp_path / "r"), RULES))

    (incident,) = outcome.incidents.values()
    assert incident.judgement is not None
    assert incident.judgement.causes == ("vram_leak",)
    assert len([entry for entry in incident.timeline if entry.kind == "person"]) == 2, "said twice, heard once"
    assert house.desk.tally.rejected == 1
    assert to_json(outcome.incidents) == to_json(house.outcome.incidents)
    assert to_json(outcome.notifications) == to_json(house.outcome.notifications)


def test_a_replay_goes_by_what_people_had_said_before_the_recording(tmp_path: Path):
    """The counts that the daemon used are part of the recording."""
    path = next(p for p in sorted((HERE / "vram_exhaustion").glob("*.yaml")) if read(p).expect.cause)
    house = asyncio.run(live(observations(read(path), path.stem, WORDS), tmp_path / "r", -1000, said_before=SAID))
    recording = Recording(tmp_path / "r")
    outcome = asyncio.run(play(recording, RULES))

    assert recording.beginning.tally == Tally.of(SAID)
    assert to_json(outcome.incidents) == to_json(house.outcome.incidents)
    shown = {h.probability for each in outcome.incidents.values() for h in each.diagnosis.roots}
    assert max(shown) > 0.9, "after 30 confirmed answers it may be shown"


def test_a_recording_of_before_anybody_could_speak_is_read(tmp_path: Path):
    """Last month's recordings are what rules are tried on."""
    path = next(p for p in sorted((HERE / "vram_exhaustion").glob("*.yaml")) if read(p).expect.cause)
    house = asyncio.run(live(observations(read(path), path.stem, WORDS), tmp_path / "r", -1000))
    meta = tmp_path / "r" / "meta.json"
    old = [line for line in meta.read_text().splitlines() if not line.startswith('"tally"')]
    meta.write_text("\n".join(old).replace('"format": 3', '"format": 1') + "\n")
    outcome = asyncio.run(play(Recording(tmp_path / "r"), RULES))

    assert to_json(outcome.incidents) == to_json(house.outcome.incidents)


def test_a_word_on_an_incident_of_before_the_recording_counts(tmp_path: Path):
    """It is not in the recording, and moves priors all the same."""
    path = next(p for p in sorted((HERE / "vram_exhaustion").glob("*.yaml")) if read(p).expect.cause)
    house = asyncio.run(live(observations(read(path), path.stem, WORDS), tmp_path / "r", -1000))
    meta = tmp_path / "r" / "meta.json"
    word = to_json(Ruling("inc-of-last-week", None, SAID[0])).decode()
    text = meta.read_text()
    place = text.index('["evaluate"')
    meta.write_text(f'{text[:place]}["judged", {word}],\n{text[place:]}')
    plain = asyncio.run(play(Recording(tmp_path / "r"), RULES))
    assert to_json(plain.incidents) != to_json(house.outcome.incidents)
    meta.write_text(f'{text[:place]}["judged", {{"incident": 7}}],\n{text[place:]}')
    with pytest.raises(RecordingError, match=r"meta.json:\d+: damaged"):
        asyncio.run(play(Recording(tmp_path / "r"), RULES))
