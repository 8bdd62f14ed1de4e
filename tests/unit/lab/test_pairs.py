"""Which two faults may be at once: two roots, in one house, that do not turn the same screws."""

from tests.lab.faults.fault import Fault
from tests.lab.faults.pairs import possible_pairs


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
