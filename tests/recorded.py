"""A scripted world through the daemon's own pipeline, with a tape beside it: what was said live, and the recording."""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from aiops import correlate, narrative
from aiops.detect import build_detectors
from aiops.detect.alerts import AlertBook
from aiops.detect.budget import ErrorBudget
from aiops.export.docket import Docket
from aiops.export.recording import RecordingFolder
from aiops.export.tape import Beginning, Sources, Tape
from aiops.logs.path import LogPath
from aiops.model import Judgement, Labels, LogRecord, Observation, Sample, Severity, Spoken, Tally
from aiops.model.judging import Said, judge
from aiops.pipeline import Board, Pipeline
from aiops.replay.playing import Outcome
from aiops.rulebook.alerts import load_alert_rules
from aiops.rulebook.causes import load_causes
from aiops.rulebook.places import fingerprint, shipped_rules
from aiops.rulebook.signatures import load_signatures
from aiops.saving import Saver
from aiops.selfstat import SelfStat
from aiops.store.event_memory import EventMemory
from aiops.store.rings import Rings
from tests.fakes import FakeCheckpoints
from tests.scenarios.scenario import START_S, Scenario, build_world

RULES = [shipped_rules()]
HOST = "n1"
URL = "http://n1:9477"
RECEIVERS = (("oncall", ("page", "ticket")), ("wall", ("page",)))
ENGINE = Labels.of(source="/var/log/vllm.log", instance="127.0.0.1:8001")


class Source:
    """What one collector sees in one run."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        self.observations = observations

    async def run(self, now_s: float, *, hastened: bool = False) -> Sequence[Observation]:
        return self.observations

    def acknowledge(self, now_s: float) -> None:
        pass


class _Nowhere:
    def renew(self, samples: Callable[[], Iterable[Sample]]) -> None:
        pass

    def put(self, notification: object, now_s: float) -> None:
        pass


async def at_once(work):
    return work()


class Live:
    """The daemon's parts, with a tape beside them."""

    def __init__(self, folder: Path, said_before: Sequence[Judgement] = (), objective: float = 0.999) -> None:
        stat = SelfStat(CollectorRegistry())
        self.outcome = Outcome()
        self.rings, self.events, self.tape = Rings(stat), EventMemory(), Tape()
        self.logs = LogPath(HOST, load_signatures(RULES), stat)
        alerts = load_alert_rules(RULES)
        urgent, steady = build_detectors(alerts)
        self.book = AlertBook(alerts)
        self.docket = Docket()
        self.desk = correlator = correlate.build(
            causes=load_causes(RULES), series=self.rings, events=self.events, templates=self.logs, stat=stat,
            compose=functools.partial(narrative.compose, base_url=URL),
            compose_tickets=functools.partial(narrative.compose_tickets, base_url=URL),
            receivers=[(name, frozenset(map(Severity, wanted))) for name, wanted in RECEIVERS],
            tally=Tally.of(said_before),
        )  # fmt: skip
        self.pipeline = Pipeline(
            series=self.rings, events=self.events, logs=self.logs, urgent=urgent, steady=steady, book=self.book,
            correlator=correlator, saver=Saver(self.outcome, _Nowhere(), stat, at_once), keeper=self.outcome,
            board=Board(self.book, ()), exposition=_Nowhere(), stat=stat, run_blocking=at_once, promised=lambda: None,
            ledgers=(ErrorBudget(HOST, objective, {}, FakeCheckpoints()),), tape=self.tape,
            docket=self.docket,
        )  # fmt: skip
        self.tape.load(
            Sources(self._beginning, self.rings.freeze, lambda now_s: self.events.events(0.0, now_s + 1e6), self.logs)
        )
        self.folder = RecordingFolder(folder)

    def _beginning(self) -> Beginning:
        return Beginning(
            "0",
            HOST,
            fingerprint(RULES),
            URL,
            "en",
            RECEIVERS,
            self.events.has_change_feed(),
            tuple(self.book.held()),
            (),
            self.desk.tally,
        )

    def say(self, said: Said, cause: str, now_s: float) -> None:
        """What a person says of the newest incident."""
        incident = max(self.outcome.incidents.values(), key=lambda each: each.opened_at_s)
        known = {rule.cause for rule in load_causes(RULES)}
        self.docket.offer(Spoken(incident, judge(incident, said, cause, now_s, known)))

    async def write(self) -> None:
        """Everything the tape says, into the folder."""
        async for lines in self.tape.take():
            for line in lines.splitlines(keepends=True):
                self.folder.take(line)
        self.tape.release()


def observations(scenario: Scenario, seed: str, first_bad_words: Sequence[str]) -> dict[int, list[list[Observation]]]:
    """By second, what each collector sees: one for each family of metrics, one for logs, one for events."""
    world = build_world(scenario, seed)
    found: dict[int, dict[str, list[Observation]]] = defaultdict(lambda: defaultdict(list))
    for metric, by_labels in world.series.held.items():
        for labels, points in by_labels.items():
            for at_s, value in points.items():
                found[int(at_s - START_S)][metric.partition("_")[0]].append(Sample(metric, labels, at_s, value))
    for event in world.events.held:
        found[int(event.at_s - START_S)]["events"].append(event)
    for second in range(min(found), scenario.end + 1):
        words = first_bad_words if second >= scenario.first_bad else ()
        lines = [f"INFO 01-02 03:04:05 [async_llm.py:3] Added request cmpl-{second}.", *words]
        at_s = START_S + second + 0.25
        found[second]["logs"] += [LogRecord(at_s, ENGINE, line.format(n=second)) for line in lines]
    return {second: list(found[second].values()) for second in sorted(found)}


async def live(
    world: dict[int, list[list[Observation]]],
    folder: Path,
    record_from: int,
    words: Mapping[int, tuple[Said, str]] | None = None,
    said_before: Sequence[Judgement] = (),
) -> Live:
    """Live through *world*, a second a second of it; the recording is closed at its end.

    It begins with the first evaluation from *record_from* on that asks every detector; alerts of before are left out.
    *words*: by second, what a person says of the newest incident.
    """
    house = Live(folder, said_before)
    writing: asyncio.Task[None] | None = None
    for second, rounds in world.items():
        now_s = START_S + second + 0.123456789
        for round_ in rounds:
            await house.pipeline.collect(Source(round_), now_s)
        if writing is None and second >= record_from:
            house.outcome.alerts.clear()
            writing = asyncio.create_task(house.write())
            await asyncio.sleep(0)
        if words and second in words:
            house.say(*words[second], now_s)
        await house.pipeline.evaluate(now_s + 0.4)
        if second % 5 == 0:
            await house.pipeline.tidy(now_s + 0.5)
        await asyncio.sleep(0)
    house.tape.stop("the world ended")
    assert writing is not None
    await writing
    house.folder.close("the world ended")
    return house
