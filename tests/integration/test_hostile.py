"""
Everything goes wrong around the daemon at once, and one healthy gateway log shows a real 503 spike in the middle of it.

Servers refuse, hang, answer with HTML and with pages without end; logs vanish, turn binary, hold lines of a megabyte;
strangers push nonsense. All of it is counted, said once, and survived, and the spike is paged as if nothing were.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.chat_server import Request, chat_server
from tests.integration.daemon import Daemon, wait_for, webhook
from tests.integration.gateway_log import GatewayLog, line
from tests.pageserver import Answer, PageServer, hang, page, serving

pytestmark = pytest.mark.timeout(180)

CALM_S = 12.0
STORM_S = 22.0
MAX_RSS_BYTES = 120 * 2**20
HEALTHY_PAGE = (
    b'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name="m"} 3\n'
    b'# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{model_name="m"} 0\n'
    b'# TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc{model_name="m"} 0.2\n'
)


class Pages:
    """Metrics pages, each on a port of its own, in a thread with its own loop."""

    def __init__(self, **answers: Answer | None) -> None:
        self.servers: dict[str, PageServer] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stack = AsyncExitStack()
        asyncio.run_coroutine_threadsafe(self._open(answers), self._loop).result(10.0)

    async def _open(self, answers: dict[str, Answer | None]) -> None:
        for name, answer in answers.items():
            server = await self._stack.enter_async_context(serving(answer or hang))
            server.answer = answer or server.flood
            self.servers[name] = server

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop).result(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()


class Actor(threading.Thread):
    """Calls *act* with 0, 1, 2 … every *pause_s* until stopped."""

    def __init__(self, act: Callable[[int], None], pause_s: float) -> None:
        super().__init__(daemon=True)
        self.failure: Exception | None = None
        self._act, self._pause_s = act, pause_s
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        number = 0
        try:
            while not self._ended.wait(self._pause_s):
                self._act(number)
                number += 1
        except Exception as error:
            self.failure = error

    def stop(self) -> None:
        self._ended.set()
        self.join(20.0)


def torment(path: Path, good: Callable[[], str]) -> Callable[[int], None]:
    """What happens to a log file, one thing at a time."""

    def append(data: bytes) -> None:
        with path.open("ab") as file:
            file.write(data)

    def become_a_directory() -> None:
        path.unlink(missing_ok=True)
        path.mkdir()
        time.sleep(1.2)
        path.rmdir()

    deeds: Sequence[Callable[[], object]] = (
        lambda: append(os.urandom(256 * 1024)),
        lambda: append(good().encode() * 5),
        lambda: append(b'{"t":' + b"9" * 2**20 + b"}\n"),
        lambda: append(b"\0" * 65_536 + b"\n"),
        path.unlink,
        lambda: append(good().encode() * 5),
        lambda: append(b"[" * 100_000 + b"\n{" + b'"a":{' * 10_000 + b"\n"),
        lambda: os.truncate(path, 3),
        lambda: append(b"x" * 2**20 + b"\n"),
        become_a_directory,
        lambda: append(good().encode() * 5),
    )

    def act(number: int) -> None:
        with suppress(FileNotFoundError):
            deeds[number % len(deeds)]()

    return act


NONSENSE: tuple[tuple[bytes, int], ...] = (
    (b"", 400),
    (b"no json", 400),
    (b"\xff\xfe\x00", 400),
    (b"[" * 60_000, 400),
    (b"null", 400),
    (b"[]", 400),
    (b'{"kind":"change","action":7}', 400),
    (b'{"kind":"change","action":"deploy","labels":["a"]}', 400),
    (b'{"kind":"change","action":"deploy","time":1e400}', 400),
    (b'{"kind":"change","action":"deploy","time":"yesterday"}', 400),
    (b'{"kind":"change","action":"' + b"d" * 60_000 + b'"}', 400),
    (b'{"kind":"change","action":"deploy","message":"' + b"m" * 200_000 + b'"}', 413),
    (b"x" * 2_000_000, 413),
)


@dataclass
class Storm:
    """What was seen of it."""

    daemon: Daemon
    log: GatewayLog
    pages: Pages
    sick: dict[str, str]
    """What is wrong with a server, to its address."""
    rss_bytes: list[int] = field(default_factory=list)
    metrics_took_s: list[float] = field(default_factory=list)
    statuses: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    """Who pushed, the status that was right, the status that came."""
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    lasted_s: float = 0.0
    messages: list[Request] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    sights: list[dict[str, Any]] = field(default_factory=list)
    calm_rss_bytes: int = 0

    def watch(self, _number: int) -> None:
        started_s = time.monotonic()
        self.daemon.metrics()
        self.metrics_took_s.append(time.monotonic() - started_s)
        self.rss_bytes.append(self.daemon.rss_bytes())

    def push(self, number: int) -> None:
        body, right = NONSENSE[number % len(NONSENSE)]
        for who, token in (("stranger", None), ("guesser", "0" * 43), ("friend", self.daemon.token)):
            expected = right if who == "friend" else 401
            try:
                self.statuses[who, expected, self.daemon.push(body, token=token)] += 1
            except OSError:  # refused while the body was still being sent
                self.statuses[who, expected, expected if len(body) > 2**16 else 0] += 1

    def runs(self, collector: str, result: str = "ok") -> float:
        """Runs of a collector in the storm."""
        series = f'aiops_collector_runs_total{{collector="{collector}",result="{result}"}}'
        return self.after.get(series, 0.0) - self.before.get(series, 0.0)

    def about(self, subject: str) -> list[dict[str, Any]]:
        """What the daemon's log says about *subject*."""
        return [entry for entry in self.said if subject in str(entry.get("subject"))]


def app_line() -> str:
    return f"INFO {time.time():.3f} engine.py:12] Avg generation throughput: 120.0 tokens/s\n"


def rage(folder: Path, stack: ExitStack) -> Storm:
    chat = stack.enter_context(chat_server())
    pages = Pages(
        hangs=hang, html=page(b"<html>hi</html>", content_type="text/html"), endless=None, good=page(HEALTHY_PAGE)
    )
    stack.callback(pages.stop)
    healthy, sick_log, app_log = folder / "chat.log", folder / "sick.log", folder / "app.log"
    sick_log.touch()
    app_log.touch()
    log = GatewayLog(healthy)
    stack.callback(log.stop)
    sick = {name: f"127.0.0.1:{server.port}" for name, server in pages.servers.items() if name != "good"}
    sick["refuses"] = "127.0.0.1:1"
    urls = [{"url": server.url} for server in pages.servers.values()] + [{"url": "http://127.0.0.1:1/metrics"}]
    daemon = Daemon(
        folder / "daemon",
        collect={
            "host": {"interval": "1s"},
            "inference": {"targets": urls, "interval": "1s"},
            "dcgm": {"enabled": True, "urls": [pages.servers["endless"].url, pages.servers["hangs"].url]},
            "access_log": {"paths": [str(healthy), str(sick_log)]},
            "log_tail": {"files": [{"path": str(app_log), "instance": sick["hangs"]}]},
        },
        receivers=[webhook(chat.url)],
    )
    stack.callback(daemon.close)
    daemon.start()
    time.sleep(2.0)
    storm = Storm(daemon, log, pages, sick, before=daemon.metrics(), calm_rss_bytes=daemon.rss_bytes())
    started_s = time.monotonic()
    actors = [
        Actor(torment(sick_log, lambda: line(200)), 0.5),
        Actor(torment(app_log, app_line), 0.7),
        Actor(storm.push, 0.1),
        Actor(storm.watch, 0.5),
    ]
    for actor in actors:
        stack.callback(actor.stop)
    time.sleep(CALM_S)
    log.bad = True
    wait_for(lambda: chat.requests, 30.0, "the page")
    time.sleep(max(0.0, STORM_S - (time.monotonic() - started_s)))
    storm.lasted_s = time.monotonic() - started_s
    storm.after = daemon.metrics()
    for actor in actors:
        actor.stop()
        assert actor.failure is None, actor.failure
    storm.messages, storm.said = list(chat.requests), daemon.said()
    storm.sights = daemon.json("/api/v1/status")["sights"]
    return storm


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    with ExitStack() as stack:
        yield rage(tmp_path_factory.mktemp("hostile"), stack)


def test_the_spike_in_the_healthy_log_is_paged_within_ten_seconds(storm: Storm):
    """The worst hour of a node is when it is needed."""
    opened = next(m for m in storm.messages if m.json["severity"] == "page")

    assert opened.json["change"] == "opened"
    assert opened.json["title"].startswith("503 on chat")
    assert storm.log.first_bad_s is not None
    assert opened.at_s - storm.log.first_bad_s <= 10.0


def test_nothing_is_paged_but_the_spike(storm: Storm):
    """Rubbish in a log is not an outage; a server that does not answer is told quietly."""
    services = {(m.json["severity"], m.json["incident"]["service"]) for m in storm.messages if m.json.get("incident")}

    assert [service for severity, service in services if severity == "page"] == ["chat"]
    assert {service for severity, service in services if severity != "page"} <= {"inference"}


def test_the_daemon_stays_up_and_small(storm: Storm):
    """A page of 100 MB and a line of 1 MB are read in bounded pieces."""
    assert storm.daemon.running
    assert len(storm.rss_bytes) > 15
    assert max(storm.rss_bytes) < MAX_RSS_BYTES
    assert storm.pages.servers["endless"].sent < 100 * 2**20 * storm.pages.servers["endless"].requests / 2


def test_its_own_metrics_answer_all_the_time(storm: Storm):
    """Whoever watches the watcher must see that it lives."""
    assert max(storm.metrics_took_s) < 2.0
    assert sorted(storm.metrics_took_s)[len(storm.metrics_took_s) // 2] < 0.25


@pytest.mark.parametrize("collector", ["host", "access_log", "log_tail", "changes"])
def test_healthy_collectors_keep_their_cadence(storm: Storm, collector: str):
    """Each has its own tick: what hangs beside it costs it nothing."""
    assert storm.runs(collector) >= 0.75 * storm.lasted_s
    assert storm.runs(collector, "timeout") + storm.runs(collector, "error") == 0


def test_a_healthy_server_among_sick_ones_is_read(storm: Storm):
    """Three of four servers are gone; the fourth is the one that matters now."""
    address = f"127.0.0.1:{storm.pages.servers['good'].port}"
    up = {series: value for series, value in storm.after.items() if series.startswith("gen_ai_server_up{")}

    assert [value for series, value in up.items() if f'instance="{address}"' in series] == [1.0]
    assert storm.pages.servers["good"].requests >= 0.7 * storm.lasted_s


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("refuses", "connection refused"),
        ("hangs", "no answer within"),
        ("html", "HTML instead of metrics"),
        ("endless", "a page of more than"),
    ],
)
def test_what_is_wrong_with_a_server_is_said_once(storm: Storm, name: str, complaint: str):
    """The hundredth repetition of a line hides the first of another."""
    address = storm.sick[name]
    (said,) = storm.about(f"server at {address}")
    up = [value for series, value in storm.after.items() if "gen_ai_server_up{" in series and address in series]

    assert complaint in said["detail"]
    assert up == [0.0]


def test_unusable_lines_are_counted_by_reason(storm: Storm):
    """What was not counted as a request must be found somewhere else."""
    skipped = {
        (source, reason): value
        for source in ("sick.log", "app.log")
        for reason in ("malformed", "oversize")
        for series, value in storm.after.items()
        if series.startswith("log_lines_skipped_total{") and source in series and f'reason="{reason}"' in series
    }

    assert skipped["sick.log", "malformed"] > 100
    assert skipped["sick.log", "oversize"] >= 2
    assert skipped["app.log", "oversize"] >= 2


def test_good_lines_of_a_tormented_log_are_counted(storm: Storm):
    """It came back, so it is read again."""
    counted = sum(
        value
        for series, value in storm.after.items()
        if series.startswith("http_server_requests_total{") and 'service="sick"' in series and 'outcome="ok"' in series
    )

    assert counted >= 10


def test_its_own_log_stays_readable(storm: Storm):
    """A daemon that fills the journal is the next incident."""
    assert len(storm.said) < 100
    assert [entry for entry in storm.said if entry.get("level") in {"error", "critical"} or "exception" in entry] == []
    assert all("level" in entry for entry in storm.said), "a library speaks past the log, or a traceback is loose"
    assert storm.daemon.log.stat().st_size < 100_000


def test_nobody_pushes_without_the_token_and_nobody_pushes_nonsense(storm: Storm):
    """401 before the body is looked at; with the token, a refusal that says why."""
    wrong = {seen: count for seen, count in storm.statuses.items() if seen[1] != seen[2]}

    assert wrong == {}
    assert {who for who, _, _ in storm.statuses} == {"stranger", "guesser", "friend"}
    assert storm.daemon.push(json.dumps({"action": "deploy"}).encode(), token=storm.daemon.token) == 202


def test_no_bug_of_ours_was_caught_on_the_way(storm: Storm):
    """Isolation hides bugs well; the counter does not."""
    caught = {
        series: value for series, value in storm.after.items() if series.startswith("aiops_internal_errors_total")
    }

    assert sum(caught.values()) == 0, caught


def test_it_still_ends_within_five_seconds(storm: Storm):
    """With requests in flight to servers that never answer."""
    started_s = time.monotonic()

    assert storm.daemon.stop() == 0
    assert time.monotonic() - started_s < 5.0
