"""The journal is followed through a child whose pipe never blocks; what cannot be seen is said."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest

from aiops.clock import ManualClock
from aiops.collect.journal import Config, Journal
from aiops.model import LogRecord, Observation, Sample, Sight
from aiops.ports import World
from tests.fakes import FakeCheckpoints, FakeInbox

NOW_S = 1_800_000_000.0
Start = Callable[[str], Journal]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Journals whose journalctl is a line of Python."""
    (tmp_path / "run/log/journal").mkdir(parents=True)
    checkpoints = FakeCheckpoints()
    world = World("n1", tmp_path, ManualClock(), cast("httpx.AsyncClient", None), checkpoints, FakeInbox())
    started: list[Journal] = []

    def start(program: str) -> Journal:
        script = tmp_path / f"{len(started)}.py"
        script.write_text(program)
        started.append(Journal(Config(), world, (sys.executable, "-S", str(script))))
        return started[-1]

    yield start
    for journal in started:
        journal.close()


def printing(*entries: dict[str, object] | str) -> str:
    """A program that writes *entries* and stays."""
    text = "".join((entry if isinstance(entry, str) else json.dumps(entry)) + "\n" for entry in entries)
    return f"import sys, time; sys.stdout.write({text!r}); sys.stdout.flush(); time.sleep(60)"


def until(journal: Journal, enough: Callable[[list[Observation]], bool], now_s: float = NOW_S) -> list[Observation]:
    """Everything collected until *enough*; the child needs a moment to speak."""
    seen: list[Observation] = []
    deadline_s = time.monotonic() + 30.0  # not turns: a child that has closed its streams and not yet ended takes many
    while time.monotonic() < deadline_s:
        seen += journal.collect(now_s)
        if enough(seen):
            return seen
        if journal._child is not None:
            streams = [stream for stream in (journal._child.stdout, journal._child.stderr) if stream is not None]
            select.select(streams, [], [], 10.0)
    raise AssertionError(seen)


def skipped(seen: list[Observation]) -> dict[str, float]:
    """Totals of what could not be used, by reason."""
    samples = [each for each in seen if isinstance(each, Sample) and each.metric == "log_lines_skipped_total"]
    return {sample.labels.get("reason"): sample.value for sample in samples}


def records(seen: list[Observation]) -> list[LogRecord]:
    return [each for each in seen if isinstance(each, LogRecord)]


def test_messages_become_records_of_their_unit(start: Start) -> None:
    """Services under systemd often keep no log file."""
    entry = {"MESSAGE": "CUDA out of memory", "_SYSTEMD_UNIT": "vllm.service", "_PID": "1"}
    seen = until(start(printing(entry)), lambda seen: len(records(seen)) == 1)

    (record,) = records(seen)
    assert record.text == "CUDA out of memory"
    assert dict(record.labels.pairs) == {"host_name": "n1", "source": "vllm.service"}


def test_our_own_lines_and_the_kernels_are_left_out(start: Start) -> None:
    """A warning of ours about a line would be a line that deserves a warning."""
    seen = until(
        start(
            printing(
                {"MESSAGE": "ours", "_PID": str(os.getpid())},
                {"MESSAGE": "kernel's", "_TRANSPORT": "kernel"},
                {"MESSAGE": "theirs", "SYSLOG_IDENTIFIER": "cron"},
            )
        ),
        lambda seen: len(records(seen)) == 1,
    )

    assert [(record.text, record.labels.get("source")) for record in records(seen)] == [("theirs", "cron")]


def test_odd_lines_are_survived(start: Start) -> None:
    """Binary messages come as lists of bytes, long ones as null, and a pipe may carry anything."""
    odd: list[dict[str, object] | str] = [
        {"MESSAGE": list(b"bin\xffary")},
        {"MESSAGE": None},
        {"MESSAGE": [999]},
        {"MESSAGE": {"a": 1}},
        {"MESSAGE": "unit of no text", "_SYSTEMD_UNIT": 7},
        "no JSON",
        "[1]",
        "[" * 100_000,
        '{"MESSAGE":"' + "x" * 2**20 + '"}',
        {"MESSAGE": "y" * 70_000},
        {"MESSAGE": "last"},
    ]
    seen = until(start(printing(*odd)), lambda seen: bool(records(seen)) and records(seen)[-1].text == "last")

    assert [record.text[:99] for record in records(seen)] == ["bin\ufffdary", "unit of no text", "y" * 99, "last"]
    assert [(len(record.text), record.truncated) for record in records(seen)][2] == (65_536, True)
    assert skipped(seen) == {"malformed": 3.0, "oversize": 2.0}


def test_units_beyond_the_bound_are_one(start: Start) -> None:
    """Transient units have endless names."""
    entries = [{"MESSAGE": "m", "_SYSTEMD_UNIT": f"run-{n}.service"} for n in range(200)]
    seen = until(start(printing(*entries)), lambda seen: len(records(seen)) == 200)

    assert len({record.labels for record in records(seen)}) <= 65


def test_an_end_is_said_once_and_tried_again_after_a_minute(start: Start) -> None:
    """A journal that was rotated away or a broken library: not our end, and not a busy loop."""
    journal = start("import sys; sys.exit('Failed to open the journal')")
    seen = until(journal, lambda seen: any(isinstance(each, Sight) and not each.seen for each in seen))

    assert isinstance(seen[-1], Sight)
    assert seen[-1].detail == "journalctl ended: Failed to open the journal"
    assert list(journal.collect(NOW_S + 1.0)) == []
    assert journal._child is None
    list(journal.collect(NOW_S + 61.0))
    assert journal._tried_s == NOW_S + 61.0


def test_missing_rights_are_a_blind_spot_with_a_remedy(start: Start) -> None:
    """journalctl says so on its standard error and goes on with what little it may show."""
    program = "import sys, time; print('Hint: You are currently not seeing messages from other users and the system.', file=sys.stderr); time.sleep(60)"
    seen = until(start(program), lambda seen: any(isinstance(each, Sight) and not each.seen for each in seen))

    assert isinstance(seen[-1], Sight)
    assert "systemd-journal" in seen[-1].hint


@pytest.mark.parametrize("missing", ["program", "journal"])
def test_a_machine_without_a_journal_is_a_blind_spot_and_starts_nothing(tmp_path: Path, missing: str) -> None:
    """Containers have neither."""
    if missing == "program":
        (tmp_path / "run/log/journal").mkdir(parents=True)
    world = World("n1", tmp_path, ManualClock(), cast("httpx.AsyncClient", None), FakeCheckpoints(), FakeInbox())
    command = ("journalctl-that-is-not-there",) if missing == "program" else (sys.executable, "-c", "1/0")
    journal = Journal(Config(), world, command)

    (sight,) = list(journal.collect(NOW_S))

    assert isinstance(sight, Sight)
    assert not sight.seen
    assert journal._child is None
    assert list(journal.collect(NOW_S + 61.0)) == []


def test_close_ends_the_child(start: Start) -> None:
    """No process is left behind."""
    journal = start(printing({"MESSAGE": "up"}))
    until(journal, lambda seen: len(records(seen)) == 1)
    child = journal._child
    assert child is not None

    journal.close()

    assert child.returncode is not None


# --- where it goes on -------------------------------------------------------------------------------------------------

ARGUMENTS = """
import json, sys, time
def say(**entry): print(json.dumps(entry), flush=True)
say(MESSAGE=" ".join(sys.argv[1:]), __CURSOR="c1", __REALTIME_TIMESTAMP="{stamp}")
time.sleep(60)
"""


def with_arguments(at_s: float = NOW_S) -> str:
    """A program that says what it was called with, as a message of that time."""
    return ARGUMENTS.replace("{stamp}", str(int(at_s * 1e6)))


def first(journal: Journal, now_s: float = NOW_S) -> str:
    return records(until(journal, lambda seen: len(records(seen)) == 1, now_s))[0].text


def test_the_first_start_begins_with_the_present(start: Start) -> None:
    """Yesterday's errors are no news."""
    assert first(start(with_arguments())) == "--lines=0"


def test_a_restart_goes_on_behind_the_last_message_that_arrived(start: Start) -> None:
    """What services said while we restarted may be the reason of the incident."""
    journal = start(with_arguments())
    first(journal)
    journal.acknowledge(NOW_S)
    journal.close()

    assert first(start(with_arguments()), NOW_S + 60.0) == "--no-tail --after-cursor=c1"


def test_what_did_not_arrive_is_read_again(start: Start) -> None:
    """Killed between reading and acknowledging."""
    first(start(with_arguments()))

    assert first(start(with_arguments())) == "--lines=0"


def test_a_restart_after_days_begins_with_the_present(start: Start) -> None:
    """A journal of a week would take minutes to catch up with."""
    journal = start(with_arguments())
    first(journal)
    journal.acknowledge(NOW_S)

    assert first(start(with_arguments()), NOW_S + 100_000.0) == "--lines=0"


def test_a_killed_journalctl_is_resumed(start: Start) -> None:
    """The out-of-memory killer chose it: the next one goes on where it was."""
    journal = start(with_arguments())
    first(journal)
    assert journal._child is not None
    journal._child.kill()
    journal._child.wait(10.0)
    list(journal.collect(NOW_S + 1.0))
    assert journal._child is None

    assert first(journal, NOW_S + 62.0) == "--no-tail --after-cursor=c1"


def test_a_cursor_journalctl_does_not_take_is_given_up(start: Start) -> None:
    """Another machine's state file, or a journal that was thrown away."""
    program = """
import sys, time
if any("cursor" in argument for argument in sys.argv[1:]): sys.exit("Failed to seek to cursor: Invalid argument")
print('{"MESSAGE":"up"}', flush=True); time.sleep(60)
"""
    journal = start(with_arguments())
    first(journal)
    journal.acknowledge(NOW_S)
    other = start(program)
    until(other, lambda seen: any(isinstance(each, Sight) and not each.seen for each in seen))

    assert first(other, NOW_S + 61.0) == "up"


def test_what_was_missed_during_a_stop_is_late_and_has_its_own_time(start: Start) -> None:
    """It is read, but it is no news."""
    journal = start(with_arguments(NOW_S - 3_600.0))
    journal._checkpoints.put("journal", json.dumps(["c0", NOW_S - 4_000.0]).encode())
    (record,) = records(until(journal, lambda seen: len(records(seen)) == 1))

    assert (record.at_s, record.late) == (NOW_S - 3_600.0, True)


def test_far_behind_while_running_the_past_is_given_up_and_counted(start: Start) -> None:
    """A service in a loop writes more than we may read: news of an hour ago is none."""
    journal = start(with_arguments(NOW_S))
    seen = until(journal, lambda seen: bool(skipped(seen)), NOW_S + 61.0)

    assert skipped(seen) == {"backlog": 1.0}
    assert first(journal, NOW_S + 62.0) == "--lines=0"


def test_a_traceback_that_comes_line_by_line_is_one_record(start: Start) -> None:
    """What a service prints becomes one message a line; two services do not mix."""
    lines = ["Traceback (most recent call last):", '  File "a.py", line 1, in f', "ValueError: x"]
    entries: list[dict[str, object] | str] = []
    for line in lines:
        entries += [{"MESSAGE": line, "_SYSTEMD_UNIT": unit} for unit in ("a.service", "b.service")]
    seen = until(start(printing(*entries)), lambda seen: len(records(seen)) == 2)

    assert [(record.labels.get("source"), record.text) for record in records(seen)] == [
        ("a.service", "\n".join(lines)),
        ("b.service", "\n".join(lines)),
    ]


def test_a_message_of_several_lines_is_one_record(start: Start) -> None:
    """Whoever logs through the journal's own interface has joined them."""
    seen = until(start(printing({"MESSAGE": "one\ntwo"})), lambda seen: len(records(seen)) == 1)

    assert records(seen)[0].text == "one\ntwo"
