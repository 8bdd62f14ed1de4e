"""
Real faults, recorded in the lab and cut down (bench/lab_trim.py): today's rules must still find what was at work.

A folder under ``recorded/<cause>`` is a run: `truth.json`, and a recording whose `meta.json` is compressed.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import shutil
from pathlib import Path

import pytest

from aiops.model import Incident
from aiops.replay.playing import Outcome, play
from aiops.replay.reading import Recording
from aiops.rulebook.places import shipped_rules

RECORDED = Path(__file__).parent / "recorded"
RUNS = sorted(path.parent for path in RECORDED.glob("*/*/truth.json"))
MAX_BYTES = 64_000
PRIVATE = re.compile(rb"/(?:tmp|root|home)\b")


def played(run: Path, beside: Path) -> Outcome:
    shutil.copytree(run / "recording", beside)
    packed = beside / "meta.json.gz"
    (beside / "meta.json").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    recording = Recording(beside)
    outcome = asyncio.run(play(recording, [shipped_rules()]))
    assert recording.cut_off == ""
    return outcome


def shown(incident: Incident) -> str:
    return "\n".join(
        f"{h.cause} at {h.place}: {h.verdict} {h.probability} {h.reason}\n"
        + "\n".join(f"    {e.id}: {e.state} {e.log_odds:+.2f} {e.text}" for e in h.evidence)
        for h in incident.diagnosis.hypotheses[:6]
    )


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_recorded_fault_is_named_where_it_was_and_nothing_else_before(run: Path, tmp_path: Path):
    """What was right once stays right, whatever is changed for another fault."""
    truth = json.loads((run / "truth.json").read_text())
    outcome = played(run, tmp_path / "recording")
    facts = [dict(n.message.facts) for n in outcome.notifications if n.subject != "tickets"]
    named = [(one["incident"], one["cause"]) for one in facts if one.get("cause")]

    if truth["kind"] not in {"fault", "two"}:
        assert named == [], "no cause is at work that a file describes"
        return
    incident = max(outcome.incidents.values(), key=lambda one: one.diagnosis.impact.failed)
    roots = incident.diagnosis.roots
    assert roots, shown(incident)
    assert roots[0].cause in truth["causes"], shown(incident)
    assert {cause for id_, cause in named if id_ == incident.id} == {roots[0].cause}, "an answer is never taken back"
    if truth["where"]:
        where = dict(roots[0].where.pairs)
        common = where.keys() & truth["where"].keys()
        assert common, where
        assert {key: where[key] for key in common} == {key: str(truth["where"][key]) for key in common}
    if truth["kind"] == "two":
        first = list(dict.fromkeys(h.cause for h in incident.diagnosis.hypotheses))[:3]
        assert set(truth["causes"]) <= set(first), shown(incident)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_recording_is_small_and_tells_nothing_of_the_machine_it_is_from(run: Path):
    """It stays in the repository for good, and anybody may read it."""
    files = [path for path in run.rglob("*") if path.is_file()]

    assert sum(path.stat().st_size for path in files) <= MAX_BYTES
    for path in files:
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert PRIVATE.search(text) is None, path


def test_there_are_recorded_runs():
    """Without one the tests above would pass whatever is broken."""
    assert RUNS
