"""``aiops demo``: its options."""

from __future__ import annotations

import argparse
import secrets

from aiops.demo.faults import PLAYS
from aiops.demo.scenario import Options, run_demo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--fault",
        choices=("random", *PLAYS),
        default="random",
        help="what happens; random is one of the five causes, kept sealed until the end (default)",
    )
    parser.add_argument("--json", action="store_true", help="end standard output with one line of JSON")
    parser.add_argument("--keep", action="store_true", help="keep running after the summary until Ctrl-C")
    parser.add_argument("--seed", type=int, default=None, help="of arrivals, lengths and victims; drawn when not given")


def main(args: argparse.Namespace) -> int:
    """Play; the exit status says whether the daemon was right."""
    seed = secrets.randbelow(10_000) if args.seed is None else args.seed
    return run_demo(Options(fault=args.fault, json_output=args.json, keep=args.keep, seed=seed))
