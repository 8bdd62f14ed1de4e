"""Pushed events and business metrics: what is accepted, and how a refusal reads."""

from __future__ import annotations

import json

import pytest
from prometheus_client import CollectorRegistry

from aiops.errors import RequestError
from aiops.export.intake import BoundedInbox
from aiops.model import NO_LABELS, Event, EventKind, Labels, Sample
from aiops.model.pushed import parse_business, parse_events
from aiops.selfstat import SelfStat
from tests.unit.export.conftest import NOW_S, TOKEN

DEPLOY = {"action": "deploy", "message": "v2.0", "labels": {"service": "chat", "version": "v2.0"}, "time": NOW_S - 60}


def body(value) -> bytes:
    return json.dumps(value).encode()


def test_an_event_arrives_as_it_was_pushed(site):
    """A deploy can only be blamed or cleared if its time and labels are kept exactly."""
    answer = site.push("/api/v1/events", DEPLOY)

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    labels = Labels.of(service="chat", version="v2.0")
    assert site.inbox.drain() == [Event(EventKind.CHANGE, "deploy", NOW_S - 60, labels, "v2.0")]


def test_a_list_of_events_keeps_its_order(site):
    """A rollback after a deploy must not become a deploy after a rollback."""
    assert site.push("/api/v1/events", [{"action": "deploy"}, {"action": "rollback"}]).json() == {"accepted": 2}
    assert [e.action for e in site.inbox.drain()] == ["deploy", "rollback"]


def test_an_event_without_a_time_happened_now(site):
    """curl in a pipeline's last step should need no date arithmetic."""
    site.push("/api/v1/events", {"action": "restart"})

    assert site.inbox.drain() == [Event(EventKind.CHANGE, "restart", NOW_S, NO_LABELS)]


def test_a_business_reading_becomes_a_sample(site):
    """The success rate as the business sees it stands beside the gateway's."""
    reading = {"metric": "business_success_ratio", "service": "chat", "value": 0.993, "time": "2025-10-09T08:53:20Z"}

    assert site.push("/api/v1/business", reading).status_code == 202
    assert site.inbox.drain() == [Sample("business_success_ratio", Labels.of(service="chat"), 1_760_000_000.0, 0.993)]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"action": "explode"}, "action: expected one of deploy"),
        ({"action": 3}, "action: expected text, found 3"),
        ({"action": None}, "action: expected text, found null"),
        ({"kind": "hardware"}, 'kind: expected "change"'),
        ({"message": "x" * 1001}, "message: expected at most 1000 characters"),
        ({"message": ["a"]}, "message: expected text, found a list"),
        ({"labels": "chat"}, "labels: expected an object"),
        ({"labels": {"version": 1.3}}, "labels.version: expected text, found 1.3"),
        ({"labels": {"version": " \n "}}, "labels.version: expected text, found nothing"),
        ({"labels": {"a b": "x"}}, "labels: expected names of letters"),
        ({"labels": {"a": "x" * 257}}, "labels.a: expected at most 256"),
        ({"labels": {f"l{i}": "x" for i in range(17)}}, "labels: expected at most 16, found 17"),
        ({"lables": {}}, "lables: unknown field"),
        ({"time": NOW_S + 301}, "time: lies in the future"),
        ({"time": NOW_S * 1000}, "milliseconds, expected seconds"),
        ({"time": NOW_S - 8 * 86_400}, "time: is more than 7 days ago"),
        ({"time": -1}, "time: is more than 7 days ago"),
        ({"time": True}, "time: expected epoch seconds"),
        ({"time": {}}, "time: expected epoch seconds"),
        ({"time": "yesterday"}, "time: expected a time with a zone"),
        ({"time": "2025-10-09T08:53:20"}, "time: expected a time with a zone"),
        ({"time": "9999-12-31T23:59:59-23:59"}, "time:"),
    ],
)
def test_a_wrong_field_is_refused_in_one_sentence_that_names_it(site, change, named):
    """Whoever wrote the pipeline reads this in its log, and must know what to mend."""
    answer = site.push("/api/v1/events", {**DEPLOY, **change})

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert named in error
    assert "\n" not in error
    assert len(error) < 250
    assert site.inbox.drain() == []


@pytest.mark.parametrize(
    ("reading", "named"),
    [
        ({"metric": "hw_gpu_up"}, "metric: expected one of business_success_ratio"),
        ({"service": ""}, "service: expected text"),
        ({"value": 99.3}, "value: expected a number from 0 to 1, found 99.3"),
        ({"value": "0.99"}, "value: expected a number"),
        ({"value": True}, "value: expected a number"),
        ({"value": -0.1}, "value: expected a number"),
        ({"value": None}, "value: expected a number from 0 to 1, found null"),
    ],
)
def test_a_wrong_business_reading_is_refused(reading, named):
    """99.3 for 99.3 % is the likeliest mistake, and would hide every later drop."""
    good = {"metric": "business_success_ratio", "service": "chat", "value": 0.99}

    with pytest.raises(RequestError, match=named):
        parse_business(body({**good, **reading}), NOW_S)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"\xff\xfe", b"null", b"3", b'"deploy"', b"[]", b"[[]]", b"[" * 50_000, b'{"action": NaN}',
        b'{"a":' * 5_000, b'{"time": 1e999}', b'{"action": "\\ud800"}', b"<html></html>", b"{}", b"[{}]",
        b'{"action": "deploy"} trailing', b"\x00" * 100,
    ],
)  # fmt: skip
def test_no_body_raises_anything_but_a_request_error(raw):
    """The token may leak, and a scanner may find the port."""
    for parse in (parse_events, parse_business):
        with pytest.raises(RequestError):
            parse(raw, NOW_S)


def test_a_list_is_bounded_and_refused_whole():
    """Half a list taken would be sent again and counted twice."""
    with pytest.raises(RequestError, match="expected 1 to 100 events, found 101"):
        parse_events(body([DEPLOY] * 101), NOW_S)
    with pytest.raises(RequestError, match=r"\[1\]\.action: missing"):
        parse_events(body([DEPLOY, {"message": "x"}]), NOW_S)


def test_a_sender_a_little_ahead_means_now():
    """An event in the future would be invisible until its time comes."""
    (event,) = parse_events(body({"action": "deploy", "time": NOW_S + 30}), NOW_S)

    assert isinstance(event, Event)
    assert event.at_s == NOW_S


def test_control_characters_cannot_forge_a_second_line():
    """The message is shown in the timeline and in chats."""
    (event,) = parse_events(body({"action": "deploy", "message": "v2\r\n2025 ERROR\x1b[31m\u2028x"}), NOW_S)

    assert isinstance(event, Event)
    assert event.message == "v2 2025 ERROR [31m x"


@pytest.mark.parametrize("given", ["", "wrong", TOKEN + "x", TOKEN[:-1], TOKEN.upper()])
def test_without_the_right_token_nothing_is_even_read(site, given):
    """Reading is open on loopback; changing what the daemon believes is not."""
    answer = site.push("/api/v1/events", b"{no json", token=given)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert site.inbox.drain() == []


def test_no_authorization_header_or_another_scheme_is_refused(site):
    """Basic with the token as password is not what was asked for."""
    assert site.ask("POST", "/api/v1/events", json=DEPLOY).status_code == 401
    headers = {"Authorization": f"Basic {TOKEN}"}
    assert site.ask("POST", "/api/v1/events", json=DEPLOY, headers=headers).status_code == 401


def test_an_empty_token_in_the_settings_lets_nobody_push(make_site):
    """A token file that could not be written must close the door, not open it."""
    site = make_site(token="")

    assert site.push("/api/v1/events", DEPLOY, token="").status_code == 401


def test_a_body_over_64_kib_is_refused_whether_or_not_it_says_its_length(site):
    """Memory is bounded by us, not by the sender's honesty."""
    assert site.push("/api/v1/events", b" " * (64 * 1024 + 1)).status_code == 413

    async def dribble():
        for _ in range(70):
            yield b" " * 1024

    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert site.ask("POST", "/api/v1/events", headers=headers, content=dribble()).status_code == 413


def test_a_full_inbox_says_how_many_it_took_and_when_to_come_back(make_site):
    """Refused events are counted and the sender told, never dropped in silence."""
    stat = SelfStat(CollectorRegistry())
    inbox = BoundedInbox(stat, limit=2)
    site = make_site(inbox=inbox)

    answer = site.push("/api/v1/events", [{"action": "deploy"}] * 3)

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json() == {"error": "the inbox is full: 2 of 3 accepted; send the rest again later", "accepted": 2}
    assert len(inbox.drain()) == 2
    assert stat.registry.get_sample_value("aiops_inbox_refused_total") == 1
    assert site.push("/api/v1/events", {"action": "deploy"}).status_code == 202


def test_the_inbox_gives_back_in_order_and_once():
    """The next tick takes what waited, the one after it must not see it again."""
    inbox = BoundedInbox(SelfStat(CollectorRegistry()))
    readings = [Sample("business_success_ratio", NO_LABELS, float(i), 1.0) for i in range(3)]
    for reading in readings:
        assert inbox.offer(reading)

    assert list(inbox.drain()) == readings
    assert list(inbox.drain()) == []
