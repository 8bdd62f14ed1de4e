"""How long is waited: for triggers before a state is named, and for a cause before there is none."""

from __future__ import annotations

import pytest

from aiops.correlate.tempo import Tempo, states_may_lead


@pytest.mark.parametrize(
    ("sought_s", "hurt_s", "waits", "may"),
    [
        (11.0, 15.0, False, False),
        (12.0, 12.0, False, True),
        (4.0, 60.0, False, False),
        (5.0, 17.0, False, True),
        (5.0, 17.0, True, False),
        (5.0, 25.0, True, True),
        (20.0, 20.0, True, True),
    ],
)
def test_a_state_waits_for_triggers_from_when_users_were_hurt(sought_s: float, hurt_s: float, waits: bool, may: bool):
    """What was noticed late had time to show; but pages must have been read again since somebody looks."""
    assert states_may_lead(sought_s, hurt_s, waits=waits) is may


def test_a_state_may_be_named_before_it_is_said_that_nothing_is_known():
    """Else two messages say what one could."""
    tempo = Tempo()
    for noticed_s in range(30):
        given_up = next(s for s in range(60) if tempo.gives_up(s, s + noticed_s))
        named = next(s for s in range(60) if states_may_lead(s, s + noticed_s, waits=False))
        assert named + 1 < given_up, noticed_s
