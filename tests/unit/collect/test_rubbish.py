"""Text in any encoding is text; binary data is not."""

from __future__ import annotations

from random import Random

import pytest

from aiops.collect.rubbish import Sieve


@pytest.mark.parametrize(
    "line",
    [b"", b"plain", b"\x1b[31mred\x1b[0m\ttab\r", "显存不足".encode(), "显存不足".encode("gbk"), "café".encode("latin-1"),
     b"a line of text with one stray \x00 in the middle of it"],
)  # fmt: skip
def test_text_is_kept(line: bytes) -> None:
    """Not every server writes UTF-8."""
    assert not Sieve().is_rubbish(line)


@pytest.mark.parametrize(
    "line",
    [b"\0\0\0", "text".encode("utf-16-le"), Random(1).randbytes(4_096).replace(b"\n", b""), b"\x7fELF\x02\x01\x01"],
)
def test_binary_data_is_not(line: bytes) -> None:
    """It would be a template of its own each time."""
    assert Sieve().is_rubbish(line)


def test_short_pieces_of_binary_data_do_not_pass_for_text() -> None:
    """Seventy of them a second grew the daemon by ten megabytes a minute."""
    sieve = Sieve()
    lines = Random(1).randbytes(2**20).split(b"\n")

    passed = [line for line in lines if line and not sieve.is_rubbish(line)]

    assert len(passed) < 0.005 * len(lines)
    assert max(map(len, passed)) < 10


def test_text_among_binary_data_is_kept() -> None:
    """The server whose log it is goes on writing to it."""
    sieve = Sieve()
    assert sieve.is_rubbish(b"\0\1\2\3")
    assert not sieve.is_rubbish("ERROR 显存不足".encode())


def test_another_encoding_is_text_again_when_the_rubbish_is_over() -> None:
    """One stray dump must not silence a log for good."""
    sieve = Sieve()
    sieve.is_rubbish(b"\0\1\2\3")
    for _ in range(64):
        sieve.is_rubbish(b"text")

    assert not sieve.is_rubbish("显存不足".encode("gbk"))
