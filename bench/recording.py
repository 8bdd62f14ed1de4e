"""
What a recording costs: an hour of a large node, through the tape and into files, and back through today's rules.

Two thousand series at five seconds: a third stand still, a third are counters with uneven steps, a third are noisy
gauges of which every digit differs. Run from the repository's root: ``python -m bench.recording [--series N] [--held]``;
``--held`` fills memory with an hour before the recording begins.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry

from aiops.catalog import CATALOG
from aiops.export.recording import RecordingFolder
from aiops.export.tape import Beginning, Sources, Tape
from aiops.model import Labels, Sample, TemplateNote
from aiops.ports import Part
from aiops.replay.playing import play
from aiops.replay.reading import Recording
from aiops.rulebook.places import fingerprint, shipped_rules
from aiops.selfstat import SelfStat
from aiops.store.rings import Rings

START_S = 1_800_000_000.0
EVERY_S = 5.0
COLLECTORS = 12


class NoNotes:
    """A node without logs."""

    def begin_notes(self) -> None:
        pass

    def notes(self) -> tuple[TemplateNote, ...]:
        return ()

    def end_notes(self) -> None:
        pass


class Node:
    """Series of a node, by collector."""

    def __init__(self, count: int) -> None:
        self._rng = random.Random(7)
        # what no rule looks at: else the symptoms this noise makes are what is measured
        names = [name for name in CATALOG if name.startswith(("system_", "process_", "gen_ai_"))]
        self._series: list[list[tuple[str, Labels, int]]] = [[] for _ in range(COLLECTORS)]
        for number in range(count):
            collector = number % COLLECTORS
            labels = Labels.of(
                host_name="gpu-node-17.example.org",
                instance=f"10.0.3.{collector}:8000",
                device=f"dev{number // len(names)}",
            )
            self._series[collector].append((names[number % len(names)], labels, number % 3))
        self._totals: dict[tuple[str, Labels], float] = {}

    def rounds(self, hours: float, start_s: float) -> Iterator[tuple[float, tuple[Sample, ...]]]:
        """Times, and what the collector saw whose turn it was; every five seconds each has one."""
        for step in range(int(hours * 3600.0 / EVERY_S)):
            for number, series in enumerate(self._series):
                now_s = start_s + step * EVERY_S + number * 0.3 + self._rng.random() * 0.01
                yield (
                    now_s,
                    tuple(
                        [Sample(name, labels, now_s, self._value(name, labels, kind)) for name, labels, kind in series]
                    ),
                )

    def _value(self, name: str, labels: Labels, kind: int) -> float:
        if kind == 0:
            return 42.0
        if kind == 1:
            total = self._totals.get((name, labels), 1e6) + self._rng.randrange(1000)
            self._totals[name, labels] = total
            return total
        return 50.0 + self._rng.gauss(0.0, 5.0)


async def record(node: Node, folder: RecordingFolder, *, held: bool) -> tuple[float, float]:
    """CPU seconds of the tape (in the daemon) and of the folder (in the command)."""
    rings, tape = Rings(SelfStat(CollectorRegistry())), Tape(2**40)
    if held:
        for _, samples in node.rounds(1.0, START_S - 3600.0):
            rings.extend(samples)
    begin = Beginning("0", "n1", fingerprint([shipped_rules()]), "http://n1", "en", (), False, (), ())
    tape.load(Sources(lambda: begin, rings.freeze, lambda _: (), NoNotes()))
    lines = tape.take()
    spent_tape = spent_folder = 0.0
    second = START_S
    tape_began = time.process_time()
    tape.evaluating(START_S, steady=True)
    print(f"begins in {(time.process_time() - tape_began) * 1e3:.0f} ms of the daemon's loop")
    for now_s, samples in node.rounds(1.0, START_S):
        began = time.process_time()
        while second < now_s:
            tape.ticked("evaluate", second)
            second += 1.0
        tape.took(Part.COLLECTED, samples, now_s)
        spent_tape += time.process_time() - began
    tape.stop("the hour is over")
    began = time.process_time()
    async for chunk in lines:
        for line in chunk.splitlines(keepends=True):
            folder.take(line)
    folder.close("the hour is over")
    tape.release()
    spent_folder = time.process_time() - began
    return spent_tape, spent_folder


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=2_000)
    parser.add_argument("--held", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "r"
        folder = RecordingFolder(path)
        tape_s, folder_s = asyncio.run(record(Node(args.series), folder, held=args.held))
        size = sum(each.stat().st_size for each in path.iterdir())
        print(f"{args.series} series, one hour, {folder.samples:,} samples: {size / 1e6:.1f} MB in all")
        for each in sorted(path.iterdir()):
            print(f"  {each.name:<16} {each.stat().st_size / 1e6:6.2f} MB")
        print(f"daemon: {tape_s:.1f} s CPU, {tape_s / 36:.2f} % of a core; command: {folder_s:.1f} s CPU")
        began = time.process_time()
        outcome = asyncio.run(play(Recording(path), [shipped_rules()]))
        print(f"replayed in {time.process_time() - began:.1f} s CPU; {len(outcome.incidents)} incidents")


if __name__ == "__main__":
    main()
