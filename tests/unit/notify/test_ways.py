"""Receivers are reached as the environment says, and loopback always straight."""

from __future__ import annotations

from pathlib import Path

import certifi
import httpx
import pytest

from aiops.errors import ConfigError
from aiops.notify.ways import Ways, check_environment, proxy_for

PROXY = "http://proxy.corp.example:3128"
CHAT = "https://chat.example/hook"


@pytest.mark.parametrize(
    ("environ", "url", "expected"),
    [
        ({}, CHAT, ""),
        ({"HTTPS_PROXY": PROXY}, CHAT, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, CHAT, PROXY),
        ({"HTTPS_PROXY": "proxy.corp.example:3128"}, CHAT, PROXY),
        ({"ALL_PROXY": PROXY}, CHAT, PROXY),
        ({"HTTP_PROXY": PROXY}, CHAT, ""),
        ({"HTTP_PROXY": PROXY}, "http://chat.example/hook", PROXY),
    ],
)
def test_the_proxy_is_the_one_for_the_scheme(environ: dict[str, str], url: str, expected: str):
    """On-call chats are outside, and outside is behind the proxy."""
    assert proxy_for(httpx.URL(url), environ) == expected


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "chat.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "127.0.0.1:8080"]
)
def test_loopback_is_never_asked_through_a_proxy(host: str):
    """The proxy's own loopback is another machine's."""
    assert proxy_for(httpx.URL(f"https://{host}/hook"), {"HTTPS_PROXY": PROXY, "ALL_PROXY": PROXY}) == ""


@pytest.mark.parametrize(
    ("exceptions", "url", "straight"),
    [
        ("example", CHAT, True),
        (".example", CHAT, True),
        ("*.example", CHAT, True),
        ("chat.example", CHAT, True),
        ("CHAT.example , other", CHAT, True),
        ("*", CHAT, True),
        ("ample", CHAT, False),
        ("hat.example", CHAT, False),
        ("www.chat.example", CHAT, False),
        ("chat.example:443", CHAT, True),
        ("chat.example:8443", CHAT, False),
        ("chat.example:8443", "https://chat.example:8443/", True),
        ("10.0.0.0/8", "https://10.1.2.3/", True),
        ("10.0.0.0/8", "https://11.1.2.3/", False),
        ("10.1.2.3", "https://10.1.2.3/", True),
        ("2001:db8::/32", "https://[2001:db8::1]/", True),
        ("[2001:db8::1]:443", "https://[2001:db8::1]/", True),
        (",, ", CHAT, False),
        ("10.0.0.0/99", "https://10.1.2.3/", False),
        ("", CHAT, False),
    ],
)
def test_no_proxy_names_domains_addresses_and_networks(exceptions: str, url: str, straight: bool):
    """A chat inside the company is not behind the proxy."""
    assert proxy_for(httpx.URL(url), {"HTTPS_PROXY": PROXY, "NO_PROXY": exceptions}) == ("" if straight else PROXY)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"HTTPS_PROXY": "socks5://user:hunter2@p:1"}, "HTTPS_PROXY: expected http://host:port"),
        ({"ALL_PROXY": "http://"}, "ALL_PROXY: expected"),
        ({"https_proxy": "http://p:99999"}, "HTTPS_PROXY: expected"),
        ({"SSL_CERT_FILE": "/nonexistent/ca.pem"}, "SSL_CERT_FILE: certificates cannot be read: No such file"),
        ({"SSL_CERT_FILE": __file__}, "SSL_CERT_FILE: certificates cannot be read"),
    ],
)
def test_an_environment_that_reaches_nobody_is_refused_at_start(environ: dict[str, str], words: str):
    """The first page must not be what finds it out; and a proxy's password is nobody's business."""
    with pytest.raises(ConfigError, match=words) as caught:
        check_environment(environ)
    assert "hunter2" not in str(caught.value)


def test_a_sound_environment_is_accepted():
    """Most machines name nothing at all."""
    check_environment({})
    check_environment({"HTTPS_PROXY": PROXY, "SSL_CERT_FILE": certifi.where()})


def test_the_site_s_certificates_are_trusted_and_no_others(tmp_path: Path):
    """A proxy that opens TLS signs with the company's own authority."""
    first = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----")
    (tmp_path / "ca.pem").write_text(first[0] + first[1])

    def trusted(environ: dict[str, str]) -> int:
        return Ways(environ)._trust().cert_store_stats()["x509_ca"]

    assert trusted({"SSL_CERT_FILE": str(tmp_path / "ca.pem")}) == 1
    assert trusted({}) > 50
