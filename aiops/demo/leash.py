"""
Ties a process to the one that started it: when the parent dies, by whatever means, the process gets a signal.

``python -m aiops.demo.leash PARENT SIGNAL COMMAND…`` asks the kernel for that and becomes COMMAND. Without it, a demo
killed with SIGKILL would leave a dozen processes behind.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Take the leash and become the command."""
    parent, number, *command = sys.argv[1:]
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(1)  # it died before the kernel knew of us
    os.execvp(command[0], command)  # noqa: S606 - no shell wanted


if __name__ == "__main__":
    main()
