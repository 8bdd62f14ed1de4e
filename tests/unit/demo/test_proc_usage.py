"""CPU and memory of a process and its descendants, from a made-up /proc."""

import os
from pathlib import Path

import pytest

from aiops.demo.proc_usage import Usage, usage

TICKS = os.sysconf("SC_CLK_TCK")


def process(proc: Path, pid: int, parent: int, *, ticks: int, rss_kb: int, name: str = "python3") -> None:
    folder = proc / str(pid)
    folder.mkdir()
    fields = ["S", str(parent), *["0"] * 9, str(ticks), str(ticks), *["0"] * 20]
    (folder / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
    (folder / "status").write_text(f"Name:\t{name}\nVmRSS:\t  {rss_kb} kB\n")


def test_descendants_are_counted_apart(tmp_path: Path):
    """The footprint promise is about the resident daemon; helpers are shown, not hidden."""
    process(tmp_path, 10, 1, ticks=TICKS, rss_kb=100)
    process(tmp_path, 11, 10, ticks=3 * TICKS, rss_kb=50, name="a (b) c")
    process(tmp_path, 12, 11, ticks=TICKS, rss_kb=7)
    process(tmp_path, 13, 1, ticks=9 * TICKS, rss_kb=999)
    (tmp_path / "meminfo").write_text("x")

    assert usage(10, tmp_path) == Usage(2.0, 100 * 1024, 8.0, 57 * 1024)


def test_a_process_that_ended_is_an_error_not_a_zero(tmp_path: Path):
    """Zero CPU of a dead daemon would look like a triumph."""
    with pytest.raises(OSError):
        usage(10, tmp_path)
