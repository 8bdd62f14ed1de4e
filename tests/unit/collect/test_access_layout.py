"""Formats by their definition: what is read, and that no line can make it slow or wrong."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.collect.access_entry import Entry
from aiops.collect.access_layout import DefinitionError, layout_of
from aiops.collect.access_refusal import Refusal

INGRESS = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" $request_length $request_time [$proxy_upstream_name] [] $upstream_addr '
    "$upstream_response_length $upstream_response_time $upstream_status $req_id"
)
LINE = (
    '10.1.2.3 - - [15/Jan/2027:08:00:00 +0000] "POST /v1/chat/completions HTTP/1.1" {status} 9 "-" '
    '"x" 5 0.250 [chat] [] {addr} 7 0.240 {ust} r1'
)


def read(definition: str, line: str) -> Entry:
    entry = layout_of(definition)(line.encode())
    assert entry is not None
    return entry


@pytest.mark.parametrize(
    ("addr", "ust", "upstream"),
    [
        ("10.0.0.1:80", "200", "10.0.0.1:80"),
        ("10.0.0.1:80, 10.0.0.2:80", "502, 200", "10.0.0.2:80"),
        ("10.0.0.1:80 : 10.0.0.2:80", "404 : 200", "10.0.0.2:80"),
        ("10.0.0.1:80, 10.0.0.2:80 : [2001:db8::3]:80", "502, 404 : 200", "[2001:db8::3]:80"),
        ("unix:/run/a.sock, unix:/run/b.sock", "502, 200", "unix:/run/b.sock"),
    ],
)
def test_a_list_without_quotes_is_one_value(addr: str, ust: str, upstream: str) -> None:
    """Its separators hold the space that ends every other variable; every field after it would be off by one."""
    entry = read(INGRESS, LINE.format(status=200, addr=addr, ust=ust))

    assert (entry.upstream, entry.by_upstream, entry.request_id) == (upstream, True, "r1")


@pytest.mark.parametrize(("status", "reason"), [(503, Refusal.UNEXPLAINED), (429, Refusal.RATE_LIMITED)])
def test_nobody_asked_is_the_gateways_own_refusal(status: int, reason: Refusal) -> None:
    """A limit leaves a dash in every upstream field, and so does a page that says 503 to all."""
    entry = read(INGRESS, LINE.format(status=status, addr="-", ust="-"))

    assert (entry.by_upstream, entry.refusal, entry.upstream) == (False, reason, "none")


@pytest.mark.parametrize(
    ("definition", "line", "expected"),
    [
        ("$status $time_local", "200 15/Jan/2027:08:00:00 +0000", {"status": 200}),
        ("$time_local $status", "15/Jan/2027:08:00:00 +0000 200", {"status": 200}),
        ("$msec|$status|$request|$request_time", "1.8e9|200|GET /a?b|c HTTP/1.1|0.5", {"path": "/a", "duration_s": 0.5}),
        ("$msec $status $request $request_time", "1800000000.1 200 GET /a b HTTP/1.1 0.5", {"duration_s": 0.5}),
        ("$msec u=$scheme://$host$request_uri s=$status", "1800000000 u=https://h.example/v1/models?k=1 s=404", {"path": "/v1/models"}),
        ("$msec u=$host$request_uri s=$status", "1800000000 u=h.example/v1/models s=404", {"path": "/v1/models"}),
        ("$msec ${status}x", "1800000000 200x", {"status": 200}),
        ("$msec $status", "1800000000 200 more", None),
        ("$msec $status", "1800000000 20000", None),
        ("$msec\t$status\t$upstream_addr", "1800000000\t200\t", {"upstream": "none"}),
        ("$msec,$upstream_addr,$status", "1800000000,10.0.0.1:80, 10.0.0.2:80,200", {"upstream": "10.0.0.2:80"}),
        ("%START_TIME(%s.%3f)% %RESPONSE_CODE% %DURATION%", "1800000000.250 200 500", {"at_s": 1_800_000_000.75}),
        ("%REQ(:METHOD):8% %REQ(:PATH)% %START_TIME% %RESPONSE_CODE%", "GET /v1/models 2027-01-15T08:00:00.000Z 200", {"path": "/v1/models"}),
        ('%(t)s "%(r)s" %(s)s %(L)s %(D)s', '[15/Jan/2027:08:00:00 +0000] "GET /x HTTP/1.1" 200 0.25 250000', {"duration_s": 0.25, "by_upstream": True}),
        ("%(t)s %(s)s %(D)s", "[15/Jan/2027:08:00:00 +0000] 200 250000", {"duration_s": 0.25}),
    ],
)  # fmt: skip
def test_a_text_definition_is_read(definition: str, line: str, expected: dict[str, Any] | None) -> None:
    """Whatever people put between their variables."""
    entry = layout_of(definition)(line.encode())

    if expected is None:
        assert entry is None
        return
    assert entry is not None
    assert {name: getattr(entry, name) for name in expected} == expected


def test_a_json_definition_is_read_in_any_order_and_depth() -> None:
    """The order of keys means nothing in JSON, and some logs put theirs into groups."""
    definition = '{"req":{"lat":"${request_time}s","url":"$scheme://$host$uri"},"code":$status,"when":$msec,"head":$upstream_header_time}'

    entry = read(
        definition, '{"when":1800000000.5,"head":-,"code":503,"req":{"url":"http://h/v1/models","lat":"0.125s"}}'
    )

    assert (entry.at_s, entry.status, entry.duration_s, entry.path) == (1_800_000_000.5, 503, 0.125, "/v1/models")
    assert layout_of(definition)(b'{"when":1800000000.5,"code":503}') is None


@pytest.mark.parametrize(
    ("definition", "complaint"),
    [
        ("", "no variable for the status"),
        ("$remote_addr $request_time", "no variable for the status"),
        ("$msec$status", "nothing parts the status"),
        ("$a " * 200 + "$status", "variables"),
        ("$status" + " " * 9_000, "characters"),
    ],
)
def test_a_definition_without_use_is_refused(definition: str, complaint: str) -> None:
    """Where a person wrote it, the settings say so at once."""
    with pytest.raises(DefinitionError, match=complaint):
        layout_of(definition)


@given(st.text(max_size=200), st.sampled_from(["", *LINE.split(" ")]))
def test_no_line_raises(junk: str, piece: str) -> None:
    """A line is written by whoever asks the gateway."""
    entry = layout_of(INGRESS)((LINE.format(status=200, addr="-", ust="-").replace(piece, junk)).encode())

    assert entry is None or 100 <= entry.status <= 599


@pytest.mark.parametrize("filler", [", ", " : ", '" ', "a", "[", "%", "\\x22", " HTTP/"])
def test_a_long_line_costs_time_in_proportion_to_its_length(filler: str) -> None:
    """64 KiB of anything: a slow line would be a way to blind the daemon."""
    layout = layout_of(INGRESS)
    long = LINE.format(status=200, addr=filler * (65_000 // len(filler)), ust=filler * 100).encode()

    begun_s = time.process_time()
    for _ in range(5):
        layout(long)

    assert time.process_time() - begun_s < 0.25


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=5))
def test_a_json_line_of_other_keys_is_not_ours(line: dict[str, str]) -> None:
    """It is left to those who go by common names."""
    assert layout_of('{"only_here":"$status","at":"$msec"}')(json.dumps(line).encode()) is None
