"""A recording that was cut off is good up to the cut; a damaged one is refused with its line."""

from __future__ import annotations

import asyncio
import gzip
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.errors import RecordingError
from aiops.export.recording import EVENTS, LOGS, META, SAMPLES
from aiops.model import Tally
from aiops.replay.playing import play
from aiops.replay.reading import Recording, Took
from tests.recorded import RULES, live, observations
from tests.scenarios.scenario import HERE, START_S, read

FILES = (SAMPLES, LOGS, EVENTS, META)
WORDS = ("ERROR 01-02 03:04:05 [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {n}.00 MiB.",)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of two minutes."""
    path = tmp_path_factory.mktemp("whole") / "r"
    scenario = read(HERE / "deploy_regression" / "new_version_is_twice_as_slow.yaml")
    asyncio.run(live(observations(scenario, "x", WORDS), path, 20))
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def samples_of(path: Path) -> tuple[list[Took], Recording]:
    recording = Recording(path)
    return [step for step in recording.steps() if isinstance(step, Took)], recording


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_in_the_middle_replays_up_to_there(copy: Path, whole: Path, name: str):
    """The disk was full, the copy was broken off: what came before is as good as ever."""
    every, _ = samples_of(whole)
    data = (copy / name).read_bytes()
    # a minute is packed as one: half of the samples' file may be whole minutes less
    (copy / name).write_bytes(data[: int(len(data) * 0.7)])
    found, recording = samples_of(copy)

    assert found == every[: len(found)]
    assert 0 < len(found) < len(every) or name == EVENTS
    assert recording.cut_off
    assert START_S < recording.ended_s < START_S + 125.0
    asyncio.run(play(Recording(copy), RULES))


def test_a_recorder_that_was_killed_leaves_whole_minutes(copy: Path):
    """It had no time to say that it ends; and what of a minute it wrote before that died is left out."""
    text = (copy / META).read_text()
    line = next(line for line in text.splitlines() if line.startswith('"ended"'))
    (copy / META).write_text(text.replace(line, '"ended": null,'))
    with (copy / SAMPLES).open("ab") as file:
        file.write(gzip.compress(b"# TYPE up gauge\nup 1.0 18000")[:30])

    found, recording = samples_of(copy)
    assert found
    assert recording.cut_off == "it was not ended"


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        (SAMPLES, b" 180", b" x80", "expected a series, a value and a time"),
        (SAMPLES, b'{host_name="', b"{host_name=", "expected a metric and its labels"),
        (LOGS, b'"log_class":"', b'"log_class":7,"x":"', "Expected `str`"),
        (EVENTS, b'"kind":"', b'"kind":"x', "Invalid enum value"),
        (META, b'["evaluate", ', b'["evaluated", ', "is no tick of a recording"),
        (META, b'["evaluate", ', b'["evaluate" ', "damaged"),
        (META, b'"format": 3', b'"format": 4', "format 4; this program reads up to 3"),
        (META, b'"format": 3', b'"format": 4, "receivers": {"a": 1}', "format 4; this program reads up to 3"),
        (META, b'"format": 3', b'"format": 0', "format 0; this program reads up to 3"),
        (META, b'"format": 3,', b"", "format: missing"),
        (META, b'"receivers": [', b'"receivers": [7, ', "is not what a recording says of itself"),
        (META, b'["minute", ', b'["minute", -', "is no tick of a recording"),
        (META, b'["held", ', b'["held", -', "is no tick of a recording"),
        (META, b"{", b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(copy: Path, name: str, old: bytes, new: bytes, complaint: str):
    """Whoever repairs or sends it must be told where."""
    path = copy / name
    data = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    assert old in data
    data = data.replace(old, new, 1)
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)

    with pytest.raises(RecordingError, match=rf"{name}:\d+: .*{complaint}"):
        list(Recording(copy).steps())


def test_a_recording_of_the_first_format_plays_as_one_in_which_nobody_spoke(copy: Path, whole: Path):
    """Recordings are kept as evidence; a daemon that learned to listen must not lose them."""
    text = (copy / META).read_text()
    lines = [line for line in text.splitlines() if not line.startswith('"tally"')]
    assert len(lines) == len(text.splitlines()) - 1
    (copy / META).write_text("\n".join(lines).replace('"format": 3', '"format": 1') + "\n")

    recording = Recording(copy)
    assert (recording.beginning.format, recording.beginning.tally) == (1, Tally())
    old, new = asyncio.run(play(recording, RULES)), asyncio.run(play(Recording(whole), RULES))
    assert old.incidents
    assert (old.incidents, old.notifications) == (new.incidents, new.notifications)


def test_a_folder_that_is_no_recording_says_so(tmp_path: Path):
    """The usual slip: the folder above, or another one."""
    with pytest.raises(RecordingError, match=r"is no recording: there is no meta\.json"):
        Recording(tmp_path)
    (tmp_path / SAMPLES).write_bytes(b"")
    with pytest.raises(RecordingError, match=r"is no recording: there is no meta\.json"):
        Recording(tmp_path / SAMPLES)


@settings(max_examples=40)
@given(data=st.data())
def test_no_damage_makes_more_than_a_complaint(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    """Bytes lost or changed anywhere: a shorter recording or a sentence, never a traceback."""
    path = tmp_path_factory.mktemp("damaged") / "r"
    shutil.copytree(whole, path)
    victim = path / data.draw(st.sampled_from(FILES))
    content = bytearray(victim.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    victim.write_bytes(content)
    try:
        samples_of(path)
    except RecordingError as error:
        assert str(path) in str(error)  # noqa: PT017 - or none at all
