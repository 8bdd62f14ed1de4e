"""``aiops record`` beside a real daemon."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.integration.daemon import Daemon


class Recorder:
    """``aiops record`` as a process."""

    def __init__(self, daemon: Daemon, folder: Path, *, limit_kib: int | None = None) -> None:
        settings = daemon.state.parent / "record.yaml"
        listen = daemon.url.removeprefix("http://")
        settings.write_text(json.dumps({"web": {"listen": listen}, "state": {"dir": str(daemon.state)}}))
        # a limit of a file's size is what a full disk looks like to whoever writes
        limit = "unlimited" if limit_kib is None else str(limit_kib)
        self._said = folder.with_name(folder.name + ".said")
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                ["bash", "-c", f'ulimit -f {limit}; exec "$@"', "-", sys.executable, "-m", "aiops", "record",
                 "-c", str(settings), str(folder)],
                stdout=said, stderr=said,
            )  # fmt: skip

    def end(self, how: signal.Signals | None = signal.SIGINT) -> tuple[int, str]:
        """Exit status, and what it said; None waits for it to end by itself."""
        if how is not None:
            self.process.send_signal(how)
        return self.process.wait(30.0), self._said.read_text()

    def close(self) -> None:
        """End it, if a failed test has left it running."""
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
