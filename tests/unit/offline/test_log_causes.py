"""What a log alone says of causes: present, absent, or unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiops.logs.classify import Classifier
from aiops.logs.guess import Guesser
from aiops.model import EvidenceState
from aiops.offline.log_causes import LogCause, LogTally, log_causes
from aiops.rulebook.causes import CauseRule, load_causes
from aiops.rulebook.places import shipped_rules
from aiops.rulebook.signatures import load_signatures
from aiops.stamps import Stamps

AT_S = 1_661_140_434.0  # 2022-08-22T03:53:54Z
OOM = "ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
RULE = """\
cause: it
title: It
level: fault
explains: [any]
scope: host
lead: 5m
prior: 0.2
advice: none
evidence:
  - {id: asked, family: log, specific: true, odds: {present: 9, absent: 0.5}, source: s, log: {class: vram_exhaustion, in: 5m, at_least: 2%s},
     text: {present: "{count} lines, {ratio} as many, {when}", absent: "only {count} within {window}"}}
  - {id: silence, family: other, odds: {present: 2, absent: 0.5}, source: s, negated: true, log: {class: disk_full, in: 5m},
     text: {present: "no full disk", absent: "{count} of a full disk"}}
  - {id: metric, family: m, odds: {present: 2, absent: 0.5}, source: s, text: {present: "p", absent: "a"},
     metric: {name: system_cpu_utilization_ratio, over: 5m, above: 0.9}}
"""


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_signatures([shipped_rules()]), Guesser.load())


def rule(folder: Path, jump: str = "") -> CauseRule:
    (folder / "causes").mkdir()
    (folder / "causes" / "it.yaml").write_text(RULE % jump)
    (found,) = load_causes([folder])
    return found


def asked(classifier: Classifier, cause: CauseRule, *lines: str) -> tuple[LogCause, ...]:
    tally = LogTally(classifier, Stamps(AT_S + 86_400.0))
    tally.take(lines)
    return log_causes([cause], tally, AT_S)


def test_present_absent_and_unknown_clauses(classifier: Classifier, tmp_path: Path):
    """Silence of a log that was given is an answer; a metric that was not given is none."""
    lines = [f"2022-08-22T03:5{minute}:00Z {OOM}" for minute in (1, 2)]
    (found,) = asked(classifier, rule(tmp_path), *lines)

    states = {e.id: (e.state, e.text) for e in found.evidence}
    assert states["asked"] == (EvidenceState.PRESENT, "2 lines, many times as many, 3 min before the alert")
    assert states["silence"] == (EvidenceState.PRESENT, "No full disk")
    assert states["metric"][0] is EvidenceState.UNKNOWN
    assert found.probability == pytest.approx(0.25 * 9 * 2 / (1 + 0.25 * 9 * 2))


def test_too_few_lines_and_silence_alone_name_nothing(classifier: Classifier, tmp_path: Path):
    """That no disk is full speaks for every other cause in the world."""
    cause = rule(tmp_path)
    assert asked(classifier, cause, f"2022-08-22T03:53:00Z {OOM}") == ()
    assert asked(classifier, cause, "2022-08-22T03:53:00Z INFO all is well") == ()


def test_lines_without_a_time_count_always(classifier: Classifier, tmp_path: Path):
    """The person who gave the log knows when it is from."""
    (found,) = asked(classifier, rule(tmp_path), OOM, OOM)

    assert found.evidence[0].text == "2 lines, many times as many, at an unknown time"


def test_a_line_of_a_traceback_has_the_time_of_the_line_above(classifier: Classifier, tmp_path: Path):
    """Its end names the error, its beginning the time."""
    day_before = ["2022-08-21T03:53:00Z ERROR engine failed", OOM, OOM]
    assert asked(classifier, rule(tmp_path), *day_before) == ()


@pytest.mark.parametrize(("before", "state"), [(0, EvidenceState.PRESENT), (2, EvidenceState.ABSENT)])
def test_a_jump_is_one_against_earlier_lines(classifier: Classifier, tmp_path: Path, before: int, state: EvidenceState):
    """What is always in the log is no news."""
    earlier = [f"2022-08-22T03:4{minute}:00Z {OOM}" for minute in range(4, 4 + before)]
    now = [f"2022-08-22T03:5{minute}:00Z {OOM}" for minute in (1, 2, 3)]
    found = asked(classifier, rule(tmp_path, ", jump: 3"), *earlier, *now)

    assert bool(found) is (state is EvidenceState.PRESENT)


def test_a_jump_in_a_log_without_times_is_unknown(classifier: Classifier, tmp_path: Path):
    """Nothing says what is earlier."""
    assert asked(classifier, rule(tmp_path, ", jump: 3"), OOM, OOM, OOM) == ()
