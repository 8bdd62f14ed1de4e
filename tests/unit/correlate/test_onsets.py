"""Onsets of spells: what was over before the failure is not its beginning."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.correlate.onsets import begun, spell
from aiops.model import Onset


@pytest.mark.parametrize(
    ("crossed", "first"),
    [
        ([], None),
        ([3, 40, 41, 42], 40),  # a blip 27 s before is everyday life
        ([25, 31, 38, 41], 25),  # on and off every few seconds is one spell
        ([3, 4], 3),  # nothing else: then it is what there is
        ([38, 60], 38),
        ([70, 90], 70),
    ],
)
def test_the_onset_is_that_of_the_spell_that_hurts(crossed, first):
    """The first bad answer comes at second 40."""
    assert spell(np.arange(100.0), np.array(crossed, dtype=int), 40.0) == first


def test_readings_that_come_seldom_are_not_parted():
    """Once a quarter of a minute a disk is looked at."""
    assert spell(np.arange(0.0, 150.0, 15.0), np.array([3, 4, 6, 7]), 100.0) == 3


def test_what_lasts_began_so_long_before_it_was_read():
    """A server that made no progress for 25 s stopped 25 s ago, not as a limit was passed."""
    assert begun(Onset(120.0, 125.0), 25.0) == Onset(99.0, 100.0)
    assert begun(Onset(90.0, 125.0), 25.0) == Onset(90.0, 100.0)
