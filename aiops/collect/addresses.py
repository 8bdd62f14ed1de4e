"""
One name for a replica of this machine, however it is spelled.

A gateway may call it ``localhost:8001``, its page is read at ``127.0.0.1:8001``, it listens on ``[::1]:8001``, and a
deployment names it by the node's address. All of these are this machine's port 8001, so the labels ``instance`` and
``upstream`` call it ``127.0.0.1:8001``; series that speak of one replica join by equal labels alone. Two programs on
one port of different local addresses are taken for one; that is rarer than two spellings.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Collection, Iterator
from pathlib import Path

_LOOPBACK = "127.0.0.1"
_MAX_BYTES = 1 * 2**20
"""A router's table may be larger; its own addresses then go by what was read."""
_MAX_SPELLING = 256

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Addresses:
    """
    Knows this machine's addresses and names.

    Args:
        own: Addresses of its interfaces, besides loopback.
        names: What else it is called.
    """

    def __init__(self, own: Collection[Address] = (), names: Collection[str] = ()) -> None:
        self._own = frozenset(own)
        self._names = frozenset({"localhost", *(name.lower() for name in names if name)})

    def instance(self, spelling: str) -> str:
        """*spelling*, a ``host:port``, as the labels have it; anything else as it is."""
        host, _, port = spelling.rpartition(":")
        if not host or not port.isdecimal() or len(spelling) > _MAX_SPELLING:
            return spelling
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if self._is_here(bare):
            return f"{_LOOPBACK}:{int(port)}"
        return spelling

    def _is_here(self, host: str) -> bool:
        name = host.lower().rstrip(".")
        if name in self._names:
            return True
        try:
            address: Address = ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        found = mapped or address
        return found.is_loopback or found.is_unspecified or found in self._own


def read_addresses(root: Path, host: str) -> Addresses:
    """
    The addresses this machine has now; what cannot be read is left out.

    Args:
        root: Where the file system begins.
        host: The machine's name.
    """
    return Addresses([*_v4(_read(root / "proc/net/fib_trie")), *_v6(_read(root / "proc/net/if_inet6"))], [host])


def first_address(fib_trie: Path) -> str:
    """The first address of a network namespace that is not loopback, from its routing tree; empty if it has none."""
    return next((str(address) for address in _v4(_read(fib_trie)) if not address.is_loopback), "")


def _read(path: Path) -> list[str]:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(_MAX_BYTES).decode("ascii", "replace").splitlines()
    return []


def _v4(lines: list[str]) -> Iterator[Address]:
    """The kernel's routing tree has each own address on a line before "/32 host LOCAL"."""
    before = ""
    for line in lines:
        if line.endswith("/32 host LOCAL"):
            with contextlib.suppress(ValueError):
                yield ipaddress.IPv4Address(before.rpartition(" ")[2])
        else:
            before = line


def _v6(lines: list[str]) -> Iterator[Address]:
    """One interface address a line, in 32 hexadecimal digits first."""
    for line in lines:
        with contextlib.suppress(ValueError):
            yield ipaddress.IPv6Address(bytes.fromhex(line[:32]))
