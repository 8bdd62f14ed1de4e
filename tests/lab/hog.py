"""
Neighbours of a service, each a real process: one that computes, one that takes memory, one that fills a disk. Each goes on
until it is ended.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from pathlib import Path

_PAGE = 4096
_BLOCK = bytes(64 * 1024)


def compute() -> None:
    """Use one core, for ever."""
    while True:
        for _ in range(1000):
            hashlib.blake2b(_BLOCK).digest()


def take_memory(mib_a_second: float, most_mib: float) -> None:
    """Take memory at that pace and touch all of it again and again, so that nothing of it is cold."""
    kept: list[bytearray] = []
    step_mib = max(mib_a_second / 10.0, 1.0)
    began_s = time.monotonic()
    while True:
        due_mib = min((time.monotonic() - began_s) * mib_a_second, most_mib)
        while len(kept) * step_mib < due_mib:
            kept.append(bytearray(os.urandom(_PAGE) * int(step_mib * 256)))
        for block in kept:
            block[::_PAGE] = block[::_PAGE]
        time.sleep(0.1)


def fill(folder: Path, seconds: float, *, with_names: bool) -> None:
    """Fill the file system of *folder* within *seconds*: with bytes, or with names; then write on wherever there is room."""
    room = os.statvfs(folder)
    each = max(int(room.f_favail if with_names else room.f_bavail) // max(int(seconds * 20), 1), 1)
    number = 0
    while True:
        for _ in range(each if with_names else 1):
            number += 1
            try:
                with (folder / f"core.{os.getpid()}.{number}").open("wb") as file:
                    if not with_names:
                        for _ in range(each):
                            file.write(os.urandom(room.f_bsize))
            except OSError:
                break
        time.sleep(0.05)


def main() -> None:
    """Do one of it until ended."""
    parser = argparse.ArgumentParser(prog="tests.lab.hog", description="A neighbour that takes what a service needs.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("compute")
    memory = kinds.add_parser("memory")
    memory.add_argument("--mib-a-second", type=float, required=True)
    memory.add_argument("--most-mib", type=float, required=True)
    filler = kinds.add_parser("fill")
    filler.add_argument("--folder", type=Path, required=True)
    filler.add_argument("--seconds", type=float, required=True)
    filler.add_argument("--names", action="store_true")
    args = parser.parse_args()
    if args.kind == "compute":
        compute()
    elif args.kind == "memory":
        take_memory(args.mib_a_second, args.most_mib)
    else:
        fill(args.folder, args.seconds, with_names=args.names)


if __name__ == "__main__":
    main()
