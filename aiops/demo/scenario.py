"""The play: healthy, the fault, the diagnosis, recovery, the end of the incident, and what it cost."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiops.demo.faults import FAULTS, PLAYS, Fault, Lookalike, Unknown, told
from aiops.demo.proc_usage import Usage
from aiops.demo.terminal import Moment, Terminal
from aiops.demo.theatre import DAEMON, REPLICAS, Theatre, open_theatre
from aiops.demo.verdict import Expected, Judgement, Received, judge, naming, resolved
from aiops.errors import AiopsError, ChildError
from aiops.units import format_bytes

_MAX_LOG_LINES = 4
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long each act may take. Seconds."""

    healthy_s: float = 56.0
    diagnosis_s: float = 75.0
    resolve_s: float = 60.0
    lookalike_s: float = 90.0
    """From the first lookalike to the end; nothing may be said in it."""
    undetermined_s: float = 45.0
    """How long a fault nobody describes lasts."""
    lingers_s: float = 4.0
    """How long a fault stays after it was named, so that a change of mind would show."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    fault: str = "random"
    json_output: bool = False
    keep: bool = False
    seed: int = 0
    timing: Timing = field(default_factory=Timing)
    daemon: Sequence[str] = DAEMON


def run_demo(options: Options) -> int:
    """
    Play, and clean up whatever happens.

    Returns:
        0 when the daemon was right, 1 when it was wrong or something failed, 130 after Ctrl-C.
    """
    terminal = Terminal(sys.stderr if options.json_output else sys.stdout)
    with _folder() as folder:
        try:
            return asyncio.run(_interruptible(options, terminal, folder))
        except AiopsError as error:
            terminal.say(f"The demo failed: {error}")
            return 1


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder that is gone afterwards, even if this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix="aiops-demo-"))
    command = (sys.executable, "-m", "aiops.demo.janitor", str(folder))
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):  # noqa: S603 - our own words
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


async def _interruptible(options: Options, terminal: Terminal, folder: Path) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - run by asyncio.run
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        async with open_theatre(folder, options.seed, options.daemon) as theatre:
            return await Play(options, terminal, theatre).run()
    except asyncio.CancelledError:
        terminal.say("Interrupted; everything started was ended.")
        return INTERRUPTED


class Play:
    """One run of the demo."""

    def __init__(self, options: Options, terminal: Terminal, theatre: Theatre) -> None:
        self._options, self._terminal, self._theatre = options, terminal, theatre
        self._fault = choose(options.fault, options.seed)
        self._messages: list[Received] = []
        self._bytes = 0
        self._phase = "healthy"
        self._loop = asyncio.get_running_loop()
        self._started_s = self._loop.time()
        self._usage: Usage | None = None
        self._news = asyncio.Event()

    async def run(self) -> int:
        """Play it through."""
        timing, terminal, theatre = self._options.timing, self._terminal, self._theatre
        self._introduce()
        seal = self._seal() if self._options.fault == "random" else None
        self._usage, measured_s = theatre.daemon_usage(), self._loop.time()
        async with self._watching():
            await asyncio.sleep(timing.healthy_s / 3)
            await theatre.announce("deploy", "search-ui 4.2 is live", service="search-ui", version="4.2")
            await asyncio.sleep(timing.healthy_s * 2 / 3)
            began_s = time.time()
            self._phase = "fault"
            terminal.say(_began(self._options.fault))
            await self._fault.begin(theatre)
            await self._await_answer(began_s)
            self._phase = "recovery"
            if self._expected is not Expected.SILENT:
                terminal.say("The fault is taken away; waiting for the end of the incident.")
            await self._fault.end(theatre)
            if self._expected is not Expected.SILENT:
                await self._wait(lambda: resolved(self._messages), timing.resolve_s)
        stats = await theatre.stats()
        outcome = judge(
            self._expected, self._fault.cause, self._messages,
            fault_began_s=began_s, first_503_s=stats["first_503"],
        )  # fmt: skip
        incident = await theatre.incident(outcome.incident) if outcome.incident else {}
        self._summarise(outcome, began_s, self._loop.time() - measured_s, seal, log_lines(incident))
        if self._options.json_output:
            print(json.dumps(outcome.as_json(self._fault.name)), flush=True)
        if self._options.keep:
            terminal.say(f"Still running for you to look at: {theatre.url}  (Ctrl-C ends it)")
            await self._keep_running()
        return 1 if outcome.faults else 0

    @property
    def _expected(self) -> Expected:
        if isinstance(self._fault, Lookalike):
            return Expected.SILENT
        return Expected.UNDETERMINED if isinstance(self._fault, Unknown) else Expected.NAMED

    def _introduce(self) -> None:
        say, theatre = self._terminal.say, self._theatre
        say(f"A gateway, {REPLICAS} model servers, their users, a chat and the daemon run on this machine.")
        say(f"GPUs: {theatre.cards.told}.")
        say(f"Incident page: {theatre.url}   seed: {self._options.seed}")
        say(f"Healthy for {self._options.timing.healthy_s:.0f} s, so that the daemon learns what is normal.")

    def _seal(self) -> Path:
        """Write down what will happen, and show a digest that proves it was not changed."""
        path = self._theatre.folder / "truth-until-the-end"
        text = f"{self._fault.name} {secrets.token_hex(8)}\n"
        path.write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self._terminal.say(f"What will happen is sealed in {path} (SHA-256 {digest[:16]}…).")
        return path

    async def _await_answer(self, began_s: float) -> None:
        timing = self._options.timing
        left_s = began_s - time.time()
        if self._expected is Expected.SILENT:
            await self._wait(lambda: bool(self._messages), timing.lookalike_s + left_s)
        elif self._expected is Expected.UNDETERMINED:
            await self._wait(lambda: naming(self._messages) is not None, timing.undetermined_s + left_s)
        else:
            await self._wait(lambda: naming(self._messages) is not None, timing.diagnosis_s + left_s)
            await asyncio.sleep(timing.lingers_s)

    async def _wait(self, happened: Callable[[], bool], most_s: float) -> None:
        """Wait until *happened*, which only a message can make true, at most *most_s*."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(most_s, 0.0)):
                while not happened():
                    self._news.clear()
                    await self._news.wait()

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        """Show progress and messages beside the block; fail if a process dies."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._show_messages()), group.create_task(self._show_progress())]
                yield
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as group:
            error = group.exceptions[0]
            if isinstance(error, OSError):
                self._theatre.check_alive()
                raise ChildError(f"a process does not answer: {error}") from error
            raise error from None

    async def _show_messages(self) -> None:
        while True:
            await self._fetch_messages()
            await asyncio.sleep(0.2)

    async def _fetch_messages(self) -> None:
        messages, self._bytes = await self._theatre.messages()
        for entry in messages[len(self._messages) :]:
            received = Received(float(entry["at"]), entry["message"])
            self._messages.append(received)
            elapsed = f"{self._loop.time() - self._started_s:.0f} s"
            self._terminal.message(received.message, f"chat, {elapsed} after the start: {received.change}")
            self._news.set()

    async def _show_progress(self) -> None:
        previous, previous_usage = await self._theatre.stats(), self._theatre.daemon_usage()
        previous_s = self._loop.time()
        while True:
            await asyncio.sleep(1.0)
            stats, now = await self._theatre.stats(), self._theatre.daemon_usage()
            now_s = self._loop.time()
            passed_s = now_s - previous_s
            answers = _difference(stats["answers"], previous["answers"])
            total = sum(answers.values())
            self._terminal.progress(
                Moment(
                    phase=self._phase,
                    elapsed_s=now_s - self._started_s,
                    answers_per_s=total / passed_s,
                    bad_share=answers.get("503", 0) / total if total else 0.0,
                    daemon_cpu_share=(now.cpu_s - previous_usage.cpu_s) / passed_s,
                    messages=len(self._messages),
                )
            )
            previous, previous_usage, previous_s = stats, now, now_s

    async def _keep_running(self) -> None:
        while True:
            await self._fetch_messages()
            self._theatre.check_alive()
            await asyncio.sleep(0.5)

    def _summarise(
        self, outcome: Judgement, began_s: float, watched_s: float, seal: Path | None, lines: Sequence[str]
    ) -> None:
        say, theatre = self._terminal.say, self._theatre
        say()
        if seal is not None:
            say(f"The sealed truth: {seal.read_text().strip()}")
        say(f"What really happened: {self._fault.name}: {told(self._fault)}.")
        for line in (*summary(outcome, began_s, self._expected, self._messages), *lines):
            say(line)
        now = theatre.daemon_usage()
        before = self._usage or now
        share = (now.cpu_s - before.cpu_s) / watched_s
        text = f"Daemon: {share * 100:.2f} % of a core, {format_bytes(now.rss_bytes)} resident"
        if now.children_rss_bytes:
            children = (now.children_cpu_s - before.children_cpu_s) / watched_s
            text += f"; its children {max(children, 0.0) * 100:.2f} %, {format_bytes(now.children_rss_bytes)}"
        say(f"{text}; sent {format_bytes(self._bytes)} in {len(self._messages)} messages to the chat.")
        if outcome.incident:
            say(f"Incident page: {theatre.url}/incidents/{outcome.incident}")
        say("The daemon was right." if not outcome.faults else "The daemon was WRONG: " + "; ".join(outcome.faults))


def summary(outcome: Judgement, began_s: float, expected: Expected, messages: Sequence[Received]) -> list[str]:
    """The times of the play in words."""
    if expected is Expected.SILENT:
        return [f"Messages: {len(messages)}; 503s: {'none' if outcome.first_503 is None else 'some'}."]
    lines: list[str] = []
    if outcome.first_503 is not None:
        lines.append(f"First 503: {outcome.first_503 - began_s:.1f} s after the fault began.")
        opened = next((m for m in messages if m.change == "opened"), None)
        if opened is not None:
            lines.append(f"Noticed: {opened.at_s - outcome.first_503:.1f} s after the first 503.")
    if outcome.seconds is not None:
        odds = f" (probability {outcome.probability:.2f})" if outcome.probability is not None else ""
        lines.append(f"Cause named: {outcome.cause}{odds}, {outcome.seconds:.1f} s after the first 503.")
    else:
        lines.append("Cause named: none.")
    return lines


def log_lines(incident: Mapping[str, Any]) -> list[str]:
    """What the logs said during *incident*, a template a line with its class; trouble only, a few lines of it."""
    templates = (incident.get("diagnosis") or {}).get("templates") or []
    trouble = [template for template in templates if template["log_class"] != "benign"]
    told = [
        f"  {template['count']:>5,} × {template['title'] or template['template']}  [{template['log_class']}]"
        for template in trouble[:_MAX_LOG_LINES]
    ]
    return ["Log lines of that time:", *told] if told else []


def choose(name: str, seed: int) -> Fault:
    """The play called *name*; "random" is one of the five faults, drawn by *seed*."""
    if name == "random":
        return random.Random(seed).choice(FAULTS)()
    return PLAYS[name]()


def _began(name: str) -> str:
    if name == "random":
        return "Something happens now."
    return f"Now: {name}." if name != Lookalike.name else "Now: things that look like causes and hurt nobody."


def _difference(after: dict[str, Any], before: dict[str, Any]) -> dict[str, int]:
    return {name: int(count) - int(before.get(name, 0)) for name, count in after.items()}
