"""What is missing on a machine is told before a run begins, all at once."""

import os
import shutil

import pytest

from tests.lab import needs
from tests.lab.cell import CellError
from tests.lab.faults import FAULTS
from tests.lab.jobs import Job


@pytest.fixture(autouse=True)
def _whole_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(needs.importlib.util, "find_spec", lambda name: name)


def test_a_machine_that_has_everything_is_fit():
    needs.check_possible([Job(name, 1, "nginx", "vllm") for name in FAULTS])


def test_all_that_is_missing_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda name: None if name in {"nft", "nginx"} else f"/bin/{name}")
    monkeypatch.setattr(needs.importlib.util, "find_spec", lambda name: None if name == "locust" else name)

    with pytest.raises(CellError) as told:
        needs.check_possible([Job("network_retransmits", 1, "nginx", "vllm")])

    assert str(told.value) == (
        "the lab needs nft (Debian: nftables), nginx (Debian: nginx), locust (requirements/lab.txt)"
    )


def test_only_what_the_runs_use_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    """Whoever runs one fault need not install what another needs."""
    monkeypatch.setattr(shutil, "which", lambda name: None if name in {"nft", "nginx"} else f"/bin/{name}")

    needs.check_possible([Job("slow_node", 1, "python", "vllm")])


@pytest.mark.parametrize("name", FAULTS)
def test_every_program_a_fault_needs_has_a_package(name: str):
    assert set(FAULTS[name].needs) <= set(needs._PACKAGES)
