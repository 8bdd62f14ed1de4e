"""
The processes of the inference servers on this machine: CPU, memory, threads, files, restarts, limits.

What a server's own page cannot tell shows here: one full thread while the GPU idles, memory that grows in one process,
weights being read by a young one, a quota that throttles it, an end and a new start. Only servers and their children
are followed (process_servers.py says who they are), at most 64 processes, so that hundreds of others cost little.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from aiops.collect.known_servers import local_ports, named_upstreams, note_coming
from aiops.collect.process_files import OpenFiles, read_uptime, seconds
from aiops.collect.process_followed import Followed, Identity, Slots
from aiops.collect.process_groups import ServerGroups
from aiops.collect.process_memory import Largest
from aiops.collect.process_servers import MAX_PROCESSES, Member, Servers
from aiops.collect.process_table import Process, ProcessTable
from aiops.document import Duration, doc
from aiops.errors import SourceUnavailable
from aiops.model import Event, EventKind, Labels, Observation, Sample, Sight
from aiops.ports import World
from aiops.units import format_duration

_SLOW_S = 9.5
"""Ten seconds, less what a round may come early."""
_NAME = "process"
_FIRST_PROCESS = 1
"""Everybody sees it, unless /proc hides the processes of other users."""
_NONE = "inference servers' processes"
_HOW = "name the ports of servers with other names in collect.process.ports"
_RIGHTS = "run this program as the server's user, or with CAP_SYS_PTRACE"


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the collector of processes."""

    enabled: bool = field(default=True, metadata=doc("follow the processes of inference servers"))
    interval: Duration = field(default=5.0, metadata=doc("time between readings; most are taken every ten seconds"))
    deadline: Duration = field(default=3.0, metadata=doc("a reading that takes longer is given up"))
    ports: tuple[int, ...] = field(
        default=(), metadata=doc("ports of servers known neither by their metrics page nor by their program")
    )

    def __post_init__(self) -> None:
        wrong = [port for port in self.ports if not 0 < port < 2**16]
        if wrong:
            raise ValueError(f"ports: {wrong[0]} is no TCP port")


class Processes:
    """The collector: finds servers, follows their processes, tells of ends and starts."""

    def __init__(self, config: Config, world: World) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline
        self._root = world.root
        self._host = Labels.of(host_name=world.host)
        self._table = ProcessTable(world.root)
        self._servers = Servers(world.root)
        self._ports = frozenset(config.ports)
        self._checkpoints = world.checkpoints
        self._cards = world.cards
        self._files = OpenFiles(str(world.root / "proc"))
        self._slots = Slots(self._host)
        self._largest = Largest(world.root / "proc", self._host)
        self._followed: dict[Identity, Followed] = {}
        self._groups: dict[str, ServerGroups] = {}
        self._labels: dict[str, Labels] = {}
        self._hidden: dict[str, str] = {}
        self._dead: set[Identity] = set()
        """Zombies: ended, and still listed."""
        self._refused = 0
        self._others_hidden = False
        self._coming: frozenset[str] | None = None
        self._named: frozenset[str] = frozenset()
        """Upstreams that a gateway named when we looked last."""
        self._slow_s: float | None = None
        self._first_s = 0.0

    def collect(self, now_s: float) -> Iterator[Observation]:
        try:
            uptime_s = read_uptime(self._root)
            due = self._slow_s is None or not 0.0 <= uptime_s - self._slow_s < _SLOW_S
            slow = self._is_new_upstream() or due
            processes = self._table.look(uptime_s) if slow else {}
        except (OSError, ValueError, LookupError) as error:
            raise SourceUnavailable(f"/proc: {error}") from error
        if slow:
            yield from self._find(processes, uptime_s, now_s)
        for identity, followed in list(self._followed.items()):
            try:
                yield from followed.read(uptime_s, now_s, slow=slow)
            except (FileNotFoundError, ProcessLookupError):
                yield from self._ended(identity, uptime_s, now_s)
        if slow:
            yield from self._groups_and_counts(uptime_s, now_s)
            yield from self._slots.restarts(uptime_s, now_s)
            yield from self._largest.read(processes.values(), uptime_s, now_s)
        else:
            for group in self._groups.values():
                yield from group.often(uptime_s, now_s)

    def _is_new_upstream(self) -> bool:
        """Whether a gateway names an upstream that it did not name before: that is looked for at once."""
        before, self._named = self._named, named_upstreams(self._checkpoints)
        return not self._named <= before

    def _find(self, processes: Mapping[int, Process], uptime_s: float, now_s: float) -> Iterator[Observation]:
        first, self._slow_s = self._slow_s is None, uptime_s
        if first:
            self._first_s = uptime_s
        renamed: set[Identity] = set()
        found = self._servers.find(processes, self._ports | local_ports(self._checkpoints), uptime_s)
        if found.coming != self._coming:
            self._coming = found.coming
            note_coming(self._checkpoints, found.coming)
        self._dead = {identity for identity in self._dead if _lives(identity, processes)}
        wanted = {_identity(m.process): m for m in found.members if _identity(m.process) not in self._dead}
        for identity, followed in list(self._followed.items()):
            member = wanted.get(identity)
            if member is not None and member.instance == followed.member.instance:
                continue
            if _lives(identity, processes):  # under another name, or unwatched
                self._slots.drop(self._followed.pop(identity).slot)
                renamed.add(identity)
            else:
                yield from self._ended(identity, uptime_s, now_s)
        for identity, member in wanted.items():
            if identity not in self._followed:
                # what ran before us is no news, nor is another name for the same process
                news = seconds(identity[1]) >= self._first_s and identity not in renamed
                yield from self._follow(member, uptime_s, now_s, news=news)
        yield from self._sights(wanted.values(), found.refused, first=first)
        if (_FIRST_PROCESS not in processes) != self._others_hidden:
            self._others_hidden = not self._others_hidden
            seen, detail = not self._others_hidden, "hidden (hidepid)" if self._others_hidden else "visible"
            yield Sight(_NAME, "other users' processes", seen=seen, detail=detail, hint="" if seen else _RIGHTS)

    def _follow(self, member: Member, uptime_s: float, now_s: float, *, news: bool) -> Iterator[Observation]:
        identity = _identity(member.process)
        slot, again = self._slots.take(member.instance, member.role, identity)
        self._followed[identity] = Followed(self._root / "proc", member, slot, self._files)
        if news and (again or member.role != "child"):
            what = f"{slot.labels.get('process')} of {member.instance} ({member.engine}, pid {identity[0]})"
            yield Event(EventKind.PROCESS, "start", now_s, slot.labels, f"{what} started{' again' if again else ''}")
        before, slot.command = slot.command, member.process.command
        if news and again and member.role == "server" and before != slot.command:
            yield _other_command(member, before, now_s - max(uptime_s - seconds(identity[1]), 0.0), self._host)

    def _ended(self, identity: Identity, uptime_s: float, now_s: float) -> Iterator[Observation]:
        followed = self._followed.pop(identity)
        self._dead.add(identity)
        self._slots.release(followed.slot, uptime_s)
        member = followed.member
        if member.role != "child":
            ran_s = max(uptime_s - seconds(identity[1]), 0.0)
            what = f"{followed.slot.labels.get('process')} of {member.instance} ({member.engine}, pid {identity[0]})"
            message = f"{what} ended after {format_duration(round(ran_s))}"
            yield Event(EventKind.PROCESS, "exit", now_s, followed.slot.labels, message)

    def _sights(self, members: Collection[Member], refused: int, *, first: bool) -> Iterator[Sight]:
        engines = {member.instance: member.engine for member in members}
        if bool(engines) != bool(self._labels) or first:
            detail = "found" if engines else "none found"
            yield Sight(_NAME, _NONE, seen=bool(engines), detail=detail, hint="" if engines else _HOW)
        for instance in engines.keys() - self._labels.keys():
            yield Sight(_NAME, f"processes of {instance}", seen=True, detail=engines[instance])
        for instance in self._labels.keys() - engines.keys():
            yield Sight(_NAME, f"processes of {instance}", seen=False, detail="ended")
            self._groups.pop(instance, None)
            self._hidden.pop(instance, None)
        self._labels = {each: self._labels.get(each) or self._host.merge(instance=each) for each in engines}
        if bool(refused) != bool(self._refused):
            detail = f"only the first {MAX_PROCESSES} are followed" if refused else "all are followed"
            yield Sight(_NAME, "number of processes", seen=not refused, detail=detail)
        self._refused = refused

    def _groups_and_counts(self, uptime_s: float, now_s: float) -> Iterator[Observation]:
        hidden: dict[str, set[str]] = {instance: set() for instance in self._labels}
        pids: dict[str, list[int]] = {instance: [] for instance in self._labels}
        for followed in self._followed.values():
            instance = followed.member.instance
            hidden[instance] |= followed.hidden
            pids[instance].append(followed.member.process.pid)  # the server itself comes first
        self._cards.serve([pid for members in pids.values() for pid in members])
        for instance, labels in self._labels.items():
            yield from self._on_cards(instance, pids[instance], now_s)
            try:
                if pids[instance]:
                    yield from self._group(instance).read(pids[instance], uptime_s, now_s)
            except OSError as error:
                hidden[instance].add(f"control group ({error.strerror})")
            except (ValueError, LookupError, ArithmeticError):
                hidden[instance].add("control group, in an unknown form")
            yield Sample("process_followed_processes", labels, now_s, float(len(pids[instance])))
            what = ", ".join(sorted(hidden[instance]))
            if what != self._hidden.get(instance, ""):
                self._hidden[instance] = what
                detail = f"cannot be read: {what}" if what else "readable"
                yield Sight(_NAME, f"insides of {instance}", seen=not what, detail=detail, hint=_RIGHTS if what else "")

    def _on_cards(self, instance: str, pids: Collection[int], now_s: float) -> Iterator[Sample]:
        """Cards that a server's processes hold memory of, where no port says so."""
        for card in dict.fromkeys(card for pid in pids for card in self._cards.cards_of(pid)):
            yield Sample("hw_gpu_process_instance", card.merge(instance=instance), now_s, 1.0)

    def _group(self, instance: str) -> ServerGroups:
        known = self._groups.get(instance)
        if known is None:
            known = self._groups[instance] = ServerGroups(self._root, self._labels[instance])
        return known


def _lives(identity: Identity, processes: Mapping[int, Process]) -> bool:
    """Whether that very process is listed, and no later one under its id."""
    process = processes.get(identity[0])
    return process is not None and _identity(process) == identity


def _other_command(member: Member, before: tuple[str, ...], at_s: float, host: Labels) -> Event:
    """
    A server was started anew with another command line: another program is a deploy, other arguments are settings.

    Which they are is not told: keys are among them.
    """
    action = "config" if before[:1] == member.process.command[:1] else "deploy"
    labels = host.merge(instance=member.instance, seen_by="replicas")
    message = f"the server at {member.instance} ({member.engine}) was started with another command line"
    return Event(EventKind.CHANGE, action, at_s, labels, message)


def _identity(process: Process) -> Identity:
    return process.pid, process.start_ticks


def build(config: Config, world: World) -> Processes:
    """The collector over *world*'s root."""
    return Processes(config, world)
