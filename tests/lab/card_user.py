"""Somebody else's process on a card: takes memory, runs kernels, and asks nothing of anybody."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiops.demo import stage
from tests.lab.cards import LabCard

_ROUND_S = 0.25


async def _compute(card: LabCard, busy: float) -> None:
    while True:
        await card.run(_ROUND_S * busy, 0.9)
        await asyncio.sleep(_ROUND_S * (1.0 - busy))


async def _idle() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def card_user(socket: Path, gpu: int, mib: float, busy: float) -> AsyncIterator[dict[str, Any]]:
    """Hold and compute."""
    card = await LabCard.connect(socket, gpu)
    try:
        if mib:
            await card.alloc(mib)
        async with stage.background(_compute(card, busy) if busy else _idle()):
            yield {}
    finally:
        card.close()


def main() -> None:
    """Stay until told to leave."""
    parser = argparse.ArgumentParser(prog="tests.lab.card_user", description=__doc__)
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("--gpu", type=int, required=True)
    parser.add_argument("--mib", type=float, default=0.0)
    parser.add_argument("--busy", type=float, default=0.0, metavar="SHARE")
    args = parser.parse_args()
    stage.perform(lambda: card_user(args.card, args.gpu, args.mib, args.busy))


if __name__ == "__main__":
    main()
