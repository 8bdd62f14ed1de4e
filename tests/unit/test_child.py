"""A child may hang, die, lie or flood; whoever asked gets an error in time and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path

import pytest

from aiops.child import Child, ask_once
from aiops.errors import ChildError, ChildTimeout

ECHO = "import sys\nfor line in sys.stdin: sys.stdout.write(line); sys.stdout.flush()"
HANG = "import sys, time\nfor line in sys.stdin: time.sleep(60)"
PATIENT_S = 20.0
"""A deadline that is never reached."""
SLOW_TO_STALE = """
import sys, time
for line in sys.stdin:
    time.sleep(0.3 if "stale" in line else 0.0)
    print(line, end="", flush=True)
"""


def program(text: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-E", "-c", text)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_questions_are_answered_in_turn_by_one_process() -> None:
    """Starting Python for every reading would cost more than the reading."""

    async def play() -> tuple[list[object], int]:
        child = Child(program(ECHO))
        pids = set()
        answers = []
        for question in ({"a": 1}, [1, 2], "x" * 300_000):
            answers.append(await child.ask(question, PATIENT_S))
            pids.add(child.pid)
        child.close()
        return answers, len(pids)

    assert asyncio.run(play()) == ([{"a": 1}, [1, 2], "x" * 300_000], 1)


def test_two_callers_get_each_their_own_answer() -> None:
    """Answers carry no name: the second must wait."""

    async def play() -> list[int]:
        child = Child(program(ECHO))
        answers = await asyncio.gather(*(child.ask(n, PATIENT_S) for n in range(20)))
        child.close()
        return answers

    assert asyncio.run(play()) == list(range(20))


def test_a_child_that_hangs_is_killed_in_time() -> None:
    """This is what it exists for."""

    async def play() -> tuple[float, bool]:
        child = Child(program(HANG))
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        asked = asyncio.ensure_future(child.ask("?", 0.2))
        await asyncio.sleep(0)  # it has been started, and hangs
        pid = child.pid
        assert pid is not None
        with pytest.raises(ChildTimeout, match=r"no answer within 0\.2 s"):
            await asked
        took_s = loop.time() - started_s
        child.close()
        return took_s, is_alive(pid)

    took_s, alive = asyncio.run(play())
    assert took_s < 2.0
    assert not alive


def test_others_go_on_while_a_child_hangs() -> None:
    """The loop serves pages and pages people meanwhile."""

    async def play() -> int:
        child = Child(program(HANG))
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0.01)
                beats += 1

        heart = asyncio.ensure_future(beat())
        with pytest.raises(ChildTimeout):
            await child.ask("?", 0.5)
        heart.cancel()
        child.close()
        return beats

    assert asyncio.run(play()) > 10


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import sys; sys.exit('no driver')", "ended: no driver"),
        ("import sys; sys.stdin.readline(); 1/0", "ended: ZeroDivisionError: division by zero"),
        ("import sys; sys.stdin.readline(); print('hello')", "not JSON"),
        ("import sys; sys.stdin.readline(); print('[' * 100_000)", "not JSON"),
        ("import sys; sys.stdin.readline(); print('x' * 3_000_000)", "more than 1048576 bytes"),
        ("import sys; sys.stdin.readline(); sys.stdout.buffer.write(b'\\xff\\n')", "not JSON"),
    ],
)
def test_a_child_that_fails_says_why(text: str, complaint: str) -> None:
    """The last words of a traceback are what a person needs."""

    async def play() -> None:
        await ask_once(program(text), "?", PATIENT_S)

    with pytest.raises(ChildError, match=complaint):
        asyncio.run(play())


def test_a_program_that_is_not_there_is_an_error_like_others() -> None:
    """No traceback for a missing file."""

    async def play() -> None:
        await ask_once(("/nowhere/at/all",), "?", PATIENT_S)

    with pytest.raises(ChildError, match="cannot be started"):
        asyncio.run(play())


def test_a_failing_child_is_not_started_at_every_question(tmp_path: Path) -> None:
    """Back-off: a broken driver must not cost a process every second."""
    marks = tmp_path / "marks"

    async def play() -> None:
        child = Child(program(f"open({str(marks)!r}, 'a').write('x'); 1/0"))
        for _ in range(10):
            with pytest.raises(ChildError):
                await child.ask("?", PATIENT_S)
        child.close()

    asyncio.run(play())
    assert marks.read_text() == "x"


def test_a_child_that_died_is_started_again(tmp_path: Path) -> None:
    """After the pause, everything is as it was."""
    marks = tmp_path / "marks"
    once = f"""
import sys, os
if not os.path.exists({str(marks)!r}):
    open({str(marks)!r}, 'w').close()
    sys.exit(1)
{ECHO}"""

    async def play() -> object:
        child = Child(program(once))
        with pytest.raises(ChildError):
            await child.ask("?", PATIENT_S)
        child._not_before_s = 0.0
        try:
            return await child.ask("again", PATIENT_S)
        finally:
            child.close()

    assert asyncio.run(play()) == "again"


def test_a_caller_who_gives_up_does_not_leave_his_answer_to_the_next() -> None:
    """The collector's own deadline cancels us; the late answer would be read as the next one."""

    async def play() -> object:
        child = Child(program(SLOW_TO_STALE))
        await child.ask("warm", PATIENT_S)
        first_pid = child.pid
        asked = asyncio.ensure_future(child.ask("stale", PATIENT_S))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait({asked})
        answer = await child.ask("fresh", PATIENT_S)
        assert child.pid != first_pid
        child.close()
        return answer

    assert asyncio.run(play()) == "fresh"


def test_children_that_cannot_be_killed_are_abandoned_and_their_number_is_bounded() -> None:
    """In uninterruptible sleep kill() has no effect: waiting would hang us too, starting more would fill the machine."""

    class Immortal:
        """A process as it looks in state D."""

        def poll(self) -> None:
            return None

    async def play() -> None:
        child = Child(program(ECHO))
        child._dying = [Immortal(), Immortal()]  # type: ignore[list-item]
        with pytest.raises(ChildTimeout, match="still hang in the kernel"):
            await child.ask("?", PATIENT_S)
        child._dying.pop()
        assert await child.ask("one has gone", PATIENT_S) == "one has gone"
        child._dying.clear()
        child.close()

    asyncio.run(play())


def test_a_chatty_child_is_not_stopped_by_its_own_complaints() -> None:
    """A full pipe would block it for ever."""
    chatty = (
        "import sys\nfor line in sys.stdin: sys.stderr.write('w' * 30_000); sys.stdout.write(line); sys.stdout.flush()"
    )

    async def play() -> list[object]:
        child = Child(program(chatty))
        answers = [await child.ask(n, PATIENT_S) for n in range(10)]
        child.close()
        return answers

    assert asyncio.run(play()) == list(range(10))


def test_a_child_nobody_holds_any_more_is_killed() -> None:
    """A reload of the settings builds new collectors and forgets the old ones."""

    async def play() -> int:
        child = Child(program(ECHO))
        await child.ask("?", PATIENT_S)
        process = child._process
        assert process is not None
        del child
        gc.collect()
        return process.wait(5.0)

    assert asyncio.run(play()) == -signal.SIGKILL


def test_closing_twice_or_before_the_start_is_nothing() -> None:
    """Teardown runs whatever happened before."""

    async def play() -> None:
        child = Child(program(ECHO))
        child.close()
        await child.ask("?", PATIENT_S)
        child.close()
        child.close()
        assert child.pid is None

    asyncio.run(play())
