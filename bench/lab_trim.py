"""
A lab recording cut down to what a repository can hold, with the same answer.

Only series that a clause of any cause, an alert rule or the engine itself could read are kept; the healthy time is cut
short, and what comes after the final answer; numbers lose digits nobody reads; lines of logs were never in it, and of the
notes on templates those on errors stay, without their words. The name of the machine and where things lie on it become others. Then the cut one is played: if
the answer is another, more healthy time is kept, and if that does not help the run is refused.

``python bench/lab_trim.py RUN... --to tests/scenarios/recorded`` writes FOLDER/<cause or kind>/<run>/.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import gzip
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import lab_play
import lab_runs
import lab_scores

from aiops.catalog import CATALOG, MetricKind
from aiops.export.recording import META, RecordingFolder
from aiops.export.tape import FORMAT
from aiops.model import Event, LogSeverity, Sample, to_json
from aiops.replay.reading import Heard, Held, Noted, Recording, Step, Ticked, Took
from aiops.rulebook.places import shipped_rules

MAX_BYTES = 60_000
HEALTHY_S = (35.0, 60.0, 600.0)
"""Before the first bad answer, or the fault: the shortest that keeps the answer is taken."""
AFTER_S = 12.0
"""After the final answer, so that a change of mind would show."""
_DIGITS, _TIME_DIGITS = 5, 2
_STEADY_S = 5.0
_ERRORS = frozenset({LogSeverity.ERROR, LogSeverity.CRITICAL})
"""Templates that a clause may ask for."""
_ONLY_NAMED = frozenset({"log_template_records_total"})
"""Metrics that evidence points to, and nobody reads: templates are read from their notes."""
_PACKAGE = Path(lab_play.__file__).parent.parent / "aiops"
_HOST = "node1"
_PLACES = (
    (rb"(?:/var)?/tmp\b", b"/srv/t"),
    (rb"/root\b", b"/srv/r"),
    (rb"/home\b", b"/srv/h"),
    # a folder at the root that no standard names is somebody's own; elsewhere the same text may be a route
    (rb'(?<="mountpoint":")/(?!(?:boot|dev|media|mnt|opt|run|srv|usr|var)\b)[\w.-]+', b"/srv/m"),
)
PRIVATE = re.compile(rb"/(?:tmp|root|home)\b")
"""Where things lie on a machine of ours; nothing of it may be left."""


@functools.cache
def read_metrics() -> frozenset[str]:
    """What any clause, alert or the engine could read: every metric that is spelled out in any of them."""
    texts = [path.read_text() for path in shipped_rules().glob("*/*.yaml") if path.parent.name != "logs"]
    for part in ("correlate", "detect"):
        texts += [path.read_text() for path in (_PACKAGE / part).glob("*.py") if path.stem not in {"movers", "news"}]
    words = set(re.findall(r"\w+", " ".join(texts)))
    # the engine puts the names of the servers' metrics together from parts
    named = {name for name in CATALOG if name in words or name.removeprefix("gen_ai_server_") in words}
    return frozenset(named - _ONLY_NAMED)


@dataclasses.dataclass
class _Scissors:
    """Where to cut, and the way from steps back to lines of a tape."""

    from_s: float
    until_s: float

    def lines(self, recording: Recording) -> Iterator[list]:
        """As `export.tape` says them."""
        steps = list(recording.steps())
        start_s = _steady_before(steps, self.from_s, recording.beginning.at_s)
        number = _first_of(steps, start_s)
        before, after = steps[:number], steps[number:]
        whole = start_s <= recording.beginning.at_s
        alerts = recording.beginning.alerts if whole else ()
        begin = dataclasses.replace(
            recording.beginning, format=FORMAT, at_s=start_s, alerts=alerts, host=_HOST, url=f"http://{_HOST}:9477"
        )
        yield ["begin", begin]
        yield from (["event", _rounded(step.event)] for step in before if isinstance(step, Heard))
        numbers: dict[tuple, int] = {}
        held: dict[tuple, list[Sample]] = {}
        for sample in (s for step in before if isinstance(step, Held | Took) for s in step.samples):
            if sample.metric in read_metrics():
                points = held.setdefault((sample.metric, sample.labels), [])
                points[:] = [*(points if whole else []), sample]  # what is read once a minute must be known still
        for (metric, labels), points in held.items():
            numbers[metric, labels] = len(numbers)
            yield ["series", numbers[metric, labels], metric, dict(labels.pairs)]
            yield ["held", numbers[metric, labels], [_time(s.at_s) for s in points], [_value(s) for s in points]]
        for step in after:
            if isinstance(step, Ticked) and step.now_s > self.until_s:
                break
            yield from _lines_of(step, numbers)
        yield ["end", "it was cut short"]


def _steady_before(steps: Iterable[Step], wanted_s: float, first_s: float) -> float:
    """The last evaluation at or before *wanted_s* that asked every detector: a recording begins with such a one."""
    steady_s = found_s = first_s
    for step in steps:
        if (
            isinstance(step, Ticked)
            and step.tick == "evaluate"
            and (step.now_s - steady_s >= _STEADY_S or step.now_s == first_s)
        ):
            steady_s = step.now_s
            if steady_s <= wanted_s:
                found_s = steady_s
    return found_s


def _first_of(steps: list[Step], start_s: float) -> int:
    """Where the steps of the evaluation at *start_s* begin: behind the one before it, and what its own run gave."""
    number = next(i for i, step in enumerate(steps) if isinstance(step, Ticked) and step.now_s >= start_s)
    while number and not isinstance(steps[number - 1], Ticked | Held):
        number -= 1
    return number


def _lines_of(step: Step, numbers: dict[tuple, int]) -> Iterator[list]:
    if isinstance(step, Ticked):
        yield ["tick", step.tick, _time(step.now_s)]
    elif isinstance(step, Heard):
        yield ["event", _rounded(step.event)]
    elif isinstance(step, Took):
        kept = [s for s in step.samples if s.metric in read_metrics()]
        for sample in kept:
            key = sample.metric, sample.labels
            if key not in numbers:
                numbers[key] = len(numbers)
                yield ["series", numbers[key], sample.metric, dict(sample.labels.pairs)]
        if kept:
            values, times = [_value(s) for s in kept], [_time(s.at_s) for s in kept]
            yield ["samples", step.part, _time(max(times)), [numbers[s.metric, s.labels] for s in kept], values, times]
    elif isinstance(step, Noted):
        if notes := [dataclasses.replace(n, template="", values=()) for n in step.notes if n.severity in _ERRORS]:
            yield ["notes", notes]
    elif isinstance(step, Held):
        return


def _time(at_s: float) -> float:
    return round(at_s, _TIME_DIGITS)


def _value(sample: Sample) -> float:
    """A gauge to six digits, a counter to three places: what is counted is differences."""
    if CATALOG[sample.metric].kind is MetricKind.COUNTER or sample.metric.endswith(("_sum", "_count", "_time_seconds")):
        return round(sample.value, 4)
    return float(f"{sample.value:.{_DIGITS}g}")


def _rounded(event: Event) -> Event:
    return dataclasses.replace(event, at_s=_time(event.at_s), message="")


def scrubbed(line: bytes, host: str) -> bytes:
    """A line of a tape without the machine's name and the places on it."""
    if host:
        line = re.sub(rb"(?<![\w.-])" + re.escape(host.encode()) + rb"(?![\w-])", _HOST.encode(), line)
    for pattern, place in _PLACES:
        line = re.sub(pattern, place, line)
    return line


def cut(recording: Path, to: Path, from_s: float, until_s: float) -> None:
    source = Recording(recording)
    folder = RecordingFolder(to)
    host = source.beginning.host
    for line in _Scissors(from_s, until_s).lines(source):
        folder.take(scrubbed(to_json(line), host))
    folder.close("it was cut short")


def answer(truth: Mapping, played: Mapping) -> tuple:
    """What must stay: the answer and where, and what was told on the way, how sure. What it ends with hangs on when it ends."""
    if "damaged" in played:
        return "damaged", played["damaged"]
    found = lab_scores.answer_of(lab_scores.main_incident(played["incidents"], truth["began_s"]))
    told = [one for one in played["told"] if one["change"] != "resolved"]
    said = tuple((one["change"], one["cause"], round(one["probability"] or 0.0, 1)) for one in told)
    return (found["cause"], found["place"].replace(_HOST, ""), said) if found else (None, said)


def trim(run: lab_runs.Run, to: Path) -> str:
    """
    Write *run*, cut, to *to*; what became of it, in words.

    A run whose answer is wrong, or which cannot be cut without another answer, leaves nothing.
    """
    truth, whole = dataclasses.asdict(run.truth), lab_play.played(run.recording)
    row = lab_scores.row_of(run.name, truth, whole, None, "")
    if lab_scores.wrong(row):
        return f"not kept, for it is wrong: {lab_scores.wrong(row)}"
    wanted = _without_host(answer(truth, whole), Recording(run.recording).beginning.host)
    last_s = max((one["at_s"] for one in whole["told"] if one["change"] != "resolved"), default=truth["ended_s"])
    for healthy_s in HEALTHY_S:
        with tempfile.TemporaryDirectory() as beside:
            cut(
                run.recording,
                Path(beside) / "r",
                (truth["first_bad_s"] or truth["began_s"]) - healthy_s,
                last_s + AFTER_S,
            )
            same = answer(truth, lab_play.played(Path(beside) / "r")) == wanted
            if same:
                return _keep(Path(beside) / "r", run, to)
    return "not kept: cut short it has another answer"


def _without_host(found: tuple, host: str) -> tuple:
    return tuple(each.replace(host, "") if host and isinstance(each, str) else each for each in found)


def _keep(cut_one: Path, run: lab_runs.Run, to: Path) -> str:
    meta = cut_one / META
    (cut_one / f"{META}.gz").write_bytes(gzip.compress(meta.read_bytes(), 9, mtime=0))
    meta.unlink()
    for path in cut_one.iterdir():
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if found := PRIVATE.search(text):
            return f"not kept: {path.name} tells {found[0].decode()}"
    size = sum(path.stat().st_size for path in cut_one.iterdir())
    if size > MAX_BYTES:
        return f"not kept: {size:,} bytes are more than {MAX_BYTES:,}"
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(cut_one, to / lab_runs.RECORDING)
    told = json.loads((run.folder / lab_runs.TRUTH).read_text())
    kept = {name: told[name] for name in told if name != "revision"}
    host = Recording(run.recording).beginning.host
    (to / lab_runs.TRUTH).write_bytes(scrubbed(json.dumps(kept, indent=1).encode(), host) + b"\n")
    return f"{size:,} bytes"


def main() -> None:
    parser = argparse.ArgumentParser(description="Cuts runs of the lab down to scenarios.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="runs of the lab, or folders of them")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where they are kept, by cause")
    args = parser.parse_args()
    for run in lab_runs.read_runs(args.runs):
        kind = run.truth.causes[0] if run.truth.kind == "fault" else run.truth.kind
        print(f"{run.name}: {trim(run, args.to / kind / run.name)}")


if __name__ == "__main__":
    main()
