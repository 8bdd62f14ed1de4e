"""
How often the daemon is right about the lab's faults: recordings played through today's rules, beside what is true.

A folder holds runs as ``python -m tests.lab`` leaves them. ``--explain RUN`` shows what decided one run, for whoever
mends a rule; ``--quick`` leaves out the runs with a cause file missing and writes no result. How a run is judged stands
in `lab_scores`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import calibration
import lab_judged
import lab_play
import lab_runs
import lab_scores
import machine
import tables_lab

from aiops.correlate import NOTHING_SAID

PLOT = Path(__file__).parent.parent / "docs" / "reliability.svg"
KEPT = (
    "run", "kind", "causes", "where", "stub", "gateway", "dialect", "status", "answer", "place", "probability", "right",
    "place_right", "in_three", "first_named", "named", "seconds", "seconds_live", "live_is_replay", "damaged",
)  # fmt: skip
"""Of a row, what the result file holds."""


def score(runs: Sequence[lab_runs.Run], jobs: int, *, quick: bool) -> tuple[dict, list[dict], list[dict]]:
    """The numbers, the rows of runs, and those with a cause file missing."""
    truths = [dataclasses.asdict(run.truth) for run in runs]
    played = lab_play.play_all([(run.recording, "", NOTHING_SAID) for run in runs], jobs)
    rows = [
        lab_scores.row_of(run.name, truth, one, run.messages(), lab_play.today())
        for run, truth, one in zip(runs, truths, played, strict=True)
    ]
    leads = lab_play.leads()
    missing = [
        (run, truth) for run, truth in zip(runs, truths, strict=True)
        if not quick and truth["kind"] == "fault" and truth["causes"][0] in leads
    ]  # fmt: skip
    without = lab_play.play_all([(run.recording, truth["causes"][0], NOTHING_SAID) for run, truth in missing], jobs)
    left_out = [
        lab_scores.left_out_row(run.name, truth, one, leads)
        for (run, truth), one in zip(missing, without, strict=True)
        if "damaged" not in one
    ]
    summary = lab_scores.summary(rows, left_out)
    summary["calibration"] = {
        "first": calibration.judged(calibration.first_answers(rows)),
        "first_five": calibration.judged(calibration.all_answers(rows, leads)),
        "first_after": calibration.judged(calibration.first_answers([] if quick else after(runs, truths, rows, jobs))),
    }
    summary["cpu_s_a_run"] = sum(one.get("cpu_s", 0.0) for one in played) / max(len(played), 1)
    return summary, rows, left_out


def after(runs: Sequence[lab_runs.Run], truths: Sequence[Mapping], rows: Sequence[Mapping], jobs: int) -> list[dict]:
    """The rows on a node where people have judged answers; none where *rows* are too few to learn from."""
    said = lab_judged.tallies(rows)
    if said is None:
        return []
    again = lab_play.play_all([(run.recording, "", said[place % 2]) for place, run in enumerate(runs)], jobs)
    return [
        lab_scores.row_of(run.name, truth, one, None, lab_play.today())
        for run, truth, one in zip(runs, truths, again, strict=True)
    ]


def explain(runs: Sequence[lab_runs.Run], name: str, without: str) -> str:
    run = lab_runs.named(runs, name)
    truth, played = dataclasses.asdict(run.truth), lab_play.played(run.recording, without)
    row = lab_scores.row_of(run.name, truth, played, run.messages(), lab_play.today())
    return lab_scores.explained(row, truth, played)


def main() -> None:
    parser = argparse.ArgumentParser(description="Lab recordings, played through today's rules and scored.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="runs of the lab, or folders of them")
    parser.add_argument("--explain", metavar="RUN", help="what decided this run; the beginning of its name is enough")
    parser.add_argument("--without", metavar="CAUSE", default="", help="with --explain: as if this cause had no file")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="recordings played at once")
    parser.add_argument("--quick", action="store_true", help="no cause file is left out; writes no result")
    args = parser.parse_args()
    began_s = time.monotonic()
    runs = lab_runs.read_runs(args.folders)
    if not runs:
        raise SystemExit("there is no run of the lab in these folders")
    if args.explain:
        print(explain(runs, args.explain, args.without))
        return
    summary, rows, left_out = score(runs, args.jobs, quick=args.quick)
    summary["failed_experiments"] = lab_runs.failed(args.folders)
    print("\n".join(tables_lab.lab({"summary": summary})))
    print(*(lab_scores.confusion(row) for row in rows if lab_scores.wrong(row)), sep="\n")
    print(*(f"{row['run']} without {row['without']}: {row['said']}, {row['answer']} {row['probability']:.2f}"
            for row in left_out if row["answer"]), sep="\n")  # fmt: skip
    print(f"{len(runs)} runs in {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    if not args.quick:
        PLOT.write_text(calibration.picture(summary["calibration"]["first"].get("bins", [])))
        sys.argv = ["bench/lab.py", "RUNS"]  # where they lie here helps nobody
        kept = [{key: row[key] for key in KEPT if key in row} for row in rows]
        print(
            machine.write(
                "lab",
                {
                    "rules": lab_play.today(),
                    "goals": tables_lab.reached(summary),
                    "summary": summary,
                    "runs": kept,
                    "left_out": left_out,
                },
            )
        )


if __name__ == "__main__":
    main()
