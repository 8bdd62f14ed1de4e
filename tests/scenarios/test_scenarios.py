"""Every cause has scenarios it must win and look-alikes it must not; they are data, one file each."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from aiops.model import ChangeKind
from aiops.rulebook.causes import load_causes
from aiops.rulebook.places import shipped_rules
from tests.scenarios.scenario import HERE, build_world, paths, play, read

CAUSES = load_causes([shipped_rules()])


@pytest.mark.parametrize("path", paths(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_incident_ends_with_the_expected_answer(path: Path):
    """A cause that wins its own scenario and loses the look-alike is one that can be trusted at night."""
    scenario = read(path)
    incident, told = play(scenario, build_world(scenario, path.stem), CAUSES)
    diagnosis, expected = incident.diagnosis, scenario.expect
    shown = "\n".join(
        f"{h.cause} at {h.place}: {h.verdict} {h.probability} {h.reason}\n"
        + "\n".join(f"    {e.id}: {e.state} {e.log_odds:+.2f} {e.text}" for e in h.evidence)
        for h in diagnosis.hypotheses
    )

    assert diagnosis.status.value == expected.status, shown
    assert [h.cause for h in diagnosis.roots] == [c for c in (expected.cause, *expected.also) if c], shown
    assert incident.service == (expected.service or incident.service)
    assert not expected.note or expected.note in diagnosis.notes
    if expected.place:
        assert diagnosis.roots[0].place == expected.place, shown
    if expected.chain:
        assert diagnosis.roots[0].leads_to == expected.chain, shown
    assert {term for root in diagnosis.roots for term in root.beside} == set(expected.beside), shown
    verdicts = {h.cause: h.verdict.value for h in reversed(diagnosis.hypotheses)}
    assert {cause: verdicts[cause] for cause in expected.verdicts} == expected.verdicts, shown
    moved = {mover.series.metric for mover in diagnosis.movers}
    assert set(expected.movers) <= moved, f"moved: {moved}"
    assert told[0].message.change is ChangeKind.OPENED
    assert len(told) <= 2, "one answer is told once, and never taken back"


def test_every_cause_has_a_scenario_to_win_and_one_to_lose():
    """A cause file without both is a guess."""
    for rule in CAUSES:
        won = [p for p in paths() if read(p).expect.cause == rule.cause]
        lost = [p for p in (HERE / rule.cause).glob("*.yaml") if read(p).expect.cause != rule.cause]
        assert won, rule.cause
        assert lost, rule.cause


NAMED = [path for path in paths() if read(path).expect.status == "named"]


@pytest.mark.parametrize("path", NAMED[::9], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_cause_once_named_is_not_taken_back_while_the_fault_lasts(path: Path):
    """Other noise, every fifth reading lost, and an incident three times as long: the first answer is the last one."""
    scenario = replace(read(path), end=260)
    world = build_world(scenario, f"{path.stem} again")
    rng = random.Random(path.stem)
    for by_labels in world.series.held.values():
        for points in by_labels.values():
            for at_s in [at_s for at_s in points if rng.random() < 0.2]:
                del points[at_s]
    _, told = play(scenario, world, CAUSES)

    named = [each.message.title.partition(": ")[2] for each in told]
    distinct = list(dict.fromkeys(filter(None, named)))
    assert len(distinct) <= 1 + len(scenario.expect.also), named
    assert all(title.startswith(distinct[0]) for title in distinct), "a second may be told beside the first"
