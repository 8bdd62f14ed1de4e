"""What a run needs of the machine, told before anything begins: a run that finds out half-way looks like a failed experiment."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable

from tests.lab.cell import CellError, check_root
from tests.lab.database import program
from tests.lab.faults import FAULTS
from tests.lab.jobs import Job

_EVERYWHERE = ("unshare", "mount", "setpriv", "ip", "openssl", "gcc")
_DATABASE = ("postgres", "initdb", "psql")
_PACKAGES = {
    "unshare": "util-linux", "mount": "mount", "setpriv": "util-linux", "choom": "util-linux", "ip": "iproute2", "tc": "iproute2",
    "openssl": "openssl", "gcc": "gcc", "nginx": "nginx", "postgres": "postgresql", "initdb": "postgresql",
    "psql": "postgresql", "nft": "nftables", "sysctl": "procps", "ethtool": "ethtool", "fio": "fio", "mkfs.ext4": "e2fsprogs",
}  # fmt: skip
"""Of Debian, by program."""
_MODULES = ("locust", "psycopg", "psycopg_pool")


def check_possible(jobs: Iterable[Job]) -> None:
    """
    Whether *jobs* can be run here.

    Raises:
        CellError: they cannot; the text says all that is missing.
    """
    check_root()
    wanted = dict.fromkeys(_EVERYWHERE)
    for job in jobs:
        wanted |= dict.fromkeys((*FAULTS[job.fault].needs, *(("nginx",) if job.gateway == "nginx" else ())))
    missing = [name for name in wanted if shutil.which(name) is None]
    missing += [name for name in _DATABASE if shutil.which(program(name)) is None]
    texts = [f"{name} (Debian: {_PACKAGES[name]})" for name in missing]
    texts += [f"{name} (requirements/lab.txt)" for name in _MODULES if importlib.util.find_spec(name) is None]
    if texts:
        raise CellError(f"the lab needs {', '.join(texts)}")
