"""What a program wrote as one thing becomes one record, and nothing else does."""

from __future__ import annotations

import time

import pytest

from aiops.collect.multiline import MAX_CHARS, Joined, Joiner

NOW_S = 1_800_000_000.0

PYTHON = """\
Traceback (most recent call last):
  File "/app/engine.py", line 12, in step
    self.run(batch)
    ^^^^^^^^^^^^^^^
  File "/app/model.py", line 3, in run
    return x / 0
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."""

CHAINED = """\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
KeyError: 'a'
During handling of the above exception, another exception occurred:
Traceback (most recent call last):
  File "a.py", line 3, in <module>
ValueError: no a
The above exception was the direct cause of the following exception:
Traceback (most recent call last):
  File "b.py", line 3, in <module>
RuntimeError: given up"""

GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "x.py", line 1, in <module>
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "x.py", line 2, in f
    | ValueError: 1
    +---------------- 2 ----------------
    | KeyError: 2
    +------------------------------------"""

CUDA = """\
RuntimeError: CUDA error: device-side assert triggered
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
Exception raised from c10_cuda_check_implementation at /c10/cuda/CUDAException.cpp:43 (most recent call first):
frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x96 (0x7f in libc10.so)
frame #1: <unknown function> + 0x1 (0x7f in libtorch.so)"""

TERMINATED = """\
terminate called after throwing an instance of 'c10::Error'
  what():  CUDA error: an illegal memory access was encountered
CUDA kernel errors might be asynchronously reported at some other API call
frame #0: c10::Error::Error + 0x96"""

ASSERTIONS = "\n".join(
    f"/aten/native/cuda/Indexing.cu:1237: indexSelect: block: [{block},0,0], thread: [{thread},0,0]"
    " Assertion `srcIndex < srcSelectDimSize` failed."
    for block in range(3)
    for thread in range(4)
)

JAVA = """\
Exception in thread "main" java.lang.IllegalStateException: pool shut down
\tat org.example.Pool.take(Pool.java:12)
\tat org.example.Main.main(Main.java:3)
Caused by: java.io.IOException: Broken pipe
\tat java.base/sun.nio.ch.SocketDispatcher.write(Unknown Source)
\t... 2 more"""

LOGGED_JAVA = """\
2026-11-24 10:00:00 ERROR [main] o.e.Main - failed: java.lang.RuntimeException: no
\tat org.example.Main.main(Main.java:3)
\tSuppressed: java.lang.Exception: also
\t\tat org.example.Main.close(Main.java:9)"""

NODE = """\
TypeError: Cannot read properties of undefined (reading 'id')
    at handler (/srv/app.js:10:5)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5) {
  errno: -111,
  code: 'ECONNREFUSED'
}"""

GO = """\
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x1]
goroutine 1 [running]:
main.(*server).serve(0xc000010000, {0x1, 0x2})
\t/srv/main.go:12 +0x1d
created by main.main in goroutine 1
\t/srv/main.go:5 +0x2
exit status 2"""

RUST = """\
thread 'tokio-runtime-worker' panicked at router/src/main.rs:12:5:
called `Result::unwrap()` on an `Err` value: Os { code: 28 }
stack backtrace:
   0: rust_begin_unwind
             at /rustc/std/src/panicking.rs:1:2
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace"""

FAULT = """\
Fatal Python error: Segmentation fault
Current thread 0x00007f (most recent call first):
  File "/app/x.py", line 3 in f
Extension modules: numpy.core, torch._C (total: 2)"""

RECORDS = {
    "python": PYTHON, "chained": CHAINED, "group": GROUP, "cuda": CUDA, "terminated": TERMINATED, "assertions": ASSERTIONS,
    "java": JAVA, "logged java": LOGGED_JAVA, "node": NODE, "go": GO, "rust": RUST, "fault": FAULT,
}  # fmt: skip
PLAIN = "INFO 11-24 10:00:00 [loggers.py:1] Avg prompt throughput: 1.0 tokens/s"


def join(*lines: str, joiner: Joiner | None = None) -> list[Joined]:
    """What becomes of *lines* when no more come."""
    joiner = joiner or Joiner()
    joined = [record for line in lines for record in joiner.add(line, NOW_S)]
    return joined + list(joiner.flush(NOW_S + 2.0))


def texts(joined: list[Joined]) -> list[str]:
    return [record.text for record in joined]


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS.keys())
def test_a_record_is_one_and_its_neighbours_are_not_in_it(record: str) -> None:
    """A traceback of forty lines is one thing that happened, not forty."""
    joined = join(PLAIN, *record.split("\n"), PLAIN, PLAIN)

    assert texts(joined) == [PLAIN, record, PLAIN, PLAIN]
    assert joined[1].lines == record.count("\n") + 1
    assert not joined[1].truncated


@pytest.mark.parametrize("record", [PYTHON, CHAINED, CUDA], ids=["python", "chained", "cuda"])
@pytest.mark.parametrize(
    "prefix",
    [
        "(EngineCore_0 pid=123) ERROR 11-24 10:00:00 [core.py:718] ",
        "ERROR 11-24 10:00:00 [engine.py:158] ",
        "[rank0]: ",
    ],
)
def test_a_prefix_before_each_line_does_not_matter(record: str, prefix: str) -> None:
    """vLLM and torchrun put theirs before every line of a message."""
    lines = [prefix + line for line in record.split("\n")]
    others = "(APIServer pid=7) INFO 11-24 10:00:00 [loggers.py:1] fine"

    assert texts(join(others, *lines, others)) == [others, "\n".join(lines), others]


def test_two_writers_with_prefixes_of_their_own_are_kept_apart() -> None:
    """Two ranks fail at the same moment, and their lines interleave."""
    first, second = (
        [f"(Worker_TP{rank} pid={rank}00) ERROR 11-24 10:00:00 [x.py:1] {line}" for line in PYTHON.split("\n")]
        for rank in (0, 1)
    )
    mixed = [line for pair in zip(first, second, strict=True) for line in pair]

    assert sorted(texts(join(*mixed))) == sorted(["\n".join(first), "\n".join(second)])


def test_the_text_before_a_traceback_on_its_first_line_may_be_missing_on_the_others() -> None:
    """SGLang: the first line has its prefix, the others are bare."""
    first, *rest = PYTHON.split("\n")
    lines = ["[2025-03-07 21:49:33 TP13] Scheduler hit an exception: " + first, *rest]

    assert texts(join(PLAIN, *lines, PLAIN)) == [PLAIN, "\n".join(lines), PLAIN]


def test_another_writers_line_in_the_middle_is_passed_on_and_not_joined() -> None:
    """An access log line between two frames is no frame."""
    lines = PYTHON.split("\n")
    access = 'INFO:     127.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK'

    assert texts(join(*lines[:3], access, *lines[3:])) == [access, PYTHON]


def test_two_tracebacks_in_a_row_are_two() -> None:
    """Every request fails alike."""
    prefix = "(EngineCore_0 pid=1) ERROR 11-24 10:00:00 [core.py:1] "
    prefixed = "\n".join(prefix + line for line in PYTHON.split("\n"))

    assert texts(join(*(PYTHON + "\n" + PYTHON).split("\n"))) == [PYTHON, PYTHON]
    assert texts(join(*(prefixed + "\n" + prefixed).split("\n"))) == [prefixed, prefixed]


def test_lines_of_one_kind_that_do_not_belong_together_stay_apart() -> None:
    """The same error a hundred times is a hundred errors."""
    error = "ERROR 11-24 10:00:00 [x.py:1] ConnectionError: refused"

    assert texts(join(*[error] * 5)) == [error] * 5


def test_a_message_under_its_prefix_belongs_to_the_traceback_whatever_it_says() -> None:
    """A multi-line message after the exception: the prefix says that it is of the same call."""
    prefix = "ERROR 11-24 10:00:00 [x.py:1] "
    lines = [prefix + line for line in (*PYTHON.split("\n"), "See the docs", "for what to do")]
    after = "ERROR 11-24 10:00:01 [x.py:1] another"

    assert texts(join(*lines, after)) == ["\n".join(lines), after]


def test_what_looks_whole_is_given_out_at_the_end_of_the_round_and_half_a_record_waits() -> None:
    """A cause must not be known two seconds later because another line might follow."""
    joiner = Joiner()
    lines = PYTHON.split("\n")
    for line in lines[:-1]:
        assert list(joiner.add(line, NOW_S)) == []
    assert list(joiner.flush(NOW_S)) == []
    assert not joiner.is_idle
    assert list(joiner.add(lines[-1], NOW_S + 1.0)) == []

    assert texts(list(joiner.flush(NOW_S + 1.0))) == [PYTHON]
    assert joiner.is_idle


def test_a_record_nobody_ends_is_given_out_after_a_while() -> None:
    """The process was killed in the middle of its traceback."""
    joiner = Joiner()
    list(joiner.add("Traceback (most recent call last):", NOW_S))

    assert list(joiner.flush(NOW_S + 1.0)) == []
    assert texts(list(joiner.flush(NOW_S + 1.6))) == ["Traceback (most recent call last):"]


def test_a_clock_set_back_does_not_hold_a_record_for_ever() -> None:
    """Waiting is measured in wall time, which may jump."""
    joiner = Joiner()
    list(joiner.add("Traceback (most recent call last):", NOW_S))

    assert len(list(joiner.flush(NOW_S - 3_600.0))) == 1


def test_a_record_carries_the_time_of_its_first_line() -> None:
    """When it happened, not when it had been written down."""
    joiner = Joiner()
    list(joiner.add("Traceback (most recent call last):", NOW_S, NOW_S - 5.0))
    list(joiner.add("ValueError: x", NOW_S, NOW_S - 4.0))

    assert [record.at_s for record in joiner.close()] == [NOW_S - 5.0]


@pytest.mark.parametrize("width", [40, 3_000, 60_000], ids=["short", "long", "huge"])
def test_an_endless_record_keeps_its_beginning_and_its_end(width: int) -> None:
    """The exception stands at the end of ten thousand frames."""
    frames = ['  File "x.py", line 1, in f' + "x" * width] * 1_000
    lines = ["Traceback (most recent call last):", *frames, "RecursionError: maximum recursion depth exceeded"]
    (record,) = join(*lines)

    assert record.text.startswith("Traceback (most recent call last):")
    assert record.text.endswith("RecursionError: maximum recursion depth exceeded")
    assert record.truncated
    assert record.lines == 1_002
    assert len(record.text) <= MAX_CHARS + 300
    assert record.text.count("\n") < 256


def test_a_hostile_stream_holds_a_bounded_amount_and_gives_everything_out() -> None:
    """Whoever writes "Traceback" a million times must not fill the memory."""
    joiner = Joiner()
    lines = [f"(W pid={number}) Traceback (most recent call last):" for number in range(1_000)]
    given = [record for line in lines for record in joiner.add(line, NOW_S)]
    assert len(joiner._open) <= 8
    given += list(joiner.close())
    assert len(given) == 1_000

    endless = ["Traceback (most recent call last):", *['  File "x", line 1, in f'] * 10_000]
    assert sum(record.lines for record in join(*endless)) == 10_001


def test_text_without_exception_lines_does_not_wait_for_ever() -> None:
    """Other writers go on while a traceback stays unfinished."""
    joined = join("Traceback (most recent call last):", *[PLAIN] * 200)

    assert texts(joined).count(PLAIN) == 200
    assert len(joined) == 201
    assert "Traceback (most recent call last):" in texts(joined[:70])


@pytest.mark.parametrize(
    "line",
    ["a-" * 32_000, "Error" * 13_000, "(" * 65_000, "[rank" * 13_000, "Traceback (most recent call last)" * 1_900,
     "x" * 60_000 + "Error: Traceback (most recent call last)", "\ud800" * 1_000 + "Error"],
    ids=["dashes", "errors", "brackets", "ranks", "tracebacks", "late", "surrogates"],
)  # fmt: skip
def test_a_hostile_line_costs_linear_time(line: str) -> None:
    """Nothing here may backtrack."""
    joiner = Joiner()
    started_s = time.thread_time()
    for _ in range(5):
        list(joiner.add(line, NOW_S))
    assert (time.thread_time() - started_s) / 5 < 0.05


def test_a_record_says_how_many_lines_passed_it():
    """What a prompt quotes may look unfinished; whether it came from within one is then told by the place it had."""
    joiner = Joiner()
    lines = ["Traceback (most recent call last):", '  File "a.py"', "not the end", "INFO 01-02 03:04:05 x"]
    passed = [joined for line in lines for joined in joiner.add(line, 0.0)]

    assert [joined.text for joined in passed] == lines[2:]
    assert [joined.passed_by for joined in (*passed, *joiner.close())] == [0, 0, 2]


def test_a_line_without_a_head_does_not_pass_the_line_with_one_before_it():
    """It goes on with a prompt that begins "Traceback (most recent call last):", and must come behind its opening."""
    joiner = Joiner()
    lines = [
        "INFO 01-02 03:04:05 prompt: 'Traceback (most recent call last): why?",
        "CANARY here",
        "INFO 01-02 03:04:05 x",
    ]

    assert [joined.text for line in lines for joined in joiner.add(line, 0.0)] == lines
