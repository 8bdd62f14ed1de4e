"""
The ranker of `aiops explain` on the lab's recordings, beside BARO, nsigma, max |z| and counting alerts.

As bench/rca.py has it for folders of cases: the same numbers, ways and constants. The time given is that of the first
bad answer, or up to two minutes later where the recording goes on that long. What is to be found is the thing the fault
was at (a card, a replica, the host), or, where it was at the whole service, any thing in whose series the cause shows as
its file has it, which is easier: each kind is told apart too, with its chance. And, series by series, one of that thing
in which the cause shows. All ways get the table without the symptom; ours once more with it.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lab_columns
import lab_runs
import machine
import rca
import rca_peers

from aiops.offline.columns import Columns
from aiops.offline.explain import explain, service_of
from aiops.rulebook.causes import load_causes
from aiops.rulebook.places import shipped_rules

LEFT_S = 8.0
"""Seconds of the fault that must lie behind the alert."""
SETTLED_S = 40.0
"""Before the fault: until then users had only just come, and servers were only just up."""
NOWHERE = 10**6


@dataclass(frozen=True)
class LabCase:
    run: lab_runs.Run
    columns: Columns
    with_symptom: Columns
    at_s: float
    things: frozenset[str]
    """Any of them is right."""
    family: frozenset[str]

    @property
    def services(self) -> int:
        return len({service_of(name) for name in self.columns.names})

    @property
    def kind(self) -> str:
        """Of what the fault was at."""
        thing = next(iter(self.things))
        located = len(self.things) == 1 and thing != lab_columns.GATEWAY
        return ("card" if thing.startswith("gpu") else "host" if thing == lab_columns.HOST else "replica") if located else "service"  # fmt: skip

    def place(self, ranked: Sequence[str]) -> int:
        """Of the first thing that is right, from 0."""
        return min(rca.place(ranked, thing) for thing in self.things)

    def series_place(self, ranked: Sequence[str]) -> int:
        """Of the first series of what is right in whose metric the cause shows, from 0."""
        right = (service_of(name) in self.things and lab_columns.shows(name, self.family) for name in ranked)
        return next((place for place, hit in enumerate(right) if hit), NOWHERE)


Way = Callable[[LabCase, float], tuple[list[str], list[str]]]
"""Services and series, best first."""


def ours(case: LabCase, at_s: float) -> tuple[list[str], list[str]]:
    found = explain(case.columns, at_s)
    return [name for name, _ in found.services], [each.name for each in found.series]


def ours_knowing(case: LabCase, at_s: float) -> tuple[list[str], list[str]]:
    found = explain(case.with_symptom, at_s, lab_columns.SYMPTOM)
    return [name for name, _ in found.services], [each.name for each in found.series]


def peer(way: rca_peers.Way) -> Way:
    def ranked(case: LabCase, at_s: float) -> tuple[list[str], list[str]]:
        names = way(case.columns, at_s)
        return names, names

    return ranked


WAYS: dict[str, Way] = {
    "aiops": ours,
    "aiops, symptom known": ours_knowing,
    "nsigma": peer(rca_peers.nsigma),
    "max_abs_z": peer(rca_peers.max_abs_z),
    "most_alerts": peer(rca_peers.most_alerts),
}


def cases_of(runs: Sequence[lab_runs.Run]) -> list[LabCase]:
    rules = {rule.cause: rule for rule in load_causes([shipped_rules()])}
    found = []
    for run in runs:
        rule = rules.get(run.truth.causes[0]) if run.truth.causes else None
        if run.truth.kind != "fault" or rule is None or run.truth.first_bad_s is None:
            continue
        from_s = run.truth.began_s - SETTLED_S
        table = lab_columns.columns(run.recording, from_s)
        things = lab_columns.true_things(run.truth, rule, table.names)
        if things & {service_of(name) for name in table.names}:
            symptom = lab_columns.columns(run.recording, from_s, symptom=True)
            found.append(LabCase(run, table, symptom, run.truth.first_bad_s, things, lab_columns.family(rule)))
    return found


def measure(cases: Sequence[LabCase], baro: str | None) -> dict:
    fit = {late: [case for case in cases if case.at_s + late + LEFT_S <= case.run.truth.ended_s] for late in rca.LATE_S}
    ways: dict[str, dict] = {name: {} for name in WAYS}
    for late, held in fit.items():
        if held:
            for name, way in WAYS.items():
                ways[name][str(late)] = timed(way, held, late)
    if baro:
        ways["baro"] = by_baro(baro, fit)
    found = {str(late): {"cases": len(held), "chance": chance(held)} for late, held in fit.items() if held}
    return {"late": found, "ways": ways, "intervals": rca.intervals(ways)}


def chance(cases: Sequence[LabCase]) -> dict:
    """Of one right thing among the first k, drawn without looking."""
    within = [
        sum(1.0 - math.comb(case.services - len(case.things), k) / math.comb(case.services, k) for case in cases) / len(cases)
        for k in range(1, 6)
    ]  # fmt: skip
    kinds = {kind: sum(len(case.things) / case.services for case in of) / len(of) for kind, of in by_kind(cases).items()}  # fmt: skip
    return {"ac1": within[0], "ac3": within[2], "avg5": sum(within) / 5, "kinds": kinds}


def by_kind(cases: Sequence[LabCase]) -> dict[str, list[LabCase]]:
    return {kind: [case for case in cases if case.kind == kind] for kind in sorted({case.kind for case in cases})}


def timed(way: Way, cases: Sequence[LabCase], late_s: float) -> dict:
    began_s = time.process_time()
    answers = [way(case, case.at_s + late_s) for case in cases]
    return scored(cases, answers, (time.process_time() - began_s) / len(cases))


def scored(cases: Sequence[LabCase], answers: Sequence[tuple[list[str], list[str]]], cpu_s: float) -> dict:
    pairs = list(zip(cases, answers, strict=True))
    places = {case.run.folder: case.place(services) for case, (services, _) in pairs}
    things = rca.scored(list(places.values()), cpu_s)
    kinds = {
        kind: {"cases": len(of), "ac1": sum(places[case.run.folder] < 1 for case in of) / len(of)}
        for kind, of in by_kind(cases).items()
    }
    series = rca.scored([case.series_place(ranked) for case, (_, ranked) in pairs], cpu_s)
    return things | {"kinds": kinds, "series": {key: series[key] for key in ("ac1", "ac3", "avg5")}}


def by_baro(python: str, fit: dict[float, list[LabCase]]) -> dict:
    cases = fit[rca.LATE_S[0]]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.csv" for number in range(len(cases))]
        for case, file in zip(cases, files, strict=True):
            lab_columns.write(case.columns, file)
        times = [[case.at_s + late for late, held in fit.items() if case in held] for case in cases]
        answers = dict(zip((case.run.folder for case in cases), rca_peers.baro(python, files, times), strict=True))
    found = {}
    for number, (late, held) in enumerate(fit.items()):
        rows = [answers[case.run.folder][number] for case in held]
        if rows:
            cpu_s = sum(row["cpu_s"] for row in rows) / len(rows)
            found[str(late)] = scored(held, [(row["ranks"], row["ranks"]) for row in rows], cpu_s)
    return found


def _kinds(found: dict[str, float]) -> str:
    return ", ".join(f"{kind} {value:.2f}" for kind, value in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description="The ranker beside others, on the lab's recordings.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="runs of the lab, or folders of them")
    parser.add_argument("--baro", metavar="PYTHON", help="interpreter of a venv that holds fse-baro")
    parser.add_argument("--quick", action="store_true", help="writes no result")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    cases = cases_of(lab_runs.read_runs(args.folders))
    if not cases:
        raise SystemExit("there is no fault in these folders whose place is known")
    result = measure(cases, args.baro)
    for late, held in result["late"].items():
        by_chance = " / ".join(f"{held['chance'][key]:.2f}" for key in ("ac1", "ac3", "avg5"))
        print(f"{late} s late: {held['cases']} cases, chance {by_chance}; {_kinds(held['chance']['kinds'])}")
        for way, rows in result["ways"].items():
            if row := rows.get(late):
                things, series = (
                    " / ".join(f"{r[key]:.2f}" for key in ("ac1", "ac3", "avg5")) for r in (row, row["series"])
                )
                print(
                    f"  {way:<22} {things}  {_kinds({kind: r['ac1'] for kind, r in row['kinds'].items()})}  series {series}  {row['cpu_s'] * 1e3:8.1f} ms  {result['intervals'][late].get(f'aiops - {way}', '')}"
                )
    if not args.quick:
        sys.argv = ["bench/rca_lab.py", "RUNS", *(["--baro", "PYTHON"] if args.baro else [])]
        print(machine.write("rca_lab", {"seed": rca.SEED, **result}))


if __name__ == "__main__":
    main()
