"""The access log's lines, read by the daemon's own parser."""

import asyncio
import io
import json

import pytest

from aiops.collect.access_format import Parser
from aiops.collect.access_refusal import Refusal
from aiops.demo import wire
from aiops.demo.gateway import Entry, Gateway, line
from aiops.demo.policy import Bucket, Policy


def written(entry: Entry) -> bytes:
    return line(entry, now_s=1_700_000_000.1234, ended_s=12.5, request_id="ab" * 16).encode()


def test_a_line_is_what_nginx_would_write():
    """Field names and quoting are those of the log_format the documentation gives."""
    entry = Entry("/v1/completions", 1, 10.0, "127.0.0.1:8001", "200", 0.001, 0.07, 2.5, 200, complete=True)

    assert json.loads(written(entry)) == {
        "t": 1700000000.123, "st": 200, "rt": 2.5, "uct": "0.001", "uht": "0.070", "urt": "2.500", "ust": "200",
        "ua": "127.0.0.1:8001", "rid": "ab" * 16, "uri": "/v1/completions", "retry": 1, "rc": "OK",
    }  # fmt: skip


@pytest.mark.parametrize(
    "entry",
    [
        Entry("/v1/completions", 0, 10.0, "127.0.0.1:8001", "503", 0.0, 1.5, 1.5, 503, complete=True),
        Entry("/v1/completions", 0, 10.0, "127.0.0.1:8001", "502", None, None, None, 502, complete=True),
        Entry("/v1/completions", 0, 10.0, "127.0.0.1:8001"),
    ],
)
def test_the_daemon_understands_refusals_broken_upstreams_and_clients_that_left(entry: Entry):
    """A line the parser skips would hide the very failures the demo is about."""
    parsed = Parser().parse(written(entry))

    assert parsed is not None
    assert parsed.status == entry.status


async def _slow_answer(request: wire.Request) -> wire.Reply:
    await asyncio.sleep(0.05)
    return wire.as_json({"ok": True})


def through(policy: dict, play, *, patience: wire.Patience | None = None, handler=_slow_answer):
    """What *play* returns for a client of a gateway with *policy*, and what the daemon reads in its log."""

    async def run():
        log = io.StringIO()
        server = await wire.serve(handler, patience=patience)
        gateway = Gateway([(wire.HOST, wire.port_of(server))], log)
        front = await wire.serve(gateway.handle)
        client = wire.Client(wire.port_of(front))
        try:
            assert await client.call("POST", "/admin/policy", policy) == (200, {"ok": True})
            got = await play(client)
        finally:
            await client.close()
            await gateway.close()
            server.close()
            front.close()
            await asyncio.sleep(0.01)
        return got, [Parser().parse(each.encode()) for each in log.getvalue().splitlines()]

    return asyncio.run(run())


async def three_at_once(client):
    """Statuses of three requests."""
    return sorted([status for status, _ in await asyncio.gather(*(client.call("POST", "/v1/x", {}) for _ in range(3)))])


@pytest.mark.parametrize(
    ("policy", "statuses", "reasons"),
    [
        ({}, [200, 200, 200], []),
        ({"in_flight": 1}, [200, 503, 503], [Refusal.UNEXPLAINED] * 2),
        ({"rate": 0.001, "burst": 1, "refuses_with": 429}, [200, 200, 429], [Refusal.RATE_LIMITED]),
    ],
)
def test_a_limit_refuses_what_is_beyond_it_and_the_log_says_that_nobody_was_asked(policy, statuses, reasons):
    """That is how a gateway's own refusals differ from an upstream's."""
    got, entries = through(policy, three_at_once)

    assert got == statuses
    assert [entry.refusal for entry in entries if entry.status >= 400] == reasons


async def one(client):
    """Status of one request."""
    return (await client.call("POST", "/v1/x", {}))[0]


@pytest.mark.parametrize("limit", ["read_s", "total_s"])
def test_a_time_out_shorter_than_the_work_answers_504(limit):
    """The upstream was reached, so it is no failed connection."""
    status, (entry,) = through({limit: 0.01}, one)

    assert status == 504
    assert entry.refusal is Refusal.TIMEOUT


def test_an_answer_longer_than_allowed_is_cut_off():
    """What was sent cannot be taken back: a status of 200 and no end."""

    async def pieces():
        for _ in range(50):
            yield b"token "
            await asyncio.sleep(0.01)

    async def stream(_):
        return wire.Reply(200, stream=pieces())

    async def play(client):
        answer = await client.send("GET", "/v1/x")
        with pytest.raises(wire.WireError):
            await answer.read()
        return answer.status

    status, (entry,) = through({"total_s": 0.1}, play, handler=stream)

    assert (status, entry.status, entry.completed) == (200, 200, False)


async def two_apart(client):
    """Statuses of two requests with a pause between them."""
    first = await one(client)
    await asyncio.sleep(0.1)
    return first, await one(client)


@pytest.mark.parametrize(("replaces", "second"), [(True, 200), (False, 502)])
def test_a_kept_connection_that_the_server_closed_is_replaced_or_breaks_at_once(replaces, second):
    """A pool that does not look at its connections hands out dead ones."""
    got, entries = through({"replaces_stale": replaces}, two_apart, patience=wire.Patience(0.03))

    assert got == (200, second)
    assert entries[-1].refusal is (None if replaces else Refusal.RESET_EARLY)


def test_a_dead_upstream_is_no_connection_and_the_next_one_is_tried():
    """Only with more than one try."""

    async def play(client):
        server = await wire.serve(_slow_answer)
        upstreams = ["127.0.0.1:1", f"127.0.0.1:{wire.port_of(server)}"]
        answers = []
        for tries in (1, 2):
            await client.call("POST", "/admin/policy", {"upstreams": upstreams, "tries": tries})
            answers.append(await one(client))
        server.close()
        return answers

    got, entries = through({}, play)

    assert got == [502, 200]
    assert entries[0].refusal is Refusal.CONNECT_FAILURE


def test_a_bucket_lets_its_rate_and_burst_in_and_recovers():
    """As nginx: an excess above the burst is refused and leaves no trace."""
    bucket = Bucket()

    taken = [bucket.takes(2.0, 1, at_s) for at_s in (0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 10.0)]

    assert taken == [True, True, False, False, True, False, True]


def test_a_policy_limits_nothing_by_itself():
    """The demo's gateway passes everything on."""
    assert Policy() == Policy(32, True, None, None, None, None, 0, None, 503, 1)
