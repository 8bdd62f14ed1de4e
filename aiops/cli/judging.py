"""``aiops incidents confirm``, ``reject`` and ``causes``: what people say of answers, and what follows for the priors."""

from __future__ import annotations

import json
from typing import Any

from aiops.cli import client
from aiops.cli.state_file import state_file
from aiops.clock import SystemClock
from aiops.errors import AiopsError
from aiops.model import ChangeSet, Incident, Word, from_json
from aiops.model.judging import Said, judge, with_judgement
from aiops.narrative.withheld import publishable
from aiops.rulebook.causes import CauseRule, load_causes
from aiops.rulebook.places import rules_dirs
from aiops.settings import Settings


def judged(config: Settings, incident_id: str, said: Said, cause: str) -> Incident:
    """
    The incident with what was said, by the daemon or, when none runs, in its state file.

    Raises:
        AiopsError: there is no such incident or cause, or the word does not fit the answer.
    """
    try:
        answer = client.post_json(
            config, f"/api/v1/incidents/{client.quoted(incident_id)}/{said.value}", {"cause": cause}
        )
    except client.DaemonDown:
        return _in_file(config, incident_id, said, cause)
    return from_json(json.dumps(answer), Incident)


def _in_file(config: Settings, incident_id: str, said: Said, cause: str) -> Incident:
    titles = {rule.cause: rule.title for rule in _causes(config)}
    with state_file(config, changes=True) as state:
        incident = state.incident(incident_id)
        if incident is None:
            raise AiopsError(f"no incident {incident_id!r}")
        fresh = with_judgement(incident, judge(incident, said, cause, SystemClock().now_s(), titles), titles)
        if fresh is not incident:
            state.commit(ChangeSet(incidents=(fresh,)))
        return publishable(fresh)


def told(incident: Incident) -> str:
    """What the person's word was taken for."""
    word = incident.judgement
    if word is None:
        return f"{incident.id}: nothing was said of it."
    was = f" It was: {' and '.join(word.causes)}." if word.causes else ""
    if word.word is Word.CONFIRMED:
        return f"{incident.id}: confirmed.{was}"
    if word.word is Word.TOLD:
        return f"{incident.id}: noted; no cause had been named.{was}"
    return f"{incident.id}: rejected, it was not: {' or '.join(word.named)}.{was}"


def standing(config: Settings) -> dict[str, Any]:
    """How the causes stand, as ``GET /api/v1/causes`` has it."""
    try:
        answer: dict[str, Any] = client.get_json(config, "/api/v1/causes")
    except client.DaemonDown:
        from aiops.export import judging  # noqa: PLC0415 - Starlette, which the daemon's answer spares

        with state_file(config) as state:
            return judging.standing(_causes(config), state.judgements())
    return answer


def table(stand: dict[str, Any]) -> str:
    """*stand* for a person: the causes with what was said of them, those that moved first."""
    rows = sorted(stand["causes"], key=lambda row: (-row["of"], -row["was"], row["cause"]))
    width = max((len(row["cause"]) for row in rows), default=0)
    lines = [
        "{confirmed} answers confirmed, {rejected} rejected; of {known} incidents it is known what they were.".format(
            **stand
        ),
        f"No probability above {stand['most_shown'] * 100:.0f} % is shown.",
        "",
        f"{'cause':<{width}}  {'prior':>6}  {'here':>6}  was it",
    ]
    lines += [
        f"{row['cause']:<{width}}  {row['prior']:>6.1%}  {row['prior_here']:>6.1%}  {row['was']} of {row['of']}"
        for row in rows
    ]
    return "\n".join(lines)


def _causes(config: Settings) -> tuple[CauseRule, ...]:
    return load_causes(rules_dirs(config.rules.dir))
