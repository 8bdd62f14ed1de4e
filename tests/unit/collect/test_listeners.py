"""Listening sockets are found from /proc, of which a daemon without rights sees only part."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiops.collect.listeners import Listener, listening, ports_of

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(address: str, port: int, state: str, inode: int) -> str:
    return f"   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 {inode} 1 0 100 0\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc/net").mkdir(parents=True)
    return tmp_path


def test_addresses_of_both_families_are_read(root):
    """Engines listen on 0.0.0.0, on loopback, on :: and on v4 addresses mapped into v6."""
    (root / "proc/net/tcp").write_text(
        HEADING + row("00000000", 8000, "0A", 1) + row("0100007F", 8001, "0A", 2) + row("0500000A", 8002, "0A", 3)
    )
    (root / "proc/net/tcp6").write_text(
        HEADING
        + row("0" * 32, 8003, "0A", 4)
        + row("0" * 24 + "01000000", 8004, "0A", 5)
        + row("0000000000000000FFFF00000100007F", 8005, "0A", 6)
    )
    assert [(found.address, found.port) for found in listening(root)] == [
        ("0.0.0.0", 8000), ("127.0.0.1", 8001), ("10.0.0.5", 8002), ("::", 8003), ("::1", 8004), ("127.0.0.1", 8005),
    ]  # fmt: skip


def test_reading_stops_where_the_kernel_s_listening_sockets_end(root):
    """A gateway has fifty thousand connections; they come after the listeners and are not looked at."""
    connections = row("0100007F", 9, "01", 9) * 50_000
    (root / "proc/net/tcp").write_text(
        HEADING + row("00000000", 8000, "0A", 1) + connections + row("00000000", 8001, "0A", 2)
    )
    assert [found.port for found in listening(root)] == [8000]


def test_a_missing_family_is_no_failure(root):
    """Many hosts have IPv6 switched off."""
    (root / "proc/net/tcp").write_text(HEADING + row("00000000", 8000, "0A", 1))
    assert [found.port for found in listening(root)] == [8000]


def test_without_both_tables_it_fails(root):
    """That is a blind spot, and "nothing found" would be a lie."""
    with pytest.raises(OSError, match="tcp"):
        listening(root)


def test_lines_that_are_no_sockets_are_skipped(root):
    """A kernel that adds a column or a line must not stop discovery."""
    (root / "proc/net/tcp").write_text(HEADING + "nonsense\n" + row("XX", 1, "0A", 1) + row("00000000", 8000, "0A", 2))
    assert [found.port for found in listening(root)] == [8000]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=500))
def test_any_table_is_survived(root, noise):
    """The parser of a file we do not write raises nothing of its own."""
    (root / "proc/net/tcp").write_bytes(HEADING.encode() + noise)
    listening(root)


def test_the_owner_is_named_where_it_can_be_seen(root):
    """Another user's process does not show its files: its pid is unknown, not zero."""
    (root / "proc/net/tcp").write_text(HEADING + row("00000000", 8000, "0A", 11) + row("00000000", 8001, "0A", 12))
    (root / "proc/77/fd").mkdir(parents=True)
    (root / "proc/77/comm").write_text("vllm\n")
    (root / "proc/77/fd/3").symlink_to("socket:[11]")
    assert listening(root) == [
        Listener("0.0.0.0", 8000, "11", 77, "vllm"),
        Listener("0.0.0.0", 8001, "12", None, ""),
    ]


def test_this_machine_s_own_socket_is_found():
    """The fixtures above are only as good as our idea of the kernel."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = [listener for listener in listening(Path("/")) if listener.port == port]
    assert [(listener.address, listener.pid) for listener in found] == [("127.0.0.1", os.getpid())]


# --- the ports of given processes -----------------------------------------------------------------------------------


def process(root: Path, pid: int, parent: int, *inodes: int) -> None:
    (root / f"proc/{pid}/fd").mkdir(parents=True)
    (root / f"proc/{pid}/stat").write_text(f"{pid} (a (b) c) S {parent} {pid} 0")
    for number, inode in enumerate(inodes):
        (root / f"proc/{pid}/fd/{number}").symlink_to(f"socket:[{inode}]")


def test_a_worker_has_the_ports_of_those_it_descends_from(root):
    """vLLM's memory is held by an engine process, whose parent is the one that serves the requests."""
    (root / "proc/net/tcp").write_text(
        HEADING + row("00000000", 8000, "0A", 11) + row("00000000", 29500, "0A", 12) + row("00000000", 9, "0A", 13)
    )
    process(root, 1, 0, 13)
    process(root, 50, 1, 11, 99)
    process(root, 60, 50)
    process(root, 70, 60, 12)
    process(root, 80, 1)
    assert ports_of(root, [70, 80]) == {70: {8000, 29500}, 80: frozenset()}


def test_a_process_that_does_not_show_its_files_is_left_out(root):
    """Another user's, or a number of another pid namespace: unknown is not "listens nowhere"."""
    (root / "proc/net/tcp").write_text(HEADING + row("00000000", 8000, "0A", 11))
    process(root, 50, 1, 11)
    assert ports_of(root, [50, 4711]) == {50: {8000}}


def test_this_process_is_found_with_its_ports():
    """The fixtures above are only as good as our idea of the kernel."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[1] in ports_of(Path("/"), [os.getpid()])[os.getpid()]
