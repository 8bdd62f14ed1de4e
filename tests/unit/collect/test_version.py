"""The version of a server is asked once a start, and never waited for."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from aiops.collect.version import VersionWatch


class Server:
    """Answers with what it is told, and counts."""

    def __init__(self, body: bytes = b'{"version": "0.33.0"}') -> None:
        self.body = body
        self.asked = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        return httpx.Response(200, content=self.body)

    def watch(self) -> VersionWatch:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        return VersionWatch(http, "http://127.0.0.1:8000/version", 1.0)


def told(watch: VersionWatch, *readings: tuple[float | None, float]) -> list[str]:
    """What the watch says at each reading, with time for its question in between."""

    async def scene() -> list[str]:
        said = []
        for started_s, now_s in readings:
            said.append(watch.version(started_s, now_s))
            for _ in range(20):
                await asyncio.sleep(0)
        return said

    return asyncio.run(scene())


def test_the_version_is_known_from_the_second_reading_and_asked_once():
    """A question a scrape would be load for nothing."""
    server = Server()
    assert told(server.watch(), (100.0, 0.0), (100.0, 5.0), (100.0, 5_000.0)) == ["", "0.33.0", "0.33.0"]
    assert server.asked == 1


def test_after_a_restart_the_old_version_is_not_repeated():
    """The rollout is over exactly when the new process says its version."""
    server = Server()
    watch = server.watch()
    told(watch, (100.0, 0.0), (100.0, 5.0))
    server.body = b'{"version": "0.34.0"}'
    assert told(watch, (200.0, 10.0), (200.0, 15.0)) == ["", "0.34.0"]


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"version": 7}', b"<html>", b"\xff" * 100_000])
def test_an_odd_answer_is_no_version_and_not_asked_again_soon(body):
    """Not every server of that page has that address."""
    server = Server(body)
    assert told(server.watch(), *((100.0, float(at_s)) for at_s in range(0, 600, 5)), (100.0, 601.0)) == [""] * 121
    assert server.asked == 2


def test_a_server_that_does_not_tell_its_start_is_asked_every_ten_minutes():
    """Otherwise a new version behind the same port would never show."""
    server = Server()
    told(server.watch(), *((None, float(at_s)) for at_s in range(0, 1_800, 60)))
    assert server.asked == 3
