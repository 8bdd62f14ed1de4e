"""
The API of Kubernetes, as far as it is needed: list, then watch in short questions, without a client library.

A list gives the objects and a resource version; each later question asks what has happened since that version, and
ends after a second. Where the server has forgotten the version (410 Gone), the list is read again. Answers are bounded.
The token is read again with every question, since the kubelet renews it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
import msgspec

from aiops.errors import SourceMalformed, SourceUnavailable

_MAX_BYTES = 8 * 2**20
_PAGE = 500
_MAX_PAGES = 4
"""Two thousand objects; more in one namespace belong to somebody else."""
_WATCH_S = 1
_GONE = 410
_REFUSED = frozenset({401, 403})

T = TypeVar("T", bound=msgspec.Struct)


class Meta(msgspec.Struct, rename="camel"):
    """What every object has."""

    name: str = ""
    resource_version: str = ""
    generation: int = 0
    managed_fields: list[dict[str, Any]] = []


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    more: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] = []


class _Change(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Status(msgspec.Struct):
    code: int = 0


class Change(NamedTuple):
    """One thing that happened to an object."""

    kind: str
    """LISTED, ADDED, MODIFIED or DELETED."""
    object: Any


class Api:
    """
    One API server.

    Args:
        http: A client that trusts it.
        url: Its address.
        token: Reads the token.
    """

    def __init__(self, http: httpx.AsyncClient, url: str, token: Callable[[], str]) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._token = token

    async def get(self, path: str, parameters: Mapping[str, str], deadline_s: float) -> bytes | None:
        """
        The body at *path*; None if the version in *parameters* is forgotten there.

        Raises:
            SourceUnavailable: nobody answers, or we are not allowed to ask.
            SourceMalformed: something else answers, or too much.
        """
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Authorization": f"Bearer {self._token()}",
        }
        try:
            async with (
                asyncio.timeout(deadline_s),
                self._http.stream(
                    "GET", self._url + path, params=dict(parameters), headers=headers, timeout=deadline_s,
                    follow_redirects=False,
                ) as response,
            ):  # fmt: skip
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _MAX_BYTES:
                        raise SourceMalformed(f"an answer of more than {_MAX_BYTES} bytes")
        except (TimeoutError, httpx.TimeoutException) as error:
            raise SourceUnavailable(f"no answer within {deadline_s:g} s") from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            raise SourceUnavailable(f"cannot be reached ({type(error).__name__})") from error
        if response.status_code == _GONE:
            return None
        if response.status_code in _REFUSED:
            words = (
                f"status {response.status_code}: the service account may not read {path}; docs/feeds.md has the role"
            )
            raise SourceUnavailable(words)
        if response.status_code != httpx.codes.OK:
            raise SourceUnavailable(f"status {response.status_code} at {path}")
        return bytes(body)


class Watched:
    """
    One kind of object.

    Args:
        path: Of its list.
        kind: How an object is read.
        parameters: Selectors.
    """

    def __init__(self, path: str, kind: type[msgspec.Struct], parameters: Mapping[str, str]) -> None:
        self._path = path
        self._kind = kind
        self._parameters = {name: value for name, value in parameters.items() if value}
        self._version = ""
        self.cut = False
        """Whether there are more objects than are read."""

    async def changes(self, api: Api, deadline_s: float) -> list[Change]:
        """
        What happened since the last call: at first, and after a gap, every object as LISTED.

        Raises:
            SourceError: it cannot be read now.
        """
        if self._version and (found := await self._watch(api, deadline_s)) is not None:
            return found
        self._version = ""
        return await self._list(api, deadline_s)

    async def _list(self, api: Api, deadline_s: float) -> list[Change]:
        found: list[Change] = []
        more = ""
        for _ in range(_MAX_PAGES):
            page_of = {"limit": str(_PAGE)} | ({"continue": more} if more else {})
            body = await api.get(self._path, self._parameters | page_of, deadline_s)
            if body is None:
                raise SourceUnavailable("the list was forgotten while it was read")
            page = _decode(body, _List)
            found += [Change("LISTED", _decode(item, self._kind)) for item in page.items]
            more = page.metadata.more
            if not more:
                break
        self.cut = bool(more)
        self._version = page.metadata.resource_version
        return found

    async def _watch(self, api: Api, deadline_s: float) -> list[Change] | None:
        """What happened since the last question; None if the server has forgotten that long ago."""
        parameters = self._parameters | {
            "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": self._version,
            "timeoutSeconds": str(_WATCH_S),
        }  # fmt: skip
        found: list[Change] = []
        version = self._version
        body = await api.get(self._path, parameters, deadline_s + _WATCH_S)
        if body is None:
            return None
        for line in body.splitlines():
            change = _decode(line, _Change)
            if change.type == "ERROR":
                if _decode(change.object, _Status).code == _GONE:
                    return None
                raise SourceUnavailable("the watch ended with an error")
            version = _decode(change.object, _Versioned).metadata.resource_version or version
            if change.type != "BOOKMARK":
                found.append(Change(change.type, _decode(change.object, self._kind)))
        self._version = version
        return found


class _Versioned(msgspec.Struct):
    metadata: Meta


def _decode(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise SourceMalformed("not the API of Kubernetes") from error


def trusting(ca: Path | None) -> httpx.AsyncClient:
    """
    A client that trusts the cluster's own authority, and no proxy of the environment.

    Raises:
        SourceUnavailable: the file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca is not None else None)
    except OSError as error:  # ssl.SSLError is one
        raise SourceUnavailable(f"{ca}: no certificates to trust") from error
    return httpx.AsyncClient(verify=context, trust_env=False)
