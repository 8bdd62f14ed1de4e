"""
A cable of a stated speed between two network namespaces: packets of one end's device come out of the other's, and no faster.

The kernel here has virtual links, but those say 10 Gb/s whatever they carry. A TUN device says the speed it was told, and
this process is the wire between two of them: what it does not fetch in time waits in the device's queue and is dropped
there by the kernel, as by a card whose line is full.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import select
import struct
import time

_TUNSETIFF = 0x400454CA
_NO_INFO = 0x1000
_TUN = 0x0001
_PACKET = 65_536
_SLACK_S = 0.03
"""How much the wire may send at once after it idled, or was not given a core."""


class Way:
    """
    One direction.

    Args:
        source: Where packets are fetched.
        target: Where they come out.
        bytes_per_second: Of the wire.
    """

    def __init__(self, source: int, target: int, bytes_per_second: float) -> None:
        self.source, self._target, self._speed = source, target, bytes_per_second
        self._free_s = 0.0

    def carry(self, now_s: float) -> float:
        """Carry what may be carried at *now_s*; seconds until the wire is free, 0 when nothing is left to carry."""
        self._free_s = max(self._free_s, now_s - _SLACK_S)
        while self._free_s <= now_s:
            try:
                packet = os.read(self.source, _PACKET)
            except BlockingIOError:
                return 0.0
            self._free_s += len(packet) / self._speed
            try:
                os.write(self._target, packet)
            except OSError:  # the other end is down, or its queue is full: lost
                continue
        return self._free_s - now_s


def attach(name: str) -> int:
    """The end of the TUN device *name* of this network namespace."""
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TUN | _NO_INFO))
    return end


def enter(namespace: str) -> None:
    """Go into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    file = os.open(namespace, os.O_RDONLY)
    if libc.setns(file, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.close(file)


def run(ways: tuple[Way, Way]) -> None:
    """Carry for ever."""
    by_end = {way.source: way for way in ways}
    poll = select.poll()
    for end in by_end:
        poll.register(end, select.POLLIN)
    busy: dict[int, float] = {}
    while True:
        wait_s = min(busy.values(), default=None)
        ready = {end for end, _ in poll.poll(None if wait_s is None else max(wait_s * 1e3, 0.2))}
        now_s = time.monotonic()
        for end in ready | set(busy):
            left_s = by_end[end].carry(now_s)
            if left_s > 0.0:
                if end not in busy:
                    poll.unregister(end)  # asked again when the wire is free
                busy[end] = left_s
            elif busy.pop(end, None) is not None:
                poll.register(end, select.POLLIN)


def main() -> None:
    """Be the wire until told to stop."""
    parser = argparse.ArgumentParser(prog="tests.lab.cable", description="A wire between two TUN devices.")
    parser.add_argument("--device", required=True, help="here and there")
    parser.add_argument("--namespace", required=True, metavar="FILE", help="of the other end's network")
    parser.add_argument("--mbit", type=float, required=True, help="its speed")
    args = parser.parse_args()
    here = attach(args.device)
    enter(args.namespace)
    there = attach(args.device)
    print("{}", flush=True)
    speed = args.mbit * 1e6 / 8
    run((Way(here, there, speed), Way(there, here, speed)))


if __name__ == "__main__":
    main()
