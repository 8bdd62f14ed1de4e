"""How a log begins its records is known from its lines, and what is quoted in them is not taken for it."""

from __future__ import annotations

import time

import pytest

from aiops.heads import Heads, head_form

SAME = (
    (b"INFO 01-02 03:04:05 [a.py:1] x", b"ERROR 11-12 13:14:15 [b.py:22] y", b"(EngineCore_0 pid=7) WARNING 01-02 03:04:05 z"),
    (b"[2025-01-02 03:04:05] x", b"[2026-11-12 13:14:15 TP0] y", b"[rank0]: [2026-11-12 13:14:15] z"),
    (b"INFO:     10.0.0.1:1 - x", b"WARNING:  y", b"\x1b[32mINFO\x1b[0m:     z"),
    (b"2025/01/02 03:04:05 [error] 7#7: x", b"gateway-1  | 2025/11/12 13:14:15 [warn] y"),
    (b"192.0.2.1 - - [02/Jan/2025:03:04:05 +0000] x", b"::1 - joe [12/Dec/2025:13:14:15 +0000] y"),
    (b'{"level":"info","msg":"x"}', b'{"level": "error"}'),
    (b"2025-01-02T03:04:05.123456Z  INFO x", b"2025-01-02T03:04:05Z ERROR y"),
    (b"Jan  2 03:04:05 n1 x", b"Dec 12 13:14:15 n1 y"),
    (b"I0102 03:04:05.000001 7 x", b"E1112 13:14:15.1 8 y"),
    (b"[   12.123456] NVRM: x", b"[123456.123456] y"),
    (b"time=2025 level=x", b"time=1"),
    (b"INFO x", b"ERROR y"),
)  # fmt: skip


@pytest.mark.parametrize("lines", SAME, ids=lambda lines: lines[0].decode("ascii"))
def test_heads_of_one_log_have_one_form(lines: tuple[bytes, ...]) -> None:
    """An error must end what an information began; what is put before every line counts for nothing."""
    assert len({head_form(line) for line in lines}) == 1
    assert head_form(lines[0])


def test_heads_of_different_logs_have_different_forms() -> None:
    """Pasted into a prompt is often a log of something else."""
    assert len({head_form(lines[0]) for lines in SAME}) == len(SAME)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"hello", b"Traceback (most recent call last):", b"  INFO indented", b'"messages": [', b"  {", b"INFOrmation",
        b'{"log":"the inside of a prompt\\n","stream":"stdout"}', b"2025-01-02T03:04:05.123456789Z stdout F the inside of a prompt",
        b"(EngineCore_0 pid=7) of a prompt", b"gateway-1  | of a prompt", b"12 days from 1999 on",
    ],
)  # fmt: skip
def test_other_lines_have_none(line: bytes) -> None:
    """What a container runtime or a program puts before every line opens no record."""
    assert head_form(line) == b""


def test_within_a_container_s_wrapping_the_line_s_own_head_counts() -> None:
    """As it would without."""
    own = head_form(b"INFO 01-02 03:04:05 x")

    assert head_form(b'{"log":"INFO 01-02 03:04:05 x\\n"}') == own
    assert head_form(b"2025-01-02T03:04:05.123456789Z stderr F INFO 01-02 03:04:05 x") == own


def test_a_log_s_own_heads_are_learned_and_those_quoted_in_it_are_not() -> None:
    """Two loggers may write one log; a line pasted into a prompt now and then is not a third."""
    heads = Heads()
    lines = [
        b"INFO 01-02 03:04:05 x",
        b"INFO 01-02 03:04:05 x",
        b"INFO:     y",
        b"inside of a prompt",
        b"and more of it",
    ]
    heads.learn(b"\n".join([*lines * 20, b"2025-01-02 03:04:05 z"] * 50) + b"\n", calm=False)

    assert heads.forms == {head_form(lines[0]), head_form(lines[2])}
    assert heads.opens(b"ERROR 11-12 13:14:15 w")
    assert not heads.opens(b"2025-01-02 03:04:05 z")
    assert heads.first(b"more\n2025-01-02 03:04:05 z\nINFO:     y\n") == 27
    assert heads.first(b"more\n") == 5


def test_a_log_with_few_heads_has_none() -> None:
    """They are in what is quoted."""
    heads = Heads()
    heads.learn((b"of a prompt\n" * 20 + b"INFO 01-02 03:04:05 pasted\n") * 500, calm=False)

    assert heads.forms == frozenset()
    assert heads.first(b"INFO 01-02 03:04:05 x\n") == 22


@pytest.mark.parametrize("line", [b"a." * 100_000, b"(" * 200_000, b"\x1b[" * 70_000, b"a |" * 70_000, b"9" * 200_000])
def test_hostile_lines_cost_linear_time(line: bytes) -> None:
    """Any line may be asked about."""
    started_s = time.thread_time()
    head_form(line)

    assert time.thread_time() - started_s < 0.2
