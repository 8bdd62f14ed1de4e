"""
PostgreSQL of a cell: a whole cluster, made once a machine and copied, reached by name over TLS as databases are.

The model servers look tenants up in it (`tenant_pool.py`). It runs as the user postgres, which refuses to be root, and
listens on loopback only. Its name is resolved by the cell's own hosts file, so that it can be forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from aiops.demo.processes import Process, Processes, last_words
from aiops.demo.wire import HOST
from aiops.errors import ChildError

if TYPE_CHECKING:
    from tests.lab.house import House

NAME = "metadata-db.internal"
_USER = "postgres"
_TEMPLATES = Path("/var/tmp/aiops-lab")  # the user postgres must reach it, and a home may be closed to it
_TENANTS = 500
_PORT = 5432
"""Every cell has loopback to itself."""
_READY_S = 20.0
_SETTINGS = {
    "listen_addresses": HOST, "unix_socket_directories": "", "shared_buffers": "8MB", "max_connections": "60",
    "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_wal_size": "64MB", "min_wal_size": "4MB",
    "autovacuum": "off", "max_parallel_workers": "0", "max_worker_processes": "1", "max_wal_senders": "0",
    "wal_level": "minimal", "jit": "off", "checkpoint_timeout": "30min", "bgwriter_delay": "10s", "wal_writer_delay": "1s",
    "ssl": "on",
}  # fmt: skip
_SQL = f"""
CREATE TABLE tenants (id int PRIMARY KEY, name text NOT NULL, requests bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50);
INSERT INTO tenants SELECT n, 'tenant-' || n FROM generate_series(0, {_TENANTS - 1}) n;
"""


class Database:
    """A running cluster. Use `start`."""

    def __init__(self, processes: Processes, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.log = folder / "database.err"
        self._data = folder / "database"
        self._processes = processes
        self._server: Process | None = None
        self._hosts = folder / "hosts"

    @classmethod
    async def start(cls, house: House) -> Database:
        """
        Start a copy of the template in the house's folder, and let the cell resolve its name.

        Raises:
            ChildError: it does not start.
        """
        database = cls(house.processes, house.folder, _PORT)
        await asyncio.to_thread(_copy, make_template(), house.folder)
        database._own_hosts()
        await database.resume()
        return database

    @property
    def dsn(self) -> str:
        """How clients reach it."""
        return (
            f"host={NAME} port={self.port} user={_USER} dbname=postgres application_name=engine connect_timeout=3 "
            f"sslmode=verify-full sslrootcert={self._data / 'ca.crt'}"
        )

    async def resume(self) -> None:
        """
        Start the server, and wait until it takes connections.

        Raises:
            ChildError: it does not.
        """
        options = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        server = (program("postgres"), "-D", str(self._data), "-p", str(self.port), *options)
        self._server = await self._processes.start("database", (*_as_postgres(), *server))
        async with asyncio.timeout(_READY_S):
            while self._server.running:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(HOST, self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)
        raise ChildError(f"PostgreSQL did not start: {last_words(self._server.errors)}")

    async def stop(self, *, how: int = signal.SIGINT) -> None:
        """End the server: SIGINT ends its sessions first, SIGQUIT drops them, SIGKILL is a crash."""
        if self._server is None:
            return
        server, self._server = self._server, None
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, how)
            await asyncio.sleep(0.2)
        await self._processes.end(server)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    async def restart(self) -> None:
        """As a failover does it: every session ends, and the next ones are new."""
        await self.stop()
        await self.resume()

    async def hold_lock(self) -> Process:
        """
        Somebody's migration, which locked the table in a transaction and was forgotten.

        Returns:
            The client; ending it ends its transaction.
        """
        typed = "BEGIN; LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE;"
        script = f'{{ echo "{typed}"; exec sleep 600; }} | {program("psql")} -qd "{self._owner("migration")}"'
        return await self._processes.start("migration", ("sh", "-c", script))

    async def execute(self, sql: str) -> None:
        """
        Run *sql* as its owner.

        Raises:
            ChildError: it failed.
        """
        command = (program("psql"), "-qd", self._owner("administrator"), "-c", sql)
        client = await self._processes.start("administrator", command)
        if await client.handle.wait() != 0:
            raise ChildError(f"{sql}: {last_words(client.errors)}")
        await self._processes.end(client)

    def _owner(self, application: str) -> str:
        """How the owner of the tables reaches it."""
        return f"host={HOST} port={self.port} user={_USER} dbname=postgres application_name={application}"

    def show_certificate(self, *, expired: bool) -> None:
        """Which certificate the next start shows."""
        _copy_key(self._data / ("expired.crt" if expired else "valid.crt"), self._data / "server.crt")

    def know_name(self, *, known: bool) -> None:
        """Whether the name resolves; the cell's hosts file says so, or does not."""
        lines = [f"{HOST} localhost", *([f"{HOST} {NAME}"] if known else [])]
        self._hosts.write_text("\n".join(lines) + "\n")

    def _own_hosts(self) -> None:
        self.know_name(known=True)
        subprocess.run(["mount", "--bind", str(self._hosts), "/etc/hosts"], check=True)


def make_template(folder: Path = _TEMPLATES) -> Path:
    """The cluster every cell copies; made if it is not there yet."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    data = folder / "database"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not data.exists():
            making = folder / "making"
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(mode=0o700)
            _give(making)
            _make(making)
            making.rename(data)
    return data


def _make(data: Path) -> None:
    initdb = ("-D", str(data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "--wal-segsize=1")
    subprocess.run([*_as_postgres(), program("initdb"), *initdb], check=True, capture_output=True, cwd=data)
    single = [*_as_postgres(), program("postgres"), "--single", "-D", str(data), "postgres"]
    statements = _SQL.replace("\n", " ").replace(";", ";\n").encode()  # a line is a statement there
    subprocess.run(single, input=statements, check=True, capture_output=True, cwd=data)
    _certify(data)


def _certify(data: Path) -> None:
    """A CA, and two certificates for the database's name: one for ten years, one that ends as it begins."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=data)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "3650", "-subj", "/CN=internal-ca")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={NAME}")
    (data / "names").write_text(f"subjectAltName=DNS:{NAME}")
    signed = ("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
    for name, days in (("valid.crt", 3650), ("expired.crt", 0)):
        openssl(*signed, "-extfile", "names", "-days", str(days), "-out", name)
    (data / "ca.crt").chmod(0o644)
    for name in ("server.key", "valid.crt", "expired.crt", "ca.crt"):
        _give(data / name)
    _copy_key(data / "valid.crt", data / "server.crt")


def _copy(template: Path, folder: Path) -> None:
    folder.chmod(folder.stat().st_mode | 0o011)  # postgres goes through
    data = folder / "database"
    data.mkdir()
    # in memory: thirty megabytes that come and go with every cell would be felt by those beside it
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(data)], check=True)
    subprocess.run(["cp", "-a", f"{template}/.", str(data)], check=True)


def _copy_key(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o600)
    _give(target)


def _give(path: Path) -> None:
    user = pwd.getpwnam(_USER)
    os.chown(path, user.pw_uid, user.pw_gid)


def _as_postgres() -> tuple[str, ...]:
    return ("setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", "--")


def program(name: str) -> str:
    """A program of the newest PostgreSQL of Debian, which keeps most of them out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(found[-1]) if found else name
