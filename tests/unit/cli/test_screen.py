"""What `aiops top` draws is read at 3 a.m.: rates are right, the unknown is left out, a hostile name moves no cursor."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from aiops.catalog import CATALOG
from aiops.cli import top
from aiops.cli.screen import WANTED, Frame, Screen
from aiops.collect.exposition import Parser
from aiops.offline.table import Look
from tests.sample_incident import sample_incident

PAGE = """\
gen_ai_server_up{instance="10.0.0.1:8000"} 1
gen_ai_server_up{instance="10.0.0.2:8000"} 0
gen_ai_server_requests_running{instance="10.0.0.1:8000"} 12
gen_ai_server_kv_cache_utilization_ratio{instance="10.0.0.1:8000"} 0.97
gen_ai_server_generation_tokens_total{instance="10.0.0.1:8000"} %(tokens)d
hw_gpu_up{gpu="10"} 1
hw_gpu_up{gpu="9"} 1
hw_gpu_utilization_ratio{gpu="9"} 0.5
hw_gpu_throttled_ratio{gpu="9",reason="thermal"} 1
hw_gpu_throttled_ratio{gpu="9",reason="thermal_hardware"} 1
hw_gpu_throttled_ratio{gpu="9",reason="hardware"} 1
http_server_requests_total{service="chat",outcome="ok"} %(good)d
http_server_requests_total{service="chat",outcome="503"} %(bad)d
log_records_total{log_class="vram_exhaustion",source="a"} %(bad)d
log_records_total{log_class="benign",source="a"} %(good)d
"""
STATUS = {
    "host": "n1",
    "version": "1.2.3",
    "ready": True,
    "sights": [{"seen": False, "subject": "kernel log", "detail": "denied"}],
}


def frame(at_s: float, **totals: int) -> Frame:
    page = PAGE % ({"tokens": 0, "good": 0, "bad": 0} | totals)
    return Frame(at_s, Parser(WANTED).parse(page.encode()).readings, STATUS, (), ())


def drawn(before: Frame | None, now: Frame, cells: int = 120) -> list[str]:
    return Screen(before, now, Look(cells, colours=False)).lines()


def row(lines: list[str], name: str) -> str:
    (found,) = [line for line in lines if line.startswith(name)]
    return found


def test_every_metric_it_draws_is_in_the_catalogue() -> None:
    """A renamed metric would leave an empty column that nobody misses until it matters."""
    assert set(CATALOG) >= WANTED


def test_totals_become_rates_over_the_time_between_two_readings() -> None:
    lines = drawn(frame(100.0, tokens=1_000, good=50), frame(110.0, tokens=9_000, good=80, bad=10))

    assert row(lines, "10.0.0.1:8000").split()[-1] == "800"
    assert row(lines, "chat").split()[:4] == ["chat", "4.0", "25", "%"]
    assert row(lines, "logs") == "logs vram_exhaustion 1.0/s"


def test_after_a_restart_the_new_total_is_what_grew() -> None:
    lines = drawn(frame(100.0, tokens=9_000), frame(110.0, tokens=500))

    assert row(lines, "10.0.0.1:8000").split()[-1] == "50"


def test_rates_go_on_after_the_clock_was_set_back(capsys: pytest.CaptureFixture[str]) -> None:
    """An hour without rates, and an hour of frames kept, is what a negative time between two readings would mean."""
    frames = [frame(3_600.0), frame(3_602.0, tokens=10), frame(50.0, tokens=20), frame(52.0, tokens=1_620)]
    source = cast("top.Source", SimpleNamespace(read=lambda: frames.pop(0)))

    top._live(source, 2.0, lambda _: not frames)

    picture = capsys.readouterr().out.rpartition("\033[H")[2]
    assert " 800" in row(picture.splitlines(), "10.0.0.1:8000")


def test_a_first_reading_has_no_rates_and_no_services() -> None:
    lines = drawn(None, frame(100.0, tokens=9_000, good=10))

    assert row(lines, "10.0.0.1:8000").split()[-2:] == ["97", "%"]
    assert not any(line.startswith("service") for line in lines)


def test_what_does_not_answer_says_so_instead_of_showing_old_numbers() -> None:
    assert row(drawn(None, frame(1.0)), "10.0.0.2:8000").split() == ["10.0.0.2:8000", "no", "answer"]


def test_cards_stand_in_the_order_of_their_numbers_with_what_slows_them() -> None:
    lines = drawn(None, frame(1.0))

    nine, ten = (next(i for i, line in enumerate(lines) if line.split()[:1] == [number]) for number in ("9", "10"))
    assert nine < ten
    assert lines[nine].endswith("clocks cut: hardware, thermal_hardware")


def test_other_hosts_cards_and_disks_are_not_taken_for_ours() -> None:
    """A daemon may read other hosts' pages, and each host has a GPU 0."""
    text = b"".join(
        b'%s{host_name="%s",%s="%s"} %s\n' % row
        for row in (
            (b"hw_gpu_up", b"n1", b"gpu", b"0", b"1"),
            (b"hw_gpu_up", b"a2", b"gpu", b"0", b"1"),
            (b"hw_gpu_utilization_ratio", b"a2", b"gpu", b"0", b"0.9"),
            (b"hw_gpu_utilization_ratio", b"n1", b"gpu", b"0", b"0.1"),
            (b"system_cpu_utilization_ratio", b"a2", b"x", b"", b"0.77"),
            (b"system_cpu_utilization_ratio", b"n1", b"x", b"", b"0.22"),
            (b"system_disk_utilization_ratio", b"a2", b"device", b"sdz", b"1"),
            (b"system_disk_utilization_ratio", b"n1", b"device", b"sda", b"0.5"),
        )
    )
    lines = drawn(None, replace(frame(1.0), pages=Parser(WANTED).parse(text).readings))

    assert row(lines, "0 ").endswith("10 %")
    assert row(lines, "a2 0 ").endswith("90 %")
    assert lines.index(row(lines, "0 ")) < lines.index(row(lines, "a2 0 "))
    assert "22 %" in row(lines, "CPU")
    assert "disk sda 50 %" in row(lines, "CPU")
    assert not any("77 %" in line or "sdz" in line for line in lines)


def test_an_open_incident_stands_above_everything_with_its_cause() -> None:
    incident = sample_incident()
    lines = drawn(None, replace(frame(incident.opened_at_s + 74.0), incidents=[incident]))

    assert incident.diagnosis.root is not None
    assert incident.diagnosis.root.title in lines[2]
    assert "for 74 s" in lines[2]


def test_a_label_that_holds_escape_sequences_moves_no_cursor_and_no_line_is_wider_than_the_screen() -> None:
    """Names come from servers and paths that anybody may have made."""
    hostile = 'gen_ai_server_up{instance="\x1b[2J\x1b[H' + "x" * 300 + '"} 1\n'
    now = replace(frame(1.0), pages=Parser(WANTED).parse(hostile.encode()).readings)

    lines = drawn(None, now, cells=80)

    assert "\x1b" not in "".join(lines)
    assert max(map(len, lines)) <= 80


def test_what_cannot_be_seen_is_named() -> None:
    assert drawn(None, frame(1.0))[-1] == "not watching kernel log: denied"
