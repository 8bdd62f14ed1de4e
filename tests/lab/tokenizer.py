"""The process that tokenises for a model server: a line in, so much work, a line out. It ends with its input."""

from __future__ import annotations

import hashlib
import sys
import time


def main() -> None:
    """Work until the input ends."""
    for line in sys.stdin:
        cost, _, prompt = line.partition(" ")
        text, until_s = prompt.encode(), time.process_time() + float(cost)
        while time.process_time() < until_s:
            for _ in range(20):
                hashlib.blake2b(text).digest()
        print(len(prompt.split()), flush=True)


if __name__ == "__main__":
    main()
