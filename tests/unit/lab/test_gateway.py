"""Settings of a house's gateway, in the words of either kind."""

import random

import pytest

from aiops.demo.policy import Policy
from tests.lab.gateway import Settings, nginx_conf, usual

_UPSTREAMS = ("127.0.0.1:8001", "127.0.0.1:8002")


def test_nginx_is_told_its_upstreams_log_and_time_outs(tmp_path):
    """What a person would have written."""
    conf = nginx_conf(Settings(_UPSTREAMS, keep=8, connect_s=1.0, read_s=2.5, max_fails=3), tmp_path, "127.0.0.1:8080")

    for words in (
        "server 127.0.0.1:8002 max_fails=3 fail_timeout=10s;", "keepalive 8;", "proxy_connect_timeout 1000ms;",
        "proxy_read_timeout 2500ms;", "proxy_next_upstream off;", "listen 127.0.0.1:8080 ", f"{tmp_path}/access.log aiops",
    ):  # fmt: skip
        assert words in conf
    assert "limit_req " not in conf
    assert "limit_conn " not in conf


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rate": 5.0, "burst": 10}, ("rate=300r/m", "limit_req zone=requests burst=10 nodelay;")),
        ({"rate": 0.001}, ("rate=1r/m", "limit_req zone=requests;")),
        ({"in_flight": 4, "refuses_with": 429}, ("limit_conn connections 4;", "limit_conn_status 429;")),
        ({"tries": 2}, ("proxy_next_upstream error timeout;", "proxy_next_upstream_tries 2;")),
        ({"files": 64}, ("worker_rlimit_nofile 64;",)),
        ({"closed": 0.25}, ('split_clients "$request_id" $closed { 25.00% 1; * ""; }', "if ($closed) { return 503; }")),
    ],
)
def test_limits_and_retries_are_nginx_own_directives(settings, words, tmp_path):
    """The refusals must be those of nginx' modules."""
    conf = nginx_conf(Settings(_UPSTREAMS, **settings), tmp_path, "127.0.0.1:8080")

    assert [each for each in words if each not in conf] == []


def test_the_python_gateway_takes_what_it_knows():
    """The same settings go to both kinds."""
    policy = Policy(**Settings(_UPSTREAMS, keep=4, total_s=2.0, max_fails=3).policy())

    assert (policy.keep, policy.total_s) == (4, 2.0)


@pytest.mark.parametrize("seed", range(20))
def test_usual_settings_hurt_nobody(seed):
    """A house is healthy before its fault: nothing in them limits anything, and times are longer than answers take."""
    settings = Settings(_UPSTREAMS, **usual(random.Random(seed)))

    assert settings.rate is None
    assert settings.in_flight is None
    assert settings.total_s is None
    assert settings.read_s >= 30.0
