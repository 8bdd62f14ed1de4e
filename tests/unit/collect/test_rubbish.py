"""Text in any encoding is text; binary data is not."""

from __future__ import annotations

from random import Random

import pytest

from aiops.collect.rubbish import is_rubbish


@pytest.mark.parametrize(
    "line",
    [b"", b"plain", b"\x1b[31mred\x1b[0m\ttab\r", "显存不足".encode(), "显存不足".encode("gbk"), "café".encode("latin-1"),
     b"a line of text with one stray \x00 in the middle of it"],
)  # fmt: skip
def test_text_is_kept(line: bytes) -> None:
    """Not every server writes UTF-8."""
    assert not is_rubbish(line)


@pytest.mark.parametrize(
    "line",
    [b"\0\0\0", "text".encode("utf-16-le"), Random(1).randbytes(4_096).replace(b"\n", b""), b"\x7fELF\x02\x01\x01"],
)
def test_binary_data_is_not(line: bytes) -> None:
    """It would be a template of its own each time."""
    assert is_rubbish(line)
