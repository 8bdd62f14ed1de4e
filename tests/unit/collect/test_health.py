"""A server's health path: what is made of its answers, and that nothing ever waits for one."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from aiops.clock import ManualClock
from aiops.collect import health
from aiops.collect.engines import Health
from aiops.collect.health import Answer, HealthWatch, ask, health_url
from aiops.model import Labels
from tests.pageserver import hang, page, serving

SERVER = Labels.of(instance="h:1")


class Server:
    """Answers with what it is told next, and counts."""

    def __init__(self, *answers: int | Exception, body: bytes = b"") -> None:
        self.answers = list(answers)
        self.body = body
        self.asked = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, content=self.body)

    def watch(self) -> HealthWatch:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        return HealthWatch(http, "http://127.0.0.1:8000/health", ManualClock())


def told(watch: HealthWatch, *times_s: float) -> list[dict[str, float]]:
    """What the watch says at each time, by the end of the metric's name, with time for its question in between."""

    async def scene() -> list[dict[str, float]]:
        said = []
        for now_s in times_s:
            samples = list(watch.samples(SERVER, now_s))
            said.append({sample.metric.removeprefix("gen_ai_server_"): sample.value for sample in samples})
            for _ in range(20):
                await asyncio.sleep(0)
        return said

    return asyncio.run(scene())


def test_a_healthy_server_is_asked_every_ten_seconds_and_not_waited_for():
    """A load balancer asks more often; we want to know what it knows."""
    server = Server(200)
    said = told(server.watch(), 0.0, 1.0, 2.0, 9.0, 10.0, 11.0)
    up = {"health_up": 1.0, "health_seconds": 0.0, "health_status_code": 200.0, "loading": 0.0}
    assert said == [{}, up, {}, {}, {}, up]
    assert server.asked == 2


def test_a_refusal_and_a_timeout_are_told_apart():
    """503 takes a replica out of rotation; a slow answer under load does not make it less capacity."""
    server = Server(200, 503, httpx.ReadTimeout("slow"), httpx.ConnectError("gone"), 200)
    watch = server.watch()
    said = told(watch, 0.0, 10.0)
    assert (said[-1]["health_up"], watch.refuses) == (1.0, False)
    said = told(watch, 20.0)
    assert (said[-1]["health_status_code"], watch.refuses) == (503.0, True)
    said = told(watch, 30.0)
    assert (said[-1], watch.refuses) == ({"health_up": 0.0, "health_seconds": 0.0}, False)
    said = told(watch, 40.0)
    assert (said[-1], watch.refuses) == ({"health_up": 0.0}, False)


def test_loading_is_told_while_it_lasts():
    """llama.cpp says so in words; an engine that is dead answers 503 as well."""
    server = Server(503, 503, 200, body=b'{"error":{"message":"Loading model","code":503}}')
    said = told(server.watch(), 0.0, 10.0, 20.0, 30.0)
    assert [each.get("loading") for each in said] == [None, 1.0, 1.0, 0.0]
    assert told(Server(503).watch(), 0.0, 10.0)[-1] == {
        "health_up": 0.0, "health_seconds": 0.0, "health_status_code": 503.0,
    }  # fmt: skip


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 501])
def test_a_path_that_is_not_there_says_nothing_and_is_seldom_asked_again(status):
    """A proxy in front, another version: "not healthy" would be a lie."""
    server = Server(status)
    watch = server.watch()
    assert told(watch, *range(0, 600, 10)) == [{}] * 60
    assert server.asked == 1
    assert not watch.refuses


def test_a_path_that_never_answered_says_nothing():
    """Triton's may be on a port we only guess."""
    assert told(Server(httpx.ConnectError("refused")).watch(), 0.0, 10.0, 20.0) == [{}, {}, {}]


def test_a_clock_set_back_does_not_stop_the_questions():
    """A health path that is asked again in an hour is none."""
    server = Server(200)
    told(server.watch(), 3_600.0, 0.0, 1.0)
    assert server.asked == 2


@pytest.mark.parametrize(
    ("page_url", "asked", "expected"),
    [
        ("http://127.0.0.1:8000/metrics?x=1", Health("/health"), "http://127.0.0.1:8000/health"),
        ("http://[::1]:8002/metrics", Health("/v2/health/ready", {"8002": 8000}), "http://[::1]:8000/v2/health/ready"),
        ("http://127.0.0.1:9002/metrics", Health("/v2/health/ready", {"8002": 8000}), ""),
    ],
)
def test_where_a_server_is_asked(page_url, asked, expected):
    """Triton's page is on another port than its health; on a port of somebody's choice nobody knows where."""
    assert health_url(page_url, asked) == expected


def test_a_real_server_that_hangs_or_floods_ends_as_an_answer(monkeypatch):
    """The question has a deadline of its own, and reads no more than it needs."""
    monkeypatch.setattr(health, "_DEADLINE_S", 0.05)

    async def scene() -> list[Answer]:
        async with serving(hang) as server, httpx.AsyncClient(trust_env=False) as http:
            answers = [await ask(http, server.url, ManualClock())]
            server.answer = page(b"x" * 1_000_000)
            answers.append(await ask(http, server.url, ManualClock()))
            server.answer = page(b"", status="204 No Content")
            answers.append(await ask(http, server.url, ManualClock()))
        return answers

    assert asyncio.run(scene()) == [Answer(None, 0.0), Answer(200, 0.0), Answer(204, 0.0)]
