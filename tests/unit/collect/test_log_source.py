"""A log's lines become records that are dated right, joined, and read on from where they arrived."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest

from aiops.clock import ManualClock
from aiops.collect.log_tail import Config, LogFile, LogTail, build
from aiops.model import LogRecord, Observation, Sample, Sight
from aiops.ports import World
from tests.fakes import FakeCheckpoints, FakeInbox

NOW_S = 1_795_478_400.0
TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError: x'


class Node:
    """One log, and daemons that come and go."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "a.log"
        self.log.touch()
        self.checkpoints = FakeCheckpoints()
        self.now_s = NOW_S
        self.seen: list[Observation] = []
        self.folder = folder
        self.start()

    def start(self) -> None:
        world = World("n1", self.folder, ManualClock(), cast("httpx.AsyncClient", None), self.checkpoints, FakeInbox())
        self.tail: LogTail = build(Config(files=(LogFile(str(self.log)),), discover=False), world)

    def round(self, *, arrives: bool = True) -> list[LogRecord]:
        seen = list(self.tail.collect(self.now_s))
        self.seen += seen
        if arrives:
            self.tail.acknowledge(self.now_s)
        self.now_s += 1.0
        return [each for each in seen if isinstance(each, LogRecord)]

    def texts(self, *, arrives: bool = True) -> list[str]:
        return [record.text for record in self.round(arrives=arrives)]

    def write(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(text)

    def restart(self, after_s: float = 1.0) -> None:
        self.tail.close()
        self.now_s += after_s
        self.start()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    node.round()
    yield node
    node.tail.close()


def test_a_traceback_is_one_record(node: Node) -> None:
    """The cause stands in its last line, and belongs to all of them."""
    node.write(f"before\n{TRACEBACK}\nafter\n")

    assert node.texts() == ["before", TRACEBACK, "after"]


def test_a_whole_traceback_at_the_end_of_the_log_does_not_wait(node: Node) -> None:
    """It is mostly the last thing a process writes."""
    node.write(TRACEBACK + "\n")

    assert node.texts() == [TRACEBACK]


def test_a_traceback_written_over_two_rounds_is_still_one(node: Node) -> None:
    """We look once a second, whatever the writer does."""
    first, rest = TRACEBACK.split("\n", 1)
    node.write(first + "\n")
    assert node.texts() == []
    node.write(rest + "\n")

    assert node.texts() == [TRACEBACK]


def test_killed_with_half_a_record_in_hand_reads_it_again(node: Node) -> None:
    """Lines that wait for others have not arrived, though they were read and the round was acknowledged."""
    first, rest = TRACEBACK.split("\n", 1)
    node.write(f"before\n{first}\n")
    assert node.texts() == ["before"]
    node.restart()
    node.write(rest + "\n")

    assert node.texts() == [TRACEBACK]


def test_half_a_containers_line_is_read_again_too(node: Node) -> None:
    """Parts of a line are no line."""
    node.write("2026-11-24T00:00:00Z stdout F one\n2026-11-24T00:00:00Z stdout P tw\n")
    assert node.texts() == ["one"]
    node.restart()
    node.write("2026-11-24T00:00:00Z stdout F o\n")

    assert node.texts() == ["two"]


def test_a_round_that_did_not_arrive_is_repeated_and_one_that_did_is_not(node: Node) -> None:
    """kill -9 between reading and counting loses nothing; a clean stop repeats nothing."""
    node.write("one\n")
    assert node.texts() == ["one"]
    node.restart()
    assert node.texts() == []
    node.write("two\n")
    assert node.texts(arrives=False) == ["two"]
    node.restart()

    assert node.texts() == ["two"]


@pytest.mark.parametrize("killed_at", range(6))
def test_killed_in_any_round_every_line_arrives_at_least_once(node: Node, killed_at: int) -> None:
    """Lines, records and a rotation, and a kill in each of the rounds in turn."""
    arrived: list[str] = []
    script = [
        "one\n",
        "two\nTraceback (most recent call last):\n",
        '  File "a.py", line 1, in f\n',
        "",
        "three\n",
        "four\n",
    ]
    for number, text in enumerate(script):
        if number == 3:
            node.write("ValueError: x\n")
            node.log.rename(node.log.with_name("a.log.1"))
        node.write(text)
        if number == killed_at:
            node.round(arrives=False)
            node.restart()
        arrived += node.texts()
    for _ in range(4):
        arrived += node.texts()

    assert [text for text in arrived if "\n" not in text] == ["one", "two", "three", "four"]
    assert [text for text in arrived if "\n" in text] == [TRACEBACK]


def test_what_was_written_long_before_it_is_read_is_late_and_has_its_own_time(node: Node) -> None:
    """Ten minutes without a daemon: what happened then is not what happens now."""
    node.tail.close()
    node.write("2026-11-24T00:01:00Z ERROR one\n  and more of it\n2026-11-24T00:10:00Z ERROR now\n")
    node.now_s = NOW_S + 601.0
    node.start()

    assert [(record.text, record.at_s - NOW_S, record.late) for record in node.round()] == [
        ("2026-11-24T00:01:00Z ERROR one", 60.0, True),
        ("  and more of it", 60.0, True),
        ("2026-11-24T00:10:00Z ERROR now", 600.0, False),
    ]
    node.write("fresh\n")
    assert [(record.at_s, record.late) for record in node.round()] == [(NOW_S + 602.0, False)]


def test_lines_without_a_time_that_were_missed_are_dated_by_the_stop(node: Node) -> None:
    """Nothing says that they are newer."""
    node.tail.close()
    node.write("no time\n")
    node.now_s += 600.0
    node.start()

    assert [(record.at_s, record.late) for record in node.round()] == [(NOW_S, True)]


def test_a_short_stop_makes_nothing_late(node: Node) -> None:
    """An upgrade takes seconds, and what is written in them is news."""
    node.write("no time\n")
    node.restart(30.0)

    assert [record.late for record in node.round()] == [False]


def test_a_containers_line_is_dated_by_its_runtime(node: Node) -> None:
    """A pod's log that is found later tells of the past, line by line."""
    node.write(
        "".join(
            json.dumps({"log": f"{n}\n", "stream": "stdout", "time": f"2026-11-23T23:5{n}:00Z"}) + "\n" for n in (0, 9)
        )
    )

    assert [(record.text, record.at_s - NOW_S, record.late) for record in node.round()] == [
        ("0", -600.0, True),
        ("9", -60.0, False),
    ]


def test_two_streams_of_a_container_do_not_mix(node: Node) -> None:
    """A traceback on one, requests on the other."""
    lines = [
        ("stderr", "Traceback (most recent call last):"),
        ("stdout", "  an indented line of something else"),
        ("stderr", "ValueError: x"),
    ]
    node.write("".join(f"2026-11-24T00:00:00Z {stream} F {text}\n" for stream, text in lines))

    assert sorted(node.texts()) == [
        "  an indented line of something else",
        "Traceback (most recent call last):\nValueError: x",
    ]


def test_a_record_does_not_go_on_in_another_file(node: Node) -> None:
    """The process that wrote half of it is gone, and so is its file."""
    node.write("Traceback (most recent call last):\n")
    assert node.texts() == []
    node.log.rename(node.log.with_name("a.log.1"))
    node.write("  indented\nplain\n")
    texts = [text for _ in range(4) for text in node.texts()]

    assert texts == ["Traceback (most recent call last):", "  indented", "plain"]


def test_a_long_line_is_marked(node: Node) -> None:
    """Whoever reads the template must know that there was more."""
    node.write("x" * 70_000 + "\nshort\n")

    assert [record.truncated for record in node.round()] == [True, False]


def test_lines_read_are_counted_from_zero(node: Node) -> None:
    """With what was skipped they add up to what was written."""
    for _ in range(8):
        node.write("one\ntwo\n")
        node.round()

    told = [each for each in node.seen if isinstance(each, Sample) and each.metric == "log_lines_read_total"]
    assert told[0].value == 0.0
    assert told[-1].value >= 10.0
    assert len(told) <= 4, "a sample a second and log would cost more than it tells"


def test_a_rotation_that_could_not_be_found_is_counted(node: Node) -> None:
    """What may be missing must be visible."""
    node.write("one\n")
    node.round()
    node.tail.close()
    node.log.unlink()
    node.write("another file, and a longer one\n")
    node.start()
    assert node.texts() == ["another file, and a longer one"]

    lost = [each for each in node.seen if isinstance(each, Sample) and each.labels.get("reason") == "rotated_away"]
    assert [each.value for each in lost] == [0.0, 1.0]


def test_a_file_on_a_full_disk_goes_on_when_there_is_room(node: Node) -> None:
    """Its writer stopped in the middle of a line, and went on in the middle of another."""
    node.write("whole\nhal")
    assert node.texts() == ["whole"]
    assert node.texts() == []
    node.write("f a line\n")

    assert node.texts() == ["half a line"]


def test_close_does_not_take_a_file_from_under_a_reading_that_hangs(node: Node) -> None:
    """A reload while the disk hangs: the number of a closed file may already be another's."""
    node.write("one\ntwo\n")
    reading = iter(node.tail.collect(node.now_s))
    assert cast("LogRecord", next(reading)).text == "one"
    node.tail.close()

    assert [each.text for each in reading if isinstance(each, LogRecord)] == ["two"]


def test_a_binary_file_that_takes_the_place_of_a_log_says_so_once(node: Node) -> None:
    """Somebody copied a core dump over it."""
    node.log.write_bytes(bytes(range(32)) * 10_000)
    for _ in range(5):
        node.round()

    said = [each.detail for each in node.seen if isinstance(each, Sight)]
    assert said == ["followed", "followed; binary data among its lines is left out"]
