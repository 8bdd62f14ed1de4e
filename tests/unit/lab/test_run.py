"""The acts of a run, on a loop whose time flies: what begins is ended, and the decoy comes in every run."""

import asyncio
import random
import time

import pytest

from tests.lab.faults.fault import Fault
from tests.lab.run import _acts, _Times
from tests.lab.truth import Spoilt


class FlyingLoop(asyncio.SelectorEventLoop):
    """Nobody waits: time goes on to whatever is due next."""

    def __init__(self) -> None:
        super().__init__()
        self._flown_s = 0.0

    def time(self) -> float:
        return super().time() + self._flown_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self._flown_s += max(self._scheduled[0]._when - self.time(), 0.0)
        super()._run_once()


class FakeHouse:
    """Notes what happens and when; users are hurt *hurt_after_s* after a fault began."""

    def __init__(self, hurt_after_s: float | None) -> None:
        self.load, self._hurt_after_s = self, hurt_after_s
        self.began_s: float | None = None
        self.noted: list[tuple[str, float]] = []
        self._started_s = asyncio.get_running_loop().time()

    def note(self, what: str) -> float:
        now_s = asyncio.get_running_loop().time() - self._started_s
        self.noted.append((what, now_s))
        return now_s

    def when(self, what: str) -> float:
        return next(at_s for each, at_s in self.noted if each == what)

    def check_alive(self) -> None:
        pass

    async def announce(self, action: str, message: str, **labels: str) -> None:
        assert labels["service"] != "chat"
        self.note("decoy")

    async def stats(self):
        now_s = asyncio.get_running_loop().time() - self._started_s
        hurt = self.began_s is not None and self._hurt_after_s is not None and now_s > self.began_s + self._hurt_after_s
        return {"bad_s": [time.time()] if hurt else [], "answers": {"200": int(now_s * 10)}}


class Pretend(Fault):
    name = cause = "pretend"
    fails = False

    async def begin(self, house):
        house.began_s = house.note("begin")
        if self.fails:
            raise OSError("half-way")

    async def end(self, house):
        house.note("end")

    def where(self, house):
        return {"gpu": "2"}


class Broken(Pretend):
    fails = True


class Quiet(Pretend):
    hurts = False


def play(fault: type[Pretend], hurt_after_s: float | None, seed: int = 1) -> tuple[FakeHouse, _Times | Exception]:
    async def go():
        house = FakeHouse(hurt_after_s)
        try:
            return house, await _acts(house, fault(random.Random(seed)), random.Random(seed))
        except (Spoilt, OSError) as error:
            return house, error

    with asyncio.Runner(loop_factory=FlyingLoop) as runner:
        return runner.run(go())


def test_a_fault_begins_after_the_healthy_time_and_lasts_from_the_first_bad_answer():
    house, times = play(Pretend, 20.0)

    assert isinstance(times, _Times)
    assert house.when("begin") == pytest.approx(45.0, abs=2.0)
    assert house.when("end") == pytest.approx(45.0 + 20.0 + 50.0, abs=3.0)
    assert times.answers == pytest.approx(500, abs=20)
    assert times.where == {"gpu": "2"}


def test_a_harmless_fault_lasts_from_its_beginning():
    house, times = play(Quiet, None)

    assert isinstance(times, _Times)
    assert house.when("end") - house.when("begin") == pytest.approx(50.0, abs=2.0)


@pytest.mark.parametrize("seed", range(20))
def test_the_decoy_comes_between_the_twentieth_second_and_the_tenth_of_the_fault(seed: int):
    house, _ = play(Pretend, 1.0, seed)

    assert 20.0 <= house.when("decoy") <= 45.0 + 11.0


def test_a_fault_that_hurts_nobody_in_time_is_ended_and_spoils_the_run():
    house, outcome = play(Pretend, None)

    assert isinstance(outcome, Spoilt)
    assert house.when("end") == pytest.approx(45.0 + 60.0, abs=3.0)


def test_a_fault_that_fails_while_it_begins_is_ended():
    house, outcome = play(Broken, None)

    assert isinstance(outcome, OSError)
    assert house.noted[-1][0] == "end"
