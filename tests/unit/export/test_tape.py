"""The tape: one reader at a time, bounded, and no work while nobody records."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from aiops.errors import RecordingError
from aiops.export.recording import META, REVISED, SAMPLES, RecordingFolder
from aiops.export.tape import Beginning, Sources, Tape, TapeBusy
from aiops.model import Event, EventKind, Labels, Sample, TemplateNote
from aiops.ports import Part
from aiops.selfstat import SelfStat
from aiops.store.rings import Rings

BEGIN = Beginning("0", "n1", "rules", "http://n1", "en", (), False, (), ())
LABELS = Labels.of(host_name="n1")


class Notes:
    def __init__(self) -> None:
        self.wanted = False

    def begin_notes(self) -> None:
        self.wanted = True

    def notes(self) -> tuple[TemplateNote, ...]:
        return ()

    def end_notes(self) -> None:
        self.wanted = False


def loaded(rings: Rings | None = None, notes: Notes | None = None, **bounds: int) -> Tape:
    tape = Tape(**bounds)
    held = rings or Rings(SelfStat(CollectorRegistry()))
    tape.load(Sources(lambda: BEGIN, held.freeze, lambda _: (), notes or Notes()))
    return tape


def read(tape: Tape, story: Callable[[], None]) -> list[list]:
    """What the tape says of *story*, which begins once somebody listens."""

    async def scene() -> list[list]:
        lines = tape.take()
        first = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        story()
        tape.stop("over")
        text = await first + b"".join([chunk async for chunk in lines])
        tape.release()
        return [json.loads(line) for line in text.splitlines()]

    return asyncio.run(scene())


def test_it_begins_with_an_evaluation_that_asks_every_detector_and_what_memory_held_then():
    """A replay begins with one too; what comes before belongs to memory, what comes after to the tape."""
    rings = Rings(SelfStat(CollectorRegistry()))
    tape = loaded(rings)

    def story() -> None:
        rings.extend([Sample("hw_gpu_count", LABELS, 1.0, 7.0)])
        tape.evaluating(1.0, steady=False)
        tape.ticked("evaluate", 1.0)
        tape.evaluating(2.0, steady=True)
        rings.extend([Sample("hw_gpu_count", LABELS, 2.0, 8.0)])
        tape.took(Part.COLLECTED, [Sample("hw_gpu_count", LABELS, 2.0, 8.0)], 2.0)
        tape.ticked("evaluate", 2.0)

    said = read(tape, story)
    assert [line[0] for line in said] == ["begin", "series", "held", "series", "samples", "tick", "end"]
    assert said[0][1]["at_s"] == 2.0
    assert said[2][2:] == [[1.0], [7.0]]
    assert said[4] == ["samples", "collected", 2.0, [0], [8.0], 2.0]


def test_what_is_no_number_and_what_people_wrote_is_not_on_it():
    """Memory refuses the one, and the other is nobody else's business."""
    tape = loaded()

    def story() -> None:
        tape.evaluating(1.0, steady=True)
        tape.heard(Event(EventKind.CHANGE, "deploy", 1.0, LABELS, "the canary for Alice"))
        tape.took(Part.COLLECTED, [Sample("hw_gpu_count", LABELS, 1.0, math.nan)], 1.0)

    said = read(tape, story)
    assert [line[0] for line in said] == ["begin", "event", "end"]
    assert "Alice" not in json.dumps(said)
    assert said[1][1]["message"] != ""


def test_a_second_recorder_is_refused_until_the_first_has_gone():
    """Each costs memory and work; and two would have to share what is noted of the logs."""
    notes = Notes()
    tape = loaded(notes=notes)
    tape.take()
    with pytest.raises(TapeBusy, match="one at a time"):
        tape.take()
    tape.evaluating(1.0, steady=True)
    assert notes.wanted
    tape.release()
    assert not notes.wanted
    tape.take()


def test_a_daemon_that_is_only_just_starting_refuses():
    """There is nothing to record yet; it says so instead of waiting."""
    with pytest.raises(TapeBusy, match="only just starting"):
        Tape().take()


def test_a_reader_that_does_not_keep_up_is_given_up():
    """The daemon's memory is bounded, whatever the disk of the recorder is like."""
    tape = loaded(max_waiting_bytes=2_000)

    def story() -> None:
        tape.evaluating(0.0, steady=True)
        for second in range(1_000):
            tape.took(Part.COLLECTED, [Sample("hw_gpu_count", LABELS, float(second), 8.0)], float(second))
            tape.ticked("evaluate", float(second))

    said = read(tape, story)
    assert said[-1] == ["end", "it was read more slowly than the daemon observes"]
    assert len(said) < 10


def test_labels_that_are_no_text_do_not_end_a_recording():
    """A device may be called anything."""
    tape = loaded()

    def story() -> None:
        tape.evaluating(0.0, steady=True)
        tape.took(Part.COLLECTED, [Sample("hw_gpu_count", Labels.of(device="\udcff\n"), 1.0, 8.0)], 1.0)

    assert ["series", 0, "hw_gpu_count", {"device": "?\n"}] in read(tape, story)


def test_only_who_has_the_token_may_record(site):
    """What a node does is its owner's business, and recording costs work."""
    assert site.push("/api/v1/recording", {}, token="wrong").status_code == 401
    answer = site.push("/api/v1/recording", {})
    assert (answer.status_code, "only just starting" in answer.json()["error"]) == (409, True)


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    """Nobody's files are overwritten, and no two recordings are mixed."""
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RecordingError, match="is not empty"):
        RecordingFolder(tmp_path)


def test_a_recording_ends_at_its_largest_size_and_at_words_that_are_none(tmp_path):
    """Both ends are clean: what was written is a recording."""
    folder = RecordingFolder(tmp_path / "r", max_bytes=1)
    folder.take(b'["begin", {"format": 3}]')
    folder.take(b'["series", 0, "hw_gpu_count", {}]')
    for second in range(0, 130, 10):
        folder.take(b'["samples", "collected", %d, [0], [1.5], %d]' % (second, second))
        folder.take(b'["tick", "evaluate", %d]' % second)
    assert folder.ended == "the recording reached its largest size"
    with pytest.raises(RecordingError, match="no part of a recording"):
        folder.take(b'["else"]')
    folder.close(folder.ended)
    assert json.loads((tmp_path / "r" / META).read_text())["ended"]["why"] == folder.ended


def test_what_revises_an_older_sample_is_a_remark_to_prometheus(tmp_path):
    """Recent buckets of arrivals are written again; Prometheus' backfill refuses a series that goes back in time."""
    folder = RecordingFolder(tmp_path / "r")
    folder.take(b'["begin", {"format": 3}]')
    folder.take(b'["series", 0, "http_server_arrival_rate", {}]')
    for at_s, value in ((10.0, 1), (11.0, 2), (10.0, 3), (11.0004, 4), (12.0, 5), (1e308, 6)):
        folder.take(b'["samples", "collected", 12, [0], [%d], %r]' % (value, at_s))
    folder.close("")

    lines = gzip.decompress((tmp_path / "r" / SAMPLES).read_bytes()).decode().splitlines()
    remarks = [line.startswith(REVISED) for line in lines if "http_server_arrival_rate " in line]
    assert remarks[1:] == [False, False, True, True, False, False]
