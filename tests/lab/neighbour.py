"""A batch job beside the chat that writes a log, calm or full of troubles of its own; it touches nothing of the chat's."""

from __future__ import annotations

import argparse
import random
import time
from datetime import UTC, datetime
from pathlib import Path

_CALM = (
    "INFO [ingest] batch {n} of 4,096 documents embedded in {s:.2f} s",
    "INFO [ingest] checkpoint {n} written",
    "INFO [ingest] {n} documents left in partition {p}",
)
_SCARY = (
    "ERROR [ingest] document {n}: UnicodeDecodeError: 'utf-8' codec can't decode byte 0x{p:02x} in position {p}",
    "ERROR [ingest] upload of part {p} failed: connection reset by peer, attempt {p} of 5",
    "WARNING [ingest] fetch of page {n} took {s:.2f} s, deadline exceeded",
    "ERROR [ingest] table worker {p} exited with code 1, restarting",
    "CRITICAL [ingest] dead letter queue holds {n} documents",
    "ERROR [ingest] HTTP 503 from crawler.internal for page {n}, will be fetched again",
    "ERROR [ingest] Traceback (most recent call last): KeyError: 'title' in document {n}",
)


def line(rng: random.Random, number: int, at_s: float, *, scary: bool) -> str:
    """One line at epoch *at_s*."""
    words = rng.choice(_SCARY if scary else _CALM)
    text = words.format(n=number, s=rng.uniform(0.1, 30.0), p=rng.randrange(1, 200))
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} {text}\n"


def main() -> None:
    """Write until killed."""
    parser = argparse.ArgumentParser(prog="tests.lab.neighbour", description=__doc__)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True, metavar="LINES", help="a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scary", action="store_true")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    number = 0
    with args.log.open("a", buffering=1) as log:
        while True:
            number += 1
            log.write(line(rng, number, time.time(), scary=args.scary))
            time.sleep(rng.expovariate(args.rate))


if __name__ == "__main__":
    main()
