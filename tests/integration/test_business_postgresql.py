"""Business metrics from a real PostgreSQL, through a real process of our own."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from aiops.collect.business import Config, build
from aiops.collect.business_sources import SqlConfig
from aiops.document import Secret
from aiops.model import Observation, Sample, Sight
from tests.integration.daemon import wait_for
from tests.integration.nginx import free_ports
from tests.worlds import make_world

pytestmark = [pytest.mark.external_service, pytest.mark.timeout(120)]
METRIC = "business_success_ratio"


def require() -> Path:
    """Where PostgreSQL's programs are; Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found or find_spec("sqlalchemy") is None or find_spec("pg8000") is None:
        reason = "PostgreSQL, SQLAlchemy or pg8000 is not installed"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return found[-1].parent


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    programs = require()
    folder = Path(tempfile.mkdtemp(prefix="aiops-postgresql-"))
    # PostgreSQL refuses to run as root
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    if user:
        os.chown(folder, 65534, 65534)
    (port,) = free_ports(1)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, "env": {"LC_ALL": "C"}}
    process = None
    try:
        initdb = [*user, str(programs / "initdb"), "-D", str(folder / "data"), "-U", "reader", "-A", "trust", "-N"]
        subprocess.run(initdb, check=True, **quiet)
        command = [*user, str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port), "-k", str(folder)]
        process = subprocess.Popen([*command, "-c", "listen_addresses=127.0.0.1", "-F"], **quiet)
        psql = [str(programs / "psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "reader", "-d", "postgres", "-c"]
        made = "create table orders (at timestamptz, service text, ok numeric); " + "".join(
            f"insert into orders values (to_timestamp({int(time.time()) - age}), '{service}', {ok});"
            for age, service, ok in ((600, "chat", 0.99), (300, "chat", 0.98), (300, "search", 1), (9000, "chat", 0.1))
        )
        wait_for(lambda: subprocess.run([*psql, made], check=False, **quiet).returncode == 0, 60.0, "PostgreSQL starts")
        yield f"postgresql+pg8000://reader:s3cret@127.0.0.1:{port}/postgres"
    finally:
        if process is not None:
            process.terminate()
            process.wait(20.0)
        shutil.rmtree(folder)


def ask(url: str, query: str, deadline_s: float = 10.0) -> list[Observation]:
    """Rounds until there is an answer."""

    async def scene() -> list[Observation]:
        collector = build(
            Config(sql=(SqlConfig(Secret(url), query, METRIC, "all"),), deadline=deadline_s), make_world()
        )
        now_s, found = time.time(), list[Observation]()
        while not found:
            found += await collector.gather(now_s)
        collector.close()
        return found

    return asyncio.run(scene())


def told(found: list[Observation]) -> str:
    return "; ".join(each.detail for each in found if isinstance(each, Sight))


def test_rows_arrive_under_their_own_times(database):
    """numeric and timestamptz are what people have; what is over an hour old is history."""
    found = ask(database, "select at as time, service, ok as value from orders order by value")

    rows = [(o.labels.get("service"), o.value) for o in found if isinstance(o, Sample) and o.metric == METRIC]
    assert sorted(rows) == [("chat", 0.98), ("chat", 0.99), ("search", 1.0)]
    lags = {o.labels.get("service"): o.value for o in found if isinstance(o, Sample) and o.metric != METRIC}
    assert lags == pytest.approx({"chat": 300.0, "search": 300.0}, abs=60.0)


def test_one_number_is_a_value_of_now(database):
    """The simplest query that can be."""
    (sample, _, _) = ask(database, "select avg(ok)::float from orders where service = 'search'")

    assert isinstance(sample, Sample)
    assert (sample.value, sample.labels.get("service")) == (1.0, "all")


def test_the_transaction_is_read_only(database):
    """A query in a settings file must not be able to change anything."""
    assert "read-only transaction" in told(ask(database, "delete from orders returning ok"))
    assert len(ask(database, "select ok as value, at as time from orders")) > 1


def test_a_query_that_hangs_is_given_up_and_ends_on_the_server_too(database):
    """A monitor that piles up queries on a database that is slow already is what makes the outage."""
    began_s = time.monotonic()

    words = told(ask(database, "select pg_sleep(30)", deadline_s=3.0))

    assert "statement timeout" in words or "no answer within 3 s" in words
    assert time.monotonic() - began_s < 15.0
    count = "select count(*) / 100.0 as value from pg_stat_activity where query like '%pg_sleep(30)%' and pid <> pg_backend_pid() and state = 'active'"
    wait_for(
        lambda: next(o.value for o in ask(database, count) if isinstance(o, Sample)) == 0.0, 20.0, "the query ended"
    )


def test_a_database_that_is_gone_is_told_without_its_password(database):
    """Refused, and said so."""
    found = ask(database.replace(database.rpartition(":")[2], "1/postgres"), "select 1")

    assert told(found)
    assert "s3cret" not in told(found)
