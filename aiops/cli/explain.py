"""``aiops explain``: root cause from a file of series, and a log if there is one. Needs no daemon."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aiops import settings
from aiops.cli import run
from aiops.errors import AiopsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiops.offline.explain import Explanation
    from aiops.offline.log_causes import LogCause

_BATCH_LINES = 20_000
_PIPE_CELLS = 140
"""Width of the table where there is no terminal."""
_DAY_S = 86_400.0
_DIGITS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "metrics",
        type=Path,
        metavar="METRICS.csv",
        help="a time column (epoch seconds), other columns SERVICE_METRIC; .csv.gz too",
    )
    parser.add_argument(
        "--at",
        type=_moment,
        metavar="EPOCH",
        help="when the alert fired; later rows are used, and the fault may have begun earlier. Without it the time is found",
    )
    parser.add_argument("--symptom", metavar="COLUMN", help="the column that alerted")
    parser.add_argument("--logs", type=Path, metavar="FILE", help="a log of that time; .gz too")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object instead of the table")
    run.add_arguments(parser)


def _moment(text: str) -> float:
    try:
        at_s = float(text)
    except ValueError:
        at_s = math.nan
    if not math.isfinite(at_s):
        raise argparse.ArgumentTypeError(f"expected seconds since 1970, found {text!r}")
    return at_s


def main(args: argparse.Namespace) -> int:
    """Exit status 0; 1 when an input cannot be used."""
    # numpy: not before it is needed, -h must answer at once
    from aiops.offline.columns import read_columns  # noqa: PLC0415
    from aiops.offline.explain import explain  # noqa: PLC0415

    columns = read_columns(args.metrics)
    answer = explain(columns, args.at, args.symptom)
    answer = replace(answer, notes=(*columns.notes, *answer.notes))
    causes: tuple[LogCause, ...] = ()
    if args.logs is not None:
        causes, note = _from_log(args.logs, args.config, answer.at_s)
        answer = replace(answer, notes=(*answer.notes, *([note] if note else [])))
    if args.json:
        print(as_json(answer, causes))
        for note in answer.notes:
            print(f"aiops: {note}", file=sys.stderr)
    else:
        _print_table(answer, causes, with_log=args.logs is not None)
    return 0


def _from_log(path: Path, config: Path | None, at_s: float) -> tuple[tuple[LogCause, ...], str]:
    """What the log speaks for, and a note where its times do not fit."""
    from aiops.logs.classify import Classifier  # noqa: PLC0415
    from aiops.logs.guess import Guesser  # noqa: PLC0415
    from aiops.offline.lines import LineReader  # noqa: PLC0415
    from aiops.offline.log_causes import LogTally, log_causes  # noqa: PLC0415
    from aiops.rulebook.causes import load_causes  # noqa: PLC0415
    from aiops.rulebook.places import rules_dirs  # noqa: PLC0415
    from aiops.rulebook.signatures import load_signatures  # noqa: PLC0415
    from aiops.stamps import Stamps  # noqa: PLC0415

    folders = rules_dirs(settings.load(run.settings_file(config)).rules.dir)
    tally = LogTally(Classifier(load_signatures(folders), Guesser.load()), Stamps(at_s + _DAY_S))
    complaints: list[str] = []
    reader = LineReader([str(path)], complaints.append)
    for lines in reader.as_they_come(_BATCH_LINES):
        tally.take(lines)
    if complaints:
        raise AiopsError(complaints[0])
    note = ""
    if (span := tally.span_s) is not None and not span[0] - _DAY_S / 24 <= at_s <= span[1] + _DAY_S / 24:
        note = f"The log's lines are from {span[0]:.0f} to {span[1]:.0f}, more than an hour from the alert."
    return log_causes(load_causes(folders), tally, at_s), note


def as_json(answer: Explanation, causes: Sequence[LogCause]) -> str:
    """The answer for programs; all series that can be judged, all services."""
    from aiops.offline.log_causes import place_of  # noqa: PLC0415

    return json.dumps(
        {
            "at": answer.at_s,
            "series": [
                {"name": s.name, "service": s.service, "score": _rounded(s.score), "onset": s.onset_s}
                for s in answer.series
            ],
            "services": [{"name": name, "score": _rounded(score)} for name, score in answer.services],
            "causes": [
                {
                    "cause": c.rule.cause,
                    "title": c.rule.title,
                    "where": place_of(c.rule),
                    "probability": round(c.probability, 3),
                    "evidence": [{"id": e.id, "state": e.state.value, "text": e.text} for e in c.evidence],
                }
                for c in causes
            ],
        }
    )


def _rounded(score: float) -> float:
    return float(f"{score:.{_DIGITS}g}")


def _print_table(answer: Explanation, causes: Sequence[LogCause], *, with_log: bool) -> None:
    from aiops.offline.explain_table import as_table  # noqa: PLC0415
    from aiops.offline.table import Look  # noqa: PLC0415

    terminal = sys.stdout.isatty()
    cells = shutil.get_terminal_size((_PIPE_CELLS, 24)).columns if terminal else _PIPE_CELLS
    print(as_table(answer, causes, Look(cells, colours=terminal), with_log=with_log))
