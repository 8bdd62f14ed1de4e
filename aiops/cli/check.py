"""``aiops check``: is everything a person wrote sound? Starts nothing."""

from __future__ import annotations

import argparse

from aiops import settings
from aiops.cli import run
from aiops.cli.rules import sound_rules, tests_beside
from aiops.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    run.add_arguments(parser)
    parser.add_argument("--example", action="store_true", help="print a settings file that shows every key, and exit")


def main(args: argparse.Namespace) -> int:
    """Exit status 0 when all is sound, rule tests included; otherwise ConfigError says where it is not."""
    from aiops.offline.rule_tests import failures  # noqa: PLC0415
    from aiops.plan import example_settings, make_plan  # noqa: PLC0415
    from aiops.rulebook.causes import unfed_classes  # noqa: PLC0415
    from aiops.rulebook.places import rules_dirs  # noqa: PLC0415

    if args.example:
        print(example_settings(), end="")
        return 0
    path = run.settings_file(args.config)
    plan = make_plan(settings.load(path))
    rules = sound_rules(plan.settings)
    tests = tests_beside(plan.settings, rules)
    unfed = unfed_classes(rules_dirs(plan.settings.rules.dir), plan.causes)
    if problems := (*failures(tests, rules), *unfed):
        raise ConfigError(*problems)
    source = str(path) if path else "built-in settings"
    print(
        f"{source}: sound. {len(plan.alerts)} alert rules with {len(tests)} tests, {len(plan.causes)} causes, {len(plan.signatures)} log "
        f"signatures, {len(plan.plugins)} collectors, {len(plan.receivers)} receivers."
    )
    return 0
