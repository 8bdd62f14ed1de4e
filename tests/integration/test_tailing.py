"""
Logs followed by the real daemon: killed, stopped, rotated away from it, on a full disk, fed by a pipe.

The stories are mostly waiting, so those that can are told at the same time.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon import Daemon, wait_for

pytestmark = pytest.mark.timeout(180)

LINES = 200


class Stage:
    """One daemon and the log it follows."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "server.log"
        self.log.touch()
        self.written = 0
        self.daemon = Daemon(
            folder / "daemon",
            collect={"log_tail": {"files": [{"path": str(self.log)}]}, "host": {"enabled": False}},
        )

    def write(self, count: int = LINES) -> None:
        with self.log.open("a") as file:
            for _ in range(count):
                self.written += 1
                file.write(f"INFO line number {self.written} of a server's log\n")

    def read(self) -> float:
        return self.daemon.total("log_lines_read_total")

    def wait_read(self, count: int) -> None:
        """Wait until *count* lines are told; the count is told every five seconds."""
        wait_for(lambda: self.read() >= count, 20.0, f"{count} lines read, not {self.read()}", every_s=0.5)

    def settle(self, least: int) -> float:
        """Lines read when nothing more comes; on a busy machine the first *least* take their time."""
        self.wait_read(least)
        time.sleep(7.0)
        return self.read()

    def losses(self) -> dict[str, float]:
        return {s: v for s, v in self.daemon.metrics().items() if s.startswith("log_lines_skipped_total")}


def killed(stage: Stage) -> dict[str, Any]:
    """SIGKILL a second after lines were read, when their checkpoint is mostly not on the disk yet."""
    stage.daemon.start()
    time.sleep(12.0)  # the place of the empty log is on the disk
    stage.write()
    time.sleep(1.5)
    stage.daemon.kill()
    stage.write(50)
    stage.daemon.start()
    return {"read": stage.settle(50), "new": 50, "unsure": LINES, "losses": stage.losses()}


def stopped_cleanly(stage: Stage) -> dict[str, Any]:
    """SIGTERM in the middle of a busy log."""
    stage.daemon.start()
    stage.write()
    stage.wait_read(LINES)
    stage.daemon.stop()
    stage.write(50)
    stage.daemon.start()
    return {"read": stage.settle(50), "new": 50, "unsure": 0, "losses": stage.losses()}


def rotated_while_stopped(stage: Stage) -> dict[str, Any]:
    """Two rotations, the older one compressed."""
    stage.daemon.start()
    stage.write()
    stage.wait_read(LINES)
    stage.daemon.stop()
    stage.write(50)
    oldest = stage.log.with_name("server.log.2.gz")
    status = stage.log.stat()
    oldest.write_bytes(gzip.compress(stage.log.read_bytes()))
    os.utime(oldest, ns=(status.st_atime_ns, status.st_mtime_ns))
    stage.log.unlink()
    stage.write(30)
    stage.log.rename(stage.log.with_name("server.log.1"))
    stage.write(20)
    stage.daemon.start()
    return {"read": stage.settle(100), "new": 100, "unsure": 0, "losses": stage.losses()}


STORIES: tuple[Callable[[Stage], dict[str, Any]], ...] = (killed, stopped_cleanly, rotated_while_stopped)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[dict[str, Any]]]]:
    folder = tmp_path_factory.mktemp("tailing")
    stages = {story.__name__: Stage(folder / story.__name__) for story in STORIES}
    with ThreadPoolExecutor(len(STORIES)) as actors:
        yield {story.__name__: actors.submit(story, stages[story.__name__]) for story in STORIES}
    for stage in stages.values():
        stage.daemon.close()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_no_line_is_lost_and_only_what_was_not_on_the_disk_is_repeated(
    told: dict[str, Future[dict[str, Any]]], story: Callable[[Stage], dict[str, Any]]
) -> None:
    """What was written while nobody read is read; what was read before is read again only after a kill."""
    result = told[story.__name__].result(120.0)

    assert result["new"] <= result["read"] <= result["new"] + result["unsure"]
    assert result["losses"] == {}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of four megabytes."""
    folder = tmp_path / "daemon" / "state"
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small file system cannot be mounted here: " + done.stderr.decode().strip())
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_under_the_state_stops_no_reading_is_said_once_and_gets_over(
    tmp_path: Path, small_disk: Path
) -> None:
    """vector#22288: after a checkpoint could not be written, deleted logs were held and the disk stayed full."""
    stage = Stage(tmp_path)
    try:
        stage.daemon.start()
        stage.write(10)
        stage.wait_read(10)
        filler = small_disk / "filler"
        fill(filler)
        for _ in range(3):
            stage.write(10)
            stage.log.unlink()
            stage.write(10)
            time.sleep(4.0)
        wait_for(lambda: stage.daemon.total("aiops_state_errors_total") >= 2, 60.0, "the disk refuses")
        stage.wait_read(70)
        held = [str(link.readlink()) for link in Path(f"/proc/{stage.daemon.process.pid}/fd").iterdir()]
        assert not [path for path in held if "server.log" in path and path.endswith("(deleted)")]
        filler.unlink()
        filler.with_name("more").unlink()
        saved = "checkpoints and history can be saved again"
        wait_for(lambda: [each for each in stage.daemon.said() if each["event"] == saved], 60.0, saved)
        complaints = [
            each for each in stage.daemon.said() if each["event"] == "checkpoints and history cannot be saved"
        ]
        assert len(complaints) == 1
        assert stage.daemon.stop() == 0
        stage.write(5)
        stage.daemon.start()
        assert stage.settle(5) == 5
    finally:
        stage.daemon.close()


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            continue
    with pytest.raises(OSError, match="No space left"):
        path.with_name("more").write_bytes(b"x" * 65_536)


class Piped(Daemon):
    """One that is fed by another program."""

    def launch(self) -> None:
        self.url = ""
        with self.log.open("ab") as log:
            self._log_from = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "aiops", "run", "-c", str(self._file)],
                stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip


def test_a_server_piped_into_the_daemon_is_a_log_and_its_end_is_not_ours(tmp_path: Path) -> None:
    """some-server 2>&1 | aiops run"""
    daemon = Piped(tmp_path, collect={"log_tail": {"files": [{"path": "-", "instance": "127.0.0.1:8000"}]}})
    try:
        daemon.start()
        pipe = daemon.process.stdin
        assert pipe is not None
        started_s = time.monotonic()
        for _ in range(1_000):
            pipe.write(b"INFO a line of a server that must not wait for us\n" * 20)
        pipe.write(b"ERROR torch.OutOfMemoryError: CUDA out of memory\n")
        pipe.close()
        assert time.monotonic() - started_s < 5.0
        wait_for(
            lambda: (
                (
                    daemon.total("log_lines_read_total", source="stdin")
                    + daemon.total("log_lines_skipped_total", source="stdin")
                )
                >= 20_001
            ),
            20.0,
            "all lines counted",
        )
        assert daemon.total("log_records_total", source="stdin", log_class="vram_exhaustion") == 1
        assert daemon.total("log_source_up", source="stdin") == 0
        assert daemon.running
        assert daemon.stop() == 0
    finally:
        daemon.close()
