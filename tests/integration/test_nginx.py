"""A real nginx, its log, and the daemon that reads it: who is told what, and how soon after the first 503."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chat_server import ChatServer, Request, chat_server
from tests.integration.conftest import require_program
from tests.integration.daemon import Daemon, fetch, wait_for, webhook
from tests.integration.nginx import Nginx, Upstream, Users

pytestmark = [pytest.mark.external_service, pytest.mark.timeout(300)]

HEALTHY_S = 36.0
SERVERS = {
    "chat": ("replicas", "access_log chat.log aiops;"),
    "plain": ("replicas", "access_log plain.log combined;"),
    # its replica fails every health check, as while it drains
    "probed": ("one", "access_log probed.log aiops; location = /health { proxy_pass http://one/fail; }"),
    "night": ("one", "access_log night.log aiops;"),
    "limited": ("one", "access_log limited.log aiops; limit_req zone=tight burst=5 nodelay; limit_req_status 503;"),
}


@dataclass
class Story:
    """What happened, as users, chat and daemon saw it."""

    users: dict[str, Users]
    messages: list[Request]
    incidents: dict[str, list[dict[str, Any]]]
    metrics: dict[str, float]
    said: list[dict[str, Any]]
    sick: str
    """Address of the replica that failed."""

    def of(self, service: str) -> list[Request]:
        """Messages about *service*."""
        return [m for m in self.messages if m.json["incident"].get("service") == service]

    def requests(self, service: str, **labels: str) -> float:
        """Requests of *service* that the daemon has counted."""
        wanted = [f'{name}="{value}"' for name, value in {"service": service, **labels}.items()]
        return sum(
            value
            for series, value in self.metrics.items()
            if series.startswith("http_server_requests_total{") and all(pair in series for pair in wanted)
        )


def play(folder: Path, nginx: Nginx, upstreams: list[Upstream], chat: ChatServer, stack: ExitStack) -> Story:
    """Healthy, one replica refuses, healthy again; beside it what must not page, and a gateway over its limit."""
    daemon = Daemon(
        folder / "daemon",
        collect={"access_log": {"paths": [str(nginx.folder / "*.log")]}},
        receivers=[webhook(chat.url)],
    )
    stack.callback(daemon.close)
    daemon.start()
    rates = {"chat": 15.0, "plain": 15.0, "probed": 5.0, "limited": 5.0}
    users = {name: Users(nginx.url(name), rate) for name, rate in rates.items()}
    users["probes"] = Users(nginx.url("probed", "/health"), 5.0)
    for each in users.values():
        stack.callback(each.stop)

    def told(service: str, change: str) -> bool:
        facts = [(m.json["incident"].get("service"), m.json["change"]) for m in chat.requests]
        return (service, change) in facts

    time.sleep(HEALTHY_S / 2)
    for number in range(10):
        fetch(nginx.url("night", "/v1/fail" if number in {2, 5, 6} else "/v1/completions"))
        time.sleep(0.2)
    time.sleep(HEALTHY_S / 2)

    upstreams[1].sick = True
    wait_for(lambda: told("chat", "opened") and told("plain", "opened"), 30.0, "both services page")
    time.sleep(2.0)
    upstreams[1].sick = False
    users["limited"].rate = 60.0
    wait_for(lambda: told("limited", "opened"), 30.0, "the limited service pages")
    users["limited"].rate = 5.0
    wait_for(lambda: told("chat", "resolved") and told("plain", "resolved"), 90.0, "both services recover")
    for each in users.values():
        each.stop()
    time.sleep(8.0)  # /metrics is rendered every five seconds; and time for a message too many
    return Story(
        users=users,
        messages=list(chat.requests),
        incidents={name: daemon.incidents(name) for name in SERVERS},
        metrics=daemon.metrics(),
        said=daemon.said(),
        sick=upstreams[1].address,
    )


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    program = require_program("nginx")
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "prefix").mkdir()
    with ExitStack() as stack:
        upstreams = [Upstream() for _ in range(3)]
        for upstream in upstreams:
            stack.callback(upstream.stop)
        nginx = Nginx(program, folder / "prefix", upstreams, SERVERS)
        stack.callback(nginx.stop)
        chat = stack.enter_context(chat_server())
        yield play(folder, nginx, upstreams, chat, stack)


@pytest.mark.parametrize("service", ["chat", "plain"])
def test_the_page_arrives_within_ten_seconds_of_the_first_503(story: Story, service: str):
    """Whichever of the two formats the gateway writes."""
    opened = story.of(service)[0]

    waited_s = opened.at_s - story.users[service].first(503)
    assert 0.0 <= waited_s <= 10.0
    assert opened.json["change"] == "opened"
    assert opened.json["severity"] == "page"
    assert opened.json["title"].startswith(f"503 on {service}")


@pytest.mark.parametrize("service", ["chat", "plain"])
def test_the_message_tells_when_the_first_503_was(story: Story, service: str):
    """Everything before it is a suspect and everything after it is not, so it must be right to the second."""
    told_s = float(story.of(service)[0].json["incident"]["first_bad_at"])

    assert told_s == pytest.approx(story.users[service].first(503), abs=1.5)


@pytest.mark.parametrize("service", ["chat", "plain"])
def test_the_end_is_told_once(story: Story, service: str):
    """One page turns green; it does not flicker, and there is one incident to look at."""
    changes = [message.json["change"] for message in story.of(service)]

    assert changes[0] == "opened"
    assert changes.count("opened") == 1
    assert changes[-1] == "resolved"
    assert changes.count("resolved") == 1
    assert [incident["state"] for incident in story.incidents[service]] == ["resolved"]


def test_every_message_came_once(story: Story):
    """Nothing was restarted and nothing refused, so no copy may have come."""
    keys = [message.headers["idempotency-key"] for message in story.messages]

    assert len(keys) == len(set(keys))


def test_nobody_is_told_anything_while_all_is_well(story: Story):
    """Half a minute of answers, failing health checks and three errors at night: no reason to wake anybody."""
    first_503_s = min(users.first(503) for name, users in story.users.items() if name in {"chat", "plain", "limited"})

    assert [message.json["title"] for message in story.messages if message.at_s < first_503_s] == []
    assert {message.json["incident"]["service"] for message in story.messages} == {"chat", "plain", "limited"}


def test_the_suggested_format_tells_that_a_replica_answered_and_which(story: Story):
    """503 by whom is the first question; the answer needs no second log."""
    users_503s = sum(status == 503 for _, status in story.users["chat"].answers)

    assert story.requests("chat", outcome="503", answered_by="upstream", upstream=story.sick) == users_503s
    assert story.requests("chat", outcome="503") == users_503s
    assert any("All were answered by a replica." in text for text in story.of("chat")[0].json["paragraphs"])


def test_what_the_combined_format_cannot_tell_is_said_and_not_guessed(story: Story):
    """The daemon names the blind spot, with the line to put into nginx.conf."""
    users_503s = sum(status == 503 for _, status in story.users["plain"].answers)

    assert story.requests("plain", outcome="503", answered_by="unknown") == users_503s
    (blind,) = [line for line in story.said if "plain.log: format" in str(line.get("subject"))]
    assert "whether the gateway or an upstream answered" in blind["detail"]
    assert "log_format aiops" in blind["hint"]


def test_every_request_is_counted_once(story: Story):
    """Counts are what every later sentence stands on."""
    for name in ("chat", "plain", "limited"):
        assert story.requests(name) == len(story.users[name].answers)
    assert story.requests("night") == 10


def test_failing_health_checks_page_nobody_and_count_nowhere(story: Story):
    """A replica that is being drained fails its probes on purpose."""
    assert {status for _, status in story.users["probes"].answers} == {503}

    assert story.of("probed") == []
    assert story.incidents["probed"] == []
    assert story.requests("probed", outcome="503") == 0
    assert story.requests("probed", outcome="ok") > 100


def test_three_errors_of_ten_requests_page_nobody(story: Story):
    """Thirty percent of next to nothing: at night one impatient client must not wake anybody."""
    assert story.requests("night", outcome="503") == 3

    assert story.of("night") == []
    assert story.incidents["night"] == []


def test_refusals_by_limit_req_are_the_gateways_own(story: Story):
    """No replica has ever seen these requests, so the search must not start there."""
    limited = story.users["limited"]
    opened = story.of("limited")[0]

    assert story.requests("limited", outcome="503", answered_by="gateway", upstream="none") > 50
    assert story.requests("limited", outcome="503", answered_by="upstream") == 0
    assert any("All were answered by the gateway itself." in text for text in opened.json["paragraphs"])
    assert opened.at_s - limited.first(503) <= 10.0
