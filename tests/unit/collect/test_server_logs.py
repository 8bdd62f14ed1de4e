"""Containers' logs are found where their runtimes put them. (Processes' logs are tested with the log tail.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from aiops.collect.server_logs import container_logs


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    for name in (
        "var/log/pods/kube-system_proxy-x_1-2/proxy/0.log",
        "var/log/pods/prod_vllm-7c_3-4/vllm/1.log",
        "var/log/pods/prod_vllm-7c_3-4/vllm/0.log.20261124-120000.gz",
        "var/log/pods/prod_node-agent-q_5-6/aiops/0.log",
        "var/lib/docker/containers/abcdef012345aaaa/abcdef012345aaaa-json.log",
        "var/lib/docker/containers/fedcba543210bbbb/fedcba543210bbbb-json.log",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def found(root: Path, host: str = "node-1") -> list[str]:
    return [str(Path(log.path).relative_to(root)) for log in container_logs(root, host)]


def test_pods_and_containers_are_found_engines_first(machine: Path) -> None:
    """There is room for so many files; those of model servers go first. Nobody can tell which replica wrote them."""
    assert found(machine) == [
        "var/log/pods/prod_vllm-7c_3-4/vllm/1.log",
        "var/lib/docker/containers/abcdef012345aaaa/abcdef012345aaaa-json.log",
        "var/lib/docker/containers/fedcba543210bbbb/fedcba543210bbbb-json.log",
        "var/log/pods/kube-system_proxy-x_1-2/proxy/0.log",
    ]
    assert {log.instance for log in container_logs(machine, "node-1")} == {""}


def test_our_own_container_is_left_out(machine: Path) -> None:
    """A warning of ours about a line would be a line that deserves a warning."""
    assert not any("abcdef" in path for path in found(machine, "abcdef012345"))
    assert not any("proxy-x" in path for path in found(machine, "proxy-x"))


def test_a_machine_without_containers_has_none(tmp_path: Path) -> None:
    """Or one where we may not look."""
    assert found(tmp_path) == []
