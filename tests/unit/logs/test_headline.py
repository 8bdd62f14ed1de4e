from __future__ import annotations

import pytest

from aiops.logs.headline import headline

TRACEBACK = """ERROR: Exception in ASGI application
Traceback (most recent call last):
  File "/app/engine.py", line 12, in step
    raise ValueError("x")
ValueError: x

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/engine.py", line 20, in run
    self.step()
    ~~~~~~~~~^^
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB
and more words of it"""
WITH_HEADS = """ERROR 05-01 14:39:08 [core.py:390] Traceback (most recent call last):
ERROR 05-01 14:39:09 [core.py:390]   File "/app/core.py", line 3, in run
ERROR 05-01 14:39:09 [core.py:390]     raise EngineDeadError()
ERROR 05-01 14:39:09 [core.py:390] vllm.EngineDeadError: core died"""
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "/app/x.py", line 1, in <module>
  | ExceptionGroup: several (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/app/x.py", line 5, in f
    | ConnectionResetError: peer left
    +------------------------------------"""
JAVA = "java.lang.OutOfMemoryError: Java heap space\n\tat a.B.c(B.java:1)\n\tat a.B.d(B.java:2)"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("one line", "one line"),
        (TRACEBACK, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"),
        (WITH_HEADS, "vllm.EngineDeadError: core died"),
        (GROUP, "ConnectionResetError: peer left"),
        (JAVA, "java.lang.OutOfMemoryError: Java heap space"),
        ("first  \n\nsecond", "first"),
        ("WARN cut off\nTraceback (most recent call last):\n  File 'x'\n    y", "WARN cut off"),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ("", ""),
    ],
)
def test_the_line_that_says_it_is_found(record: str, expected: str):
    """Two tracebacks through different code that end alike are one kind of trouble."""
    assert headline(record.encode()) == expected.encode()


def test_a_record_of_nothing_but_line_feeds_ends():
    """A record may be a megabyte of anything."""
    record = b"Traceback (most recent call last):" + b"\n" * 1_000_000 + b"ValueError"

    assert headline(record) == b"Traceback (most recent call last):"
