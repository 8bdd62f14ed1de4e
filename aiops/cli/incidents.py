"""``aiops incidents``: list, show, confirm and reject, by the daemon or, when it is down, in its state file."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from aiops import settings
from aiops.cli import client, judging, run
from aiops.cli.state_file import state_file
from aiops.errors import AiopsError
from aiops.model import Incident, from_json, to_json
from aiops.model.judging import Said
from aiops.narrative.withheld import publishable
from aiops.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    run.add_arguments(parser)
    parser.add_argument(
        "action",
        nargs="?",
        choices=["list", "show", "confirm", "reject", "causes"],
        default="list",
        help="causes: how often each was at work here, by what people said, and its prior",
    )
    parser.add_argument("id", nargs="?", default="", help="incident; to be shown, the newest if none is given")
    parser.add_argument("--cause", default="", metavar="CAUSE", help="confirm, reject: what it was")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")


def main(args: argparse.Namespace) -> int:
    """Exit status 0; 1 when there is no such incident."""
    config = settings.load(run.settings_file(args.config))
    if args.action == "causes":
        stand = judging.standing(config)
        print(json.dumps(stand) if args.json else judging.table(stand))
        return 0
    if args.action in {"confirm", "reject"}:
        if not args.id:
            raise AiopsError(f"{args.action} which incident? `aiops incidents` lists them")
        incident = judging.judged(config, args.id, Said(args.action), args.cause)
        print(to_json(incident).decode() if args.json else judging.told(incident))
        return 0
    if args.cause:
        raise AiopsError("--cause goes with confirm and reject")
    incidents = _all(config)
    if args.action == "list":
        if args.json:
            print(to_json(incidents).decode())
        elif incidents:
            for incident in incidents:
                print(_row(incident))
        else:
            print("No incident yet.")
        return 0
    wanted = args.id or (incidents[0].id if incidents else "")
    whole = _one(config, wanted)
    if whole is None:
        raise AiopsError(f"no incident {wanted!r}" if wanted else "no incident yet")
    print(to_json(whole).decode() if args.json else text_of(whole))
    return 0


def _all(config: Settings) -> list[Incident]:
    try:
        answer: Any = client.get_json(config, "/api/v1/incidents")
    except client.DaemonDown:
        with state_file(config) as state:
            return [publishable(incident) for incident in state.incidents()]
    return from_json(json.dumps(answer["incidents"]), list[Incident])


def _one(config: Settings, incident_id: str) -> Incident | None:
    if not incident_id:
        return None
    try:
        answer: Any = client.get_json(config, f"/api/v1/incidents/{incident_id}")
    except client.DaemonDown:
        with state_file(config) as state:
            found = state.incident(incident_id)
            return None if found is None else publishable(found)
    return from_json(json.dumps(answer), Incident)


def _row(incident: Incident) -> str:
    at = datetime.fromtimestamp(incident.opened_at_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    root = incident.diagnosis.root
    cause = f"{root.title} ({root.place})" if root else f"cause {incident.diagnosis.status}"
    said = f" [{incident.judgement.word}]" if incident.judgement else ""
    return f"{incident.id}  {at}  {incident.state:<8}  {incident.service}  {cause}{said}"


def text_of(incident: Incident) -> str:
    """*incident* as people are told of it, with its timeline."""
    from aiops import narrative  # noqa: PLC0415
    from aiops.model import ChangeKind, IncidentState  # noqa: PLC0415

    change = ChangeKind.RESOLVED if incident.state is IncidentState.RESOLVED else ChangeKind.UPDATED
    message = narrative.compose(incident, change, base_url="")
    timeline = [f"  {datetime.fromtimestamp(e.at_s, UTC):%H:%M:%S}  {e.kind:<12} {e.text}" for e in incident.timeline]
    return "\n".join([message.title, "", *message.paragraphs, "", "Timeline (UTC)", *timeline])
