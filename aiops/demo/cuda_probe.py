"""
Whether CUDA can be used on a card: a program of its own, because a call of a sick driver may never return.

``python -m aiops.demo.cuda_probe`` answers one line ``{"cards": [UUID…], "most": N}`` with one line of JSON: ``found``
maps up to N of them, in that order, to their free and total MiB with one context open; ``refused`` maps others to the
reason; ``missing`` is why there is no driver at all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from aiops.demo.cuda import CudaCard, CudaError, Driver, OutOfDeviceMemory

_TRIAL_MIB = 64.0
_WSL = Path("/dev/dxg")
"""Under WSL the driver lends host memory when the card's is full: nothing would ever be refused."""


def probe(cards: list[str], most: int) -> dict[str, Any]:
    """Try *cards* in turn until *most* can be used."""
    if _WSL.exists():
        return {"missing": "under WSL it takes host memory when the card is full"}
    try:
        driver = Driver()
        devices = dict(driver.devices())
    except (OSError, CudaError) as error:
        return {"missing": str(error)}
    found: dict[str, tuple[float, float]] = {}
    refused: dict[str, str] = {}
    for card in cards:
        if len(found) == most:
            break
        try:
            found[card] = _try(driver, devices[card])
        except LookupError:
            refused[card] = "CUDA does not show it, or only slices of it"
        except _Unsuitable as error:
            refused[card] = str(error)
        except OutOfDeviceMemory:
            refused[card] = "not enough free memory"
        except CudaError as error:
            refused[card] = str(error)
    return {"found": found, "refused": refused}


class _Unsuitable(Exception):
    """The card could be used, but not for this."""


def _try(driver: Driver, device: int) -> tuple[float, float]:
    """Free and total MiB of a card that gives memory and takes it back."""
    if driver.shares_host_memory(device):
        raise _Unsuitable("its memory is the host's")
    if not driver.admits_several(device):
        raise _Unsuitable("it admits one process at a time only")
    card = CudaCard(driver, device)
    try:
        card.free(card.alloc(_TRIAL_MIB))
        return card.room_mib()
    finally:
        card.close()


def main() -> None:
    """Answer one question."""
    question = json.loads(sys.stdin.readline())
    print(json.dumps(probe(list(question["cards"]), int(question["most"]))), flush=True)


if __name__ == "__main__":
    main()
