"""Cases as data: a folder of input as the source shows it, and what must come out of it."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from aiops.cards import CardBook
from aiops.catalog import CATALOG
from aiops.collect import access_log, business, gpu_nvml, host, process
from aiops.collect.addresses import Addresses
from aiops.collect.dcgm_page import DcgmPage
from aiops.collect.engines import dialects, gateways
from aiops.collect.gateway import stub_status
from aiops.collect.node_page import NodePage
from aiops.collect.prometheus_api import answer
from aiops.collect.scraped import Place, Scraped
from aiops.collect.server_page import ServerPage
from aiops.collect.server_page import gateway as gateway_page
from aiops.collect.server_page import server as server_page
from aiops.errors import SourceError
from aiops.model import Event, Labels, Observation, Sample, Sight
from aiops.ports import Collector, World
from tests.nvml_stub import StubState, build_library
from tests.worlds import make_world

CASES = Path(__file__).parents[2] / "cases" / "collect"
STEP_S = 10.0
LOG_BEGIN_S = 1_800_000_000.0
"""2027-01-15T08:00:00Z, when the recorded access logs begin."""

Reader = Callable[[Path, Path], Iterator[Observation]]


def read_inference(case: Path, _tmp: Path) -> Iterator[Observation]:
    """Each page of one server in turn."""
    server: ServerPage | None = None
    for number, page in enumerate(sorted(case.glob("[0-9].prom"))):
        text = page.read_bytes()
        server = server or server_page(dialects().recognise(text) or dialects().unknown, "n1", "h:1")
        yield from server.read(text, number * STEP_S)


def read_gateway(case: Path, _tmp: Path) -> Iterator[Observation]:
    """Each page of one gateway in turn."""
    reader: ServerPage | None = None
    for number, page in enumerate(sorted(case.glob("[0-9].prom"))):
        text = page.read_bytes()
        text = stub_status(text) or text
        if reader is None:
            dialect = gateways().recognise(text)
            assert dialect is not None
            reader = gateway_page(dialect, "n1", "h:1")
        yield from reader.read(text, number * STEP_S)


def read_node_exporter(case: Path, _tmp: Path) -> Iterator[Observation]:
    """Each page of one host in turn."""
    page = NodePage("10.0.0.5")
    for number, text in enumerate(sorted(case.glob("[0-9].prom"))):
        yield from page.read(text.read_bytes(), number * STEP_S)


def read_dcgm(case: Path, _tmp: Path) -> Iterator[Observation]:
    """Each page of one exporter in turn."""
    exporter = DcgmPage("n1", local=True, book=CardBook())
    for number, page in enumerate(sorted(case.glob("[0-9].prom"))):
        yield from exporter.read(page.read_bytes(), number * STEP_S)


@functools.cache
def nvml_library(folder: Path) -> Path:
    """The stand-in for NVIDIA's library, built once."""
    folder.mkdir(exist_ok=True)
    return build_library(folder)


def read_gpu_nvml(case: Path, tmp: Path) -> Iterator[Observation]:
    """The stand-in's states in turn, read by one collector through its child; the case may hold a root."""
    state = StubState(tmp / "state")
    # beside the folders of all tests: it is the same for each case
    command = state.command(nvml_library(tmp.parent / "nvml"))
    collector = gpu_nvml.GpuNvml(gpu_nvml.Config(deadline=20.0), make_world(root=case / "root"), command)
    states = [path.read_text().splitlines() for path in sorted(case.glob("[0-9].state"))]

    async def read() -> list[Observation]:
        seen: list[Observation] = []
        for number, lines in enumerate(states):
            state.set(*lines)
            seen += await collector.gather(number * STEP_S)
        collector.close()
        return seen

    seen = asyncio.run(read())
    for child in collector._child._dying:  # on a busy machine it may take longer than it is waited for
        child.wait(10.0)
    yield from seen


def read_prometheus(case: Path, _tmp: Path) -> Iterator[Observation]:
    """Each answer of one server in turn; a status other than 200 stands in the file's name, when times begin in a file."""
    begins = case / "begins"
    shift_s = -float(begins.read_text()) if begins.exists() else 0.0
    scraped, place = Scraped(), Place("n1", Addresses(), CardBook(), frozenset(), this_host=False)
    for file in sorted(case.glob("[0-9]*.json")):
        status = int(file.stem.partition(".")[2] or 200)
        yield from scraped.read(answer(status, file.read_bytes()).series, shift_s, place)


def read_business(case: Path, tmp: Path) -> Iterator[Observation]:
    """Each page of JSON, or state of a file of CSV, in turn; times count from the first reading."""
    settings = json.loads((case / "settings.json").read_text())
    pages = sorted(case.glob("[0-9].*"))
    body = b""

    async def scene() -> list[Observation]:
        nonlocal body
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
        if pages[0].suffix == ".json":
            config = business.Config(json=(business.JsonConfig("http://shop/kpi", **settings),))
        else:
            config = business.Config(csv=(business.CsvConfig(Path("/kpi.csv"), **settings),))
        collector = business.build(config, make_world(root=tmp, http=httpx.AsyncClient(transport=transport)))
        seen: list[Observation] = []
        for number, page in enumerate(pages):
            body = page.read_bytes()
            (tmp / "kpi.csv").write_bytes(body)
            seen += await collector.gather(LOG_BEGIN_S + 60.0 * number)
        collector.close()
        return seen

    for seen in asyncio.run(scene()):
        yield replace(seen, at_s=seen.at_s - LOG_BEGIN_S) if isinstance(seen, Sample) else seen


def read_tree(build: Callable[[World], Collector], case: Path, tmp: Path) -> Iterator[Observation]:
    """One collector on a root that becomes each tree of the case in turn, as /proc changes under a daemon."""
    root = tmp / "root"
    collector = build(make_world(root=root))
    for number, tree in enumerate(sorted(path for path in case.iterdir() if path.is_dir())):
        root.unlink(missing_ok=True)
        root.symlink_to(tree)
        yield from collector.collect(number * STEP_S)


def read_access_log(case: Path, tmp: Path) -> Iterator[Observation]:
    """
    Each file in turn is what was added to one log, and to the error log beside it; times count from the first reading.

    Zeros of counters and rates are left out: every series begins with one.
    """
    root = tmp / "root"
    log = root / "var/log/nginx/access.log"
    for folder in (log.parent, root / "etc/nginx"):
        folder.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    log.with_name("error.log").write_bytes(b"")
    if (case / "nginx.conf").exists():
        (root / "etc/nginx/nginx.conf").write_bytes((case / "nginx.conf").read_bytes())
    settings = json.loads((case / "settings.json").read_text()) if (case / "settings.json").exists() else {}
    collector = access_log.build(access_log.Config(service="chat", **settings), make_world(root=root))
    list(collector.collect(LOG_BEGIN_S))
    for number, added in enumerate(sorted(case.glob("[0-9].log")), 1):
        with log.open("ab") as file:
            file.write(added.read_bytes())
        if (errors := added.with_suffix(".err")).exists():
            with log.with_name("error.log").open("ab") as file:
                file.write(errors.read_bytes())
        for seen in collector.collect(LOG_BEGIN_S + 6.0 * number):
            if isinstance(seen, Sample):
                if seen.value or not seen.metric.endswith(("_total", "_rate")):
                    yield replace(seen, at_s=seen.at_s - LOG_BEGIN_S, labels=without_root(seen.labels, root))
            elif isinstance(seen, Sight):
                yield replace(seen, subject=seen.subject.replace(str(root), ""))


def without_root(labels: Labels, root: Path) -> Labels:
    """Labels that do not depend on where the test ran."""
    return Labels.from_mapping({name: value.replace(str(root), "") for name, value in labels.pairs})


def read_host(case: Path, tmp: Path) -> Iterator[Observation]:
    """The host's /proc and /sys."""
    return read_tree(lambda world: host.build(host.Config(), world), case, tmp)


def read_process(case: Path, tmp: Path) -> Iterator[Observation]:
    """The /proc of servers' processes, and their control groups."""
    return read_tree(lambda world: process.build(process.Config(), world), case, tmp)


READERS: dict[str, Reader] = {
    "inference": read_inference,
    "gateway": read_gateway,
    "node_exporter": read_node_exporter,
    "prometheus": read_prometheus,
    "business": read_business,
    "dcgm": read_dcgm,
    "gpu_nvml": read_gpu_nvml,
    "host": read_host,
    "access_log": read_access_log,
    "process": read_process,
}


def as_lines(observations: Iterable[Observation]) -> list[str]:
    """Observations as text, in an order that depends on nothing but them."""
    lines: list[str] = []
    for seen in observations:
        if isinstance(seen, Sample):
            text = ",".join(f'{name}="{value}"' for name, value in seen.labels.pairs if name != "host_name")
            lines.append(f"{seen.metric}{{{text}}} {seen.value:.9g} @{seen.at_s:g}")
        elif isinstance(seen, Event):
            lines.append(
                f"# event {seen.kind} {seen.action} gpu={seen.labels.get('gpu')} {seen.message} @{seen.at_s:g}"
            )
        elif isinstance(seen, Sight) and not seen.seen:
            lines.append(f"# blind spot: {seen.subject}")
    return sorted(lines)


@functools.cache
def cases() -> list[Path]:
    return sorted(case for name in READERS for case in (CASES / name).iterdir())


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.parent.name}/{case.name}")
def test_a_recorded_source_gives_exactly_the_expected_observations(case: Path, tmp_path: Path):
    """A new version's odd page is a new folder here, not a new test."""
    observations = READERS[case.parent.name](case, tmp_path)
    refused = case / "expected.err"
    if refused.exists():
        with pytest.raises(SourceError, match=refused.read_text().strip()):
            list(observations)
        return
    assert as_lines(observations) == (case / "expected.prom").read_text().splitlines()


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.parent.name}/{case.name}")
def test_collectors_emit_only_catalogued_metrics_with_the_catalogued_labels(case: Path, tmp_path: Path):
    """Rules and causes cite the catalogue; a label it does not know would join nothing."""
    if (case / "expected.err").exists():
        pytest.skip("gives no samples")
    for seen in READERS[case.parent.name](case, tmp_path):
        if isinstance(seen, Sample):
            assert set(CATALOG[seen.metric].labels) == {name for name, _ in seen.labels.pairs}
