"""``aiops replay``: a recording through today's rules."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiops import settings
from aiops.cli import console, run
from aiops.cli.incidents import text_of
from aiops.model import Hypothesis, Incident


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    run.add_arguments(parser)
    parser.add_argument("folder", type=Path, metavar="DIR", help="as `aiops record` wrote it")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")


def main(args: argparse.Namespace) -> int:
    """Exit status 0, also when the recording ends too soon, which is said."""
    from aiops.replay.playing import play  # noqa: PLC0415 - half a second of imports that --help need not wait for
    from aiops.replay.reading import Recording  # noqa: PLC0415
    from aiops.rulebook.places import fingerprint, rules_dirs  # noqa: PLC0415

    console.configure("error", "console")
    rules = rules_dirs(settings.load(run.settings_file(args.config)).rules.dir)
    recording = Recording(args.folder)
    outcome = asyncio.run(play(recording, rules))
    incidents = sorted(outcome.incidents.values(), key=lambda incident: (incident.opened_at_s, incident.id))
    if fingerprint(rules) != recording.beginning.rules:
        print("The rules are not those of the recording.", file=sys.stderr)
    if recording.cut_off:
        print(
            f"The recording is cut off ({recording.cut_off}); played up to {_utc(recording.ended_s)}.", file=sys.stderr
        )
    if args.json:
        count = len(outcome.notifications)
        print(json.dumps({"incidents": [as_json(each) for each in incidents], "notifications": count}))
    else:
        print("\n\n".join(map(text_of, incidents)) or "No incident.")
    return 0


def _utc(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


def as_json(incident: Incident) -> dict[str, Any]:
    """An incident as the contract of ``replay --json`` has it; what is not known is null."""
    root = incident.diagnosis.root
    return {
        "opened_at": incident.opened_at_s,
        "resolved_at": incident.resolved_at_s,
        "service": incident.service,
        "symptoms": [alert.rule for alert in incident.symptoms],
        "status": incident.diagnosis.status.value,
        "cause": root.cause if root else None,
        "where": root.place if root else None,
        "probability": root.probability if root else None,
        "hypotheses": [_hypothesis(each) for each in incident.diagnosis.hypotheses],
    }


def _hypothesis(hypothesis: Hypothesis) -> dict[str, Any]:
    return {
        "cause": hypothesis.cause,
        "title": hypothesis.title,
        "where": hypothesis.place,
        "probability": hypothesis.probability,
        "verdict": hypothesis.verdict.value,
        "reason": hypothesis.reason,
        "evidence": [{"id": each.id, "state": each.state.value, "text": each.text} for each in hypothesis.evidence],
    }
