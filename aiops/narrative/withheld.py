"""
What of an incident may be shown: on the page, by the API and by the commands alike.

A log template behind which stand few different lines may still be somebody's prompt. Its text is held back; its title,
if a signature gave it one, is not.
"""

from __future__ import annotations

from dataclasses import replace

from aiops.model import Incident, LogTemplate

MIN_DISTINCT = 20
"""Distinct lines behind a template before its text may leave the host."""
WITHHELD = "withheld: seen in fewer than 20 distinct lines"


def may_leave(template: LogTemplate) -> bool:
    """Whether a template's own text may be shown: enough different lines stand behind it."""
    return template.distinct >= MIN_DISTINCT


def publishable(incident: Incident) -> Incident:
    """*incident* without texts that may not leave the host."""
    templates = tuple(t if may_leave(t) else replace(t, template=WITHHELD) for t in incident.diagnosis.templates)
    return replace(incident, diagnosis=replace(incident.diagnosis, templates=templates))
