"""Business metrics from pages and files: late, revised, wrong, hung."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from aiops.collect import business
from aiops.collect.business import Config, build
from aiops.collect.business_rows import Row, Rows
from aiops.collect.business_sources import CsvConfig, CsvReader, JsonConfig, SqlConfig, at
from aiops.document import Secret
from aiops.errors import SourceError
from aiops.model import Labels, Observation, Sample, Sight
from aiops.selfstat import SelfStat
from aiops.store.rings import Rings
from tests.worlds import make_world

NOW_S = 1_800_000_000.0
METRIC = "business_success_ratio"


def values(observations: list[Observation] | list[Sample]) -> list[tuple[str, float, float]]:
    return [
        (o.labels.get("service"), o.at_s, o.value) for o in observations if isinstance(o, Sample) and o.metric == METRIC
    ]


def ratio() -> Rows:
    return Rows(METRIC, "chat", 1.0)


def test_late_values_go_in_under_their_own_time_and_revisions_replace():
    """A batch job that tells at a quarter past what happened on the hour must not look like a drop at a quarter past."""
    rows, rings = ratio(), Rings(SelfStat(CollectorRegistry()))
    rings.extend(rows.samples([Row(0.99, NOW_S - 3_000), Row(0.98, NOW_S - 2_400)], NOW_S))
    rings.extend(rows.samples([Row(0.97, NOW_S - 2_400), Row(0.5, NOW_S - 1_800), Row(0.99, NOW_S - 3_000)], NOW_S))

    (window,) = rings.window(METRIC, 0.0, NOW_S)

    assert list(zip(window.at_s, window.values, strict=True)) == [
        (NOW_S - 3_000, 0.99),
        (NOW_S - 2_400, 0.97),
        (NOW_S - 1_800, 0.5),
    ]


def test_what_was_told_is_not_told_again_and_what_comes_between_is_left():
    """Memory appends and replaces; a time between two known ones has no place there."""
    rows = ratio()
    rows.samples([Row(0.9, NOW_S - 100), Row(0.8, NOW_S)], NOW_S)

    assert values(rows.samples([Row(0.9, NOW_S - 100), Row(0.7, NOW_S - 50), Row(0.8, NOW_S)], NOW_S)) == []


def test_how_late_the_newest_value_is_has_a_metric_of_its_own():
    """Silence of the business and a slow batch job are two things."""
    found = ratio().samples([Row(0.9, NOW_S - 900), Row(0.9, NOW_S - 600)], NOW_S)

    assert found[-1] == Sample("business_lag_seconds", Labels.of(service="chat", metric=METRIC), NOW_S, 600.0)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (Row(99.3), "1 rows without a value that can be"),
        (Row("many"), "1 rows without a value that can be"),
        (Row(float("nan")), "1 rows without a value that can be"),
        (Row(True), "1 rows without a value that can be"),
        (Row("1_0"), "1 rows without a value that can be"),
        (Row(0.9, "yesterday"), "1 rows without a time that can be read"),
        (Row(0.9, [1]), "1 rows without a time that can be read"),
        (Row(0.9, NOW_S * 1000), "1 rows of the future"),
        (Row(0.9, NOW_S - 3_601), ""),
    ],
)
def test_a_row_that_cannot_be_one_is_left_out_and_told(row: Row, complaint: str):
    """The others are taken."""
    rows = ratio()

    assert values(rows.samples([row, Row(0.5)], NOW_S)) == [("chat", NOW_S, 0.5)]
    assert rows.refused == complaint


def test_services_and_rows_are_bounded():
    """A query that forgot its where clause must not fill the memory of a node agent."""
    rows = ratio()

    found = rows.samples([Row(0.9, None, f"s{number}") for number in range(5_000)], NOW_S)

    assert len(values(found)) == 50
    assert rows.refused == "1 rows beyond 1000, 950 rows of more than 50 services"


@given(st.lists(st.tuples(st.integers(0, 7_000), st.floats(0, 1)), max_size=60))
def test_times_of_a_series_never_go_back(readings: list[tuple[int, float]]):
    """Whatever order a source has, what is told is newer than all before, or was told before."""
    rows, told = ratio(), list[float]()
    for chunk in range(0, len(readings), 7):
        for _, at_s, _ in values(rows.samples([Row(v, NOW_S - age) for age, v in readings[chunk : chunk + 7]], NOW_S)):
            assert at_s in told or at_s > max(told, default=0.0)
            assert at_s >= NOW_S - 3_600
            told.append(at_s)


# --- pages of JSON --------------------------------------------------------------------------------------------------


def gather(config: Config, *at_s: float, answer: Callable[[], httpx.Response] | None = None) -> list[list[Observation]]:
    async def scene() -> list[list[Observation]]:
        transport = httpx.MockTransport(lambda _: answer() if answer is not None else httpx.Response(404))
        collector = build(config, make_world(root=Path("/"), http=httpx.AsyncClient(transport=transport)))
        found = [list(await collector.gather(each)) for each in at_s]
        collector.close()
        return found

    return asyncio.run(scene())


def json_config(**more: Any) -> Config:
    return Config(json=(JsonConfig("http://shop/stats", METRIC, "chat", **{"value": "data.rate", **more}),))


def test_a_page_of_json_is_read_by_dotted_keys():
    """Most dashboards have such a page behind them."""
    page = {"data": {"rate": "99.3", "at": "2027-01-15T07:59:00Z"}}
    (found,) = gather(json_config(time="data.at", scale=0.01), NOW_S, answer=lambda: httpx.Response(200, json=page))

    assert values(found) == [("chat", NOW_S - 60.0, pytest.approx(0.993))]


def test_a_list_of_readings_names_its_services():
    """One page for all services is one question instead of ten."""
    page = {"items": [{"n": "a", "v": 1}, {"n": "b", "v": 0.5}, {"n": "c"}, 3]}
    config = json_config(rows="items", value="v", service_key="n")
    (found,) = gather(config, NOW_S, answer=lambda: httpx.Response(200, json=page))

    assert values(found) == [("a", NOW_S, 1.0), ("b", NOW_S, 0.5)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(200, text="nothing"), "no JSON"),
        (httpx.Response(200, text="[" * 50_000), "no JSON"),
        (httpx.Response(200, json={"data": {}}), "no value at data.rate"),
        (httpx.Response(200, text="<html>"), "HTML"),
        (httpx.Response(500), "status 500"),
        (httpx.Response(200, content=b" " * (2**20 + 1)), "more than 1048576 bytes"),
    ],
)  # fmt: skip
def test_a_page_that_is_no_such_page_is_a_blind_spot_and_no_reading(answer: httpx.Response, words: str):
    """Told once, with the reason."""
    first, second = gather(json_config(), NOW_S, NOW_S + 60.0, answer=lambda: answer)

    assert [(o.seen, words in o.detail) for o in first if isinstance(o, Sight)] == [(False, True)]
    assert second == []


def test_haste_does_not_ask_more_often():
    """While an incident is open every collector runs each second; somebody's database must not feel that."""
    asked = []
    gather(
        json_config(), *(NOW_S + second for second in range(61)),
        answer=lambda: asked.append(1) or httpx.Response(200, json={"data": {"rate": 1}}),
    )  # fmt: skip

    assert len(asked) == 2


def test_dotted_keys_meet_what_they_do_not_expect():
    """A page changes its form with the next release of whoever writes it."""
    data = {"a": [{"b": 1}], "c": "text"}

    assert [at(data, path) for path in ("a.0.b", "a.1.b", "a.x", "c.d", "a.0.b.c", "a.99999999999")] == [1, *[None] * 5]
    assert at(data, "") is data


# --- files ----------------------------------------------------------------------------------------------------------


def csv_rows(path: Path, *more: bytes, config: CsvConfig | None = None) -> list[list[Row]]:
    """What a file gives at first and after each addition."""

    async def scene() -> list[list[Row]]:
        with ThreadPoolExecutor(1) as executor:
            reader = CsvReader(config or CsvConfig(path, METRIC, "chat"), Path("/"), executor)
            found = [list(await reader.rows(5.0))]
            for added in more:
                with path.open("ab") as file:
                    file.write(added)
                found.append(list(await reader.rows(5.0)))
            return found

    return asyncio.run(scene())


def test_a_file_that_grows_is_read_again_when_it_has_changed(tmp_path):
    """A line that is still being written waits."""
    path = tmp_path / "kpi.csv"
    path.write_text("time,value,service\n1,0.9,a\n2,0.8,")

    assert csv_rows(path, b"", b"b\n") == [
        [Row("0.9", "1", "a")],
        [],
        [Row("0.9", "1", "a"), Row("0.8", "2", "b")],
    ]


def test_of_a_large_file_the_end_is_read(tmp_path):
    """A year of minutes is in it; the last hour is wanted."""
    path = tmp_path / "kpi.csv"
    path.write_text("value\n" + "0.1\n" * 600_000 + "0.9\n")

    (rows,) = csv_rows(path)

    assert rows[-1] == Row("0.9")
    assert len(rows) < 300_000


@pytest.mark.parametrize("body", [b"", b"\x00\xff\xfe\n\x00", b"a,b\n1,2\n", b"value\n" + b'"' * 200_000])
def test_rubbish_in_a_file_is_one_error_or_no_row(tmp_path, body: bytes):
    """Somebody points it at the wrong file."""
    path = tmp_path / "kpi.csv"
    path.write_bytes(body)
    try:
        (rows,) = csv_rows(path)
    except SourceError:
        return
    assert ratio().samples(rows, NOW_S) == []


def test_a_pipe_in_place_of_a_file_does_not_hang(tmp_path):
    """Opening one waits for its writer, forever."""
    os.mkfifo(tmp_path / "kpi.csv")

    with pytest.raises(SourceError, match="not a file"):
        csv_rows(tmp_path / "kpi.csv")


def test_a_mount_that_hangs_keeps_one_thread_and_is_told(monkeypatch):
    """The reading is never started twice, and pages are read meanwhile."""
    monkeypatch.setattr(business, "_PATIENCE_S", 0.05)
    released, started = threading.Event(), []

    def hang(_: object) -> list[Row]:
        started.append(1)
        released.wait(10.0)
        return []

    monkeypatch.setattr(CsvReader, "_read", hang)
    page = httpx.Response(200, json={"data": {"rate": 1}})

    async def scene() -> list[list[Observation]]:
        config = Config(
            json=json_config().json, csv=(CsvConfig(Path("/dead/kpi.csv"), METRIC, "x"),), interval=1.0, deadline=0.1
        )
        http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: page))
        collector = build(config, make_world(root=Path("/"), http=http))
        found = [list(await collector.gather(NOW_S + number)) for number in range(5)]
        released.set()
        collector.close()
        return found

    found = asyncio.run(scene())

    assert all(values(each) for each in found)
    assert [o.detail for each in found for o in each if isinstance(o, Sight) and not o.seen] == [
        "no answer within 0.1 s"
    ]
    assert len(started) == 1


# --- databases ------------------------------------------------------------------------------------------------------


def sql_config(url: str, query: str) -> Config:
    return Config(sql=(SqlConfig(Secret(url), query, METRIC, "chat"),))


def sql_round(config: Config) -> list[Observation]:
    """Rounds until the query's process has answered."""

    async def scene() -> list[Observation]:
        collector = build(config, make_world())
        found: list[Observation] = []
        for _ in range(10):
            found += await collector.gather(NOW_S)
            if found:
                break
        collector.close()
        return found

    return asyncio.run(scene())


def test_a_query_gives_rows_with_their_times(tmp_path):
    """Rows may name their time and service, in any order of columns."""
    pytest.importorskip("sqlalchemy")
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    query = f"select 'a' as service, 0.5 as ok, {NOW_S - 60} as time union all select 'b', 0.25, {NOW_S}"

    assert values(sql_round(sql_config(url, query))) == [("a", NOW_S - 60, 0.5), ("b", NOW_S, 0.25)]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("create table t (a int)", "readonly database"),
        ("select value from missing", "no such table"),
        ("not sql", "syntax error"),
    ],
)
def test_what_writes_or_fails_is_told_in_words(tmp_path, query: str, words: str):
    """And nothing is written, whoever wrote the query."""
    pytest.importorskip("sqlalchemy")
    (found,) = sql_round(sql_config(f"sqlite:///{tmp_path / 'shop.db'}", query))

    assert isinstance(found, Sight)
    assert words in found.detail


def test_a_driver_that_is_missing_is_named_and_a_password_is_not():
    """The error of a driver likes to repeat the address."""
    (found,) = sql_round(sql_config("postgresql+nosuchdriver://u:s3cret@127.0.0.1:1/d", "select 1"))

    assert isinstance(found, Sight)
    assert not found.seen
    assert "s3cret" not in found.detail


def test_sqlalchemy_is_never_imported_here():
    """It takes tens of megabytes; only the child may have it."""
    import subprocess
    import sys

    code = "import aiops.app, aiops.collect.business, sys; assert 'sqlalchemy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: JsonConfig("shop", METRIC, "chat", "a"),
        lambda: JsonConfig("http://shop/", "hw_gpu_up", "chat", "a"),
        lambda: CsvConfig(Path("/a"), "revenue", "chat"),
        lambda: SqlConfig(Secret(""), "", METRIC, "chat", every=0.1),
        lambda: Config(json=json_config().json * 33),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: Callable[[], object]):
    """At `aiops check`, with file and line."""
    with pytest.raises(ValueError, match="expected"):
        wrong()
