"""
Which inference servers are known here: told by the collector that reads their pages, asked by the one of processes.

Which upstreams of this machine a gateway names is told by the collector that reads its log, and asked by the one that
looks for servers: a replica that has just been put into service is in the log before anybody looks for it. Which
servers are being started and do not listen yet is told by the collector of processes, and asked by the one that reads
pages. They meet in a checkpoint, so that neither needs the other, and what was known before a restart is known after it.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from aiops.ports import Checkpoints

_CHECKPOINT = "inference/known"
_UPSTREAMS = "gateway/upstreams"
_COMING = "process/coming"
_MAX_SERVERS = 256
_HERE = "127.0.0.1:"


def note_servers(checkpoints: Checkpoints, instances: Collection[str]) -> None:
    """Remember that these servers are known; call it when they change."""
    checkpoints.put(_CHECKPOINT, json.dumps(sorted(instances)[:_MAX_SERVERS]).encode())


def note_upstreams(checkpoints: Checkpoints, instances: Collection[str]) -> None:
    """Remember that a gateway names these upstreams; only those of this machine are kept. Call it when they change."""
    _note_here(checkpoints, _UPSTREAMS, instances)


def note_coming(checkpoints: Checkpoints, instances: Collection[str]) -> None:
    """Remember that these servers do not listen yet; only those of this machine are kept. Call it when they change."""
    _note_here(checkpoints, _COMING, instances)


def coming_servers(checkpoints: Checkpoints) -> frozenset[str]:
    """Servers of this machine that are being started and do not listen yet, by instance."""
    return _read(checkpoints, _COMING)


def named_upstreams(checkpoints: Checkpoints) -> frozenset[str]:
    """Upstreams of this machine that a gateway names, by instance."""
    return _read(checkpoints, _UPSTREAMS)


def known_servers(checkpoints: Checkpoints) -> frozenset[str]:
    """The known servers, by instance."""
    return _read(checkpoints, _CHECKPOINT)


def _note_here(checkpoints: Checkpoints, name: str, instances: Collection[str]) -> None:
    here = sorted(each for each in instances if each.startswith(_HERE))
    checkpoints.put(name, json.dumps(here[:_MAX_SERVERS]).encode())


def _read(checkpoints: Checkpoints, name: str) -> frozenset[str]:
    try:
        instances = json.loads(checkpoints.get(name) or b"[]")
    except ValueError:
        return frozenset()
    return frozenset(map(str, instances)) if isinstance(instances, list) else frozenset()


def local_ports(checkpoints: Checkpoints) -> frozenset[int]:
    """Ports of the known servers of this machine."""
    ports = (each.removeprefix(_HERE) for each in known_servers(checkpoints) if each.startswith(_HERE))
    return frozenset(int(port) for port in ports if port.isdecimal() and 0 < int(port[:6]) < 2**16)
