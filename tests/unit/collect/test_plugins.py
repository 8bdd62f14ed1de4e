"""The collect section of the settings becomes collectors, or complaints with file and line."""

from __future__ import annotations

import pytest

from aiops.collect import COLLECTORS
from aiops.collect.plugins import build_collectors, decode_plugins
from aiops.document import Node, parse
from aiops.errors import ConfigError
from aiops.ports import AsyncCollector, Collector
from tests.worlds import make_world

TABLE = {name: COLLECTORS[name] for name in ("host", "inference", "dcgm")}


def sections(text: str) -> dict[str, Node]:
    node = parse(text, "aiops.yaml")
    return {} if node is None else {name: value for name, _, value in node.items()}


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        decode_plugins(sections(text), TABLE)
    return [str(problem) for problem in caught.value.problems]


def test_without_settings_every_plugin_runs_with_its_defaults():
    """`aiops run` needs no file."""
    assert [plugin.name for plugin in decode_plugins({}, TABLE)] == ["host", "inference", "dcgm"]


def test_a_disabled_plugin_is_left_out():
    """`enabled: false` is how a person says that a source is none of our business."""
    found = decode_plugins(sections("host: {enabled: false}\ninference:\n"), TABLE)
    assert [plugin.name for plugin in found] == ["inference", "dcgm"]


def test_settings_reach_the_collector():
    """A cadence that is read and not used would be worse than none."""
    plugins = decode_plugins(sections("host: {interval: 7s, deadline: 3s}"), TABLE)
    built = dict(build_collectors(plugins, make_world()))
    assert (built["host"].interval_s, built["host"].deadline_s) == (7.0, 3.0)


def test_every_plugin_builds_what_the_runner_can_run():
    """A module in the table that is no collector would fail at night, not here."""
    for _, collector in build_collectors(decode_plugins({}, TABLE), make_world()):
        assert isinstance(collector, (Collector, AsyncCollector))


def test_an_unknown_plugin_is_named_with_its_line_and_the_known_ones():
    """A typing error must not silently watch nothing."""
    assert problems("host: {}\ninferense: {interval: 5s}\n") == [
        "aiops.yaml:2: collect.inferense: no such collector; known are dcgm, host, inference"
    ]


def test_all_problems_are_reported_at_once():
    """Nobody wants to start a daemon five times to find five typing errors."""
    text = "host: {interval: soon, colour: red}\ninference:\n  targets: [{url: 'no address'}]\ndcgm: {interval: 0s}\n"
    found = problems(text)
    assert len(found) == 4
    assert any("aiops.yaml:1: collect.host.interval" in problem for problem in found)
    assert any(
        "aiops.yaml:3: collect.inference.targets[0]" in problem and "expected an address" in problem
        for problem in found
    )
    assert any("aiops.yaml:4: collect.dcgm.interval: expected a duration above zero" in problem for problem in found)


def test_a_plugin_given_twice_is_an_error():
    """YAML would keep the last one and lose the other."""
    with pytest.raises(ConfigError, match=r"aiops\.yaml:2: host: given twice"):
        sections("host: {}\nhost: {}\n")
