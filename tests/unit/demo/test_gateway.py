"""The access log's lines, read by the daemon's own parser."""

import json

import pytest

from aiops.collect.access_format import Parser
from aiops.demo.gateway import Entry, line


def written(entry: Entry) -> bytes:
    return line(entry, now_s=1_700_000_000.1234, ended_s=12.5, request_id="ab" * 16).encode()


def test_a_line_is_what_nginx_would_write():
    """Field names and quoting are those of the log_format the documentation gives."""
    entry = Entry("/v1/completions", 1, 10.0, "127.0.0.1:8001", "200", 0.07, 2.5, 200, complete=True)

    assert json.loads(written(entry)) == {
        "t": 1700000000.123, "st": 200, "rt": 2.5, "uht": "0.070", "urt": "2.500", "ust": "200",
        "ua": "127.0.0.1:8001", "rid": "ab" * 16, "uri": "/v1/completions", "retry": 1, "rc": "OK",
    }  # fmt: skip


@pytest.mark.parametrize(
    "entry",
    [
        Entry("/v1/completions", 0, 10.0, "127.0.0.1:8001", "503", 1.5, 1.5, 503, complete=True),
        Entry("/v1/completions", 0, 10.0, "127.0.0.1:8001", "502", None, None, 502, complete=True),
        Entry("/v1/completions", 0, 10.0, "127.0.0.1:8001"),
    ],
)
def test_the_daemon_understands_refusals_broken_upstreams_and_clients_that_left(entry: Entry):
    """A line the parser skips would hide the very failures the demo is about."""
    parsed = Parser().parse(written(entry))

    assert parsed is not None
    assert parsed.status == entry.status
