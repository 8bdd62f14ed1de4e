"""
A cell: one run's own network, processes, mounts and control groups, so that several runs go side by side.

`run_in_cell` is the outside: it makes control groups, starts the inside by unshare(1), and takes everything away
afterwards. The kernel ends every process of a cell with its first one, which dies with us however we die; folders and
control groups that a killed run has left are swept away by the next. `Cell` is the inside's view.

Shared between cells, as between containers: cores, disks, pressure, the load average, the kernel's log.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiops.errors import AiopsError

CONTROLLERS = ("cpu", "cpuacct", "memory", "pids")
GROUPS = Path("/sys/fs/cgroup")
FOLDERS = Path("/var/tmp/aiops-lab")
_PREFIX = "aiops-lab-"
_PASSED_ON = ("PATH", "HOME", "LANG", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
"""Proxies and the like of whoever starts the lab are nothing to the service in it."""
_REMOVED_WITHIN_S = 5.0


class CellError(AiopsError):
    """A cell cannot be made here."""


class NotRoot(CellError):
    """Namespaces, control groups and mounts are root's."""


def check_root() -> None:
    """
    Whether cells can be made here.

    Raises:
        NotRoot: they cannot.
    """
    if os.geteuid() != 0:
        raise NotRoot("the lab needs root: it makes network namespaces, control groups and mounts")


@dataclass(frozen=True, slots=True)
class Group:
    """
    A control group inside a cell.

    Args:
        folders: By controller; in version 2 all are the same one.
    """

    folders: Mapping[str, Path]

    def command(self, argv: Sequence[str]) -> tuple[str, ...]:
        """*argv*, so that it runs in this group from its first instruction on."""
        into = " ".join(str(folder / "cgroup.procs") for folder in dict.fromkeys(self.folders.values()))
        script = f'for group in {into}; do echo $$ > "$group"; done; exec "$@"'
        return ("/bin/sh", "-c", script, "sh", *argv) if self.folders else tuple(argv)

    def write(self, controller: str, name: str, value: str) -> None:
        """
        Set a file of *controller*, such as ("memory", "memory.limit_in_bytes", "100000000").

        Raises:
            CellError: there is no such controller here.
        """
        if controller not in self.folders:
            raise CellError(f"there are no control groups of {controller} here (nothing of it below {GROUPS})")
        (self.folders[controller] / name).write_text(value)

    def below(self, name: str) -> Group:
        """The group *name* in this one, made if need be. In version 2 this one must hold no process itself."""
        if self.version == 2:
            _hand_down(self.folders["memory"])
        folders = {controller: folder / name for controller, folder in self.folders.items()}
        for path in dict.fromkeys(folders.values()):
            path.mkdir(exist_ok=True)
        return Group(folders)

    def read(self, controller: str, name: str) -> str:
        """A file of *controller*."""
        return (self.folders[controller] / name).read_text()

    @property
    def version(self) -> int:
        """1 or 2."""
        return 2 if len(set(self.folders.values())) == 1 else 1

    def limit_memory(self, size_bytes: int | None) -> None:
        """What the group may hold at most; None takes the limit away."""
        if self.version == 2:
            self.write("memory", "memory.max", "max" if size_bytes is None else str(size_bytes))
        else:
            self.write("memory", "memory.limit_in_bytes", "-1" if size_bytes is None else str(size_bytes))

    def memory(self) -> int:
        """What it holds and could not give back at once. Bytes."""
        names = ("anon", "kernel_stack") if self.version == 2 else ("total_rss", "total_unevictable")
        stat = dict(line.split() for line in self.read("memory", "memory.stat").splitlines())
        return sum(int(stat.get(name, 0)) for name in names)

    def move(self, pid: int) -> None:
        """Take a process in that runs already."""
        for folder in dict.fromkeys(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def weigh(self, times: int) -> None:
        """Give it *times* the usual weight where cores are short."""
        if self.version == 2:
            self.write("cpu", "cpu.weight", str(min(100 * times, 10_000)))
        else:
            self.write("cpu", "cpu.shares", str(1024 * times))

    def cpu_s(self) -> float:
        """What it has computed so far. Seconds."""
        if self.version == 2:
            stat = dict(line.split() for line in self.read("cpu", "cpu.stat").splitlines())
            return int(stat["usage_usec"]) / 1e6
        return int(self.read("cpuacct", "cpuacct.usage")) / 1e9

    def limit_cores(self, cores: float | None) -> None:
        """How many cores the group may use on average, a hundredth at least; None takes the limit away."""
        quota_us = None if cores is None else max(round(cores * 100_000), 1_000)  # the kernel refuses less
        if self.version == 2:
            self.write("cpu", "cpu.max", "max" if quota_us is None else f"{quota_us} 100000")
        else:
            self.write("cpu", "cpu.cfs_quota_us", "-1" if quota_us is None else str(quota_us))


@dataclass(slots=True)
class Cell:
    """
    What a run finds inside.

    Args:
        top: The control group of the whole cell; those of processes are below it.
        folder: On a real disk, gone with the cell.
    """

    top: Group
    folder: Path
    _groups: dict[str, Group] = field(default_factory=dict)
    _mounts: list[Path] = field(default_factory=list)

    def group(self, name: str) -> Group:
        """The control group *name* of this cell, made if need be."""
        if name not in self._groups:
            group = self.top
            for part in name.split("/"):
                group = group.below(part)
            self._groups[name] = group
        return self._groups[name]

    def run(self, *argv: str, check: bool = True) -> str:
        """
        A command, such as nft or tc, in this cell; its standard output.

        Raises:
            CellError: it failed.
        """
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30.0)
        if check and done.returncode != 0:
            raise CellError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def small_disk(self, name: str, size_bytes: int) -> Path:
        """A mounted ext4 of *size_bytes* of its own, which may be filled; where there are no loop devices, a tmpfs."""
        where, image = self.folder / name, self.folder / f"{name}.img"
        where.mkdir()
        with image.open("wb") as file:
            file.truncate(size_bytes)
        self.run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image))
        try:
            self.run("mount", "-o", "loop", str(image), str(where))
        except CellError:
            self.run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(where))
        self._mounts.append(where)
        return where

    def close(self) -> None:
        """Unmount what was mounted; the rest goes with the namespaces."""
        while self._mounts:
            self.run("umount", "--lazy", str(self._mounts.pop()), check=False)


def enter(groups: Mapping[str, str], folder: Path) -> Cell:
    """
    Make the namespaces this process was started in a place to live in; called once, inside.

    Raises:
        CellError: a mount was refused.
    """
    cell = Cell(Group({controller: Path(path) for controller, path in groups.items()}), folder)
    cell.run("ip", "link", "set", "lo", "up")
    kept = folder / "groups"
    kept.mkdir()
    cell.run("mount", "--rbind", str(GROUPS), str(kept))
    cell.run("mount", "-t", "sysfs", "sysfs", "/sys")  # shows this network's cards
    cell.run("mount", "--move", str(kept), str(GROUPS))
    cell.run("mount", "-t", "tmpfs", "tmpfs", "/var/log")  # logs of this machine's own services are none of the house's
    socket.sethostname("node-1")
    return cell


def run_in_cell(argv: Sequence[str], limit_s: float) -> tuple[int, float]:
    """
    Run ``python -m tests.lab`` *argv* ``--cell …`` in a new cell, for *limit_s* at most.

    Returns:
        Its exit status (-9: it took too long) and the CPU seconds the cell has used.

    Raises:
        CellError: no cell can be made.
    """
    check_root()
    sweep()
    with _folder() as folder, _groups() as top:
        cell = [word for controller, path in top.folders.items() for word in ("--group", f"{controller}={path}")]
        inside = (sys.executable, "-m", "tests.lab", *argv, "--cell", str(folder), *cell)
        command = (
            sys.executable, "-m", "aiops.demo.leash", str(os.getpid()), str(int(signal.SIGKILL)),
            "unshare", "--net", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc",
            *(top.below("house") if top.version == 2 else top).command(inside),
        )  # fmt: skip
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        with subprocess.Popen(command, env=environment, start_new_session=True) as process:
            try:
                code = process.wait(limit_s)
            except BaseException as error:
                process.kill()
                process.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                code = -signal.SIGKILL
        return code, top.cpu_s()


@contextlib.contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Wait until a run may begin, which is *alone* or not: whatever campaigns there are on this machine, they share it."""
    FOLDERS.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (FOLDERS / "turn").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    FOLDERS.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = FOLDERS / str(os.getpid())
    folder.mkdir(mode=0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _groups() -> Iterator[Group]:
    name = f"{_PREFIX}{os.getpid()}"
    folders = {controller: parent / name for controller, parent in parents().items()}
    try:
        for folder in dict.fromkeys(folders.values()):
            folder.mkdir()
        _prefer(folders)
        yield Group(folders)
    finally:
        for folder in dict.fromkeys(folders.values()):
            remove_group(folder)


def _prefer(folders: Mapping[str, Path]) -> None:
    """A house gets its cores before whatever else the machine does: late engines are a fault of their own."""
    if (folder := folders.get("cpu")) is not None:
        old = folder / "cpu.shares"
        (old if old.exists() else folder / "cpu.weight").write_text("4096" if old.exists() else "400")


def parents(groups: Path = GROUPS) -> dict[str, Path]:
    """By controller, where groups are made: version 1's hierarchies where they are mounted, otherwise version 2."""
    first = {name: groups / name for name in CONTROLLERS if (groups / name / "cgroup.procs").exists()}
    if first:
        return first
    if (groups / "cgroup.controllers").exists():
        _hand_down(groups)
        return dict.fromkeys(CONTROLLERS, groups)
    return {}


def _hand_down(group: Path) -> None:
    """Let groups inside a *group* of version 2 have limits of their own."""
    try:
        (group / "cgroup.subtree_control").write_text("+cpu +memory +pids")
    except OSError as error:
        raise CellError(
            f"{group} cannot hand its controllers down ({error.strerror}): in a container the lab needs control groups "
            "that it may write to, with no process in the topmost"
        ) from error


def remove_group(folder: Path) -> None:
    """End what is in the group *folder* and below, and remove it."""
    until_s = time.monotonic() + _REMOVED_WITHIN_S
    while folder.exists() and time.monotonic() < until_s:
        for path in [*sorted(folder.rglob("cgroup.procs"), reverse=True), folder / "cgroup.procs"]:
            with contextlib.suppress(OSError, ValueError):
                for pid in path.read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            with contextlib.suppress(OSError):
                path.parent.rmdir()
        if folder.exists():
            time.sleep(0.05)


def sweep() -> None:
    """Take away what killed runs have left: their control groups and folders."""
    for parent in dict.fromkeys(parents().values()):
        for folder in parent.glob(f"{_PREFIX}*"):
            if not lives(folder.name.removeprefix(_PREFIX)):
                remove_group(folder)
    for folder in FOLDERS.glob("*"):
        if folder.name.isdigit() and not lives(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def lives(pid: str) -> bool:
    """Whether *pid* is another process of the lab. A number used again by something else, or by us, is none."""
    if pid == str(os.getpid()):
        return False
    try:
        return b"tests.lab" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
