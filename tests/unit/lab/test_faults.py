"""Every fault as the campaign needs it: named, drawn from a seed, written down as JSON."""

import json
import random

import pytest

from aiops.rulebook.causes import load_causes
from aiops.rulebook.places import shipped_rules
from tests.lab.faults import FAULTS
from tests.lab.plan import draw

CAUSES = frozenset(rule.cause for rule in load_causes([shipped_rules()]))
HOUSES = [(gateway, dialect) for gateway in ("python", "nginx") for dialect in ("vllm", "sglang")]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_what_it_is(name: str):
    """A class that forgot its cause, or its kind, would be scored as something else."""
    fault = FAULTS[name]

    assert fault.kind in {"fault", "lookalike", "none", "undescribed", "two"}
    assert fault.hurts == (fault.kind in {"fault", "undescribed", "two"})
    assert fault.cause in CAUSES if fault.kind == "fault" else fault.cause is None
    assert set(fault.gateways) <= {"python", "nginx"}
    assert set(fault.dialects) <= {"vllm", "sglang"}
    assert fault.healthy_s + fault.hurt_s <= 240.0


@pytest.mark.parametrize("name", FAULTS)
def test_the_same_seed_draws_the_same_fault_and_house(name: str):
    def drawn(seed: int, gateway: str, dialect: str) -> str:
        fault = FAULTS[name](random.Random(seed))
        plan = fault.furnish(draw(random.Random(seed), seed, gateway, dialect))
        return json.dumps([fault.magnitudes, str(plan), fault.causes], sort_keys=True)

    for gateway, dialect in HOUSES:
        if gateway in FAULTS[name].gateways and dialect in FAULTS[name].dialects:
            for seed in range(5):
                assert drawn(seed, gateway, dialect) == drawn(seed, gateway, dialect)


def test_every_cause_has_a_fault():
    """A cause nobody can bring about is a cause nobody has seen recognised."""
    assert {fault.cause for fault in FAULTS.values() if fault.cause} == CAUSES
