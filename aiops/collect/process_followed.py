"""
One process that is followed, and the names processes go by.

A name is a role, with a number from the second of that role on: server, engine, worker, worker_1. It is given again
when its holder has ended, so that a replaced process continues the series of the one before it, and the change is
counted as a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aiops.collect.process_files import OpenFiles, Readings, Stat, read_stat, seconds
from aiops.collect.process_servers import Member
from aiops.collect.process_threads import Threads
from aiops.collect.procfs import Since
from aiops.model import Labels, Sample

_FORGET_S = 3600.0
"""How long an ended process's name is kept, to see a restart."""
_ENDED = {"Z", "X", "x"}

_ODD_STATE = "state, in an unknown form"

Identity = tuple[int, int]
"""Process id and start time: ids are given away again."""


@dataclass(slots=True)
class Slot:
    """A name, and who has it."""

    labels: Labels
    holder: Identity | None
    restarts: int = 0
    ended_s: float = 0.0
    command: tuple[str, ...] = ()
    """The command line of its last holder; never shown, it may hold keys."""


class Slots:
    """
    The names of all processes, of each instance.

    Args:
        labels: Of this host.
    """

    def __init__(self, labels: Labels) -> None:
        self._host = labels
        self._slots: dict[tuple[str, str], Slot] = {}

    def take(self, instance: str, role: str, holder: Identity) -> tuple[Slot, bool]:
        """The first free name for *holder*, and whether another had it before."""
        number = 0
        while True:
            name = f"{role}_{number}" if number else role
            slot = self._slots.get((instance, name))
            if slot is None:
                slot = Slot(self._host.merge(instance=instance, process=name), holder)
                self._slots[instance, name] = slot
                return slot, False
            if slot.holder is None:
                slot.holder = holder
                slot.restarts += 1
                return slot, True
            number += 1

    def release(self, slot: Slot, uptime_s: float) -> None:
        """Its holder has ended."""
        slot.holder, slot.ended_s = None, uptime_s

    def drop(self, slot: Slot) -> None:
        """Its holder is followed no more, though it lives."""
        del self._slots[slot.labels.get("instance"), slot.labels.get("process")]

    def restarts(self, uptime_s: float, now_s: float) -> Iterator[Sample]:
        """How often each name changed hands; forgets those ended long ago."""
        self._slots = {
            key: slot
            for key, slot in self._slots.items()
            if slot.holder is not None or 0.0 <= uptime_s - slot.ended_s < _FORGET_S
        }
        for slot in self._slots.values():
            yield Sample("process_restarts_total", slot.labels, now_s, float(slot.restarts))


class Followed:
    """
    One process.

    Args:
        proc: /proc.
        member: Which process.
        slot: Its name.
        files: Counts open files.
    """

    def __init__(self, proc: Path, member: Member, slot: Slot, files: OpenFiles) -> None:
        self.member = member
        self.slot = slot
        self.hidden: set[str] = set()
        """What could not be read of it."""
        self._labels = slot.labels
        folder = str(proc / str(member.process.pid))
        self._stat = f"{folder}/stat"
        self._readings = Readings(folder, slot.labels, files)
        self._threads = Threads(folder, member.process.pid)
        self._cpu = Since()

    def read(self, uptime_s: float, now_s: float, *, slow: bool) -> Iterator[Sample]:
        """
        What it does now.

        Args:
            uptime_s: Seconds since the machine started.
            now_s: Wall time, for the samples.
            slow: Whether what is read seldom is due.

        Raises:
            ProcessLookupError, FileNotFoundError: it has ended.
        """
        try:
            stat = read_stat(self._stat)
            if stat.start_ticks != self.member.process.start_ticks or stat.state in _ENDED:
                raise ProcessLookupError
            yield from self._readings.often(stat, uptime_s, now_s)
            if slow:
                yield from self._readings.seldom(uptime_s, now_s)
                yield from self._busiest(stat, uptime_s, now_s)
            self.hidden -= {"state", _ODD_STATE}
        except (FileNotFoundError, ProcessLookupError):
            raise
        except OSError:  # hidden from us, or we have no file left to open: it may well live
            self.hidden.add("state")
        except (ValueError, ArithmeticError, IndexError):
            self.hidden.add(_ODD_STATE)
        yield from self._guarded("reads", lambda: self._readings.guarded_reads(uptime_s, now_s))
        if slow:
            yield from self._guarded("open files", lambda: self._readings.guarded_files(now_s))

    def _busiest(self, stat: Stat, uptime_s: float, now_s: float) -> Iterator[Sample]:
        change = self._cpu.advance(uptime_s, (stat.cpu_ticks,))
        busiest = self._threads.look(seconds(change[1][0]) / change[0] if change else 0.0, uptime_s)
        if change is None:
            return  # the main thread's CPU is known now, to be compared with next time
        if busiest.ratio is not None:
            yield Sample("process_busiest_thread_ratio", self._labels, now_s, busiest.ratio)
        yield Sample("process_blocked_threads", self._labels, now_s, float(busiest.blocked))

    def _guarded(self, what: str, read: Callable[[], Iterator[Sample]]) -> Iterator[Sample]:
        """What only the process's own user may read."""
        try:
            yield from read()
        except FileNotFoundError:
            return  # not every kernel keeps it; and who has ended is noticed by its state
        except OSError:
            self.hidden.add(what)
        except (ValueError, LookupError, ArithmeticError):
            self.hidden.add(f"{what}, in an unknown form")
        else:
            self.hidden -= {what, f"{what}, in an unknown form"}
