"""Limits of control groups, wherever between the process and the top they are set."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiops.collect.cgroup import Cgroup, levels
from aiops.collect.process_groups import ServerGroups
from aiops.model import Labels

A = Labels.of(host_name="n1", instance="127.0.0.1:8000")


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "proc/7/cgroup", "0::/pod/app\n")
    write(tmp_path, "proc/self/cgroup", "0::/aiops\n")
    write(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n")
    write(tmp_path, "sys/fs/cgroup/pod/app/memory.current", "100\n")
    write(tmp_path, "sys/fs/cgroup/pod/memory.current", "300\n")
    return tmp_path


def values(cgroup: Cgroup, uptime_s: float = 0.0) -> dict[str, float]:
    return {sample.metric: sample.value for sample in cgroup.read(uptime_s, 1.0)}


def test_the_tightest_limit_counts_with_the_usage_of_its_own_level(root):
    """A pod of two containers is killed at the pod's limit, whatever one container uses."""
    write(root, "sys/fs/cgroup/pod/app/memory.max", "4000\n")
    write(root, "sys/fs/cgroup/pod/memory.max", "1000\n")
    seen = values(Cgroup(root, 7, A))
    assert seen["process_cgroup_memory_limit_bytes"] == 1000.0
    assert seen["process_cgroup_memory_usage_bytes"] == 300.0
    assert seen["process_cgroup_memory_utilization_ratio"] == 0.3


def test_without_a_limit_there_is_usage_and_no_ratio(root):
    """Absent, not zero: nothing can be full."""
    write(root, "sys/fs/cgroup/pod/app/memory.max", "max\n")
    assert values(Cgroup(root, 7, A)) == {"process_cgroup_memory_usage_bytes": 100.0}


def test_page_cache_that_can_be_dropped_is_not_counted_as_full(root):
    """While weights are read the cache fills any limit, which harms nobody."""
    write(root, "sys/fs/cgroup/pod/app/memory.max", "100\n")
    write(root, "sys/fs/cgroup/pod/app/memory.stat", "anon 20\ninactive_file 80\n")
    assert values(Cgroup(root, 7, A))["process_cgroup_memory_utilization_ratio"] == pytest.approx(0.2)


def test_throttling_is_the_share_of_periods_since_the_last_look(root):
    """Throttled at start and never since is no throttling now."""
    write(root, "sys/fs/cgroup/pod/cpu.max", "200000 100000\n")
    group = Cgroup(root, 7, A)
    write(root, "sys/fs/cgroup/pod/cpu.stat", "nr_periods 1000\nnr_throttled 900\n")
    assert "process_cgroup_cpu_throttled_ratio" not in values(group, 0.0)
    write(root, "sys/fs/cgroup/pod/cpu.stat", "nr_periods 1100\nnr_throttled 925\n")
    seen = values(group, 10.0)
    assert (seen["process_cgroup_cpu_limit_cores"], seen["process_cgroup_cpu_throttled_ratio"]) == (2.0, 0.25)


def events(cgroup: Cgroup, uptime_s: float = 0.0) -> dict[str, float]:
    return {
        sample.labels.get("event"): sample.value
        for sample in cgroup.read(uptime_s, 1.0)
        if sample.metric == "process_cgroup_memory_events_total"
    }


def test_a_kill_is_counted_where_the_process_was_and_a_full_group_where_the_limit_is(root):
    """A neighbour in the same pod that was killed must not pass for this server."""
    write(root, "sys/fs/cgroup/pod/memory.max", "1000\n")
    write(root, "sys/fs/cgroup/pod/memory.events", "low 0\nhigh 2\nmax 9\noom 4\noom_kill 4\n")
    write(root, "sys/fs/cgroup/pod/app/memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\n")
    assert events(Cgroup(root, 7, A)) == {"oom_kill": 1.0, "max": 9.0, "oom": 4.0, "high": 2.0}


def test_version_1_tells_the_same_by_its_own_files(tmp_path):
    """Most machines with an old kernel, and many containers."""
    write(tmp_path, "proc/7/cgroup", "3:memory:/pod/app\n2:cpu,cpuacct:/\n")
    top = "sys/fs/cgroup/memory/pod"
    for level, limit in (("", 1000), ("/app", 2**63 - 4096)):
        write(tmp_path, f"{top}{level}/memory.limit_in_bytes", f"{limit}\n")
    write(tmp_path, f"{top}/memory.usage_in_bytes", "970\n")
    write(tmp_path, f"{top}/memory.failcnt", "12\n")
    write(tmp_path, f"{top}/app/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    group = Cgroup(tmp_path, 7, A)
    assert events(group) == {"oom_kill": 3.0, "max": 12.0}
    assert values(group)["process_cgroup_memory_utilization_ratio"] == 0.97


def test_a_limit_that_is_set_on_a_running_group_counts_at_the_next_look(root):
    """Quotas and pods are changed while servers run."""
    group = Cgroup(root, 7, A)
    assert "process_cgroup_memory_limit_bytes" not in values(group)
    write(root, "sys/fs/cgroup/pod/memory.max", "1000\n")
    assert values(group, 10.0)["process_cgroup_memory_limit_bytes"] == 1000.0


def test_a_child_that_is_throttled_in_a_group_of_its_own_throttles_the_server(root):
    """The tokenizer stands still, and with it every request."""
    write(root, "proc/8/cgroup", "0::/pod/app/tokenizer\n")
    write(root, "proc/9/cgroup", "0::/pod/app\n")
    child = "sys/fs/cgroup/pod/app/tokenizer"
    write(root, f"{child}/cpu.max", "1000 100000\n")
    groups = ServerGroups(root, A)
    seen: dict[str, float] = {}
    for uptime_s, periods in ((0.0, 0), (10.0, 100)):
        write(root, f"{child}/cpu.stat", f"nr_periods {periods}\nnr_throttled {periods * 9 // 10}\n")
        seen = {sample.metric: sample.value for sample in groups.read([7, 9, 8], uptime_s, 1.0)}
    assert seen["process_cgroup_cpu_throttled_ratio"] == 0.9
    assert "process_cgroup_cpu_limit_cores" not in seen  # that is the server's own, and it has none
    (root / "proc/8/cgroup").unlink()
    assert "process_cgroup_cpu_throttled_ratio" not in [each.metric for each in groups.read([7, 9], 20.0, 1.0)]


def test_memory_is_read_between_two_readings_of_everything(root):
    """A leak of two percent a second is seen before the kernel ends it."""
    groups = ServerGroups(root, A)
    assert groups.often(0.0, 0.0) == []
    list(groups.read([7], 0.0, 1.0))
    write(root, "sys/fs/cgroup/pod/app/memory.current", "200\n")
    seen = [(each.metric, each.value) for each in groups.often(5.0, 5.0)]
    assert seen == [("process_cgroup_memory_usage_bytes", 200.0)]


V2 = ("0::/pod/app\n", "pod/app", {"cpu.max": "25000 100000\n"}, "nr_periods {} \nnr_throttled {}\nthrottled_usec 9\n")
V1 = (
    "4:cpu,cpuacct:/pod/app\n1:memory:/pod/app\n",
    "cpu/pod/app",
    {"cpu.cfs_quota_us": "25000\n", "cpu.cfs_period_us": "100000\n"},
    "nr_periods {}\nnr_throttled {}\nthrottled_time 9000\n",
)


@pytest.mark.parametrize(("membership", "folder", "quota", "counts"), [V1, V2], ids=["version 1", "version 2"])
def test_throttling_is_read_between_two_readings_of_everything(tmp_path, membership, folder, quota, counts):
    """A quota hurts users as soon as it is met; ten seconds later is too late to have come first."""
    write(tmp_path, "proc/7/cgroup", membership)
    write(tmp_path, "proc/self/cgroup", membership)
    if folder == "pod/app":
        write(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    base = f"sys/fs/cgroup/{folder}"
    for name, text in quota.items():
        write(tmp_path, f"{base}/{name}", text)
    groups = ServerGroups(tmp_path, A)
    write(tmp_path, f"{base}/cpu.stat", counts.format(100, 0))
    list(groups.read([7], 0.0, 0.0))
    write(tmp_path, f"{base}/cpu.stat", counts.format(110, 6))
    assert [(each.metric, each.at_s, each.value) for each in groups.often(1.0, 1.0)] == [
        ("process_cgroup_cpu_throttled_ratio", 1.0, 0.6)
    ]


def test_a_quota_that_is_set_on_a_running_group_tells_at_the_next_look(root):
    """Kubernetes resizes pods in place; what was counted before is what the next look is compared with."""
    write(root, "sys/fs/cgroup/pod/app/cpu.max", "max 100000\n")
    write(root, "sys/fs/cgroup/pod/app/cpu.stat", "nr_periods 0\nnr_throttled 0\n")
    group = Cgroup(root, 7, A)
    assert "process_cgroup_cpu_throttled_ratio" not in values(group, 0.0)
    write(root, "sys/fs/cgroup/pod/app/cpu.max", "25000 100000\n")
    write(root, "sys/fs/cgroup/pod/app/cpu.stat", "nr_periods 50\nnr_throttled 40\n")
    assert values(group, 10.0)["process_cgroup_cpu_throttled_ratio"] == 0.8


def test_counts_of_another_group_are_not_compared(root):
    """A quota set on the pod moves the look from the container's counts to the pod's."""
    write(root, "sys/fs/cgroup/pod/app/cpu.max", "max 100000\n")
    write(root, "sys/fs/cgroup/pod/app/cpu.stat", "nr_periods 10\nnr_throttled 0\n")
    group = Cgroup(root, 7, A)
    values(group, 0.0)
    write(root, "sys/fs/cgroup/pod/cpu.max", "25000 100000\n")
    write(root, "sys/fs/cgroup/pod/cpu.stat", "nr_periods 900\nnr_throttled 800\n")
    assert "process_cgroup_cpu_throttled_ratio" not in values(group, 10.0)


def test_a_group_outside_of_our_namespace_is_a_blind_spot(root):
    """Our own group's limits must never be taken for those of a server in another container."""
    for path in ("0::/../../kubepods/x\n", "0::/elsewhere\n", "4:cpuset:/\n", ""):
        write(root, "proc/7/cgroup", path)
        with pytest.raises(OSError, match="not to be seen"):
            values(Cgroup(root, 7, A))


def test_in_a_shared_container_the_top_is_the_container_s_own_group(tmp_path):
    """Docker with version 1 shows the host's path, but mounts the container's own group."""
    top = tmp_path / "memory"
    top.mkdir()
    assert list(levels(tmp_path, "memory", "/docker/abc", ours=True)) == [str(top)]
    assert list(levels(tmp_path, "memory", "/docker/abc", ours=False)) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.sampled_from(["memory.max", "memory.current", "memory.stat", "memory.events", "cpu.max", "cpu.stat", "pids.max",
                        "pids.current", "io.pressure"]), st.binary(max_size=60))  # fmt: skip
def test_any_content_raises_only_what_the_collector_expects(root, name, noise):
    """A blind spot of one control group, and the rest goes on."""
    group = Cgroup(root, 7, A)
    for uptime_s in (0.0, 10.0):
        (root / "sys/fs/cgroup/pod/app" / name).write_bytes(noise)
        try:
            values(group, uptime_s)
        except (OSError, ValueError, LookupError, ArithmeticError):
            continue
    (root / "sys/fs/cgroup/pod/app" / name).unlink()
