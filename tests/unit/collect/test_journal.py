"""The journal is followed through a child whose pipe never blocks; what cannot be seen is said."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest

from aiops.clock import ManualClock
from aiops.collect.journal import Config, Journal
from aiops.model import LogRecord, Observation, Sight
from aiops.ports import World
from tests.fakes import FakeCheckpoints, FakeInbox

NOW_S = 1_800_000_000.0
Start = Callable[[str], Journal]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Journals whose journalctl is a line of Python."""
    (tmp_path / "run/log/journal").mkdir(parents=True)
    world = World("n1", tmp_path, ManualClock(), cast("httpx.AsyncClient", None), FakeCheckpoints(), FakeInbox())
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


def until(journal: Journal, enough: Callable[[list[Observation]], bool]) -> list[Observation]:
    """Everything collected until *enough*; the child needs a moment to speak."""
    seen: list[Observation] = []
    for _ in range(1_000):
        seen += journal.collect(NOW_S)
        if enough(seen):
            return seen
        if journal._child is not None:
            streams = [stream for stream in (journal._child.stdout, journal._child.stderr) if stream is not None]
            select.select(streams, [], [], 10.0)
    raise AssertionError(seen)


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
        {"MESSAGE": "last"},
    ]
    seen = until(start(printing(*odd)), lambda seen: bool(records(seen)) and records(seen)[-1].text == "last")

    assert [record.text for record in records(seen)] == ["bin\ufffdary", "unit of no text", "last"]


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
