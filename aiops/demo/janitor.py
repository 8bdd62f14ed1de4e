"""
Removes the demo's folder when the demo is gone, however it went.

The demo removes it itself; but after SIGKILL nobody is left to do so. This waits for the end of its standard input,
which the kernel closes with the demo, and then removes what is still there.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from pathlib import Path

_DAEMON_ENDS_S = 6.0
"""The daemon gets SIGTERM with our parent's death and may write until it has ended."""


def main() -> None:
    """Wait, then remove the folder named on the command line."""
    folder = Path(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    deadline_s = time.monotonic() + _DAEMON_ENDS_S
    while folder.exists() and time.monotonic() < deadline_s:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.2)


if __name__ == "__main__":
    main()
