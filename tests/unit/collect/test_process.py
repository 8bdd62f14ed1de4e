"""The servers' processes are found, named, followed and missed; all others cost next to nothing."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiops.catalog import CATALOG
from aiops.collect import process, process_followed, process_table
from aiops.collect.known_servers import coming_servers, local_ports, note_servers, note_upstreams
from aiops.collect.process_files import OpenFiles, Stat
from aiops.collect.process_servers import MAX_PROCESSES
from aiops.collect.process_table import ProcessTable
from aiops.errors import SourceUnavailable
from aiops.model import Event, EventKind, Labels, Observation, Sample, Sight
from tests.fakes import FakeCheckpoints
from tests.worlds import make_world

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


class Machine:
    """A /proc whose processes a test starts and ends."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uptime_s = 1_000.0
        self.tcp: dict[int, tuple[int, int]] = {}
        self.tick(0.0)
        self.listen()

    def tick(self, seconds: float) -> None:
        self.uptime_s += seconds
        self.write("uptime", f"{self.uptime_s:.2f} 1.00\n")

    def start(self, pid: int, line: str, parent: int = 1, *, at_s: float | None = None, state: str = "S") -> None:
        start = round((self.uptime_s if at_s is None else at_s) * 100)
        words = line.split()
        fields = f"{state} {parent} 1 1 0 -1 0 0 0 0 0 100 0 0 0 20 0 1 0 {start} 0 0"
        self.write(f"{pid}/stat", f"{pid} ({words[0][-15:]}) {fields}\n")
        self.write(f"{pid}/cmdline", "\0".join(words) + "\0")
        self.write(f"{pid}/status", "VmRSS:\t 5 kB\n")
        self.write(f"{pid}/cgroup", f"0::/{pid}\n")

    def end(self, pid: int) -> None:
        shutil.rmtree(self.root / "proc" / str(pid))

    def listen(self, **sockets: int) -> None:
        """Sockets that listen: ``p8001=100`` is process 100 on port 8001."""
        rows = []
        for name, pid in sockets.items():
            port = int(name[1:])
            rows.append(f"   0: 0100007F:{port:04X} 0:0 0A 0:0 0:0 0 0 0 {port + 90_000} 1\n")
            folder = self.root / f"proc/{pid}/fd"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / str(port)).unlink(missing_ok=True)
            (folder / str(port)).symlink_to(f"socket:[{port + 90_000}]")
        self.write("net/tcp", HEADING + "".join(rows))

    def write(self, name: str, text: str) -> None:
        path = self.root / "proc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def look(machine: Machine) -> Callable[..., list[Observation]]:
    """Ten seconds later: one round of one collector."""
    collectors: dict[tuple[int, ...], process.Processes] = {}

    def one(*ports: int, seconds: float = 10.0) -> list[Observation]:
        if ports not in collectors:
            collectors[ports] = process.build(process.Config(ports=ports), make_world(root=machine.root))
        machine.tick(seconds)
        return list(collectors[ports].collect(1e9 + machine.uptime_s))

    return one


def followed(seen: Sequence[Observation]) -> dict[tuple[str, str], float]:
    return {
        (o.labels.get("instance"), o.labels.get("process")): o.value
        for o in seen
        if isinstance(o, Sample) and o.metric == "process_uptime_seconds"
    }


def events(seen: Sequence[Observation]) -> list[tuple[str, str]]:
    return sorted((o.action, o.labels.get("process")) for o in seen if isinstance(o, Event))


def counters(seen: Sequence[Observation], metric: str) -> dict[str, float]:
    return {o.labels.get("process"): o.value for o in seen if isinstance(o, Sample) and o.metric == metric}


def test_a_server_has_its_name_before_it_listens(machine, look):
    """Weights take minutes to read, and that is when somebody asks what it is doing."""
    machine.start(100, "vllm serve x --port 8001")
    machine.start(200, "python3 -m sglang.launch_server")
    assert set(followed(look())) == {("127.0.0.1:8001", "server"), ("127.0.0.1:30000", "server")}


def test_a_port_that_nobody_wrote_down_is_found_by_its_socket(machine, look):
    """VLLM_PORT and configuration files leave no trace in the command line."""
    machine.start(100, "vllm serve x")
    machine.start(101, "VLLM::EngineCore", 100)
    first = followed(look())
    machine.listen(p9123=100, p40001=101)
    second = look()
    assert set(first) == {("127.0.0.1:8000", "server"), ("127.0.0.1:8000", "engine")}
    assert set(followed(second)) == {("127.0.0.1:9123", "server"), ("127.0.0.1:9123", "engine")}
    assert events(second) == [], "another name for the same process is no start"


def test_a_server_of_any_name_is_found_by_its_port_in_the_settings(machine, look):
    """People write their own servers."""
    machine.start(100, "python3 serve.py")
    machine.start(101, "python3 -c worker", 100)
    machine.listen(p8080=100)
    assert set(followed(look(8080))) == {("127.0.0.1:8080", "server"), ("127.0.0.1:8080", "worker")}
    assert followed(look()) == {}


def test_a_server_of_any_name_is_missed_and_known_again_before_it_listens(machine, look):
    """One that ends while it loads never owns its port; its command line is that of the one before it."""
    machine.start(100, "python my_server.py --config a")
    machine.listen(p9000=100)
    look(9000)
    machine.end(100)
    machine.listen()
    machine.start(101, "python other.py")
    assert events(look(9000)) == [("exit", "server")]

    machine.start(102, "python my_server.py --config a")
    assert ("start", "server") in events(look(9000))

    machine.end(102)
    machine.start(103, "python my_server.py --config a")
    seen = look(9000)
    assert ("127.0.0.1:9000", "server") in followed(seen)
    assert counters(seen, "process_restarts_total") == {"server": 2.0}


def test_a_replica_started_beside_another_is_followed_before_it_listens(machine):
    """It listens late, and the gateway sends it requests at once."""
    world = make_world(root=machine.root)
    collector = process.build(process.Config(), world)
    machine.start(100, "python3 serve.py --port 8001 --seed 1")
    machine.listen(p8001=100)
    note_servers(world.checkpoints, {"127.0.0.1:8001"})
    list(collector.collect(1.0))
    machine.start(200, "python3 serve.py --port 8002 --seed 2")
    machine.start(201, "python3 client.py --port 8003 --seed 2")
    machine.tick(10.0)
    seen = list(collector.collect(2.0))
    assert followed(seen)["127.0.0.1:8002", "server"] == 10.0
    assert set(followed(seen)) == {("127.0.0.1:8001", "server"), ("127.0.0.1:8002", "server")}
    assert coming_servers(world.checkpoints) == {"127.0.0.1:8002"}

    machine.listen(p8001=100, p8002=200)
    note_servers(world.checkpoints, {"127.0.0.1:8001", "127.0.0.1:8002"})
    machine.tick(10.0)
    seen = list(collector.collect(3.0))
    assert set(followed(seen)) == {("127.0.0.1:8001", "server"), ("127.0.0.1:8002", "server")}
    assert events(seen) == [], "it is the same server"
    assert coming_servers(world.checkpoints) == frozenset()


def test_who_has_not_listened_for_an_hour_is_no_server_that_starts(machine, look):
    machine.start(100, "python3 serve.py --port 8001")
    machine.start(200, "python3 serve.py --port 8002")
    machine.listen(p8001=100)
    assert len(followed(look(8001))) == 2
    assert len(followed(look(8001, seconds=3_600.0))) == 1


def test_an_upstream_that_a_gateway_begins_to_name_is_looked_for_at_once(machine):
    world = make_world(root=machine.root)
    collector = process.build(process.Config(), world)
    list(collector.collect(1.0))
    machine.start(100, "vllm serve x --port 8001")
    machine.tick(1.0)
    assert followed(list(collector.collect(2.0))) == {}
    note_upstreams(world.checkpoints, {"127.0.0.1:8001"})
    machine.tick(1.0)
    assert set(followed(list(collector.collect(3.0)))) == {("127.0.0.1:8001", "server")}


def test_a_server_found_by_its_page_is_followed(machine, tmp_path):
    """Discovery asked the port and knows; nobody has to write it down again."""
    world = make_world(root=machine.root)
    collector = process.build(process.Config(), world)
    machine.start(100, "python3 serve.py")
    machine.start(50, "/usr/bin/docker-proxy -x")
    machine.listen(p8080=100, p18000=50)
    assert followed(list(collector.collect(1.0))) == {}
    note_servers(world.checkpoints, {"127.0.0.1:8080", "127.0.0.1:18000", "10.0.0.9:8001"})
    machine.tick(10.0)
    assert set(followed(list(collector.collect(2.0)))) == {("127.0.0.1:8080", "server")}


@pytest.mark.parametrize("kept", [b"", b"[1, null]", b"{}", b"\xff", b'["127.0.0.1:x", "127.0.0.1:99999999"]'])
def test_a_damaged_note_names_no_port(kept):
    """A checkpoint is a file that others may have written."""
    checkpoints = FakeCheckpoints()
    checkpoints.put("inference/known", kept)
    assert local_ports(checkpoints) == frozenset()


def test_a_child_that_listens_gives_its_server_the_port(machine, look):
    """A launcher starts the web server as a process of its own."""
    machine.start(100, "text-generation-launcher --model-id x")
    machine.start(101, "text-generation-router", 100)
    machine.listen(p8090=101)
    assert set(followed(look())) == {("127.0.0.1:8090", "server"), ("127.0.0.1:8090", "router")}


def test_a_published_port_of_a_container_is_the_one_the_gateway_knows(machine, look):
    """Inside it is 172.17.0.2:8000; the gateway passes to 127.0.0.1:18000."""
    machine.start(100, "vllm serve x --port 8000")
    machine.start(50, "/usr/bin/docker-proxy -proto tcp -host-port 18000 -container-ip 172.17.0.2 -container-port 8000")
    for pid, inode in (("100", 1), ("self", 2)):
        (machine.root / f"proc/{pid}/ns").mkdir(parents=True)
        (machine.root / f"proc/{pid}/ns/net").symlink_to(f"net:[{inode}]")
    machine.write(
        "100/net/fib_trie", "Main:\n  |-- 127.0.0.1\n     /32 host LOCAL\n  |-- 172.17.0.2\n     /32 host LOCAL\n"
    )
    assert set(followed(look())) == {("127.0.0.1:18000", "server")}
    machine.end(50)
    machine.end(100)
    look()
    machine.start(300, "vllm serve x --port 8000")
    shutil.copytree(machine.root / "proc/self/ns", machine.root / "proc/300/ns", symlinks=True)
    (machine.root / "proc/300/ns/net").unlink()
    (machine.root / "proc/300/ns/net").symlink_to("net:[9]")
    machine.write("300/net/fib_trie", "  |-- 10.1.2.3\n     /32 host LOCAL\n")
    assert ("10.1.2.3:8000", "server") in followed(look()), "a pod's address is its name"


def test_ray_s_workers_belong_to_the_server_whose_container_they_share(machine, look):
    """With Ray as executor the workers are children of raylet, and their memory is the server's all the same."""
    machine.start(100, "vllm serve x --port 8001")
    machine.start(50, "/opt/ray/raylet --x")
    machine.start(51, "ray::RayWorkerWrapper", 50)
    for pid in (100, 50):
        machine.write(f"{pid}/cgroup", "0::/docker/a\n")
    assert {instance for instance, _ in followed(look())} == {"127.0.0.1:8001"}


def test_a_server_is_on_the_cards_of_its_processes_that_show_no_port(machine):
    """Ray's worker holds the card, another container listens, and the program beside it is nobody's."""
    world = make_world(root=machine.root)
    one, two = Labels.of(gpu="0", hw_id="GPU-a"), Labels.of(gpu="1", hw_id="GPU-b")
    world.cards.leave({51: (one, two), 100: (one,), 70: (two,)})
    collector = process.build(process.Config(), world)
    machine.start(100, "vllm serve x --port 8001")
    machine.start(51, "ray::RayWorkerWrapper", 50)
    machine.start(70, "python train.py")
    for pid in (100, 51):
        machine.write(f"{pid}/cgroup", "0::/docker/a\n")

    seen = collector.collect(1e9 + machine.uptime_s)

    found = [o.labels for o in seen if isinstance(o, Sample) and o.metric == "hw_gpu_process_instance"]
    assert [(labels.get("instance"), labels.get("gpu")) for labels in found] == [
        ("127.0.0.1:8001", "0"), ("127.0.0.1:8001", "1"),
    ]  # fmt: skip
    assert world.cards.served() == {100, 51}


def test_a_restart_is_an_end_a_start_and_one_more(machine, look):
    """The supervisor had it up again within seconds, and nobody would have noticed."""
    machine.start(100, "vllm serve x --port 8001")
    assert events(look()) == [], "what runs already is no news"
    machine.end(100)
    machine.start(105, "vllm serve x --port 8001")
    seen = look()
    assert events(seen) == [("exit", "server"), ("start", "server")]
    assert counters(seen, "process_restarts_total") == {"server": 1.0}
    assert counters(look(), "process_restarts_total") == {"server": 1.0}


def test_the_same_process_id_with_another_start_is_another_process(machine, look):
    """In a container the server is always process 1."""
    machine.start(1, "vllm serve x --port 8001", 0)
    look()
    machine.start(1, "vllm serve x --port 8001", 0)
    seen = [*look(seconds=5.0), *look(seconds=5.0), *look()]
    assert events(seen) == [("exit", "server"), ("start", "server")]


def test_an_end_between_two_scans_is_noticed_at_once(machine, look):
    """Every reading needs the process; there is no need to wait for the next listing."""
    machine.start(100, "vllm serve x --port 8001")
    look()
    machine.end(100)
    assert events(look(seconds=5.0)) == [("exit", "server")]


def test_a_zombie_has_ended_and_is_not_found_anew(machine, look):
    """Its parent does not collect it, and /proc lists it for hours."""
    machine.start(100, "vllm serve x --port 8001")
    look()
    started_s = machine.uptime_s - 10.0
    machine.start(100, "vllm serve x --port 8001", at_s=started_s, state="Z")
    seen = [*look(), *look(), *look()]
    assert events(seen) == [("exit", "server")]


def test_a_dead_server_s_series_end_and_its_count_stays_for_an_hour(machine, look):
    """A restart after half an hour is still a restart; after a day it is another installation."""
    machine.start(100, "vllm serve x --port 8001")
    look()
    machine.end(100)
    seen = look()
    assert followed(seen) == {}
    assert counters(seen, "process_restarts_total") == {"server": 0.0}
    assert counters(look(seconds=4_000.0), "process_restarts_total") == {}


@pytest.mark.parametrize(
    ("command", "actions"),
    [
        ("vllm serve x --port 8001", []),
        ("vllm serve x --port 8001 --max-num-seqs 8 --api-key s3cret", ["config"]),
        ("/opt/v2/bin/vllm serve x --port 8001", ["deploy"]),
    ],
)
def test_a_server_started_anew_with_another_command_line_is_a_change(machine, look, command, actions):
    """Most settings are nowhere else; what they are may be a secret."""
    machine.start(100, "vllm serve x --port 8001")
    look()
    machine.end(100)
    look()
    machine.start(101, command)
    seen = [o for o in look() if isinstance(o, Event) and o.kind is EventKind.CHANGE]

    assert [event.action for event in seen] == actions
    assert all(event.labels.get("instance") == "127.0.0.1:8001" for event in seen)
    assert "s3cret" not in repr(seen)


def test_children_come_and_go_without_a_word_and_names_are_used_again(machine, look):
    """Helpers that live for seconds are no events, and their series must not pile up."""
    machine.start(100, "vllm serve x --port 8001")
    look()
    names: set[str] = set()
    for number in range(20):
        machine.start(200 + number, "python3 -c work", 100)
        seen = look()
        names |= {name for _, name in followed(seen)}
        machine.end(200 + number)
        assert ("exit", "child") not in events(seen)
    assert names == {"server", "child"}


def test_a_bounded_number_is_followed_servers_first(machine, look):
    """A fork bomb under a server must not become ten thousand series."""
    for number in range(3):
        machine.start(100 + number, f"vllm serve x --port {8000 + number}")
        for child in range(60):
            machine.start(1_000 + 100 * number + child, "python3 -c work", 100 + number)
    seen = look()
    assert len(followed(seen)) == MAX_PROCESSES
    assert sum(name == "server" for _, name in followed(seen)) == 3
    assert [o.detail for o in seen if isinstance(o, Sight) and o.subject == "number of processes"] == [
        "only the first 64 are followed"
    ]


def test_setting_the_clock_changes_no_rate(machine, tmp_path):
    """Rates are over uptime: a wall clock that jumps an hour would show a server at rest."""
    machine.start(100, "vllm serve x --port 8001", at_s=10.0)
    collector = process.build(process.Config(), make_world(root=machine.root))
    rates = []
    for now_s in (1e9, 1e9 - 3600.0, 1e9 + 7200.0):
        machine.tick(10.0)
        stat = (machine.root / "proc/100/stat").read_text().split()
        stat[13] = str(int(stat[13]) + 500)
        machine.write("100/stat", " ".join(stat) + "\n")
        rates += counters(list(collector.collect(now_s)), "process_cpu_usage_cores").values()
    assert rates == [0.5, 0.5]


def test_what_another_user_hides_is_a_blind_spot_said_once(machine, look, monkeypatch: pytest.MonkeyPatch):
    """Tests run as root, who may read everything: the refusal is a stand-in."""

    def refuse(self: OpenFiles, process: str) -> int:
        raise PermissionError(13, "Permission denied", process)

    monkeypatch.setattr(OpenFiles, "count", refuse)
    machine.start(100, "vllm serve x --port 8001")
    news = [o for _ in range(3) for o in look() if isinstance(o, Sight) and o.subject == "insides of 127.0.0.1:8001"]
    assert len(news) == 1
    assert "open files" in news[0].detail
    assert "CAP_SYS_PTRACE" in news[0].hint


def test_that_we_have_no_file_left_to_open_ends_no_server(machine, look, monkeypatch: pytest.MonkeyPatch):
    """It happens on the machine where everybody runs out of files, and an end is evidence for a crash."""

    def refuse(path: str) -> Stat:
        raise OSError(24, "Too many open files", path)

    machine.start(100, "vllm serve x --port 8001")
    look()
    with monkeypatch.context() as patch:
        patch.setattr(process_followed, "read_stat", refuse)
        patch.setattr(process_table, "read_stat", refuse)
        seen = look()
    assert events(seen) == []
    assert set(followed(look())) == {("127.0.0.1:8001", "server")}


def test_without_proc_the_source_is_missing(tmp_path):
    """The runner says so and backs off."""
    collector = process.build(process.Config(), make_world(root=tmp_path / "nothing"))
    with pytest.raises(SourceUnavailable, match="/proc"):
        list(collector.collect(0.0))


def test_only_new_processes_are_read(machine, monkeypatch: pytest.MonkeyPatch):
    """Five hundred readings in each look would take as much CPU as everything else together."""
    for number in range(120):
        machine.start(1_000 + number, "sleep 9", at_s=1.0)
    table = ProcessTable(machine.root)
    read: list[int] = []
    original = table._read
    monkeypatch.setattr(table, "_read", lambda pid: read.append(pid) or original(pid))
    counts = []
    for _ in range(61):
        read.clear()
        table.look(machine.uptime_s)
        counts.append(len(read))
    assert counts[0] == 120
    assert max(counts[1:]) <= 2
    assert sum(counts[1:]) == 120, "and in ten minutes each is read once, for ids that were given away"


def test_a_process_that_becomes_another_program_is_noticed_while_young(machine, look):
    """A shell that runs exec is seen as a shell first."""
    machine.start(100, "sh -c exec")
    look()
    machine.start(100, "vllm serve x --port 8001", at_s=machine.uptime_s - 10.0)
    assert set(followed(look())) == {("127.0.0.1:8001", "server")}


def test_a_port_that_is_none_is_refused_in_the_settings():
    """A slip of the keyboard would otherwise watch nothing, silently."""
    with pytest.raises(ValueError, match="70000"):
        process.Config(ports=(70_000,))


def test_open_files_of_this_very_process_are_counted():
    """By the size of the folder where the kernel tells it, else by listing it."""
    files = OpenFiles("/proc")
    folder = f"/proc/{os.getpid()}"
    assert abs(files.count(folder) - len(list(Path(folder, "fd").iterdir()))) <= 1
    limit = files.limit(folder)
    assert limit is None or limit > 0


def test_an_end_in_the_middle_of_a_round_is_an_end(machine, look):
    """Its stat file was still there, its status file no more."""
    machine.start(100, "vllm serve x --port 8001")
    look()
    (machine.root / "proc/100/status").unlink()
    seen = look()
    machine.end(100)
    assert events([*seen, *look()]) == [("exit", "server")]


def test_the_programs_that_hold_most_memory_are_told_by_name(machine, look):
    """A notebook took what the server needed: without its name nobody knows where to look."""
    for number in range(30):
        machine.start(300 + number, f"/opt/tool{number} --x")
        machine.write(f"{300 + number}/statm", f"999999 {number} 1 1 0 1 0\n")
    for pid in (100, 101):
        machine.start(pid, "python3 /home/me/train.py")
        machine.write(f"{pid}/statm", "999999 1000 1 1 0 1 0\n")
    told = [o for o in look() if isinstance(o, Sample) and o.metric == "system_memory_program_usage_bytes"]
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    assert {o.labels.get("program"): o.value / page_bytes for o in told} == {
        "train.py": 2000,
        "tool29": 29,
        "tool28": 28,
    }


def test_of_a_title_only_the_first_word_is_told(machine, look):
    """Databases show whom they serve, and what is asked, in the title of each process."""
    machine.start(100, "x", at_s=1.0)
    machine.write("100/cmdline", "postgres: bob books 10.1.2.3(4000) SELECT\0")
    machine.write("100/statm", "9 9 1 1 0 1 0\n")
    told = [o for o in look() if isinstance(o, Sample) and o.metric == "system_memory_program_usage_bytes"]
    assert [o.labels.get("program") for o in told] == ["postgres:"]


def test_programs_that_change_their_names_do_not_flood(machine, look):
    """A title with a counter in it would be a new series every minute, for ever."""
    names = set()
    for number in range(40):
        machine.start(100, f"job-{number}", at_s=1.0)
        machine.start(5_000 + number, f"job-{number}", at_s=1.0)
        machine.write(f"{5_000 + number}/statm", "9 9 1 1 0 1 0\n")
        seen = look(seconds=60.0)
        names |= {o.labels.get("program") for o in seen if isinstance(o, Sample) and "program" in dict(o.labels.pairs)}
        machine.end(5_000 + number)
    assert len(names) == 17
    assert "other" in names


def test_processes_that_proc_hides_are_a_blind_spot(machine, look):
    """With hidepid a server of another user is not there at all, and "none found" would be half the truth."""
    subjects = [(o.subject, o.seen) for o in look() if isinstance(o, Sight)]
    assert ("other users' processes", False) in subjects
    machine.start(1, "init")
    assert ("other users' processes", True) in [(o.subject, o.seen) for o in look() if isinstance(o, Sight)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    st.sampled_from(
        [
            "100/stat",
            "100/cmdline",
            "100/status",
            "100/io",
            "100/limits",
            "100/cgroup",
            "100/statm",
            "net/tcp",
            "uptime",
        ]
    ),
    st.binary(max_size=80) | st.sampled_from([b"9" * 5_000, b"inf", b"nan", b"100 (a) S " + b"9" * 4_000 + b" 9" * 30]),
)
def test_any_content_of_a_process_s_files_is_survived(tmp_path, name, noise):
    """Names and titles are whatever programs write, and kernels change; one odd process must not blind us for others."""
    root = tmp_path / "fresh"
    shutil.rmtree(root, ignore_errors=True)
    machine = Machine(root)
    machine.start(100, "vllm serve x", at_s=1.0)
    machine.start(200, "llama-server -m x", at_s=1.0)
    machine.listen(p8000=100)
    collector = process.build(process.Config(ports=(8_000,)), make_world(root=root))
    seen: list[Observation] = []
    for number in range(3):
        machine.tick(10.0)
        if number:
            (root / "proc" / name).write_bytes(noise)
        with contextlib.suppress(SourceUnavailable):
            seen = list(collector.collect(1e9 + 10.0 * number))
    samples = [o for o in seen if isinstance(o, Sample)]
    assert {sample.metric for sample in samples} <= CATALOG.keys()
    assert all(math.isfinite(sample.value) for sample in samples)
    assert ("127.0.0.1:8080", "server") in followed(seen)
