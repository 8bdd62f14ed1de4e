"""
``aiops logs``: what a log says, without a daemon: templates with counts and cause class, or the class of every line.

Ends as programs among pipes do: a reader that goes away ends it by SIGPIPE and Ctrl-C by SIGINT, both without a word;
what cannot be read is named and skipped, and the status is 2 at the end.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from aiops.cli import run
from aiops.cli.progress import Bar
from aiops.clock import Clock, SystemClock
from aiops.errors import AiopsError

if TYPE_CHECKING:
    from aiops.offline.lines import LineReader
    from aiops.offline.tally import Row, Tally
    from aiops.rulebook.signatures import LogSignature

_BATCH_LINES = 20_000
_MAX_CLUSTERS = 4_000
"""Of each severity; the least recently used give way. Systems have hundreds; in a log of noise each line is compared with\nall that are as long."""
_PIPE_CELLS = 160
"""Width of the table where there is no terminal."""
_UNREADABLE = 2
"""Exit status when an input could not be read, as grep has it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="cluster | classify")
    cluster = actions.add_parser(
        "cluster",
        help="templates with counts and cause class",
        description="Templates with counts and cause class: trouble first, then what is most frequent.",
    )
    _add_common(cluster)
    cluster.add_argument("--json", action="store_true", help="one JSON object with all templates instead of the table")
    cluster.add_argument(
        "--assign",
        type=Path,
        metavar="OUT",
        help="also write the template id of every line to OUT: one a line, in input order, - where --since left it out",
    )
    cluster.add_argument(
        "--since",
        type=_when,
        metavar="WHEN",
        help="leave out lines that say they are older: 2h, 2026-11-24, 2026-11-24T10:00 (local time). A line without "
        "a time belongs to the last one that has one",
    )
    classify = actions.add_parser(
        "classify",
        help="the log class of every line",
        description="The log class of every line: class, severity, and what was found or how sure a guess is.",
    )
    _add_common(classify)
    classify.add_argument("--json", action="store_true", help="one JSON object a line")


def _add_common(parser: argparse.ArgumentParser) -> None:
    run.add_arguments(parser)
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="a log; one that is compressed (.gz); a pattern in quotes; - for standard input",
    )


def _when(text: str) -> str:
    """*text*, if it is a moment; otherwise the command is misspelt."""
    from aiops.offline.since import parse_when  # noqa: PLC0415

    try:
        parse_when(text, 0.0)
    except AiopsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def main(args: argparse.Namespace) -> int:
    """Exit status 0; 2 when an input could not be read."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # logs hold more than every terminal can show
    try:
        status = _cluster(args, SystemClock()) if args.action == "cluster" else _classify(args)
    except KeyboardInterrupt:
        _die_of(signal.SIGINT)
        raise
    except BrokenPipeError:
        _die_of(signal.SIGPIPE)
        raise
    return status


def _die_of(number: signal.Signals) -> None:
    """End as a program that leaves signal *number* alone: shells look at how one ended, not only at whether."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _say(text: str) -> None:
    """
    To standard output, at once: somebody may be watching the end of a log.

    Raises:
        AiopsError: it is on a full disk.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        # what is still in the buffer would fail once more, with a traceback, when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise AiopsError(f"standard output: {error.strerror}") from error


def _complain(text: str) -> None:
    over_the_bar = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{over_the_bar}aiops: {''.join(c if c.isprintable() else ' ' for c in text)}", file=sys.stderr)


def _signatures(config: Path | None) -> tuple[LogSignature, ...]:
    from aiops import settings  # noqa: PLC0415
    from aiops.rulebook.places import rules_dirs  # noqa: PLC0415
    from aiops.rulebook.signatures import load_signatures  # noqa: PLC0415

    return load_signatures(rules_dirs(settings.load(run.settings_file(config)).rules.dir))


# --- cluster --------------------------------------------------------------------------------------------------------


def _cluster(args: argparse.Namespace, clock: Clock) -> int:
    # polars and numpy: not before they are needed, -h must answer at once
    from aiops.logs.batch import Batch  # noqa: PLC0415
    from aiops.logs.lexicon import Lexicon  # noqa: PLC0415
    from aiops.logs.privacy import Privacy  # noqa: PLC0415
    from aiops.offline.cluster import Clustering  # noqa: PLC0415
    from aiops.offline.lines import LineReader  # noqa: PLC0415
    from aiops.offline.since import Since, parse_when  # noqa: PLC0415
    from aiops.offline.tally import Tally  # noqa: PLC0415
    from aiops.stamps import Stamps  # noqa: PLC0415

    now_s = clock.now_s()
    since = Since(parse_when(args.since, now_s), Stamps(now_s)) if args.since else None
    tally = Tally()
    clustering = Clustering(
        Batch(max_clusters=_MAX_CLUSTERS), Lexicon(_signatures(args.config)), Privacy(), since, tally
    )
    reader = LineReader(args.files, _complain)
    bar = Bar(sys.stderr, reader, clock)
    with bar, _opened(args.assign, reader) as out:
        for lines in reader.batches(_BATCH_LINES):
            ids = clustering.take(lines)
            if out:
                out.write("\n".join(ids) + "\n")
            bar.draw(clustering.lines)
    if args.json:
        _say(_as_json(tally.rows()))
    elif clustering.lines or not reader.failed:
        _say(_as_text(tally))
    if since and clustering.lines and not since.stamped:
        _complain("--since: no line says when it was written, so none was left out")
    _complain_of_cut(reader)
    return _UNREADABLE if reader.failed else 0


@contextmanager
def _opened(path: Path | None, reader: LineReader) -> Iterator[TextIO | None]:
    """The file for ids, if there is to be one."""
    if path is None:
        yield None
        return
    if reader.reads(path):
        raise AiopsError(f"--assign {path}: is one of the files to read")
    try:
        with path.open("w", encoding="ascii") as out:
            yield out
    except BrokenPipeError:
        raise
    except OSError as error:
        raise AiopsError(f"--assign {path}: {error.strerror}") from error


def _as_json(rows: Sequence[Row]) -> str:
    return json.dumps({
        "lines": sum(row.count for row in rows),
        "templates": [
            {
                "id": row.id,
                "template": row.template,
                "count": row.count,
                "class": row.log_class,
                "severity": row.severity,
                "first_line": row.first_line,
                "last_line": row.last_line,
            }
            for row in rows
        ],
    })  # fmt: skip


def _as_text(tally: Tally) -> str:
    from aiops.logs.guess import Guesser  # noqa: PLC0415
    from aiops.offline.table import Look, is_unknown_error, summary, table  # noqa: PLC0415

    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    look = Look(cells=shutil.get_terminal_size((_PIPE_CELLS, 0)).columns, colours=colours)
    rows = tally.rows()
    if any(map(is_unknown_error, rows)):
        guesser = Guesser.load()
        rows = [
            replace(row, guess=guesser.guess([row.template])[0].log_class) if is_unknown_error(row) else row
            for row in rows
        ]
    return f"{summary(rows, tally.classes())}\n\n{table(rows, look)}" if rows else summary(rows, {})


# --- classify -------------------------------------------------------------------------------------------------------


def _classify(args: argparse.Namespace) -> int:
    from aiops.logs.classify import Classifier  # noqa: PLC0415
    from aiops.logs.guess import Guesser  # noqa: PLC0415
    from aiops.offline.classify import as_json, as_text  # noqa: PLC0415
    from aiops.offline.lines import LineReader  # noqa: PLC0415

    classifier = Classifier(_signatures(args.config), Guesser.load())
    reader = LineReader(args.files, _complain)
    number = 0
    for lines in reader.as_they_come(_BATCH_LINES):
        answers = enumerate(classifier.classify(lines), number + 1)
        number += len(lines)
        _say("\n".join(as_json(line, answer) if args.json else as_text(answer) for line, answer in answers))
    _complain_of_cut(reader)
    return _UNREADABLE if reader.failed else 0


def _complain_of_cut(reader: LineReader) -> None:
    if reader.oversize:
        _complain(f"{reader.oversize:,} lines of more than 64 KiB were cut")
