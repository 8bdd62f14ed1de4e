"""`aiops once` shows what there is, and ends, whatever hangs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

from aiops import app
from aiops.collect.plugins import Plugin, PluginConfig
from aiops.model import Labels, Observation, Sample
from aiops.plan import Plan

PATIENT_S = 60.0


class Reader:
    """Tells one sample, after something that may take long."""

    interval_s = deadline_s = 0.2

    def __init__(self, metric: str, waits_for: threading.Event) -> None:
        self._metric = metric
        self._waits_for = waits_for

    def collect(self, now_s: float) -> Iterator[Observation]:
        self._waits_for.wait(PATIENT_S)
        yield Sample(self._metric, Labels.of(), now_s, 1.0)


def plugin(name: str, waits_for: threading.Event) -> Plugin:
    module = SimpleNamespace(build=lambda _config, _world: Reader(name, waits_for))
    return Plugin(name, module, cast("PluginConfig", None))


def test_a_collector_that_hangs_is_not_waited_for_and_the_others_are_shown() -> None:
    """A dead mount must not keep the one command that would show it from ending."""
    at_once, never = threading.Event(), threading.Event()
    at_once.set()
    plan = cast("Plan", SimpleNamespace(plugins=(plugin("dead", never), plugin("alive", at_once))))

    started_s = time.monotonic()
    try:
        seen = asyncio.run(app.once(plan))
    finally:
        took_s = time.monotonic() - started_s
        never.set()

    assert "alive" in {each.metric for each in seen if isinstance(each, Sample)}
    assert took_s < PATIENT_S / 2
