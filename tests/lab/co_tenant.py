"""
Somebody else's process on a card: takes memory bit by bit or at once, or runs kernels.

A notebook's cache grows until it has what it wants; a second engine loads its weights and then takes its pool; a training
job or a batch of embeddings keeps the card computing. None of them touches what others hold.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiops.demo import stage
from aiops.demo.card import OutOfMemory
from tests.lab.cards import LabCard

_SMALLEST_MIB = 16.0
_RETRY_S = 0.1


async def take(card: LabCard, mib: float, *, steps: int, over_s: float) -> None:
    """Take *mib* in *steps* within *over_s*; what is refused is asked for again in halves, until it was given."""
    left_mib = mib
    size_mib = mib / steps
    while left_mib > _SMALLEST_MIB:
        try:
            await card.alloc(min(size_mib, left_mib))
            left_mib -= size_mib
            await asyncio.sleep(over_s / steps)
        except OutOfMemory:
            size_mib = max(size_mib / 2, _SMALLEST_MIB)
            await asyncio.sleep(_RETRY_S)
    await asyncio.Event().wait()


async def compute(card: LabCard, *, kernel_s: float, duty: float, intensity: float, seed: int) -> None:
    """Run kernels of about *kernel_s*, with pauses that leave the card alone for 1 - *duty* of the time, for ever."""
    rng = random.Random(seed)
    while True:
        await card.run(kernel_s * rng.uniform(0.5, 1.5), intensity)
        if duty < 1.0:
            await asyncio.sleep(kernel_s * rng.uniform(0.5, 1.5) * (1.0 - duty) / duty)


@asynccontextmanager
async def co_tenant(args: argparse.Namespace) -> AsyncIterator[dict[str, Any]]:
    """Do what the command line says."""
    card = await LabCard.connect(args.card, args.gpu)
    if args.duty:
        if args.mib:
            await card.alloc(args.mib)
        other = await LabCard.connect(args.card, args.gpu)
        work = compute(other, kernel_s=args.kernel, duty=args.duty, intensity=args.intensity, seed=args.seed)
    else:
        work = take(card, args.mib, steps=args.steps, over_s=args.over)
    async with stage.background(work):
        try:
            yield {}
        finally:
            card.close()


def main() -> None:
    """Use a card until told to stop."""
    parser = argparse.ArgumentParser(prog="tests.lab.co_tenant", description="Somebody else's process on a card.")
    add = parser.add_argument
    add("--card", type=Path, required=True, metavar="SOCKET")
    add("--gpu", type=int, required=True)
    add("--mib", type=float, default=0.0, help="memory it wants")
    add("--steps", type=int, default=12)
    add("--over", type=float, default=10.0, metavar="SECONDS")
    add("--duty", type=float, default=0.0, help="share of the time it has kernels running")
    add("--kernel", type=float, default=0.02, metavar="SECONDS")
    add("--intensity", type=float, default=0.9)
    add("--seed", type=int, default=0)
    args = parser.parse_args()
    stage.perform(lambda: co_tenant(args))


if __name__ == "__main__":
    main()
