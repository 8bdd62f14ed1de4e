"""How a house is furnished: sizes and levels, a little different in every run, as services are."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.lab.gateway import usual

_SPLIT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Plan:
    """What a house is started with. Lengths are tokens, times seconds."""

    seed: int
    gateway: str
    """python or nginx."""
    dialect: str
    """vllm or sglang."""
    replicas: int = 3
    rate: float = 12.0
    """Requests a second at the normal level."""
    prompt: tuple[int, int] = (70, 170)
    output: tuple[int, int] = (30, 90)
    prefix: int = 32
    """Length of the system prompts that prompts begin with."""
    traffic: str = ""
    """A folder of recorded demand that shapes arrivals, see `tests.lab.traffic`; empty: it is made up."""
    streamed: float = 1.0
    """Share of requests whose answer is streamed."""
    kv_blocks: int = 200
    max_running: int = 32
    max_waiting: int = 10
    """Of each replica's queue; more are refused."""
    pool_size: int = 5
    pool_overflow: int = 5
    pool_timeout_s: float = 1.5
    gateway_settings: Mapping[str, Any] = field(default_factory=dict)
    """See `tests.lab.gateway.Settings`."""
    books: str = ""
    """How model servers write requests down: file, synced, spool; empty: they do not."""
    books_mib: int = 0
    """Of the disk of its own that they write to; 0: the cell's."""
    books_full: float = 0.0
    """Share of that disk that is taken from the beginning."""
    later: int = 0
    """Replicas more, at the end of the list, that are not started with the house."""
    split: bool = False
    """Whether prefills are computed by another engine, whose keys and values the replicas fetch."""
    server_options: tuple[str, ...] = ()
    """Further arguments of every model server."""
    neighbour: bool = False
    """Whether a batch job writes a log beside the chat, which the daemon is told to follow."""


def draw(rng: random.Random, seed: int, gateway: str, dialect: str) -> Plan:
    """A plan like anybody's: no two services ask the same, nor let as many wait."""
    return Plan(
        seed, gateway, dialect,
        rate=round(rng.uniform(10.0, 13.0), 2),
        prompt=(rng.randint(60, 80), rng.randint(150, 190)),
        output=(rng.randint(26, 36), rng.randint(80, 100)),
        max_waiting=rng.randint(8, 14),
        pool_timeout_s=rng.choice((1.0, 1.5, 2.0, 3.0)),
        gateway_settings=usual(rng),
        split=rng.random() < _SPLIT_SHARE,
    )  # fmt: skip
