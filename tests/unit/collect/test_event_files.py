"""Deploys that a script writes into a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiops.collect import changes
from aiops.collect.event_files import EventFiles
from aiops.model import Event, EventKind, Labels, Observation, Sample, Sight
from tests.worlds import make_world

NOW_S = 1_800_000_000.0


def line(**more: object) -> str:
    return json.dumps({"action": "deploy", "labels": {"version": "2.0"}, **more}) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "deploys.jsonl"
    path.write_text("")
    return path


def following(path: Path) -> EventFiles:
    return EventFiles((path,), Path("/"), "n1")


def events(observations: Iterator[Observation]) -> list[Event]:
    return [o for o in observations if isinstance(o, Event)]


def test_a_line_is_told_once_and_marked_as_seen_in_a_file(path: Path):
    """A deploy counted twice would look like a second one."""
    files = following(path)
    assert events(files.read(NOW_S)) == []
    path.write_text(line(time=NOW_S - 5.0, message="v2"))

    found = events(files.read(NOW_S + 1.0))
    path.write_text(path.read_text() + line(action="rollback"))

    labels = Labels.of(version="2.0", seen_by="files")
    assert found == [Event(EventKind.CHANGE, "deploy", NOW_S - 5.0, labels, "v2")]
    assert [(e.action, e.at_s) for e in events(files.read(NOW_S + 9.0))] == [("rollback", NOW_S + 9.0)]
    assert events(files.read(NOW_S + 10.0)) == []


def test_what_stood_there_before_counts_only_with_its_own_time(path: Path):
    """After a restart of the daemon an undated line may be a year old."""
    path.write_text(line() + line(time=NOW_S - 60.0) + line(time=NOW_S - 100_000.0))

    assert [e.at_s for e in events(following(path).read(NOW_S))] == [NOW_S - 60.0]


def test_half_a_line_waits_for_its_other_half(path: Path):
    """Appending is not atomic on every file system."""
    files, whole = following(path), line(time=NOW_S)
    path.write_text(whole[:20])
    assert events(files.read(NOW_S)) == []
    path.write_text(whole)

    assert len(events(files.read(NOW_S))) == 1


def test_a_folder_is_read_file_by_file(tmp_path: Path):
    """One file a deploy is how some pipelines do it."""
    (tmp_path / "a.json").write_text(line(time=NOW_S))
    (tmp_path / "b.jsonl").write_text(line(time=NOW_S, action="config"))
    (tmp_path / "c.txt").write_text(line(time=NOW_S, action="scale"))
    os.mkfifo(tmp_path / "d.json")

    assert [e.action for e in events(following(tmp_path).read(NOW_S))] == ["deploy", "config"]


def test_of_a_full_folder_the_newest_files_are_read(tmp_path: Path):
    """One file a deploy makes hundreds in a year, and the last is the one that matters, whatever it is called."""
    for number in range(100):
        old = tmp_path / f"m{number:03}.json"
        old.write_text(line(time=NOW_S - 50_000.0, message=f"{number}"))
        os.utime(old, (NOW_S - 50_000.0 + number,) * 2)
    files = following(tmp_path)
    assert {e.message for e in events(files.read(NOW_S))} == {f"{number}" for number in range(36, 100)}
    (tmp_path / "a.json").write_text(line(time=NOW_S, message="new"))
    os.utime(tmp_path / "a.json", (NOW_S,) * 2)

    assert [e.message for e in events(files.read(NOW_S + 1.0))] == ["new"]


def test_rubbish_is_counted_and_the_rest_is_taken(path: Path):
    """A script that fails half way writes half of something."""
    path.write_bytes(b"\xff\x00{]\n[1]\n" + b"x" * 20_000 + b"\n" + line(time=NOW_S).encode())

    found = list(following(path).read(NOW_S))

    assert len([o for o in found if isinstance(o, Event)]) == 1
    assert [o.detail for o in found if isinstance(o, Sight)] == ["3 lines that are no events"]


def test_a_file_that_is_gone_is_a_gap_in_what_can_be_ruled_out(path: Path):
    """Nobody may say "no deploy" while nobody can read the list of them."""
    files = following(path)
    up = [o.value for o in files.read(NOW_S) if isinstance(o, Sample)]
    path.unlink()
    found = list(files.read(NOW_S + 10.0))

    assert up == [1.0]
    assert [o.value for o in found if isinstance(o, Sample)] == [0.0]
    assert [o.seen for o in found if isinstance(o, Sight)] == [False]


def test_the_collector_of_changes_reads_them_and_names_replicas_as_we_do(path: Path):
    """However a script spells this machine."""
    collector = changes.build(changes.Config(files=(path,)), make_world(root=Path("/")))
    list(collector.collect(NOW_S))
    path.write_text(line(time=NOW_S, labels={"instance": "localhost:8001"}))

    assert [e.labels.get("instance") for e in events(iter(collector.collect(NOW_S)))] == ["127.0.0.1:8001"]
