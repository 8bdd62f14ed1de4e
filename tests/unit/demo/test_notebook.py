"""The notebook takes what is free and nothing else, and leaves less than a prefill needs."""

import asyncio

import pytest

from aiops.demo.card import OutOfMemory, Room
from aiops.demo.engine import Memory
from aiops.demo.notebook import fill


class Shelf:
    """A card of which somebody else may take or give back."""

    def __init__(self, free_mib: float) -> None:
        self.free_mib = free_mib
        self.asked = 0

    async def room(self) -> Room:
        return Room(self.free_mib, 24_576.0)

    async def alloc(self, mib: float) -> int:
        self.asked += 1
        if mib > self.free_mib:
            raise OutOfMemory(0, mib, await self.room(), 0.0)
        self.free_mib -= mib
        return self.asked

    async def free(self, handle: int) -> None:
        raise AssertionError("it gives nothing back")

    async def busy(self, share: float) -> None:
        pass

    def close(self) -> None:
        pass


def filled(shelf: Shelf, attempts: int) -> float:
    """What is free after so many more attempts."""

    async def play() -> None:
        task = asyncio.ensure_future(fill(shelf, step_mib=150.0, pause_s=0.0))
        end = shelf.asked + attempts
        while shelf.asked < end:
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(play())
    return shelf.free_mib


@pytest.mark.parametrize("free_mib", [1800.0, 1899.0, 140.0, 7.0])
def test_no_prefill_finds_room_afterwards(free_mib: float):
    """Only then does a server fail for want of memory, as it would in the field."""
    assert 0.0 <= filled(Shelf(free_mib), 60) < Memory().activation_mib(1)


def test_what_others_give_back_is_taken_too():
    """Servers free working memory all the time; a fault that let them have it again would end by itself."""
    shelf = Shelf(500.0)
    filled(shelf, 40)
    shelf.free_mib += 300.0

    assert filled(shelf, 40) < Memory().activation_mib(1)
