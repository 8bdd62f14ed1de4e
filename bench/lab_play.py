"""
A recording through today's rules, and what of the outcome a score needs.

Playing one takes seconds, and most of the time only the scoring changes: what came of a recording is kept under a
fingerprint of the recording, the rules and the program. Several are played at once, each in a process of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import json
import logging
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import structlog

import aiops
from aiops import correlate
from aiops.correlate import NOTHING_SAID
from aiops.errors import AiopsError
from aiops.model import Hypothesis, Incident, Notification, Tally
from aiops.notify.webhook import payload
from aiops.replay import playing
from aiops.replay.reading import Recording
from aiops.rulebook.causes import load_causes, reachable
from aiops.rulebook.places import fingerprint, shipped_rules

KEPT = Path(tempfile.gettempdir()) / "aiops-lab-played"
_PACKAGE = Path(aiops.__file__).parent
_NOT_PLAYED = {"collect", "demo", "cli", "export/static", "export/templates"}
_LEADS = re.compile(r"^leads_to: \[([^\]]*)\]", re.MULTILINE)


@functools.cache
def code() -> str:
    """A fingerprint of everything that plays."""
    digest = hashlib.blake2b(digest_size=8)
    for path in [*sorted(_PACKAGE.rglob("*.py")), Path(__file__)]:
        relative = path.relative_to(_PACKAGE).as_posix() if path.is_relative_to(_PACKAGE) else path.name
        if not any(relative.startswith(f"{folder}/") for folder in _NOT_PLAYED):
            digest.update(relative.encode() + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def today() -> str:
    return fingerprint([shipped_rules()])


@functools.cache
def leads() -> dict[str, tuple[str, ...]]:
    """Per cause all it can lead to, by the rules as they are."""
    return dict(reachable(load_causes([shipped_rules()])))


@functools.cache
def rules_without(cause: str) -> Path:
    """The rules as if nobody had written that cause's file; what led to it leads to what it led to."""
    folder = KEPT / "rules" / f"{today()}-{cause}"
    if folder.exists():
        return folder
    beside = Path(tempfile.mkdtemp(dir=_made(KEPT / "rules")))
    shutil.copytree(shipped_rules(), beside, dirs_exist_ok=True)
    gone = beside / "causes" / f"{cause}.yaml"
    onward = _led_to(gone.read_text())
    gone.unlink()
    for path in beside.glob("causes/*.yaml"):
        text = path.read_text()
        if cause in _led_to(text):
            kept = [each for old in _led_to(text) for each in (onward if old == cause else [old])]
            names = ", ".join(name for name in dict.fromkeys(kept) if name != path.stem)
            path.write_text(_LEADS.sub(f"leads_to: [{names}]", text))
    try:
        beside.rename(folder)
    except OSError:  # another process was quicker
        shutil.rmtree(beside)
    return folder


def _led_to(text: str) -> list[str]:
    found = _LEADS.search(text)
    return [name.strip() for name in found[1].split(",") if name.strip()] if found else []


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def play_all(wanted: Sequence[tuple[Path, str, Tally]], jobs: int) -> list[dict]:
    """What came of each recording, without the cause that stands beside it where one does, after what people have said."""
    with ProcessPoolExecutor(jobs) as pool:
        return list(pool.map(played, *zip(*wanted, strict=True))) if wanted else []


def played(recording: Path, without: str = "", said: Tally = NOTHING_SAID) -> dict:
    """What came of it; read back where it was played before."""
    spoken = "" if said == NOTHING_SAID else repr(said)
    digest = hashlib.blake2b(f"{code()} {today()} {without}{spoken}".encode(), digest_size=12)
    for path in sorted(recording.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    kept = _made(KEPT) / f"{digest.hexdigest()}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    found = _play(recording, without, said)
    beside = kept.with_suffix(f".{time.monotonic_ns()}")
    beside.write_text(json.dumps(found))
    beside.replace(kept)
    return found


def _play(folder: Path, without: str, said: Tally) -> dict:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    began_s = time.process_time()
    try:
        recording = Recording(folder)
        if said != NOTHING_SAID:
            recording.beginning = dataclasses.replace(recording.beginning, tally=said)
        outcome = asyncio.run(_outcome(recording, without, quick=bool(without) or said != NOTHING_SAID))
    except AiopsError as error:
        return {"damaged": str(error)}
    incidents = sorted(outcome.incidents.values(), key=lambda one: (one.opened_at_s, one.id))
    return {
        "rules": recording.beginning.rules,
        "at_s": recording.beginning.at_s,
        "ended_s": recording.ended_s,
        "cut_off": recording.cut_off,
        "incidents": [_incident(one) for one in incidents],
        "told": [_told(one) for one in outcome.notifications if one.subject != "tickets"],
        "payloads": [] if without else [json.loads(payload(one)) for one in outcome.notifications],
        "cpu_s": time.process_time() - began_s,
    }


async def _outcome(recording: Recording, without: str, *, quick: bool) -> playing.Outcome:
    rules = [rules_without(without) if without else shipped_rules()]
    if not quick:
        return await playing.play(recording, rules)
    # without movers and charts, which change no answer, it takes half the time
    build, correlate.build = correlate.build, functools.partial(
        correlate.build, tempo=correlate.Tempo(thorough_every_s=float("inf"))
    )  # fmt: skip
    try:
        return await playing.play(recording, rules)
    finally:
        correlate.build = build


def _told(notification: Notification) -> dict:
    facts = dict(notification.message.facts)
    return {
        "at_s": notification.created_at_s,
        "change": notification.message.change.value,
        "incident": notification.subject,
        "status": facts.get("diagnosis", ""),
        "cause": facts.get("cause") or None,
        "place": facts.get("place") or None,
        "probability": float(facts["probability"]) if facts.get("probability") else None,
    }


def _incident(incident: Incident) -> dict:
    diagnosis = incident.diagnosis
    return {
        "id": incident.id,
        "service": incident.service,
        "opened_at_s": incident.opened_at_s,
        "first_bad_s": incident.first_bad_s,
        "resolved_at_s": incident.resolved_at_s,
        "pages": any(alert.severity.value == "page" for alert in incident.symptoms),
        "symptoms": sorted({alert.rule for alert in incident.symptoms}),
        "failed": diagnosis.impact.failed,
        "status": diagnosis.status.value,
        "hypotheses": [_hypothesis(one) for one in diagnosis.hypotheses],
        "movers": [mover.text for mover in diagnosis.movers],
        "notes": list(diagnosis.notes),
    }


def _hypothesis(one: Hypothesis) -> dict:
    said = [
        {"id": e.id, "state": e.state.value, "log_odds": round(e.log_odds, 3), "family": e.family, "text": e.text}
        | {"marks": "".join(mark for mark, on in (("s", e.specific), ("n", e.necessary)) if on)}
        for e in one.evidence
    ]
    return {
        "cause": one.cause,
        "level": one.level.value,
        "where": dict(one.where.pairs),
        "place": one.place,
        "probability": one.probability,
        "verdict": one.verdict.value,
        "reason": one.reason,
        "evidence": said,
    }
