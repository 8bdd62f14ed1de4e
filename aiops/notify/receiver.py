"""What the settings of every receiver have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiops.document import FieldError
from aiops.model import Severity

DEFAULT_SEVERITIES = (Severity.PAGE, Severity.TICKET)
"""Pages and quiet messages; what is only for the page and Grafana is never sent."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_receiver(name: str, severities: Sequence[Severity]) -> None:
    """
    Refuse a name that cannot stand in a key, and severities that would never be sent.

    Raises:
        FieldError: with what was expected.
    """
    if not _NAME.fullmatch(name):
        raise FieldError("name", f"expected up to 64 letters, digits, dots or dashes, found {name[:70]!r}")
    if not severities or Severity.INFO in severities:
        raise FieldError("severities", "expected page, ticket or both; info is never sent")
