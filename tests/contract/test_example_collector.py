"""The collector that CONTRIBUTING.md shows is one: it is taken from the page, put into the table, and held to the contract."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client import CollectorRegistry

from aiops.clock import SystemClock
from aiops.collect import COLLECTORS
from aiops.collect.plugins import build_collectors, decode_plugins
from aiops.collect.runner import Runner
from aiops.document import parse
from aiops.errors import ConfigError
from aiops.model import Observation, Sample, Sight
from aiops.ports import Collector
from aiops.selfstat import SelfStat
from tests.worlds import make_world

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
MODULE, LINES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TABLE_LINE, CATALOGUE_LINE = LINES.splitlines()
NAME, MODULE_NAME = ast.literal_eval("{" + TABLE_LINE + "}").popitem()


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """The page's text as the module the table names."""
    assert MODULE_NAME not in COLLECTORS.values()
    made = ModuleType(MODULE_NAME)
    sys.modules[MODULE_NAME] = made
    exec(compile(MODULE, "CONTRIBUTING.md", "exec"), made.__dict__)
    yield made
    del sys.modules[MODULE_NAME]


def observed(root: Path, settings: str = "interval: 5s") -> list[Observation]:
    async def scene(executor: ThreadPoolExecutor) -> list[Observation]:
        plugins = decode_plugins({NAME: parse(settings, "settings")}, {NAME: MODULE_NAME})
        [(_, collector)] = build_collectors(plugins, make_world(root=root))
        assert isinstance(collector, Collector)
        runner = Runner(NAME, collector, executor, SelfStat(CollectorRegistry()), SystemClock())
        return list(await runner.run(2.0))

    with ThreadPoolExecutor(1) as executor:
        return asyncio.run(scene(executor))


def test_what_it_reads_is_what_its_catalogue_line_says(module: ModuleType, tmp_path: Path) -> None:
    """Somebody copies this page; what does not work there wastes his first hour with us."""
    folder = tmp_path / "proc/sys/kernel/random"
    folder.mkdir(parents=True)
    (folder / "entropy_avail").write_text("256\n")

    sample, up = observed(tmp_path)

    assert isinstance(sample, Sample)
    assert isinstance(up, Sample)
    assert (sample.value, up.value) == (256.0, 1.0)
    called = ast.parse(CATALOGUE_LINE.rstrip(",")).body[0]
    assert isinstance(called, ast.Expr)
    assert isinstance(called.value, ast.Call)
    assert ast.literal_eval(called.value.args[0]) == sample.metric
    assert [name for name, _ in sample.labels.pairs] == ["host_name"]


@pytest.mark.parametrize("content", [None, "many"])
def test_a_source_that_is_gone_or_garbage_is_said_and_stops_nobody(
    module: ModuleType, tmp_path: Path, content: str | None
) -> None:
    folder = tmp_path / "proc/sys/kernel/random"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "entropy_avail").write_text(content)

    sight, up = observed(tmp_path)

    assert isinstance(sight, Sight)
    assert not sight.seen
    assert isinstance(up, Sample)
    assert up.value == 0.0


def test_a_wrong_setting_is_refused_with_its_line(module: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        observed(tmp_path, "interval: soon")

    assert [problem.line for problem in caught.value.problems] == [1]


def test_it_is_short_enough_to_be_read() -> None:
    code = [line for line in MODULE.splitlines() if line.strip() and not line.startswith(("from", "import"))]
    assert len(code) <= 30
