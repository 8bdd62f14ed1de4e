"""What goes into the state file comes out of it again, whatever stood in it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from aiops.model import Incident
from aiops.store import documents
from aiops.store.documents import document, read_document
from tests.sample_incident import sample_incident


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan])
def test_an_incident_with_a_number_json_does_not_know_is_not_lost(odd: float) -> None:
    """One -inf in its evidence once made a paged incident vanish from page, API and restart."""
    incident = replace(sample_incident(), updated_at_s=odd)

    read = read_document(document(incident), Incident)

    assert read is not None
    assert math.isfinite(read.updated_at_s)
    assert replace(read, updated_at_s=0.0) == replace(incident, updated_at_s=0.0)


def test_a_row_that_cannot_be_read_is_said_once() -> None:
    """Incidents are read twice a second."""
    documents._complain.cache_clear()
    with capture_logs() as said:
        assert [read_document('{"id": 7, "said": "once"}', Incident) for _ in range(5)] == [None] * 5

    assert len(said) == 1
