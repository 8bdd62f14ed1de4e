"""How patient the desk of incidents is."""

from __future__ import annotations

from dataclasses import dataclass

_STATES_AFTER_S = 12.0
"""A state may be named this long after the incident opened: by then triggers had time to show in the data."""
_STATES_WAIT_S = 20.0
"""… while requests that would show a trigger are still under way, only after this long."""
_NOTICED_S = 5.0
"""Half of all spikes are noticed within this time of the first bad answer; what was noticed later had longer to show."""
_READ_S = 5.0
"""Collectors read once a second then: by now every page was read several times since the incident opened."""


@dataclass(frozen=True, slots=True)
class Tempo:
    """How patient the desk is. Seconds."""

    give_up_s: float = 22.0
    """Without a clear lead for this long, the answer is "undetermined"; what is found later still replaces it."""
    owed_s: float = 28.0
    """… or so long after the first bad answer, where that was noticed late,"""
    least_s: float = 14.0
    """and causes were sought for this long: states may be named by then."""
    hold_s: float = 2.0
    """A first message waits this long for a cause: one message that names it beats two a second apart."""
    resolve_after_s: float = 20.0
    """Symptoms must have been gone for this long."""
    look_every_s: float = 1.0
    """Between diagnoses while no cause is named."""
    calm_look_every_s: float = 5.0
    """Between diagnoses once one is named, or was not found for `eager_s`."""
    eager_s: float = 24.0
    hurry_s: float = 10.0
    """Collectors hurry for this long even if a cause is named at once: the next readings may show more."""
    doubt_s: float = 45.0
    """… and for this long while none is named."""
    thorough_every_s: float = 10.0
    """Between diagnoses with movers and charts; three times as long once a cause is named."""
    freeze_after_s: float = 600.0
    """The rings no longer hold the onset then, so the answer stands."""
    spared_s: float = 4.0
    """Without a new failure for this long the fault is ending, and its traces with it: a named cause stands."""
    commit_every_s: float = 15.0
    """An open incident is saved at least this often."""

    def gives_up(self, sought_s: float, hurt_s: float) -> bool:
        """
        Whether "undetermined" is said now.

        Args:
            sought_s: How long a cause has been sought.
            hurt_s: How long users have been hurt.
        """
        return sought_s >= self.give_up_s or (sought_s >= self.least_s and hurt_s >= self.owed_s)


def states_may_lead(sought_s: float, hurt_s: float, *, waits: bool) -> bool:
    """
    Whether triggers had time to show in the data.

    Args:
        sought_s: How long a cause has been sought.
        hurt_s: How long users have been hurt.
        waits: Whether requests that would show a trigger are still under way.
    """
    after_s = _STATES_WAIT_S if waits else _STATES_AFTER_S
    return sought_s >= after_s or (sought_s >= _READ_S and hurt_s >= after_s + _NOTICED_S)
