from __future__ import annotations

import time
from pathlib import Path

import pytest

from aiops.logs.lexicon import Lexicon
from aiops.model import LogSeverity
from aiops.rulebook.signatures import LogClass, LogSignature, load_signatures

LEXICON = Lexicon(load_signatures([Path(__file__).parents[3] / "rules"]))


def signature(log_class: LogClass, *patterns: str, **extract: str) -> LogSignature:
    return LogSignature(log_class, log_class.value, LogSeverity.ERROR, patterns, (), "", extract)


def test_the_first_signature_that_matches_wins():
    """Benign look-alikes stand first for this reason."""
    lexicon = Lexicon(
        [signature(LogClass.BENIGN, "temperature normal"), signature(LogClass.THERMAL_THROTTLE, "temperature")]
    )

    benign, hot = lexicon.classify(b"temperature normal"), lexicon.classify(b"temperature high")

    assert benign is not None
    assert hot is not None
    assert (benign.number, benign.signature.log_class) == (0, LogClass.BENIGN)
    assert (hot.number, hot.signature.log_class) == (1, LogClass.THERMAL_THROTTLE)
    assert lexicon.classify(b"pressure high") is None


def test_values_are_taken_from_the_raw_line():
    """Masks hide just what matters: which card, which code."""
    hit = LEXICON.classify(b"torch.OutOfMemoryError: CUDA out of memory. GPU 3 has a total capacity of 79.00 GiB")
    xid = LEXICON.classify(b"NVRM: Xid (PCI:0000:44:00): 79, pid=1, GPU has fallen off the bus.")

    assert hit is not None
    assert xid is not None
    assert hit.values == {"gpu": "3"}
    assert xid.values == {"xid": "79", "pci": "0000:44:00", "pid": "1"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "INFO [loggers.py:1] Engine 000: Avg prompt throughput: 0.0 tokens/s, Avg generation throughput: 2.0 tokens/s, GPU KV cache usage: 91.0%",
            "benign",
        ),
        ("mce: CPU6: Core temperature/speed normal", "benign"),
        ("node0:1:2 [1] NCCL INFO Connected all rings", "benign"),
        ('INFO: 127.0.0.1:1 - "POST /v1/completions HTTP/1.1" 200 OK', "benign"),
        ('INFO: 127.0.0.1:1 - "POST /v1/completions HTTP/1.1" 503 Service Unavailable', "upstream_unavailable"),
        ('INFO: 127.0.0.1:1 - "POST /v1/completions HTTP/1.1" 429 Too Many Requests', "rate_limit_queue_full"),
        ("Decode out of memory happened. #retracted_reqs: 1", "kv_cache_preemption"),
        ("Out of memory: Killed process 1 (python)", "host_oom"),
        ("[ERROR] Worker (pid:17) was sent SIGKILL! Perhaps out of memory?", "worker_timeout"),
        ("Health check failed. Server couldn't get a response from detokenizer for last 20 seconds.", "worker_timeout"),
        ("NCCL WARN Cuda failure 'out of memory'", "vram_exhaustion"),
        (
            "sqlalchemy.exc.TimeoutError: QueuePool limit of size 5 overflow 10 reached, connection timed out",
            "pool_exhausted",
        ),
        ("503 Service Unavailable: server busy", "rate_limit_queue_full"),
    ],
)
def test_look_alikes_are_told_apart(line: str, expected: str):
    """A memory that is full, a host that is full and a cache that is full have different causes."""
    hit = LEXICON.classify(line.encode())

    assert hit is not None
    assert hit.signature.log_class == expected


@pytest.mark.parametrize(
    "line", ["", "all is well", "model loaded in 12 s", "torch memory usage 71 GiB", "\x00\x01", "x" * 65_536]
)
def test_ordinary_lines_have_no_class(line: str):
    """Evidence that is everywhere is no evidence."""
    assert LEXICON.classify(line.encode()) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"2025 [CRITICAL] x", LogSeverity.CRITICAL),
        (b"ERROR 05-01 warning later", LogSeverity.ERROR),
        (b"ValueError: x", LogSeverity.ERROR),
        (b"E0120 08:28:09 x", LogSeverity.ERROR),
        (b"W0120 08:28:09 x", LogSeverity.WARNING),
        (b"[warn] error while retrying", LogSeverity.WARNING),
        (b"INFO: no error found", LogSeverity.INFO),
        (b"hello", LogSeverity.INFO),
        (b"." * 200 + b" ERROR", LogSeverity.INFO),
        (b"", LogSeverity.INFO),
    ],
)
def test_severity_is_the_first_word_that_names_one(line: bytes, expected: LogSeverity):
    """Loggers put their level first; later words are the message."""
    assert LEXICON.severity(line) is expected


def test_without_signatures_nothing_has_a_class():
    """An empty rules folder is no crash."""
    assert Lexicon([]).classify(b"CUDA out of memory") is None


def test_many_lines_are_answered_as_each_alone():
    """The ends of a text are not the ends of its lines."""
    lexicon = Lexicon([signature(LogClass.DNS, r"\Aunreachable\z"), signature(LogClass.NETWORK, "^down$")])

    found = lexicon.among([b"up", b"unreachable", b"down", b"x down"])

    assert {number: hit.number for number, hit in found.items()} == {1: 0, 2: 1}


def test_of_a_form_it_is_said_whether_a_line_of_it_may_be_known():
    """Then no line of a harmless form is asked again, and every line of another is."""
    lexicon = Lexicon([signature(LogClass.DNS, r"code 5\d", "unreachable"), signature(LogClass.NETWORK, r"dow\x6e")])

    said = [lexicon.may_know(form) for form in (b"code 00", b"code x", b"unreachable", b"up", b"")]

    assert said == [True, True, True, True, True]  # what \x6e stands for is not read: it may be found in any form
    assert [Lexicon([signature(LogClass.DNS, r"code 5\d")]).may_know(form) for form in (b"code 00", b"code x")] == [
        True,
        False,
    ]


def test_ends_of_lines_are_seen_in_a_record_of_several():
    """A traceback is one record, and its last line begins with the error's name."""
    hit = LEXICON.classify(b'Traceback (most recent call last):\n  File "a.py", line 1\nMemoryError\n')

    assert hit is not None
    assert hit.signature.log_class is LogClass.HOST_OOM


def test_a_pattern_without_a_word_in_it_still_decides():
    """Nothing can be filtered by then; people may write such a pattern all the same."""
    lexicon = Lexicon([signature(LogClass.DNS, r"\d\d"), signature(LogClass.NETWORK, "unreachable")])

    found = [lexicon.classify(line) for line in (b"x 42 unreachable", b"Unreachable", b"unreachable")]

    assert [hit and hit.number for hit in found] == [0, None, 1]


@pytest.mark.parametrize(
    "line",
    [
        "error " * 10_000,
        "timeout" * 9_000,
        "a" * 65_000,
        "out of " * 9_000,
        "connection refused " * 3_000,
        "x" + "0" * 65_000,
    ],
    ids=lambda line: line[:10],
)
def test_hostile_lines_cost_linear_time(line: str):
    """Every line is asked; one that makes the question slow would stop the daemon."""
    raw = line.encode()
    LEXICON.classify(raw[:100])
    started_s = time.thread_time()
    LEXICON.classify(raw)

    assert time.thread_time() - started_s < 0.1
