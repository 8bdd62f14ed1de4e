"""``aiops healthcheck``: for container and unit probes."""

from __future__ import annotations

import argparse

from aiops import settings
from aiops.cli import client, run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    run.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Exit status 0 when the local daemon is up and ready, 1 otherwise."""
    status = client.get_json(settings.load(run.settings_file(args.config)), "/api/v1/status")
    print("ready" if status["ready"] else "not ready")
    return 0 if status["ready"] else 1
