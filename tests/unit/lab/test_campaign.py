"""Campaigns: what is there is not run again, what was no experiment is drawn anew once."""

from pathlib import Path

import pytest

from tests.lab.campaign import Campaign
from tests.lab.faults import FAULTS
from tests.lab.jobs import Job
from tests.lab.run import FAILED, SPOILT

TOGETHER = next(name for name, fault in FAULTS.items() if not fault.alone)


def job(seed: int) -> Job:
    return Job(TOGETHER, seed, "python", "vllm")


class FakeRuns:
    """Makes folders as runs do; those of *spoilt* are no experiment."""

    def __init__(self, out: Path, *spoilt: Job) -> None:
        self.out, self.spoilt = out, spoilt
        self.made: list[int] = []

    def __call__(self, job: Job) -> int:
        self.made.append(job.seed)
        if job in self.spoilt:
            (self.out / FAILED / f"{job.name}.1").mkdir(parents=True)
            return SPOILT
        (self.out / job.name).mkdir(parents=True)
        return 0


def campaign(out: Path, runs: FakeRuns, seeds: range) -> tuple[int, list[str]]:
    said: list[str] = []
    bad = Campaign([job(seed) for seed in seeds], out, runs, said.append).run(2)
    return bad, said


def test_every_job_is_run_and_its_end_told(tmp_path: Path):
    runs = FakeRuns(tmp_path)

    bad, said = campaign(tmp_path, runs, range(3))

    assert bad == 0
    assert sorted(runs.made) == [0, 1, 2]
    assert len(said) == 3
    assert said[-1].startswith("[3/3]")


def test_what_is_there_is_not_run_again(tmp_path: Path):
    (tmp_path / job(1).name).mkdir()
    runs = FakeRuns(tmp_path)

    campaign(tmp_path, runs, range(3))

    assert sorted(runs.made) == [0, 2]


@pytest.mark.parametrize(("spoilt", "bad"), [((job(0),), 0), ((job(0), job(0).redrawn), 1)])
def test_what_was_no_experiment_is_drawn_anew_once(tmp_path: Path, spoilt: tuple[Job, ...], bad: int):
    runs = FakeRuns(tmp_path, *spoilt)

    assert campaign(tmp_path, runs, range(1))[0] == bad
    assert runs.made == [0, job(0).redrawn.seed]


@pytest.mark.parametrize("spoilt", [(job(0),), (job(0), job(0).redrawn)])
def test_neither_a_run_drawn_anew_nor_one_that_failed_twice_is_made_by_the_next_campaign(
    tmp_path: Path, spoilt: tuple[Job, ...]
):
    campaign(tmp_path, FakeRuns(tmp_path, *spoilt), range(1))
    runs = FakeRuns(tmp_path)

    campaign(tmp_path, runs, range(1))

    assert runs.made == []
