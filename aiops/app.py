"""
The daemon put together.

`run` checks settings and rules, binds the port, opens the state, and then lives in sessions: a session is everything
built from one settings file. SIGHUP loads and checks the file again and, if it is sound, starts a new session on the
same socket, state and rings; a bad file keeps the old session. SIGTERM and SIGINT end it. Each part registers its
teardown where it is made; teardown runs last-in first-out.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import httpx
import structlog
from prometheus_client import CollectorRegistry

from aiops import __version__, correlate, memory, narrative
from aiops.clock import Clock, SystemClock
from aiops.collect.plugins import build_collectors
from aiops.collect.runner import Runner
from aiops.detect.alerts import AlertBook
from aiops.detect.budget import ErrorBudget
from aiops.errors import ConfigError
from aiops.export.deps import WebDeps
from aiops.export.docket import Docket
from aiops.export.intake import BoundedInbox
from aiops.export.metrics import Exposition
from aiops.export.server import WebServer
from aiops.export.tape import Beginning, Sources, Tape
from aiops.export.web import create_app
from aiops.kept import Kept, keep
from aiops.logs.path import LogPath
from aiops.model import Observation, Tally
from aiops.narrative.withheld import publishable
from aiops.notify.dispatch import Dispatcher
from aiops.notify.receivers import build_receivers
from aiops.notify.ways import open_client
from aiops.pipeline import Board, Pipeline
from aiops.plan import Plan, make_plan
from aiops.ports import Closeable, World
from aiops.rulebook.places import fingerprint, rules_dirs, shipped_rules
from aiops.schedule import Calendar, Schedule, Tick
from aiops.selfstat import SelfStat
from aiops.settings import Settings

log = structlog.get_logger(__name__)

T = TypeVar("T")
_HASTE_S = 1.0
"""Cadence of every collector while an incident is young or unexplained."""
_SAVE_EVERY_S = 180.0
_DAY_S = 86_400.0
_SAVE_DEADLINE_S = 2.0
"""Log templates are written in milliseconds; one that takes longer meets a sick disk."""


@contextlib.asynccontextmanager
async def session(plan: Plan, kept: Kept) -> AsyncIterator[str]:
    """Everything built from *plan*, running; yields the page's address, and stops when the block ends."""
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client({}))
        book = AlertBook(plan.alerts, kept.saver.alerts(kept.state.alerts()))
        board = Board(book, [plugin.name for plugin in plan.plugins])
        exposition, tape, docket = Exposition(kept.registry), Tape(), Docket()
        web = WebServer(create_app(_web_deps(kept, plan, board, exposition, tape, docket)), kept.socket.dup())
        web.start()
        stack.push_async_callback(web.stop)
        stack.callback(tape.stop, "the daemon stopped, or read its settings again")
        await asyncio.sleep(0)  # who asked since the port was bound is answered before the rest is built

        dispatchers = _dispatchers(plan, kept, await stack.enter_async_context(open_client(os.environ)))
        for dispatcher in dispatchers:
            stack.push_async_callback(dispatcher.stop)
        collectors = build_collectors(plan.plugins, _world(kept, client))
        for _, collector in collectors:
            if isinstance(collector, Closeable):
                stack.callback(collector.close)

        logs, remember = await _logs(plan, kept)
        # on the way out: after the schedule, whose collectors feed it
        stack.push_async_callback(lambda: remember(kept.clock.now_s()))
        stack.push_async_callback(lambda: kept.saver.settle(kept.clock.now_s()))
        slo = plan.settings.slo
        budget = ErrorBudget(kept.host, slo.objective, slo.services, kept.state)
        stack.callback(budget.remember)
        schedule = Schedule(kept.clock, kept.stat)
        stack.push_async_callback(schedule.stop)
        sending = [
            schedule.every(f"dispatch from {source}", dispatcher.dispatch, 5.0, deadline_s=60.0)
            for source, dispatcher in zip(("state", "memory"), dispatchers, strict=True)
        ]
        collecting: list[Tick] = []
        correlator = _correlator(plan, kept, logs)
        pipeline = Pipeline(
            series=kept.rings, events=kept.state, logs=logs, urgent=plan.urgent, steady=plan.steady, book=book,
            correlator=correlator, saver=kept.saver, keeper=kept.state, board=board,
            exposition=exposition, stat=kept.stat, run_blocking=kept.on_writer,
            ledgers=(budget,), tape=tape, docket=docket, promised=functools.partial(_nudge, sending), hurry=functools.partial(_nudge, collecting),
        )  # fmt: skip
        tape.load(_recorded(plan, kept, logs, book, correlator))
        for name, collector in collectors:
            runner = Runner(name, collector, kept.readers, kept.stat, kept.clock)
            collecting.append(_collect(schedule, pipeline, runner))
        schedule.every("evaluate", pipeline.evaluate, 1.0, deadline_s=30.0)
        schedule.every("tidy", pipeline.tidy, 5.0, deadline_s=10.0)
        schedule.every("keep", pipeline.keep, 10.0, deadline_s=30.0)
        schedule.every("remember", remember, _SAVE_EVERY_S, deadline_s=10.0)
        schedule.every("give memory back", _give_back, 60.0, deadline_s=10.0)
        _calendar(stack, kept, plan.settings)
        yield page_url(plan.settings, kept.socket)


async def _give_back(_: float) -> None:
    memory.give_back()


def _world(kept: Kept, client: httpx.AsyncClient) -> World:
    return World(kept.host, Path("/"), kept.clock, client, kept.state, kept.inbox)


async def _logs(plan: Plan, kept: Kept) -> tuple[LogPath, Callable[[float], Awaitable[None]]]:
    """The log path with what it knew before, and what makes it remember; both touch the disk in a thread."""
    loop = asyncio.get_running_loop()
    state = plan.settings.state

    def begin() -> LogPath:
        # a fifth of a second of work for hundreds of signatures, in which requests must be answered
        logs = LogPath(kept.host, plan.signatures, kept.stat, state.dir / "templates")
        logs.load()
        return logs

    logs = await loop.run_in_executor(kept.readers, begin)

    async def remember(now_s: float) -> None:
        # a disk that hangs keeps its thread; it must not keep the daemon from ending
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SAVE_DEADLINE_S):
                await loop.run_in_executor(kept.readers, logs.save, now_s, state.retention)

    return logs, remember


def _correlator(plan: Plan, kept: Kept, logs: LogPath) -> correlate.IncidentDesk:
    url, language = page_url(plan.settings, kept.socket), plan.settings.notify.language.value
    return correlate.build(
        causes=plan.causes,
        series=kept.rings,
        events=kept.state,
        templates=logs,
        stat=kept.stat,
        compose=functools.partial(narrative.compose, base_url=url, language=language),
        compose_tickets=functools.partial(narrative.compose_tickets, base_url=url, language=language),
        receivers=[(receiver.name, frozenset(receiver.severities)) for receiver in plan.receivers],
        restored=kept.saver.open_incidents(kept.state.open_incidents()),
        tally=Tally.of(kept.saver.judgements(kept.state.judgements()).values()),
    )


def _recorded(plan: Plan, kept: Kept, logs: LogPath, book: AlertBook, desk: correlate.IncidentDesk) -> Sources:
    """What a recording is made from."""

    def beginning() -> Beginning:
        return Beginning(
            version=__version__,
            host=kept.host,
            rules=fingerprint(rules_dirs(plan.settings.rules.dir)),
            url=page_url(plan.settings, kept.socket),
            language=plan.settings.notify.language.value,
            receivers=tuple((each.name, tuple(s.value for s in each.severities)) for each in plan.receivers),
            has_change_feed=kept.state.has_change_feed(),
            alerts=tuple(book.held()),
            incidents=tuple(map(publishable, kept.saver.open_incidents(kept.state.open_incidents()))),
            tally=desk.tally,
        )

    return Sources(beginning, kept.rings.freeze, lambda now_s: kept.state.events(0.0, now_s + _DAY_S), logs)


def _dispatchers(plan: Plan, kept: Kept, client: httpx.AsyncClient) -> list[Dispatcher]:
    """One for the outbox in the state, and one that never touches the state's thread: it is for when that hangs."""
    notifiers = build_receivers(plan.receivers, client, kept.clock)
    rng = random.Random(secrets.randbits(64))  # noqa: S311 (jitter, not a secret)
    return [
        Dispatcher(kept.state, notifiers, kept.stat, rng, kept.on_writer),
        Dispatcher(kept.emergency, notifiers, kept.stat, rng, _at_once),
    ]


def _nudge(ticks: Sequence[Tick]) -> None:
    for tick in ticks:
        tick.nudge()


async def _at_once(work: Callable[[], T]) -> T:
    return work()


def _collect(schedule: Schedule, pipeline: Pipeline, runner: Runner) -> Tick:
    """A tick of its own for each collector: one that is slow delays no other."""

    async def job(now_s: float) -> None:
        await pipeline.collect(runner, now_s)
        pipeline.board.ran(runner.name)

    def interval_s() -> float:
        return min(runner.interval_s, _HASTE_S) if pipeline.hastened else runner.interval_s

    # the runner has the deadline; the tick's is a second line behind it
    return schedule.every(f"collect {runner.name}", job, interval_s, deadline_s=runner.deadline_s + 10.0)


def _calendar(stack: contextlib.AsyncExitStack, kept: Kept, settings: Settings) -> None:
    """Work that belongs to the wall clock."""
    calendar = Calendar(kept.clock, kept.stat)
    stack.callback(calendar.stop)

    async def purge(now_s: float) -> None:
        await kept.on_writer(lambda: kept.state.purge(now_s, settings.state.retention))

    calendar.daily("purge", purge, hour=4, minute=17, deadline_s=600.0)


def _web_deps(  # noqa: PLR0913, PLR0917 - wiring
    kept: Kept, plan: Plan, board: Board, exposition: Exposition, tape: Tape, docket: Docket
) -> WebDeps:
    return WebDeps(
        incidents=kept.state,
        series=kept.rings,
        status=board,
        inbox=kept.inbox,
        exposition=exposition,
        clock=kept.clock,
        host=kept.host,
        version=__version__,
        token=kept.token,
        outbox_waiting=kept.state.waiting_count,
        dead_letters=lambda: len(kept.state.dead_letters()),
        unready=board.unready,
        tape=tape,
        docket=docket,
        causes=plan.causes,
        public_url=plan.settings.web.public_url,
    )


def page_url(settings: Settings, sock: socket.socket) -> str:
    """Where the page is, as messages link to it: the public address if one is set, else the one we listen on."""
    host, port = sock.getsockname()[:2]
    return settings.web.public_url or (f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


class _Signals:
    """SIGTERM and SIGINT end, SIGHUP reloads; as one queue, so that none is lost between two waits."""

    def __init__(self) -> None:
        self._caught: asyncio.Queue[signal.Signals] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for caught in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(caught, self._caught.put_nowait, caught)

    async def next(self) -> signal.Signals:
        """Wait for the next one."""
        return await self._caught.get()


async def once(plan: Plan) -> list[Observation]:
    """One round of every collector of *plan*, without state, port or daemon."""
    clock, stat = SystemClock(), SelfStat(CollectorRegistry())
    readers = ThreadPoolExecutor(len(plan.plugins) + 1, thread_name_prefix="collect")
    async with open_client({}) as client:
        world = World(socket.gethostname(), Path("/"), clock, client, _Forgetful(), BoundedInbox(stat))
        collectors = build_collectors(plan.plugins, world)
        runners = [Runner(name, collector, readers, stat, clock) for name, collector in collectors]
        rounds = await asyncio.gather(*(runner.run(clock.now_s()) for runner in runners))
        for _, collector in collectors:
            if isinstance(collector, Closeable):
                collector.close()
    readers.shutdown(wait=False, cancel_futures=True)  # one that hangs in a dead disk is not waited for
    return [observation for observations in rounds for observation in observations]


class _Forgetful:
    """Checkpoints of a program that reads once and ends."""

    def get(self, name: str) -> bytes | None:
        return None

    def put(self, name: str, value: bytes) -> None:
        pass


async def run(load: Callable[[], Settings], clock: Clock | None = None) -> None:
    """
    Live until SIGTERM or SIGINT.

    Args:
        load: Reads the settings file; called at start and at every SIGHUP.
        clock: The machine's, if not given.

    Raises:
        ConfigError: the first settings or their rules are wrong; nothing was started.
        AiopsError: the port is taken, or the state cannot be opened.
    """
    signals = _Signals()
    plan = make_plan(load(), proven=[shipped_rules()])
    with keep(plan, clock or SystemClock()) as kept:
        while True:
            async with session(plan, kept) as url:
                log.info("started", version=__version__, page=url + "/", state=str(plan.settings.state.dir))
                memory.settle()
                new_plan = await _next_plan(signals, plan, load)
            if new_plan is None:
                log.info("stopped")
                return
            plan = new_plan


def _fixed(settings: Settings) -> tuple[object, ...]:
    """What a running daemon does not change."""
    return settings.web.listen, settings.state.dir, settings.state.max_size, settings.log


async def _next_plan(signals: _Signals, plan: Plan, load: Callable[[], Settings]) -> Plan | None:
    """The plan to go on with; None to stop. A bad settings file is complained of, and changes nothing."""
    while await signals.next() is signal.SIGHUP:
        try:
            new = make_plan(load(), proven=[shipped_rules()])
        except ConfigError as error:
            log.error("settings are wrong; the old ones stay", problems=[str(problem) for problem in error.problems])
            continue
        if _fixed(new.settings) != _fixed(plan.settings):
            log.warning("web.listen, state.dir, state.max_size and log change only at a restart")
        log.info("settings read again")
        return new
    return None
