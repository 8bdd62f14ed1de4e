"""
Where the log files of this machine's inference servers and containers are.

What a local inference server writes its standard output to, or keeps open as a ``.log``, is its log, and the port it
listens on says which replica wrote it. Containers' logs lie where kubelet and Docker put them; of these nobody can tell
which replica it is, so none is named.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aiops.collect.discovery import instance_of
from aiops.collect.listeners import listening

_MAX_HANDLES = 256
"""Open files of one process that are looked at."""
_ENGINES = re.compile(
    rb"vllm|sglang|text-generation|tritonserver|trtllm|llama-server|llama_cpp|lmdeploy|ray::|ray/serve"
)
_MAX_COMMAND_BYTES = 4096
_POD_LOGS = ("var/log/pods", "*/*/*.log")
_CONTAINER_LOGS = ("var/lib/docker/containers", "*/*-json.log")
_OURSELVES = "aiops"


@dataclass(frozen=True, slots=True)
class FoundLog:
    """A log that was found."""

    path: str
    """Its name."""
    opened: str
    """What to open: the same, or a process's handle where the name means nothing here."""
    instance: str = ""
    """host:port of the replica that writes it, where known."""


def server_logs(root: Path) -> list[FoundLog]:
    """Log files of local inference servers."""
    instances: dict[int, str] = {}
    with contextlib.suppress(OSError):  # no /proc/net: nothing to be found this way
        for listener in listening(root):  # by port: the lowest one is the API, higher ones are the engine's own
            if listener.pid is not None and listener.pid != os.getpid():
                instances.setdefault(listener.pid, instance_of(listener))
    found: dict[str, FoundLog] = {}
    for pid, instance in instances.items():
        process = root / "proc" / str(pid)
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            if _ENGINES.search(_start_of(process / "cmdline")):
                for path, opened in _open_logs(process):
                    # one file for several replicas: whose line it is cannot be told
                    shared = path in found and found[path].instance != instance
                    found[path] = FoundLog(path, opened, "" if shared else instance)
    return list(found.values())


def container_logs(root: Path, host: str) -> list[FoundLog]:
    """
    Logs of containers that may be read, those first whose name says that they serve models.

    Args:
        root: Where the file system begins.
        host: This host's name: in a container it is the container's own, whose log would feed itself.
    """
    found: list[str] = []
    for folder, pattern in (_POD_LOGS, _CONTAINER_LOGS):
        with contextlib.suppress(OSError):
            found += [str(path) for path in (root / folder).glob(pattern)]
    others = [path for path in found if not _is_ours(Path(path), host)]
    return [FoundLog(path, path) for path in sorted(others, key=lambda path: (not _is_engine(path), path))]


def _is_ours(path: Path, host: str) -> bool:
    container, pod = path.parent.name, path.parent.parent.name
    of_docker = bool(host) and container.startswith(host)
    return container == _OURSELVES or of_docker or (bool(host) and f"_{host}_" in pod)


def _is_engine(path: str) -> bool:
    return _ENGINES.search(path.encode(errors="replace")) is not None


def _open_logs(process: Path) -> Iterator[tuple[str, str]]:
    """Regular files a process writes its output to: name and what to open."""
    for handle in sorted((process / "fd").iterdir(), key=lambda handle: int(handle.name))[:_MAX_HANDLES]:
        with contextlib.suppress(OSError):
            path = os.readlink(handle)  # noqa: PTH115 (as text: "pipe:[1]" is no path)
            if not path.startswith("/") or not (handle.name in {"1", "2"} or path.endswith(".log")):
                continue
            if handle.is_file() and _is_written(process / "fdinfo" / handle.name):
                here = Path(path).is_file() and Path(path).samefile(handle)  # else in another mount namespace
                yield path, path if here else str(handle)


def _is_written(fdinfo: Path) -> bool:
    """Whether a handle is open for writing."""
    flags = next(line for line in fdinfo.read_text().splitlines() if line.startswith("flags:"))
    return bool(int(flags.split()[1], 8) & os.O_ACCMODE)


def _start_of(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        return file.read(_MAX_COMMAND_BYTES)
