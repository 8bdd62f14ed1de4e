from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from aiops.catalog import CATALOG
from aiops.logs.path import LogPath
from aiops.model import Labels, LogRecord, LogSeverity
from aiops.rulebook.signatures import load_signatures
from aiops.selfstat import SelfStat

SIGNATURES = load_signatures([Path(__file__).parents[3] / "rules"])
A = Labels.of(source="a.log", instance="127.0.0.1:8001")
B = Labels.of(source="a.log", instance="127.0.0.1:8002")
OOM = "ERROR 05-01 14:39:{:02d} torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {}.00 MiB. GPU 3 has a total capacity"


@pytest.fixture
def stat() -> SelfStat:
    return SelfStat(CollectorRegistry())


@pytest.fixture
def path(stat: SelfStat) -> LogPath:
    return LogPath("n1", SIGNATURES, stat)


def fate(stat: SelfStat, name: str) -> float:
    return stat.registry.get_sample_value("aiops_log_lines_total", {"fate": name}) or 0.0


def feed(path: LogPath, *lines: str, at_s: float = 100.0, labels: Labels = A) -> None:
    path.feed([LogRecord(at_s, labels, line) for line in lines])


def totals(path: LogPath, now_s: float = 200.0) -> dict[tuple[str, str], float]:
    samples = [s for s in path.samples(now_s) if s.metric == "log_records_total"]
    return {(s.labels.get("log_class"), s.labels.get("gpu")): s.value for s in samples}


def test_lines_become_totals_per_class_and_card(path: LogPath):
    """This is all that causes see of a log."""
    feed(path, *[OOM.format(i, i) for i in range(30)], "all is well", 'INFO: "POST /x HTTP/1.1" 200 OK')

    assert totals(path) == {("vram_exhaustion", "3"): 30.0, ("benign", ""): 2.0}


def test_what_was_missed_during_a_stop_is_a_template_of_its_own_time_and_no_count(path: LogPath, stat: SelfStat):
    """Counted now, an out-of-memory of last night would be evidence against this morning's card."""
    path.feed([LogRecord(100.0, A, OOM.format(3, 3), late=True)] * 5)
    feed(path, OOM.format(3, 3), at_s=5_000.0)

    assert totals(path) == {("vram_exhaustion", "3"): 1.0}
    (then,) = path.templates(90.0, 110.0)
    assert (then.count, then.log_class) == (5, "vram_exhaustion")
    assert fate(stat, "late") == 5


def test_samples_are_catalogued(path: LogPath):
    """Rules may only cite what the catalogue knows."""
    feed(path, OOM.format(1, 1))

    for sample in path.samples(1.0):
        assert {name for name, _ in sample.labels.pairs} <= set(CATALOG[sample.metric].labels)


def test_many_lines_are_one_template_with_a_title(path: LogPath):
    """People read "CUDA out of memory, 30 times", not thirty lines."""
    feed(path, *[OOM.format(i, i) for i in range(30)])

    (template,) = path.templates(0.0, 200.0)

    assert template.count == 30
    assert (template.log_class, template.title, template.severity) == (
        "vram_exhaustion",
        "CUDA out of memory",
        LogSeverity.CRITICAL,
    )
    assert template.template.startswith("ERROR <*> torch.OutOfMemoryError: CUDA out of memory.")
    assert (template.first_at_s, template.last_at_s) == (100.0, 100.0)


def test_distinct_lines_are_counted_by_their_words(path: LogPath):
    """Twenty users' different words have been masked out of the template; one user's have not."""
    names = [chr(97 + i % 26) * (4 + i // 26) for i in range(400)]
    feed(path, *[f"tenant '{name}' was throttled by policy" for name in names])

    assert max(template.distinct for template in path.templates(0.0, 200.0)) == 20


def test_one_text_under_many_time_stamps_is_one_distinct_line(path: LogPath):
    """A prompt that a client repeats every second must not become publishable by its clock."""
    feed(path, *[f"2026-01-01 00:00:{second:02d} INFO tell me about my diagnosis" for second in range(60)])

    (template,) = path.templates(0.0, 200.0)
    assert (template.count, template.distinct) == (60, 1)


def test_one_line_a_thousand_times_is_one_distinct_line(path: LogPath):
    """Below twenty different lines a template may still be somebody's text."""
    feed(path, *["hello world of mine"] * 1_000)

    (template,) = path.templates(0.0, 200.0)
    assert (template.count, template.distinct, template.title) == (1_000, 1, "")


def test_counts_are_those_of_the_window(path: LogPath):
    """What was logged an hour before the incident is no evidence for it."""
    for at_s, times in ((100.0, 5), (130.0, 2), (300.0, 7), (305.0, 1), (120.0, 1)):
        feed(path, *["ERROR something happened"] * times, at_s=at_s)

    assert [t.count for t in path.templates(100.0, 139.0)] == [8]
    assert [t.count for t in path.templates(300.0, 400.0)] == [8]
    assert [t.count for t in path.templates(0.0, 1_000.0)] == [16]
    assert path.templates(140.0, 299.0) == []
    assert path.templates(310.0, 1_000.0) == []


def test_trouble_comes_first_then_the_frequent(path: LogPath):
    """Fifty lines are shown; the one that explains must be among them."""
    feed(
        path, *["all is well"] * 9, *["nothing to see here now"] * 3, "No space left on device", *[OOM.format(1, 2)] * 2
    )

    classes = [(t.log_class, t.count) for t in path.templates(0.0, 200.0)]

    assert classes == [("vram_exhaustion", 2), ("disk_full", 1), ("benign", 9), ("benign", 3)]


def test_at_most_fifty_templates_are_given(path: LogPath):
    """A page shows what a person can read."""
    feed(path, *[f"{chr(97 + i % 26) * (i // 26 + 1)} " + "word " * i for i in range(80)])

    assert len(path.templates(0.0, 200.0)) == 50


def test_lines_that_only_look_alike_keep_their_own_class(path: LogPath):
    """Masks turn 200, 429 and 503 into one template; their meanings stay apart."""
    feed(
        path,
        *[f'INFO:     127.0.0.1:{i} - "POST /v1/completions HTTP/1.1" {code}' for i in range(3) for code in (200, 503)],
    )

    assert totals(path) == {("benign", ""): 3.0, ("upstream_unavailable", ""): 3.0}
    assert sorted((t.log_class, t.count) for t in path.templates(0.0, 200.0)) == [
        ("benign", 3),
        ("upstream_unavailable", 3),
    ]


@pytest.mark.parametrize(
    ("said", "log_class"),
    [
        ("RuntimeError: Cannot find any model weights with `/models/m`", "model_load_failure"),
        ("IndexError: list index out of range", "engine_dead"),
    ],
)
def test_an_engine_that_ends_with_an_exception_ends_of_what_that_says(path: LogPath, said: str, log_class: str):
    """The head of the record is the same whatever happened: it says that the engine ended, and not of what."""
    feed(path, f"Scheduler hit an exception: Traceback (most recent call last):\n  File 'a.py', line 1, in f\n{said}")

    assert totals(path) == {(log_class, ""): 1}


def test_labels_common_to_all_lines_stay(path: LogPath):
    """A template of two replicas must not be blamed on one."""
    feed(path, "ERROR something happened")
    assert path.templates(0.0, 200.0)[0].labels == A
    feed(path, "ERROR something happened", labels=B)
    assert path.templates(0.0, 200.0)[0].labels == Labels.of(source="a.log")


def test_request_bodies_leave_nothing_behind(path: LogPath, stat: SelfStat):
    """Neither text nor evidence: a prompt may well speak of CUDA out of memory."""
    feed(
        path, "Received request 1: prompt: 'why does CANARY say CUDA out of memory', params: x", "prompt_token_ids=[1]"
    )

    assert totals(path) == {}
    assert path.templates(0.0, 1e9) == []
    assert fate(stat, "dropped") == 2
    assert "CANARY" not in repr(vars(path))


def test_secrets_are_not_in_templates(path: LogPath):
    """Templates are what leaves this path."""
    feed(path, "ERROR call failed, api_key=CANARY, client: 192.0.2.9, url /v1/x/y?q=CANARY")

    assert "CANARY" not in path.templates(0.0, 1e9)[0].template
    assert "192.0.2.9" not in path.templates(0.0, 1e9)[0].template


def test_a_line_of_a_megabyte_is_cut_and_counted(path: LogPath, stat: SelfStat):
    """One line must not take memory or time; what stands at its head still counts."""
    feed(path, "No space left on device " + "x" * 2**20)

    assert fate(stat, "truncated") == 1
    assert totals(path) == {("disk_full", ""): 1.0}
    assert len(path.templates(0.0, 200.0)[0].template) <= 4_096


@pytest.mark.parametrize("line", ["\x00\x01\x02", "\udc80\udcff", "", "   ", "\u2028\ufffd", "\x1b[31mERROR\x1b[0m"])
def test_odd_lines_survive(path: LogPath, line: str):
    """Logs are whatever somebody wrote to a file."""
    feed(path, line)

    assert sum(totals(path).values()) == 1


def test_a_line_without_a_time_is_counted_but_kept_out_of_templates(path: LogPath, stat: SelfStat):
    """A NaN among the times would make windows lie."""
    feed(path, "No space left on device", at_s=math.nan)

    assert totals(path) == {("disk_full", ""): 1.0}
    assert path.templates(-math.inf, 1e9) == []
    assert fate(stat, "skipped") == 1


def test_in_a_flood_every_line_is_classified_and_some_are_clustered(path: LogPath, stat: SelfStat):
    """The evaluation of the second after must not wait for drain3."""
    words = ["alpha", "beta", "gamma", "delta"]
    flood = [" ".join(words[(i >> (2 * k)) % 4] for k in range(6)) + " ." * (i % 30) for i in range(2_000)]
    feed(path, *flood, *[OOM.format(1, 1)] * 5)

    assert totals(path) == {("benign", ""): 2_000.0, ("vram_exhaustion", "3"): 5.0}
    assert fate(stat, "skipped") > 1_000
    assert sum(1 for _ in path._clusters) <= 300


def test_memory_is_bounded(path: LogPath):
    """Random lines for ever leave a bounded number of templates and cached hashes."""
    for i in range(120):
        feed(path, *[f"{chr(97 + (i + j) % 26) * (j % 97 + 1)} {'y ' * (j % 60)}{i}" for j in range(200)])

    assert len(path._ledger) <= 10_000
    assert sum(1 for _ in path._clusters) <= 10_000
    assert len(path._forms) <= 2 * 8_192


def test_traces_keep_an_hour(path: LogPath):
    """Older counts are history's business."""
    for minute in range(0, 70 * 60, 10):
        feed(path, "ERROR something happened", at_s=float(minute))

    (template,) = path.templates(0.0, 1e9)
    assert template.count == 360


@given(st.lists(st.text(max_size=80), max_size=30))
def test_every_line_is_counted_once_or_dropped(lines: list[str]):
    """Totals are evidence: no line may count twice or vanish."""
    stat = SelfStat(CollectorRegistry())
    path = LogPath("n1", SIGNATURES[:3], stat)
    feed(path, *lines)

    assert sum(totals(path).values()) + fate(stat, "dropped") == len(lines)
