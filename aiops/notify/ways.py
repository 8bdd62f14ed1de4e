"""
The way of a request: straight, or through the proxy that this machine's environment names.

Chats are mostly reached through a company's proxy and its certificate authority, and both are told to programs by
HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE. They count for receivers alone: what is scraped is near by. A receiver on
loopback is never asked through a proxy, whatever the environment says. Certificates are read when the first request
needs them: two megabytes that a daemon which speaks to neighbours alone does without.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from aiops.errors import ConfigError, Problem

_CA = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = {"http": ("http_proxy", "all_proxy"), "https": ("https_proxy", "all_proxy")}


def proxy_for(url: httpx.URL, environ: Mapping[str, str]) -> str:
    """The proxy through which *url* is to be asked; empty for none."""
    if _is_loopback(url.host) or _is_excepted(url, _variable(environ, "no_proxy")):
        return ""
    return next((value for name in _PROXIES.get(url.scheme, ()) if (value := _proxy(environ, name))), "")


def check_environment(environ: Mapping[str, str]) -> None:
    """
    Refuse an environment by which no receiver could be reached.

    Raises:
        ConfigError: a proxy that cannot be spoken to, or certificates that cannot be read; values are not repeated.
    """
    problems: list[Problem] = []
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        proxy = _proxy(environ, name)
        if proxy and not _is_sound(proxy):
            problems.append(
                Problem("environment", 1, f"{name.upper()}: expected http://host:port or https://host:port")
            )
    try:
        _trust(environ)
    except OSError as error:  # ssl.SSLError too
        name = next(name for name in _CA if environ.get(name))
        problems.append(Problem("environment", 1, f"{name}: certificates cannot be read: {error.strerror or error}"))
    if problems:
        raise ConfigError(*problems)


def open_client(environ: Mapping[str, str]) -> httpx.AsyncClient:
    """A client whose requests go as *environ* says; nothing is read or connected before the first one."""
    return httpx.AsyncClient(transport=Ways(environ), trust_env=False)


class Ways(httpx.AsyncBaseTransport):
    """
    Takes each request its way.

    Args:
        environ: Where proxies and certificates are named.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._trusted: ssl.SSLContext | None = None
        self._ways: dict[tuple[bool, str], httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request* straight or through its proxy."""
        proxy = proxy_for(request.url, self._environ)
        secret = "https" in {request.url.scheme, urlsplit(proxy).scheme}
        way = self._ways.get((secret, proxy))
        if way is None:
            way = self._ways[secret, proxy] = httpx.AsyncHTTPTransport(
                # without TLS nothing is verified, and no certificates need to be read
                verify=self._trust() if secret else False,
                proxy=httpx.Proxy(proxy) if proxy else None,
            )
        return await way.handle_async_request(request)

    async def aclose(self) -> None:
        """Close every connection."""
        for way in self._ways.values():
            await way.aclose()

    def _trust(self) -> ssl.SSLContext:
        if self._trusted is None:
            try:
                self._trusted = _trust(self._environ) or httpx.create_ssl_context(trust_env=False)
            except OSError as error:
                raise httpx.ConnectError("certificates cannot be read") from error
        return self._trusted


def _trust(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """
    The certificates that the environment names; None if it names none.

    Raises:
        OSError: they cannot be read, or there are none.
    """
    if file := environ.get("SSL_CERT_FILE"):
        return ssl.create_default_context(cafile=file)
    if folder := environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context(capath=folder)
    return None


def _variable(environ: Mapping[str, str], name: str) -> str:
    """A variable in either spelling; the lower-case one goes first, as in other programs."""
    return (environ.get(name) or environ.get(name.upper()) or "").strip()


def _proxy(environ: Mapping[str, str], name: str) -> str:
    value = _variable(environ, name)
    return value if not value or "://" in value else f"http://{value}"


def _is_sound(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy)
        httpx.Proxy(proxy)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return False


def _is_loopback(host: str) -> bool:
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_excepted(url: httpx.URL, exceptions: str) -> bool:
    """Whether NO_PROXY names *url*: a domain with all below it, an address, a network, either with a port, or ``*``."""
    host, port = url.host.lower().rstrip("."), url.port or {"http": 80, "https": 443}.get(url.scheme)
    for entry in re.split(r"[\s,]+", exceptions.lower()):
        name, wanted = _split_port(entry)
        if wanted is not None and wanted != port:
            continue
        domain = name.removeprefix("*").removeprefix(".")
        if name == "*" or (domain and (host == domain or host.endswith(f".{domain}"))) or _is_within(host, name):
            return True
    return False


def _split_port(entry: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"\[(.*)\](?::(\d{1,5}))?|([^:]*)(?::(\d{1,5}))?", entry)
    if found is None:  # an IPv6 address without brackets
        return entry, None
    port = found[2] or found[4]
    return found[1] or found[3] or "", int(port) if port else None


def _is_within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
