"""Rule unit tests: what the shipped ones cover, and that a wrong one says where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiops.cli import EX_CONFIG, main
from aiops.errors import ConfigError
from aiops.offline.rule_tests import coverage, failures, files_beside, load_rule_tests
from aiops.rulebook.alerts import load_alert_rules
from aiops.rulebook.places import rules_dirs, shipped_rules

RULES = load_alert_rules(rules_dirs(None))
OOM = """
- test: a kill
  input:
    'system_memory_oom_kills_total{host_name="n1"}': 3x5 4x5
"""
FIRES = "{at: 30s, alert: HostOomKill, firing: [{labels: {host_name: n1}}]}"


def complaints(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "tried.yaml"
    path.write_text(text)
    try:
        tests = load_rule_tests([path], RULES)
    except ConfigError as error:
        return [f"{problem.line}: {problem.text}" for problem in error.problems]
    return [f"{problem.line}: {problem.text}" for problem in failures(tests, RULES)]


def test_every_shipped_alert_is_shown_to_fire_and_to_stay_quiet():
    """A row nobody saw firing may never fire; one nobody saw quiet may always."""
    fired, quiet = coverage(load_rule_tests(files_beside([shipped_rules()]), RULES))

    assert fired == {rule.alert for rule in RULES}
    assert quiet == {rule.alert for rule in RULES}


def test_every_shipped_test_finds_what_it_expects():
    """What `aiops check` runs."""
    assert list(failures(load_rule_tests(files_beside([shipped_rules()]), RULES), RULES)) == []


@pytest.mark.parametrize(
    ("expectation", "complaint"),
    [
        (FIRES, None),
        ("{at: 25s, alert: HostOomKill}", None),
        (
            "{at: 30s, alert: HostOomKill}",
            "6: a kill: HostOomKill at 30 s: expected firing nothing, found {host_name=n1}",
        ),
        (
            "{at: 30s, alert: HostOomKill, pending: [{labels: {host_name: n1}}]}",
            "6: a kill: HostOomKill at 30 s: expected firing nothing, found {host_name=n1}",
        ),
        (
            "{at: 25s, alert: HostOomKill, firing: [{labels: {host_name: n1}}]}",
            "6: a kill: HostOomKill at 25 s: expected firing {host_name=n1}, found nothing",
        ),
        (
            "{at: 30s, alert: HostOomKill, firing: [{labels: {host_name: n1}, summary: none}]}",
            "6: a kill: HostOomKill at 30 s: expected the words 'none', found 'The kernel of n1 killed",
        ),
    ],
)
def test_a_difference_is_told_with_its_place(tmp_path: Path, expectation: str, complaint: str | None):
    """Which expectation, what was expected, what was there."""
    found = complaints(tmp_path, f"{OOM}  expect:\n    - {expectation}\n")

    assert found[0].startswith(complaint) if complaint else not found, found


def test_what_must_never_fire_is_watched_to_the_end(tmp_path: Path):
    """Not only at the times somebody thought of."""
    (found,) = complaints(tmp_path, OOM + "  never: [HostOomKill]\n")

    assert found == "5: a kill: HostOomKill must never fire, but at 30 s: {host_name=n1}"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("alert: HostOomKill", "alert: HostOomKil", "6: expect.alert: there is no rule 'HostOomKil'"),
        ("4x5", "4y5", '4: input.system_memory_oom_kills_total{host_name="n1"}: expected a value such as'),
        ("kills_total", "kills", '4: input.system_memory_oom_kills{host_name="n1"}: the catalogue has no metric'),
        ("at: 30s", "at: 30", "6: expect.at: expected a duration such as 15s"),
        ("at: 30s", "at: 30d", "6: expect.at: expected at most"),
        ("test:", "tests:", "2: tests: unknown key"),
        ("  expect:\n    - " + FIRES, "", "2: expected something in expect or never"),
        ("  expect:\n    - " + FIRES, "  never: [Nobody]", "5: never: there is no rule 'Nobody'"),
        ("  input", "  interval: 1ms\n  input", "3: interval: expected 100ms or more"),
    ],
)  # fmt: skip
def test_a_wrong_test_is_refused_with_its_place(tmp_path: Path, old: str, new: str, complaint: str):
    """A test that quietly tests nothing is worse than none."""
    text = f"{OOM}  expect:\n    - {FIRES}\n"
    assert old in text

    found = complaints(tmp_path, text.replace(old, new))

    assert found[0].startswith(complaint), found


def test_a_file_without_tests_is_refused(tmp_path: Path):
    """Whoever emptied it by mistake believes that all is as expected."""
    assert complaints(tmp_path, "# none yet\n") == ["1: expected a list of tests, found nothing"]


def test_the_command_says_what_failed_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A pipeline stops on it."""
    path = tmp_path / "mine.yaml"
    path.write_text(OOM + "  never: [HostOomKill]\n")

    assert main(["rules", "test", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == "1 tests of 1 alert rules: 1 expectations not met.\n"
    assert err.startswith(f"{path}:5: a kill: HostOomKill must never fire")

    path.write_text(f"{OOM}  expect:\n    - {FIRES}\n")
    assert main(["rules", "test", str(path)]) == 0
    assert capsys.readouterr().out == "1 tests of 1 alert rules: all as expected.\n"


def test_a_user_s_own_rules_are_tested_with_the_shipped_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """`aiops check` runs the tests of rules.dir too, and a failing one is exit status 78."""
    (tmp_path / "rules" / "tests").mkdir(parents=True)
    (tmp_path / "rules" / "tests" / "mine.yaml").write_text(OOM + "  never: [HostOomKill]\n")
    (tmp_path / "aiops.yaml").write_text(f"rules: {{dir: {tmp_path / 'rules'}}}\n")

    assert main(["check", "-c", str(tmp_path / "aiops.yaml")]) == EX_CONFIG
    assert "mine.yaml:5: a kill: HostOomKill must never fire" in capsys.readouterr().err
