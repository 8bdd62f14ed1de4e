"""What every collector owes the pipeline, whatever it reads."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from aiops.catalog import CATALOG
from aiops.clock import SystemClock
from aiops.collect import COLLECTORS
from aiops.collect.plugins import Plugin, build_collectors, decode_plugins
from aiops.collect.runner import Runner
from aiops.document import parse
from aiops.model import Observation, Sample, Sight
from aiops.selfstat import SelfStat
from tests.worlds import make_world

CHILDREN = {"gpu_nvml", "journal"}
"""These start a program of this machine, which no empty root can hide; their own tests hand them another."""
NAMES = sorted(COLLECTORS.keys() - CHILDREN)
SETTINGS = {
    "business": "json: [{url: 'http://127.0.0.1:1/', metric: business_success_ratio, service: chat, value: rate}]",
    "kubernetes": "{api: 'https://127.0.0.1:1', namespace: chat, token: t}",
    "prometheus": "servers: [{url: 'http://127.0.0.1:1', queries: [{metric: business_success_ratio, query: up}]}]",
}
"""What those need that do not run unless they are told what to read."""


def plugin(name: str) -> Plugin:
    sections = {name: parse(SETTINGS[name], "settings")} if name in SETTINGS else {}
    return decode_plugins(sections, {name: COLLECTORS[name]})[0]


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_collector_with_nothing_to_read_does_not_exist(name, monkeypatch):
    """What is not configured costs nothing, not even a tick."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert decode_plugins({}, {name: COLLECTORS[name]}) == ()


def rounds(name: str, root: Path, count: int) -> list[list[Observation]]:
    """What the runner hands on in *count* rounds, two seconds of wall time apart."""

    async def scene(executor: ThreadPoolExecutor) -> list[list[Observation]]:
        [(_, collector)] = build_collectors([plugin(name)], make_world(root=root))
        runner = Runner(name, collector, executor, SelfStat(CollectorRegistry()), SystemClock())
        return [list(await runner.run(2.0 * number)) for number in range(count)]

    with ThreadPoolExecutor(1) as executor:
        return asyncio.run(scene(executor))


@pytest.mark.parametrize("name", NAMES)
def test_a_collector_whose_source_is_missing_lives_and_keeps_to_the_catalogue(name, tmp_path):
    """An empty machine, on which nothing answers: the daemon starts there too."""
    for observations in rounds(name, tmp_path, 3):
        samples = [o for o in observations if isinstance(o, Sample)]
        assert {sample.metric for sample in samples} <= CATALOG.keys()
        assert sum(1 for sample in samples if sample.metric == "aiops_collector_up") == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_collector_says_what_it_cannot_see_once(name, tmp_path):
    """A sight is news: one that repeats itself every round would flood page and log."""
    news = [
        (o.subject, o.seen, o.detail)
        for observations in rounds(name, tmp_path, 4)
        for o in observations
        if isinstance(o, Sight)
    ]
    assert len(news) == len(set(news))


@pytest.mark.parametrize("name", sorted(COLLECTORS))
def test_a_collector_states_its_cadence_and_deadline(name):
    """The runner and the schedule read them; zero would mean a busy loop."""
    config = plugin(name).config
    assert config.interval > 0.0
    assert config.deadline > 0.0
