"""`aiops top` in a real terminal beside the real daemon: it draws, waits for a daemon that restarts, and gives the screen back."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon import Daemon

ENTER, LEAVE = b"\033[?1049h", b"\033[?1049l"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, collect={})
    daemon.start()
    yield daemon
    daemon.close()


class Terminal:
    """A pseudo-terminal with `aiops top` in it."""

    def __init__(self, folder: Path, url: str) -> None:
        settings = folder / "top.yaml"
        settings.write_text(f'web: {{listen: "{url.removeprefix("http://")}"}}\n')
        self.keyboard, self.inner = pty.openpty()
        self.before = termios.tcgetattr(self.inner)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aiops", "top", "-c", str(settings), "--every", "0.3"],
            stdin=self.inner, stdout=self.inner, stderr=self.inner, start_new_session=True,
        )  # fmt: skip
        self.seen = b""

    def until(self, words: bytes, within_s: float = 20.0) -> None:
        until_s = time.monotonic() + within_s
        while words not in self.seen:
            assert time.monotonic() < until_s, self.seen[-2000:]
            ready, _, _ = select.select([self.keyboard], [], [], 0.2)
            if ready:
                self.seen += os.read(self.keyboard, 65_536)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.keyboard)
        os.close(self.inner)


@pytest.fixture
def terminal(daemon: Daemon, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, daemon.url)
    yield terminal
    terminal.close()


@pytest.mark.parametrize("leave", ["q", "interrupt"])
def test_it_draws_and_gives_the_terminal_back_as_it_was(terminal: Terminal, leave: str) -> None:
    """A tool that leaves the terminal broken is not started a second time."""
    terminal.until(b"memory")
    if leave == "q":
        os.write(terminal.keyboard, b"q")
    else:
        terminal.process.send_signal(signal.SIGINT)

    terminal.until(LEAVE)

    assert terminal.process.wait(10) == 0
    assert terminal.seen.startswith(ENTER)
    assert termios.tcgetattr(terminal.inner) == terminal.before


def test_a_daemon_that_goes_down_is_waited_for(terminal: Terminal, daemon: Daemon) -> None:
    terminal.until(b"memory")
    daemon.stop()

    terminal.until(b"no daemon answers")

    assert terminal.process.poll() is None


def test_without_a_daemon_it_says_so_and_fails(tmp_path: Path) -> None:
    settings = tmp_path / "top.yaml"
    settings.write_text('web: {listen: "127.0.0.1:1"}\n')

    done = subprocess.run(
        [sys.executable, "-m", "aiops", "top", "-c", str(settings)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 1
    assert "no daemon answers on 127.0.0.1:1" in done.stderr
