"""
The gateway of a house: Debian's nginx, or the demo's in Python, under one set of settings.

Settings are what differs between gateways and what a change of configuration changes: see `Settings`. A change writes
nginx' configuration and reloads it, or is posted to the Python gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiops.collect.access_format import SUGGESTED_FORMAT
from aiops.demo.policy import Policy
from aiops.demo.processes import Process, last_words
from aiops.demo.wire import HOST, Client
from aiops.errors import ChildError
from tests.lab.edge import FRONT, NODE

if TYPE_CHECKING:
    from tests.lab.house import House, Replica

PORT = 8080
_READY_S = 10.0
_GROUP = "model_servers"


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a gateway of either kind. Times are seconds; None means without limit."""

    upstreams: tuple[str, ...] = ()
    keep: int = 32
    """Idle connections kept (nginx: over all upstreams)."""
    connect_s: float = 5.0
    read_s: float = 60.0
    total_s: float | None = None
    """Longest whole answer; nginx has no such limit."""
    rate: float | None = None
    burst: int = 0
    in_flight: int | None = None
    refuses_with: int = 503
    closed: float = 0.0
    """Share of requests that nginx answers with its maintenance page."""
    tries: int = 1
    replaces_stale: bool = True
    """Whether the Python gateway asks again over a new connection; nginx does not for what was sent by POST."""
    max_fails: int = 0
    """Failures after which nginx leaves an upstream alone for `fail_s`; 0 never does."""
    fail_s: float = 10.0
    files: int | None = None
    """Descriptors of the process (nginx: of a worker)."""
    connections: int = 1024
    """Connections of an nginx worker."""

    def policy(self) -> dict[str, Any]:
        """What of it the Python gateway knows."""
        known = {field.name for field in fields(Policy)}
        return {name: value for name, value in asdict(self).items() if name in known}


def usual(rng: random.Random) -> dict[str, Any]:
    """Settings such as gateways have, a little different from one to the next."""
    return {
        "keep": rng.choice((8, 16, 32)), "connect_s": rng.choice((1.0, 2.0, 3.0, 5.0)), "read_s": rng.choice((30.0, 60.0)),
        "max_fails": rng.choice((0, 0, 1, 3)), "refuses_with": rng.choice((503, 503, 429)),
    }  # fmt: skip


def nginx_conf(settings: Settings, folder: Path, address: str) -> str:
    """The configuration of an nginx in *folder* that listens at *address*."""
    s = settings
    zones, refusals = _refusals(s)
    servers = "\n".join(f"    server {u} max_fails={s.max_fails} fail_timeout={s.fail_s:g}s;" for u in s.upstreams)
    kept = f"keepalive {s.keep}; keepalive_timeout 60s;" if s.keep else ""
    files = f"worker_rlimit_nofile {s.files};" if s.files else ""
    return f"""daemon off;
user root;
worker_processes 1;
{files}
pid {folder}/nginx.pid;
error_log {folder}/gateway-error.log warn;
events {{ worker_connections {s.connections}; }}
http {{
  {SUGGESTED_FORMAT}
  access_log {folder}/access.log aiops;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  {zones}limit_req_status {s.refuses_with}; limit_conn_status {s.refuses_with};
  upstream {_GROUP} {{
{servers}
    {kept}
  }}
  server {{
    listen {address} backlog=511;
    server_name chat;
    location / {{
      {refusals}
{_proxy(s)}
    }}
    location = /healthz {{ access_log off; return 200 "ok\\n"; }}
    location = /nginx_status {{ access_log off; stub_status; }}
  }}
}}
"""


def _refusals(s: Settings) -> tuple[str, str]:
    """What is counted in which zone, and what is refused for it."""
    limits = zones = closed = ""
    if s.closed:
        zones += f'split_clients "$request_id" $closed {{ {s.closed * 100:.2f}% 1; * ""; }} '
        closed = "if ($closed) { return 503; } "
    if s.rate is not None:
        # nginx counts in thousandths, and takes whole numbers a second or a minute
        zones += f"limit_req_zone $server_name zone=requests:1m rate={max(round(s.rate * 60), 1)}r/m; "
        limits += f"limit_req zone=requests burst={s.burst} nodelay; " if s.burst else "limit_req zone=requests; "
    if s.in_flight is not None:
        zones += "limit_conn_zone $server_name zone=connections:1m; "
        limits += f"limit_conn connections {s.in_flight}; "
    return zones, closed + limits


def _proxy(s: Settings) -> str:
    again = "error timeout" if s.tries > 1 else "off"
    return f"""\
      proxy_pass http://{_GROUP};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_connect_timeout {_seconds(s.connect_s)};
      proxy_read_timeout {_seconds(s.read_s)};
      proxy_next_upstream {again};
      proxy_next_upstream_tries {s.tries};"""


def _seconds(value: float) -> str:
    return f"{round(value * 1000)}ms"


def gateway_address(house: House, replica: Replica) -> str:
    """Where the gateway finds *replica*."""
    return f"{NODE if house.edge else HOST}:{replica.port}"


class Gateway:
    """What users meet. Use `start`."""

    port = PORT

    def __init__(self, house: House, settings: Settings) -> None:
        self.kind = house.plan.gateway
        self.settings = settings
        self.host = FRONT if house.edge else HOST
        """Where users find it."""
        self.log = house.folder / "access.log"
        self.process: Process
        self._house = house
        self._folder = house.folder
        self._client = Client(self.port, host=self.host)

    @classmethod
    async def start(cls, house: House) -> Gateway:
        """
        Start it, of the kind of `house.plan.gateway`. The replicas serve by now.

        Raises:
            ChildError: it does not answer.
        """
        upstreams = tuple(gateway_address(house, replica) for replica in house.replicas[: house.plan.replicas])
        gateway = cls(house, Settings(upstreams, **house.plan.gateway_settings))
        await (gateway._start_nginx() if gateway.kind == "nginx" else gateway._start_python())
        return gateway

    @property
    def error_log(self) -> Path:
        """What it says of itself."""
        return self._folder / ("gateway-error.log" if self.kind == "nginx" else "gateway.err")

    def log_settings(self) -> dict[str, Any]:
        """What the daemon must be told of the log, beyond its path and service: ``nginx_conf`` of an nginx."""
        return {"nginx_conf": [str(self._folder / "nginx.conf")]} if self.kind == "nginx" else {}

    def status_urls(self) -> tuple[str, ...]:
        """Its own pages of metrics, such as nginx's stub_status."""
        return (f"http://{self.host}:{self.port}/nginx_status",) if self.kind == "nginx" else ()

    async def configure(self, **changes: Any) -> None:
        """
        Change its settings (see `Settings`) and reload it.

        Raises:
            ChildError: it did not take them.
        """
        self.settings = replace(self.settings, **changes)
        if self.kind == "nginx":
            self._write_conf()
            await self._reload()
        else:
            status, answer = await self._client.call("POST", "/admin/policy", self._posted())
            if status != 200:
                raise ChildError(f"the gateway answered {status} to its policy: {answer}")
            if "files" in changes:
                _limit_files(self.process.pid, self.settings.files)

    async def _start_nginx(self) -> None:
        self._write_conf()
        nginx = ("nginx", "-p", str(self._folder), "-c", str(self._folder / "nginx.conf"))
        command = self._house.cell.group("gateway").command(self._placed(nginx))
        self.process = await self._house.processes.start("gateway", command, output=self._folder / "gateway.out")
        async with asyncio.timeout(_READY_S):
            while self.process.running:
                with contextlib.suppress(OSError):
                    if (await self._client.call("GET", "/healthz"))[0] == 200:
                        return
                await asyncio.sleep(0.05)
        raise ChildError(f"nginx did not start: {last_words(self.process.errors)} {last_words(self.error_log)}")

    async def _start_python(self) -> None:
        upstreams = [word for address in self.settings.upstreams for word in ("--upstream", address)]
        policy = ("--policy", json.dumps(self.settings.policy()))
        module = (sys.executable, "-m", "aiops.demo.gateway", "--port", str(self.port), "--log", str(self.log))
        command = (*module, "--host", self.host, *upstreams, *policy)
        command = self._house.cell.group("gateway").command(self._placed(command))
        self.process = await self._house.processes.actor_of("gateway", command)

    def _placed(self, command: tuple[str, ...]) -> tuple[str, ...]:
        return self._house.edge.command(*command) if self._house.edge else command

    def _posted(self) -> dict[str, Any]:
        return {"upstreams": list(self.settings.upstreams), **self.settings.policy()}

    def _write_conf(self) -> None:
        conf = nginx_conf(self.settings, self._folder, f"{self.host}:{self.port}")
        (self._folder / "nginx.conf").write_text(conf)

    async def _reload(self) -> None:
        """As ``nginx -s reload``: new workers take over, the old ones finish what they have."""
        before = _children(self.process.pid)
        os.kill(self.process.pid, signal.SIGHUP)
        async with asyncio.timeout(_READY_S):
            while not _children(self.process.pid) - before:
                await asyncio.sleep(0.05)


def _children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def _limit_files(pid: int, files: int | None) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard if files is None else files, hard))
