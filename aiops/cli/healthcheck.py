"""``aiops healthcheck``: for container and unit probes."""

from __future__ import annotations

import argparse

from aiops import settings
from aiops.cli import client, run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    run.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Exit status 0 when the local daemon is up and ready, 1 otherwise. A sick state disk does not keep it waiting."""
    status, said = client.get(settings.load(run.settings_file(args.config)), "/readyz")
    print(said.strip())
    return 0 if status == 200 else 1
