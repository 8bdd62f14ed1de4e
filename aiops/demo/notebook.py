"""
Somebody's notebook on the wrong card: takes its free VRAM bit by bit until nothing is left, and sits on it.

It never touches what others hold; it asks again for what they free, which is what a growing cache does. What it leaves
is less than any prefill needs, and no less than that.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiops.demo import stage
from aiops.demo.card import Card, OutOfMemory, open_card

_SMALLEST_MIB = 32.0
_STEPS = 12


async def fill(card: Card, *, step_mib: float, pause_s: float) -> None:
    """Take *step_mib* every *pause_s*; when refused, take half, down to 32 MiB; for ever."""
    size_mib = step_mib
    while True:
        try:
            await card.alloc(size_mib)
        except OutOfMemory:
            size_mib = max(size_mib / 2, _SMALLEST_MIB)
        await asyncio.sleep(pause_s if size_mib == step_mib else pause_s / 10)


@asynccontextmanager
async def notebook(address: str, gpu: int, over_s: float) -> AsyncIterator[dict[str, Any]]:
    """Fill card *gpu* at *address* in about *over_s*."""
    card = await open_card(address, gpu)
    step_mib = (await card.room()).free / _STEPS
    async with stage.background(fill(card, step_mib=step_mib, pause_s=over_s / _STEPS)):
        try:
            yield {}
        finally:
            card.close()


def main() -> None:
    """Fill a card until told to stop."""
    parser = argparse.ArgumentParser(prog="aiops.demo.notebook", description="Fills a card's free memory.")
    parser.add_argument("--gpu", type=int, required=True)
    parser.add_argument(
        "--card", required=True, metavar="ADDRESS", help="unix:SOCKET of the card process, or cuda:UUID"
    )
    parser.add_argument("--over", type=float, default=11.0, metavar="SECONDS")
    args = parser.parse_args()
    stage.perform(lambda: notebook(args.card, args.gpu, args.over))


if __name__ == "__main__":
    main()
