"""``aiops once``: one round of collection, printed; what the daemon would see here."""

from __future__ import annotations

import argparse
import asyncio

from aiops import settings
from aiops.cli import console, run
from aiops.model import Event, LogRecord, Observation, Sample, Sight, to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    run.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON array instead of text")


def main(args: argparse.Namespace) -> int:
    """Exit status 0."""
    from aiops import app  # noqa: PLC0415
    from aiops.plan import make_plan  # noqa: PLC0415

    config = settings.load(run.settings_file(args.config))
    console.configure("error", "console")
    seen = asyncio.run(app.once(make_plan(config)))
    # a log line may be anybody's prompt: it is counted here, never shown
    shown = [observation for observation in seen if not isinstance(observation, LogRecord)]
    print(to_json(shown).decode() if args.json else "\n".join(map(_line, shown)))
    run.leave()
    return 0


def _line(observation: Observation) -> str:
    if isinstance(observation, Sample):
        return f"{observation.metric}{{{observation.labels}}} {observation.value:g}"
    if isinstance(observation, Sight):
        mark = "watching    " if observation.seen else "not watching"
        return f"# {mark} {observation.subject}: {observation.detail}" + (
            f" → {observation.hint}" if observation.hint else ""
        )
    if isinstance(observation, Event):
        return f"# event {observation.kind} {observation.action} {{{observation.labels}}} {observation.message}"
    return ""
