"""``python -m tests.lab run`` and its like: real faults on this machine, recorded with their truth."""

from __future__ import annotations

import argparse
import sys

from tests.lab import campaign, jobs, run
from tests.lab.cell import CellError


def main() -> int:
    """Exit status 0; 2 when the lab cannot work here, 3 when a run was no experiment."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in {"run": run, "plan": jobs, "campaign": campaign}.items():
        command = commands.add_parser(name, help=(module.__doc__ or "").strip().splitlines()[0])
        module.add_arguments(command)
        command.set_defaults(main=module.main)
    args = parser.parse_args()
    try:
        return int(args.main(args))
    except CellError as error:
        print(f"The lab cannot work here: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
