"""Which two faults may be at once: two roots, in one house, that do not turn the same screws and do not hide one another."""

import random

import pytest

from tests.lab.faults.fault import Fault
from tests.lab.faults.pairs import draw_both, possible_pairs, seen_together
from tests.lab.truth import Spoilt


class Simple(Fault):
    async def begin(self, house):
        pass

    async def end(self, house):
        pass


def fault(name: str, module: str, **what: object) -> type[Fault]:
    return type(name, (Simple,), {"name": name, "cause": name, "__module__": module, **what})


LEAK, SLOW, LIMIT = fault("leak", "gpu"), fault("slow", "business"), fault("limit", "gateway", gateways=("nginx",))


def names(*faults: type[Fault], leads=None, gateway: str = "python") -> set[tuple[str, str]]:
    return {(a.name, b.name) for a, b in possible_pairs(faults, leads or {}, gateway, "vllm")}


def test_either_of_two_may_be_first():
    assert names(LEAK, SLOW) == {("leak", "slow"), ("slow", "leak")}


def test_a_cause_and_what_it_leads_to_are_no_two_roots():
    assert names(LEAK, SLOW, leads={"leak": ("slow",)}) == set()


def test_a_fault_of_another_gateway_is_not_drawn():
    assert names(LEAK, LIMIT) == set()
    assert len(names(LEAK, LIMIT, gateway="nginx")) == 2


def test_faults_of_one_module_are_not_drawn_together():
    assert names(LEAK, fault("hot", "gpu")) == set()


def test_two_faults_that_each_need_a_house_of_their_own_are_not_drawn_together():
    own = {"furnish": lambda self, plan: plan}

    assert names(fault("leak", "gpu", **own), fault("slow", "business", **own)) == set()
    assert len(names(fault("leak", "gpu", **own), SLOW)) == 2


def test_faults_that_need_the_machine_and_harmless_ones_are_not_drawn():
    others = [
        fault("hog", "host", alone=True),
        fault("calm", "harmless", cause=None, kind="lookalike"),
        fault("shy", "network", pairs=False),
    ]

    assert names(LEAK, *others) == set()


def drawn(name: str, victim: int | None, **magnitudes: float | str) -> Fault:
    found = fault(name, name)(random.Random(1))
    found._victim = victim
    found.magnitudes |= magnitudes
    return found


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (drawn("slow_node", 0), drawn("engine_crash", 2), True),
        (drawn("slow_node", 2), drawn("engine_crash", 2), False),
        (drawn("traffic_burst", None), drawn("queue_limit", None), False),
        (drawn("traffic_burst", None), drawn("slow_node", 1), True),
        (drawn("upstream_unreachable", None), drawn("slow_node", 1), False),
        (drawn("upstream_unreachable", None), drawn("model_load_failure", 1), True),
        (drawn("rollout_capacity_loss", None), drawn("engine_crash", 1), False),
        (drawn("deploy_regression", None, variant="restarted"), drawn("engine_crash", 1), False),
        (drawn("deploy_regression", None, variant="announced"), drawn("engine_crash", 1), False),
        (drawn("deploy_regression", None, variant="announced"), drawn("engine_stall", 1), True),
        (drawn("gpu_compute_saturation", 1, variant="all_cards"), drawn("traffic_burst", None), False),
        (drawn("gpu_compute_saturation", 1, variant="one_card"), drawn("traffic_burst", None), True),
        (drawn("connection_pool_exhaustion", None, variant="leak", replicas=1), drawn("engine_crash", 1), False),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else str(value),
)
def test_of_two_neither_may_hide_the_other(first: Fault, second: Fault, together: bool):
    assert seen_together(first, second) is together
    assert seen_together(second, first) is together


def test_a_house_in_which_no_two_can_be_seen_is_no_experiment():
    with pytest.raises(Spoilt, match="seen together"):
        draw_both([(LEAK, SLOW)], random.Random(1))
