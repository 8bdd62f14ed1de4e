"""``aiops rules``: the threshold table, tested like code and written as Prometheus rules. Needs no daemon."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aiops import settings
from aiops.cli import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiops.offline.rule_tests import RuleTest
    from aiops.rulebook.alerts import AlertRule


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="test | export")
    test = actions.add_parser(
        "test",
        help="rule unit tests: series in, alerts out",
        description="Runs rule unit tests: series in, alerts out. What is not as expected is told as file:line, with exit status 1.",
    )
    run.add_arguments(test)
    test.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="tests; none named: tests/*.yaml of all rule folders"
    )
    export = actions.add_parser(
        "export",
        help="the threshold table as Prometheus rules",
        description="Writes the threshold table as Prometheus rules to standard output.",
    )
    run.add_arguments(export)
    export.add_argument("--format", choices=["prometheus"], required=True, help="whose rules")


def main(args: argparse.Namespace) -> int:
    """Exit status 0; 1 when a test found something else than it expected."""
    config = settings.load(run.settings_file(args.config))
    rules = sound_rules(config)
    if args.action == "export":
        from aiops.offline.prometheus import rules_file  # noqa: PLC0415

        text, approximate = rules_file(rules)
        print(text, end="")
        if approximate:
            print(f"aiops: approximate, the nearest that PromQL can say: {', '.join(approximate)}", file=sys.stderr)
        return 0
    from aiops.offline.rule_tests import failures, load_rule_tests  # noqa: PLC0415

    tests = load_rule_tests(args.files, rules) if args.files else tests_beside(config, rules)
    problems = [str(problem) for problem in failures(tests, rules)]
    for problem in problems:
        print(problem, file=sys.stderr)
    alerts = {alert for each in tests for alert in each.alerts}
    verdict = f"{len(problems)} expectations not met" if problems else "all as expected"
    print(f"{len(tests)} tests of {len(alerts)} alert rules: {verdict}.")
    return 1 if problems else 0


def sound_rules(config: settings.Settings) -> tuple[AlertRule, ...]:
    """All alert rules, shipped and the user's own, with the text they were read from; raises ConfigError."""
    from aiops.detect import build_detectors  # noqa: PLC0415
    from aiops.rulebook.alerts import load_alert_rules  # noqa: PLC0415
    from aiops.rulebook.places import rules_dirs  # noqa: PLC0415

    rules = load_alert_rules(rules_dirs(config.rules.dir))
    build_detectors(rules)
    return rules


def tests_beside(config: settings.Settings, rules: Sequence[AlertRule]) -> tuple[RuleTest, ...]:
    """The tests that stand beside the shipped rules and beside the user's own."""
    from aiops.offline.rule_tests import files_beside, load_rule_tests  # noqa: PLC0415
    from aiops.rulebook.places import rules_dirs  # noqa: PLC0415

    return load_rule_tests(files_beside(rules_dirs(config.rules.dir)), rules)
