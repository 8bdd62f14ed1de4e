"""The connection pool: bounded, with a time-out, and a leak that can be mended."""

import asyncio

import pytest

from aiops.demo.pool import ConnectionPool, PoolTimeout, metadata_service


def with_pool(play, **settings):
    """Run *play* with a pool on a real metadata service."""

    async def run():
        async with metadata_service() as ready:
            pool = ConnectionPool(ready["port"], **{"size": 2, "overflow": 1, "timeout_s": 0.05} | settings)
            try:
                return await play(pool)
            finally:
                pool.mend()
                pool.close()
                await asyncio.sleep(0)

    return asyncio.run(run())


def test_connections_are_shared_and_given_back():
    """Ten questions over three connections: healthy pools look like this."""

    async def play(pool):
        answers = await asyncio.gather(*(pool.ask(f"q{n}") for n in range(10)))
        return answers, pool.used, pool.idle

    answers, used, idle = with_pool(play, timeout_s=5.0)

    assert answers == [f"ok q{n}" for n in range(10)]
    assert (used, idle) == (0, 2)


def test_a_leak_ends_in_timeouts_worded_as_people_know_them():
    """The log class is recognised by SQLAlchemy's wording."""

    async def play(pool):
        pool.leak_share = 1.0
        for n in range(3):
            await pool.ask(f"q{n}")
        with pytest.raises(PoolTimeout, match=r"QueuePool limit of size 2 overflow 1 reached, connection timed out"):
            await pool.ask("in vain")
        return pool.used, pool.pending, pool.timeouts

    assert with_pool(play) == (3, 0, 1)


def test_mending_the_leak_serves_those_who_wait():
    """Recovery must not need a restart, or the demo could not show the end of an incident."""

    async def play(pool):
        pool.leak_share = 1.0
        for n in range(3):
            await pool.ask(f"q{n}")
        waiting = asyncio.create_task(pool.ask("late"))
        await asyncio.sleep(0)
        pool.mend()
        return await waiting

    assert with_pool(play, timeout_s=5.0) == "ok late"


def test_a_service_that_is_gone_costs_no_place_in_the_pool():
    """A refused connection must not be counted as taken for ever."""

    async def play():
        async with metadata_service() as ready:
            port = ready["port"]
        pool = ConnectionPool(port, size=1, overflow=0, timeout_s=0.05)
        for _ in range(3):
            with pytest.raises(OSError):
                await pool.ask("anyone?")
        return pool.used

    assert asyncio.run(play()) == 0
