"""GPUs are read through a driver that may hang, lose cards, lack readings or not be there; nobody else notices."""

from __future__ import annotations

import asyncio
import ctypes.util
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from aiops.cards import CardBook, Spot
from aiops.catalog import CATALOG
from aiops.child import Child, ask_once
from aiops.clock import ManualClock
from aiops.collect.gpu_card import REASONS
from aiops.collect.gpu_nvml import Config, GpuNvml
from aiops.errors import ChildTimeout
from aiops.model import Event, Labels, Observation, Sample, Sight
from aiops.ports import World
from tests.fakes import FakeCheckpoints, FakeInbox
from tests.nvml_stub import StubState, build_library

NOW_S = 1_800_000_000.0


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a libnvidia-ml.so.1 that does as its state file says."""
    return build_library(tmp_path_factory.mktemp("nvml"))


class Machine:
    """A host with stub cards and the collector under test."""

    def __init__(self, root: Path, library: Path | None) -> None:
        self.root = root
        self.state = StubState(root / "state")
        self.command = self.state.command(library or root)
        self.seen: list[Observation] = []
        self.cards = CardBook()

    def set(self, *lines: str) -> None:
        self.state.set(*lines)

    def play(self, story: Callable[[GpuNvml], Awaitable[None]], **settings: Any) -> None:
        http = cast("httpx.AsyncClient", None)
        world = World("n1", self.root, ManualClock(), http, FakeCheckpoints(), FakeInbox(), self.cards)

        async def run() -> None:
            collector = GpuNvml(Config(**{"deadline": 20.0, **settings}), world, self.command)
            try:
                await story(collector)
            finally:
                collector.close()
                for process in collector._child._dying:  # on a busy machine it may take longer than it is waited for
                    process.wait(10.0)

        asyncio.run(run())

    def rounds(self, *steps: tuple[float, Sequence[str]]) -> list[list[Observation]]:
        """What one collector sees in rounds, each so many seconds after the start and with that state."""
        found: list[list[Observation]] = []

        async def story(collector: GpuNvml) -> None:
            for second, lines in steps:
                self.set(*lines)
                found.append(list(await collector.gather(NOW_S + second)))

        self.play(story)
        return found

    def gather(self, at_s: float = NOW_S, **settings: Any) -> list[Observation]:
        """What one first round sees."""

        async def story(collector: GpuNvml) -> None:
            self.seen = list(await collector.gather(at_s))

        self.play(story, **settings)
        return self.seen


@pytest.fixture
def machine(tmp_path: Path, library: Path) -> Machine:
    return Machine(tmp_path, library)


def value(seen: list[Observation], metric: str, **match: str) -> float | None:
    found = [
        each.value for each in seen if isinstance(each, Sample) and each.metric == metric and each.labels.matches(match)
    ]
    assert len(found) <= 1, found
    return found[0] if found else None


def events(seen: list[Observation]) -> list[tuple[str, str]]:
    return [(each.action, each.labels.get("gpu")) for each in seen if isinstance(each, Event)]


def sights(seen: list[Observation]) -> list[Sight]:
    return [each for each in seen if isinstance(each, Sight)]


# --- readings -------------------------------------------------------------------------------------------------------


def test_every_reading_arrives_in_base_units(machine: Machine) -> None:
    """Percent, milliwatt and megahertz end here."""
    machine.set(
        "count=1", "reserved.0=1073741824", "used.0=64424509440", "total.0=85899345920", "reasons.0=0x24", "ecc.0=3"
    )

    seen = machine.gather()

    expected = {
        "hw_gpu_up": 1.0,
        "hw_gpu_utilization_ratio": 0.9,
        "hw_gpu_memory_controller_utilization_ratio": 0.4,
        "hw_gpu_memory_usage_bytes": 64424509440.0,
        "hw_gpu_memory_limit_bytes": 84825604096.0,
        "hw_gpu_memory_utilization_ratio": 64424509440.0 / 84825604096.0,
        "hw_temperature_celsius": 65.0,
        "hw_temperature_limit_celsius": 90.0,
        "hw_power_watts": 350.0,
        "hw_power_limit_watts": 700.0,
        "hw_gpu_clock_hertz": 1.98e9,
    }
    assert {metric: value(seen, metric, gpu="0", hw_id="GPU-0", host_name="n1") for metric in expected} == expected
    assert value(seen, "hw_errors_total", error_type="uncorrected") == 3.0
    assert value(seen, "hw_gpu_count") == 1.0
    assert value(seen, "hw_gpu_driver_responding") == 1.0
    assert [sight.detail for sight in sights(seen)] == ["1 x Stub H200, driver 570.148"]


def test_what_changes_seldom_arrives_in_base_units_too(machine: Machine) -> None:
    """Limits, wear, slot and links are what tells a dying card from a busy one."""
    machine.set(
        "count=1", "ecclife.0=5", "rows.0=2", "badrows.0=1", "rowpending.0=1", "rowfailed.0=1", "f230.0=1",
        "replays.0=9", "width.0=8", "gen.0=4", "maxclock.0=2100", "down.0=2", "f163.0=3",
    )  # fmt: skip

    seen = machine.gather()

    expected = {
        "hw_temperature_shutdown_limit_celsius": 95.0,
        "hw_gpu_memory_temperature_celsius": 70.0,
        "hw_gpu_memory_temperature_limit_celsius": 105.0,
        "hw_gpu_clock_limit_hertz": 2.1e9,
        "hw_gpu_memory_clock_hertz": 3.201e9,
        "hw_gpu_row_remap_pending": 1.0,
        "hw_gpu_row_remap_failed": 1.0,
        "hw_gpu_recovery_needed": 1.0,
        "hw_gpu_mig_enabled": 0.0,
        "hw_gpu_pcie_replays_total": 9.0,
        "hw_gpu_pcie_link_lanes": 8.0,
        "hw_gpu_pcie_link_lanes_limit": 16.0,
        "hw_gpu_pcie_link_generation": 4.0,
        "hw_gpu_pcie_link_generation_limit": 5.0,
        "hw_gpu_nvlinks_active": 16.0,
    }
    assert {metric: value(seen, metric, gpu="0", hw_id="GPU-0", host_name="n1") for metric in expected} == expected
    assert value(seen, "hw_errors_total", error_type="corrected") == 7.0
    assert value(seen, "hw_errors_lifetime_total", error_type="corrected") == 70.0
    assert value(seen, "hw_errors_lifetime_total", error_type="uncorrected") == 5.0
    assert value(seen, "hw_gpu_remapped_rows_total", error_type="corrected") == 2.0
    assert value(seen, "hw_gpu_remapped_rows_total", error_type="uncorrected") == 1.0
    assert value(seen, "hw_gpu_nvlink_errors_total", error_type="crc") == 18 * 3.0
    assert value(seen, "hw_gpu_retired_pages_total") is None


@pytest.mark.parametrize(
    ("bits", "cut"),
    [
        ("0x0", set()),
        ("0x1", set()),  # idle
        ("0x20", {"thermal", "thermal_software"}),
        ("0x40", {"thermal", "thermal_hardware"}),
        ("0x4", {"power", "power_cap"}),
        ("0x80", {"power", "power_brake"}),
        ("0x8", {"hardware"}),
        ("0x48", {"thermal", "thermal_hardware", "hardware"}),
    ],
)
def test_every_reason_for_cut_clocks_is_told_apart(machine: Machine, bits: str, cut: set[str]) -> None:
    """Heat wants a fan, the brake an electrician, the cap nobody."""
    machine.set("count=1", f"reasons.0={bits}")

    told = {
        each.labels.get("reason"): each.value
        for each in machine.gather()
        if isinstance(each, Sample) and each.metric == "hw_gpu_throttled_ratio"
    }

    assert {reason for reason, ratio in told.items() if ratio == 1.0} == cut
    assert set(told) == {reason for reason, _ in REASONS}


def test_a_card_that_tells_its_limits_as_a_distance_gets_them_as_temperatures(machine: Machine) -> None:
    """Since Ada the older call may go; 65 °C, 24 to go, clocks cut 2 beyond that."""
    machine.set("count=1", "unsupported=nvmlDeviceGetTemperatureThreshold", "margin.0=24", "f194.0=-2", "f193.0=-8")

    seen = machine.gather()

    assert value(seen, "hw_temperature_limit_celsius") == 91.0
    assert value(seen, "hw_temperature_shutdown_limit_celsius") == 97.0


@pytest.mark.parametrize(("code", "up"), [(3, 1.0), (2, 1.0), (15, 0.0)])
def test_a_field_value_is_judged_by_its_own_return_code(machine: Machine, code: int, up: float) -> None:
    """The call succeeds as a whole, and what stands in a value that failed is rubbish."""
    machine.set("count=1", f"r82.0={code}")

    seen = machine.gather()

    assert value(seen, "hw_gpu_memory_temperature_celsius") is None
    assert value(seen, "hw_gpu_up") == up


def test_a_memory_sensor_that_reads_zero_is_none(machine: Machine) -> None:
    """No running card is that cold."""
    machine.set("count=1", "f82.0=0")

    assert value(machine.gather(), "hw_gpu_memory_temperature_celsius") is None


def test_an_older_card_shows_retired_pages_instead_of_rows(machine: Machine) -> None:
    """Rows came with Ampere."""
    machine.set("count=1", "unsupported=nvmlDeviceGetRemappedRows", "f29.0=4", "f30.0=1", "f31.0=1")

    seen = machine.gather()

    assert value(seen, "hw_gpu_retired_pages_total", error_type="corrected") == 4.0
    assert value(seen, "hw_gpu_retired_pages_total", error_type="uncorrected") == 1.0
    assert value(seen, "hw_gpu_page_retirement_pending") == 1.0
    assert value(seen, "hw_gpu_row_remap_failed") is None


@pytest.mark.parametrize(
    ("generation", "errors"),
    [
        ("nvlink.0=3", {"crc": 2.0 + 1.0, "replay": 5.0, "recovery": 7.0}),
        ("nvlink.0=4", {"crc": 36.0, "replay": 0.0, "recovery": 0.0}),
        ("nvlink.0=5", {"receive": 54.0, "integrity": 0.0, "recovery": 0.0}),
        ("nvlink.0=0", {}),
    ],
)
def test_nvlink_errors_are_read_where_the_generation_keeps_them(
    machine: Machine, generation: str, errors: dict[str, float]
) -> None:
    """Hopper dropped the totals of Ampere, Blackwell the fields of Hopper."""
    fields = {
        "nvlink.0=3": ["f38.0=2", "f45.0=1", "f52.0=5", "f59.0=7"],
        "nvlink.0=4": ["f163.0=2"],
        "nvlink.0=5": ["f208.0=3"],
    }
    machine.set("count=1", generation, *fields.get(generation, []))

    seen = machine.gather()

    assert {
        each.labels.get("error_type"): each.value
        for each in seen
        if isinstance(each, Sample) and each.metric == "hw_gpu_nvlink_errors_total"
    } == errors
    assert value(seen, "hw_gpu_nvlinks_active") == (18.0 if errors else None)


def test_a_link_that_goes_down_is_missed_and_its_errors_stay_counted(machine: Machine) -> None:
    """A sum that falls would look like a driver that was loaded anew."""
    first, last = machine.rounds(
        (0.0, ["count=1", "f163.0=2"]), (30.0, ["count=1", "down.0=1", "f163.0=2", "r163.0=3"])
    )

    assert [value(seen, "hw_gpu_nvlinks_active") for seen in (first, last)] == [18.0, 17.0]
    assert [value(seen, "hw_gpu_nvlinks_expected") for seen in (first, last)] == [18.0, 18.0]
    assert [value(seen, "hw_gpu_nvlink_errors_total", error_type="crc") for seen in (first, last)] == [36.0, 36.0]


def test_errors_and_links_are_asked_seldom(machine: Machine) -> None:
    """A card has hundreds of counters, and asking takes the driver's lock."""
    seen = machine.rounds(*((second, ["count=1"]) for second in (0.0, 5.0, 10.0, 25.0, 30.0)))

    assert [value(each, "hw_gpu_row_remap_failed") is not None for each in seen] == [True, False, True, True, False]
    assert [value(each, "hw_gpu_nvlinks_active") is not None for each in seen] == [True, False, False, False, True]
    assert all(value(each, "hw_gpu_utilization_ratio") == 0.9 for each in seen)


def test_only_catalogued_metrics_and_labels_come_out(machine: Machine) -> None:
    """Rules may only cite what stands in the catalogue."""
    machine.set("count=3", "pid.0=1", "mig.1=2", "unsupported=nvmlDeviceGetRemappedRows", "f29.0=1", "nvlink.2=5")

    for sample in (each for each in machine.gather() if isinstance(each, Sample)):
        assert {name for name, _ in sample.labels.pairs} == set(CATALOG[sample.metric].labels)


@pytest.mark.parametrize(
    ("call", "metrics"),
    [
        ("nvmlDeviceGetUtilizationRates", ["hw_gpu_utilization_ratio", "hw_gpu_memory_controller_utilization_ratio"]),
        ("nvmlDeviceGetPowerUsage", ["hw_power_watts"]),
        ("nvmlDeviceGetTemperature", ["hw_temperature_celsius"]),
        ("nvmlDeviceGetTemperatureThreshold", ["hw_temperature_limit_celsius"]),
        ("nvmlDeviceGetTotalEccErrors", ["hw_errors_total"]),
        ("nvmlDeviceGetCurrentClocksEventReasons", ["hw_gpu_throttled_ratio"]),
        ("nvmlDeviceGetEnforcedPowerLimit", ["hw_power_limit_watts"]),
        ("nvmlDeviceGetMaxClockInfo", ["hw_gpu_clock_limit_hertz"]),
        ("nvmlDeviceGetRemappedRows", ["hw_gpu_remapped_rows_total", "hw_gpu_row_remap_failed"]),
        ("nvmlDeviceGetFieldValues", ["hw_gpu_memory_temperature_celsius", "hw_gpu_nvlink_errors_total"]),
        ("nvmlDeviceGetPcieReplayCounter", ["hw_gpu_pcie_replays_total"]),
        ("nvmlDeviceGetCurrPcieLinkWidth", ["hw_gpu_pcie_link_lanes"]),
        ("nvmlDeviceGetMaxPcieLinkWidth", ["hw_gpu_pcie_link_lanes_limit"]),
        ("nvmlDeviceGetNvLinkState", ["hw_gpu_nvlinks_active", "hw_gpu_nvlinks_expected"]),
        ("nvmlDeviceGetMigMode", ["hw_gpu_mig_enabled", "hw_gpu_instance_memory_usage_bytes"]),
        ("nvmlEventSetCreate", ["hw_gpu_xid_errors_total"]),
        ("nvmlDeviceRegisterEvents", ["hw_gpu_xid_errors_total"]),
    ],
)
def test_what_a_card_does_not_support_is_absent_and_never_zero(machine: Machine, call: str, metrics: list[str]) -> None:
    """A GPU under MIG is not an idle GPU."""
    machine.set("count=1", f"unsupported={call}", "pid.0=1")

    seen = machine.gather()

    names = {each.metric for each in seen if isinstance(each, Sample)}
    assert not names & set(metrics)
    assert {"hw_gpu_up", "hw_gpu_memory_usage_bytes", "hw_gpu_clock_hertz"} <= names


def test_an_older_driver_gives_memory_by_the_older_call(machine: Machine) -> None:
    """Its "used" includes what the driver reserves."""
    machine.set("count=1", "unsupported=nvmlDeviceGetMemoryInfo_v2")

    seen = machine.gather()

    assert value(seen, "hw_gpu_memory_usage_bytes") == 61 * 2**30
    assert value(seen, "hw_gpu_memory_limit_bytes") == 80 * 2**30


@pytest.mark.parametrize(
    "lines", [("unsupported=nvmlDeviceGetMemoryInfo", "unsupported=nvmlDeviceGetMemoryInfo_v2"), ("total.0=0",)]
)
def test_a_card_without_memory_of_its_own_shows_the_hosts(machine: Machine, lines: tuple[str, ...]) -> None:
    """On unified-memory parts the host's memory is what runs out."""
    machine.set("count=1", *lines)
    (machine.root / "proc").mkdir()
    (machine.root / "proc/meminfo").write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n")

    seen = machine.gather()

    assert value(seen, "hw_gpu_memory_limit_bytes") == 1000 * 1024
    assert value(seen, "hw_gpu_memory_utilization_ratio") == pytest.approx(0.6)


def test_whoever_asks_for_little_still_learns_which_card_it_is(machine: Machine) -> None:
    """The demo asks for processes only; and a card may show up between two slow rounds."""
    machine.set("count=1")

    answer = asyncio.run(ask_once(machine.command, {"processes": True}, 20.0))

    (card,) = answer["cards"]
    assert (card["index"], card["uuid"], card["name"]) == (0, "GPU-0", "Stub H200")
    assert card["address"] == "00000000:10:00.0"
    assert "pcie_width" not in card
    assert "errors" not in card


def test_who_holds_memory_is_asked_every_ten_seconds_only(machine: Machine) -> None:
    """The list costs milliseconds and holds the lock that inference needs."""
    machine.set("count=1", f"pid.0={os.getpid()}")
    (machine.root / f"proc/{os.getpid()}").mkdir(parents=True)
    (machine.root / f"proc/{os.getpid()}/comm").write_text("vllm\n")
    rounds: list[list[Observation]] = []

    async def story(collector: GpuNvml) -> None:
        rounds.extend([list(await collector.gather(NOW_S + second)) for second in (0.0, 5.0, 10.0)])

    machine.play(story)

    held = [value(seen, "hw_gpu_process_memory_usage_bytes", pid=str(os.getpid()), process="vllm") for seen in rounds]
    assert held == [50 * 2**30, None, 50 * 2**30]


def test_an_older_driver_lists_processes_by_the_older_call(machine: Machine) -> None:
    """The newer symbol is missing from its library, which is no reason to know of nobody."""
    machine.set("count=1", "pid.0=4711", "missing=nvmlDeviceGetComputeRunningProcesses_v3")

    assert value(machine.gather(), "hw_gpu_process_memory_usage_bytes", pid="4711") == 50 * 2**30


def test_a_driver_that_lists_no_processes_says_nothing_about_them(machine: Machine) -> None:
    """Not asked is not nobody."""
    calls = ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2")
    machine.set("count=1", "pid.0=4711", *(f"unsupported={call}" for call in calls))

    assert value(machine.gather(), "hw_gpu_process_memory_usage_bytes") is None


def test_each_process_on_a_card_has_its_own_memory(machine: Machine) -> None:
    """A server and a notebook on one card must not be taken for one another."""
    machine.set("count=2", "proc.0=4711:1000", "proc.0=4712:2000", "proc.1=4713:3000")

    seen = machine.gather()

    held = [value(seen, "hw_gpu_process_memory_usage_bytes", pid=pid) for pid in ("4711", "4712", "4713")]
    assert held == [1000.0, 2000.0, 3000.0]


def test_clients_of_an_mps_server_are_listed_too(machine: Machine) -> None:
    """They stand in a list of their own."""
    machine.set("count=1", "mpspid.0=4711")

    seen = machine.gather()

    assert value(seen, "hw_gpu_process_memory_usage_bytes", pid="4711") == 50 * 2**30
    assert value(seen, "hw_gpu_process_memory_usage_bytes", pid="4712") is None  # holds an unknown amount


def test_a_card_cut_into_slices_shows_the_memory_of_each(machine: Machine) -> None:
    """A full slice fails as a full card does, while the card as a whole has room; whose slices they are shows there too."""
    machine.set("count=1", "mig.0=2", "pid.0=4711", "total.0=42949672960", "used.0=21474836480", "reserved.0=0")

    seen = machine.gather()

    assert value(seen, "hw_gpu_mig_enabled") == 1.0
    assert value(seen, "hw_gpu_utilization_ratio") is None
    assert value(seen, "hw_gpu_memory_usage_bytes") == 21474836480.0
    for instance in ("7", "8"):
        assert value(seen, "hw_gpu_instance_memory_usage_bytes", gpu_instance=instance) == 10737418240.0
        assert value(seen, "hw_gpu_instance_memory_limit_bytes", gpu_instance=instance) == 21474836480.0
        assert value(seen, "hw_gpu_instance_memory_utilization_ratio", gpu_instance=instance) == 0.5
    assert value(seen, "hw_gpu_process_memory_usage_bytes", pid="4711") == 50 * 2**30


# --- Xids -----------------------------------------------------------------------------------------------------------


def xids(seen: list[Observation]) -> list[tuple[str, str, str]]:
    return [
        (each.labels.get("gpu"), each.labels.get("xid"), each.message)
        for each in seen
        if isinstance(each, Event) and each.action == "xid"
    ]


def xid_totals(seen: list[Observation]) -> list[tuple[str, str, float, float]]:
    return [
        (each.labels.get("gpu"), each.labels.get("xid"), each.at_s - NOW_S, each.value)
        for each in seen
        if isinstance(each, Sample) and each.metric == "hw_gpu_xid_errors_total"
    ]


def test_an_xid_is_an_event_and_is_counted_from_zero(machine: Machine) -> None:
    """What stood there before the start is history; a counter that begins at one would not have risen."""
    before = ["count=2", "xid=1:0:31"]
    rounds = machine.rounds((0.0, before), (5.0, [*before, "xid=2:1:79", "xid=3:0:31"]), (10.0, before))

    assert [xids(seen) for seen in rounds] == [[], [("1", "79", "Xid 79 on GPU 1"), ("0", "31", "Xid 31 on GPU 0")], []]
    assert ("1", "79", 4.0, 0.0) in xid_totals(rounds[1])
    assert ("1", "79", 5.0, 1.0) in xid_totals(rounds[1])
    assert xid_totals(rounds[0]) == [("0", "79", 0.0, 0.0), ("1", "79", 0.0, 0.0)]  # none so far, and we look


def test_an_xid_that_the_kernel_log_told_is_not_told_again(machine: Machine) -> None:
    """One fault, one event: two witnesses would count as two."""
    spot = Spot(Labels.of(host_name="n1", hw_id="GPU-1", gpu="1"), "0000:11:00")
    machine.cards.xid("kernel_log", spot, NOW_S + 2.0, 79)
    lines = ["count=2"]

    rounds = machine.rounds((0.0, lines), (5.0, [*lines, "xid=2:1:79", "xid=3:1:48"]))

    assert xids(rounds[1]) == [("1", "48", "Xid 48 on GPU 1")]


def test_xids_are_left_out_where_events_are_not_supported(machine: Machine) -> None:
    """All else is read on."""
    lines = ["count=1", "unsupported=nvmlEventSetCreate"]
    rounds = machine.rounds((0.0, lines), (5.0, [*lines, "xid=2:0:79"]))

    assert xids(rounds[1]) == []
    assert value(rounds[1], "hw_gpu_up") == 1.0


# --- who uses which card --------------------------------------------------------------------------------------------


def serve(root: Path, pid: int, port: int) -> None:
    """Let *pid* listen on *port*."""
    (root / "proc/net").mkdir(parents=True, exist_ok=True)
    (root / "proc/net/tcp").write_text(
        f"heading\n 0: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 {port} 1 0\n"
    )
    (root / f"proc/{pid}/fd").mkdir(parents=True, exist_ok=True)
    (root / f"proc/{pid}/stat").write_text(f"{pid} (vllm) S 1 1 0")
    (root / f"proc/{pid}/fd/3").symlink_to(f"socket:[{port}]")


def ports(seen: list[Observation]) -> list[tuple[str, str]]:
    found = (o.labels for o in seen if isinstance(o, Sample) and o.metric == "hw_gpu_process_port")
    return [(labels.get("gpu"), labels.get("port")) for labels in found]


def test_the_ports_of_those_who_hold_a_card_s_memory_are_told(machine: Machine) -> None:
    """That is how a replica is known to run on GPU 1 where no settings say so."""
    machine.set("count=2", "pid.1=50")
    serve(machine.root, 50, 8001)

    assert ports(machine.gather()) == [("1", "8001")]


def test_a_server_that_begins_to_listen_is_seen_a_minute_later(machine: Machine) -> None:
    """Weights are loaded long before the port is opened; looking at every round would cost for nothing."""
    machine.set("count=1", "pid.0=50")
    rounds: list[list[Observation]] = []

    async def story(collector: GpuNvml) -> None:
        rounds.append(list(await collector.gather(NOW_S)))
        serve(machine.root, 50, 8001)
        rounds.extend([list(await collector.gather(NOW_S + second)) for second in (10.0, 60.0, 65.0, 70.0)])

    machine.play(story)

    assert [ports(seen) for seen in rounds] == [[], [], [("0", "8001")], [], [("0", "8001")]]


def test_another_process_is_looked_at_without_delay(machine: Machine) -> None:
    """A replica restarted during an incident must not be a stranger for a minute."""
    machine.set("count=1")
    serve(machine.root, 50, 8001)
    rounds: list[list[Observation]] = []

    async def story(collector: GpuNvml) -> None:
        rounds.append(list(await collector.gather(NOW_S)))
        machine.set("count=1", "pid.0=50")
        rounds.append(list(await collector.gather(NOW_S + 10.0)))

    machine.play(story)

    assert [ports(seen) for seen in rounds] == [[], [("0", "8001")]]


@pytest.mark.parametrize(("cards", "blind"), [(1, False), (2, True)])
def test_processes_we_may_not_look_at_are_a_blind_spot_where_there_are_several_cards(
    machine: Machine, cards: int, blind: bool
) -> None:
    """With one card it is plain who uses it."""
    machine.set(f"count={cards}", "pid.0=50")

    hidden = [sight for sight in sights(machine.gather()) if sight.subject == "processes on GPUs"]

    assert [(sight.seen, sight.hint) for sight in hidden] == (
        [(False, "tell a server's card in collect.inference.targets")] if blind else []
    )


def test_processes_that_show_no_port_are_left_to_who_knows_servers(machine: Machine) -> None:
    """A container's engine listens in another network; that it is one shows in its command line."""
    machine.set("count=2", "proc.0=50:1000", "proc.1=51:1000")
    serve(machine.root, 50, 8001)
    machine.cards.serve([51])

    seen = machine.gather()

    assert [card.get("gpu") for card in machine.cards.cards_of(51)] == ["1"]
    assert machine.cards.cards_of(50) == ()
    assert "processes on GPUs" not in {sight.subject for sight in sights(seen)}


# --- lost cards -----------------------------------------------------------------------------------------------------


def test_a_lost_card_is_one_event_and_the_others_are_read_on(machine: Machine) -> None:
    """After Xid 79 every call on that card fails, for ever."""
    machine.set("count=3")
    rounds: list[list[Observation]] = []

    async def story(collector: GpuNvml) -> None:
        rounds.append(list(await collector.gather(NOW_S)))
        machine.set("count=3", "lost=1")
        rounds.append(list(await collector.gather(NOW_S + 5.0)))
        rounds.append(list(await collector.gather(NOW_S + 10.0)))
        machine.set("count=3")
        rounds.append(list(await collector.gather(NOW_S + 75.0)))

    machine.play(story)

    ups = [[value(seen, "hw_gpu_up", gpu=gpu) for gpu in "012"] for seen in rounds]
    assert ups == [[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]
    assert [events(seen) for seen in rounds] == [[], [("gpu_lost", "1")], [], []]
    assert [value(seen, "hw_gpu_count") for seen in rounds] == [3.0, 2.0, 2.0, 3.0]
    assert value(rounds[1], "hw_gpu_utilization_ratio", gpu="1") is None
    assert value(rounds[1], "hw_gpu_utilization_ratio", gpu="2") == 0.9
    assert "lost: GPU 1" in sights(rounds[1])[0].detail


def test_a_card_that_answers_nothing_but_errors_is_lost(machine: Machine) -> None:
    """Some cards fall off the bus without the driver's noticing; up without a single reading would be a lie."""
    first, last = machine.rounds((0.0, ["count=2"]), (5.0, ["count=2", "broken=1"]))

    assert [value(seen, "hw_gpu_up", gpu="1") for seen in (first, last)] == [1.0, 0.0]
    assert value(last, "hw_gpu_up", gpu="0") == 1.0
    assert events(last) == [("gpu_lost", "1")]
    assert [value(last, "hw_gpu_count"), value(last, "hw_gpus_expected")] == [1.0, 2.0]


def test_a_lost_card_that_the_kernel_log_told_is_not_told_again(machine: Machine) -> None:
    """The kernel says why, and says it first."""
    machine.cards.lost("kernel_log", Spot(Labels.of(host_name="n1"), "0000:11:00"), NOW_S + 2.0, "fallen off the bus")

    _, last = machine.rounds((0.0, ["count=2"]), (5.0, ["count=2", "lost=1"]))

    assert value(last, "hw_gpu_up", gpu="1") == 0.0
    assert events(last) == []


def test_a_card_lost_before_the_start_is_known_by_its_number(machine: Machine) -> None:
    """Its handle cannot be looked up, so it has no UUID to tell."""
    machine.set("count=2", "nohandle=1")

    seen = machine.gather()

    assert value(seen, "hw_gpu_up", gpu="1") == 0.0
    assert value(seen, "hw_gpu_up", gpu="0") == 1.0
    assert events(seen) == [("gpu_lost", "1")]


def test_a_card_lost_before_the_start_that_comes_back_is_no_second_card(machine: Machine) -> None:
    """A reset brought it back: nobody may be told for ever that one of three cards is missing."""
    first, later = machine.rounds((0.0, ("count=2", "nohandle=1")), (120.0, ("count=2",)))

    assert value(first, "hw_gpus_expected") == 2.0
    assert value(later, "hw_gpus_expected") == 2.0
    assert value(later, "hw_gpu_count") == 2.0
    assert value(later, "hw_gpu_up", gpu="1") == 1.0


def test_a_card_missing_from_the_list_is_lost_though_numbers_shift(machine: Machine) -> None:
    """Some cards fall off the bus without a word; the others then move up, and must not be taken for them."""
    machine.set("count=2", "uuid.0=100", "uuid.1=200")
    rounds: list[list[Observation]] = []

    async def story(collector: GpuNvml) -> None:
        rounds.append(list(await collector.gather(NOW_S)))
        collector._child.close()
        machine.set("count=1", "uuid.0=200")
        rounds.append(list(await collector.gather(NOW_S + 5.0)))

    machine.play(story)

    assert value(rounds[1], "hw_gpu_up", hw_id="GPU-100", gpu="0") == 0.0
    assert value(rounds[1], "hw_gpu_up", hw_id="GPU-200", gpu="1") == 1.0
    assert events(rounds[1]) == [("gpu_lost", "0")]


# --- a driver that hangs --------------------------------------------------------------------------------------------


def test_a_call_that_hangs_raises_its_own_signal_and_delays_nobody(machine: Machine) -> None:
    """The poll loop of others stood still for hours; ours says so within its deadline and goes on after recovery."""
    machine.set("count=1")
    rounds: list[list[Observation]] = []
    took: list[float] = []
    beats = 0

    async def story(collector: GpuNvml) -> None:
        nonlocal beats
        loop = asyncio.get_running_loop()

        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0.01)
                beats += 1

        rounds.append(list(await collector.gather(NOW_S)))
        machine.set("count=1", "hang=nvmlDeviceGetUtilizationRates")
        heart = asyncio.ensure_future(beat())
        started_s = loop.time()
        rounds.append(list(await collector.gather(NOW_S + 5.0)))
        took.append(loop.time() - started_s)
        heart.cancel()
        machine.set("count=1")
        collector._child._not_before_s = 0.0  # the pause between starts is the child's own test
        rounds.append(list(await collector.gather(NOW_S + 10.0)))

    machine.play(story, deadline=1.5)

    assert [value(seen, "hw_gpu_driver_responding") for seen in rounds] == [1.0, 0.0, 1.0]
    assert took[0] < 2.5
    assert beats > 50
    assert value(rounds[1], "hw_gpu_utilization_ratio") is None
    assert (sights(rounds[1])[0].seen, sights(rounds[1])[0].detail) == (False, "the GPU driver does not answer")
    assert value(rounds[2], "hw_gpu_utilization_ratio") == 0.9
    assert sights(rounds[2])[0].seen


def test_while_a_hung_driver_is_left_alone_it_still_reads_zero(machine: Machine) -> None:
    """An alert on a series that stops would resolve itself."""
    machine.set("count=1")
    rounds: list[list[Observation]] = []

    async def story(collector: GpuNvml) -> None:
        rounds.append(list(await collector.gather(NOW_S)))
        machine.set("count=1", "hang=nvmlDeviceGetPowerUsage")
        rounds.append(list(await collector.gather(NOW_S + 5.0)))
        rounds.append(list(await collector.gather(NOW_S + 6.0)))  # the child is not started again yet

    machine.play(story, deadline=1.0)

    assert [value(seen, "hw_gpu_driver_responding") for seen in rounds] == [1.0, 0.0, 0.0]
    assert sights(rounds[2]) == []


def test_a_driver_that_begins_slowly_is_not_taken_for_hung(machine: Machine) -> None:
    """Without persistence mode the first call wakes every card, which takes longer than a round."""
    machine.set("count=1", "hang=nvmlInitWithFlags")
    rounds: list[list[Observation]] = []

    async def story(collector: GpuNvml) -> None:
        rounds.append(list(await collector.gather(NOW_S)))
        machine.set("count=1")
        while not rounds[-1]:
            rounds.append(list(await collector.gather(NOW_S + 5.0)))

    machine.play(story, deadline=0.2)

    assert rounds[0] == []
    assert value(rounds[-1], "hw_gpu_driver_responding") == 1.0


def test_a_library_that_crashes_takes_only_the_child_with_it(machine: Machine) -> None:
    """abort() in a driver library would have been ours."""
    machine.set("count=1", "crash=nvmlDeviceGetTemperature")
    rounds: list[list[Observation]] = []

    async def story(collector: GpuNvml) -> None:
        rounds.append(list(await collector.gather(NOW_S)))
        machine.set("count=1")
        collector._child._not_before_s = 0.0
        rounds.append(list(await collector.gather(NOW_S + 5.0)))

    machine.play(story)

    assert "the NVML reader failed" in sights(rounds[0])[0].detail
    assert value(rounds[1], "hw_gpu_up") == 1.0


def test_two_children_that_cannot_be_killed_mean_hung(machine: Machine) -> None:
    """In uninterruptible sleep nothing more is started, and the alert stays."""

    class Stuck(Child):
        async def ask(self, question: Any, deadline_s: float) -> Any:
            raise ChildTimeout("2 earlier children still hang in the kernel")

    async def story(collector: GpuNvml) -> None:
        collector._child = Stuck(())
        machine.seen = list(await collector.gather(NOW_S))

    machine.play(story)

    assert value(machine.seen, "hw_gpu_driver_responding") == 0.0


# --- no driver ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["no library", "driver not loaded"])
def test_a_machine_without_a_driver_says_so_once_and_keeps_no_child(tmp_path: Path, library: Path, reason: str) -> None:
    """Most hosts have no GPU: they get one line, and no process."""
    if reason == "no library" and ctypes.util.find_library("nvidia-ml"):
        pytest.skip("this machine has the real library")
    machine = Machine(tmp_path, library if reason == "driver not loaded" else None)
    machine.set("init=9")
    rounds: list[list[Observation]] = []
    children: list[int | None] = []

    async def story(collector: GpuNvml) -> None:
        for second in (0.0, 5.0, 599.0, 601.0):
            rounds.append(list(await collector.gather(NOW_S + second)))
            children.append(collector._child.pid)
        machine.set("count=1")
        rounds.append(list(await collector.gather(NOW_S + 1300.0)))

    machine.play(story)

    (sight,) = sights(rounds[0])
    assert sight.detail.startswith("no NVIDIA driver")
    assert "libnvidia-ml" in sight.hint
    assert not sight.seen
    assert rounds[1:4] == [[], [], []]
    assert children == [None] * 4
    if reason == "driver not loaded":
        assert value(rounds[4], "hw_gpu_up") == 1.0


def test_a_driver_that_is_unloaded_under_us_is_not_forgotten(machine: Machine) -> None:
    """Cards that were there are missing now; quiet would be wrong."""
    machine.set("count=1")
    rounds: list[list[Observation]] = []

    async def story(collector: GpuNvml) -> None:
        rounds.append(list(await collector.gather(NOW_S)))
        machine.set("count=1", "unloaded=1")
        rounds.append(list(await collector.gather(NOW_S + 5.0)))
        machine.set("count=1")
        rounds.append(list(await collector.gather(NOW_S + 10.0)))

    machine.play(story)

    assert [value(seen, "hw_gpu_up") for seen in rounds] == [1.0, 0.0, 1.0]
    assert [value(rounds[1], "hw_gpu_count"), value(rounds[1], "hw_gpus_expected")] == [0.0, 1.0]
    assert events(rounds[1]) == [("gpu_lost", "0")]
    assert not sights(rounds[1])[0].seen
