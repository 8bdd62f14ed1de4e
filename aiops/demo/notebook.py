"""
Somebody's notebook on the wrong card: takes its free VRAM bit by bit until nothing is left, and sits on it.

It never touches what others hold; it asks again for what they free, which is what a growing cache does.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiops.demo import stage
from aiops.demo.card import Card, OutOfMemory

_SMALLEST_MIB = 16.0


async def fill(card: Card, gpu: int, *, step_mib: float, pause_s: float) -> None:
    """Take *step_mib* every *pause_s* on *gpu*; when refused, take half, down to 16 MiB; for ever."""
    size_mib = step_mib
    while True:
        try:
            await card.alloc(gpu, size_mib)
        except OutOfMemory:
            size_mib = max(size_mib / 2, _SMALLEST_MIB)
        await asyncio.sleep(pause_s if size_mib == step_mib else pause_s / 10)


@asynccontextmanager
async def notebook(socket: Path, gpu: int, over_s: float, free_mib: float) -> AsyncIterator[dict[str, Any]]:
    """Fill *gpu*, with *free_mib* free at the start, in about *over_s*."""
    card = await Card.connect(socket)
    steps = 12
    async with stage.background(fill(card, gpu, step_mib=free_mib / steps, pause_s=over_s / steps)):
        try:
            yield {}
        finally:
            card.close()


def main() -> None:
    """Fill a card until told to stop."""
    parser = argparse.ArgumentParser(prog="aiops.demo.notebook", description="Fills a card's free memory.")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--gpu", type=int, required=True)
    parser.add_argument("--over", type=float, default=11.0, metavar="SECONDS")
    parser.add_argument("--free", type=float, required=True, metavar="MIB")
    args = parser.parse_args()
    stage.perform(lambda: notebook(args.socket, args.gpu, args.over, args.free))


if __name__ == "__main__":
    main()
