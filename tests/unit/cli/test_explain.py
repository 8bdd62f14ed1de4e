"""`aiops explain`: the contract of its JSON, its table, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from aiops.cli import main

FAULT_S = 1_661_140_434
LOG = """\
2022-08-22T03:53:40Z ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 MiB free
2022-08-22T03:53:41Z INFO all is well
"""


@pytest.fixture
def metrics(tmp_path: Path) -> str:
    rng = np.random.default_rng(11)
    lines = ["time,front_latency,cart_cpu,cart_latency,db_cpu,db_disk"]
    for row in range(200):
        bad = 4.0 * (row >= 150)
        numbers = rng.normal(1.0, 0.1, 5) + np.array([bad, 0.0, bad, 3 * bad, 0.0])
        lines.append(",".join([str(FAULT_S - 150 + row), *(f"{number:.4f}" for number in numbers)]))
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_json_has_the_published_shape(metrics: str, capsys: pytest.CaptureFixture[str]):
    """Programs of others read it; once published it stays."""
    assert main(["explain", metrics, "--at", str(FAULT_S), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert set(found) == {"at", "series", "services", "causes"}
    assert found["at"] == FAULT_S
    assert found["series"][0] == {
        "name": "db_cpu",
        "service": "db",
        "score": found["series"][0]["score"],
        "onset": FAULT_S,
    }
    assert found["services"][0]["name"] == "db"
    assert {each["name"] for each in found["services"]} == {"front", "cart", "db"}
    scores = [each["score"] for each in found["series"]]
    assert scores == sorted(scores, reverse=True)
    assert found["series"][-1]["onset"] is None
    assert found["causes"] == []


def test_a_person_reads_a_table(metrics: str, capsys: pytest.CaptureFixture[str]):
    """Services with the reason, series with their numbers, and when."""
    assert main(["explain", metrics]) == 0
    out = capsys.readouterr().out

    assert out.startswith(
        "Alert at 2022-08-22 03:53:54 UTC, found in the data; normal is 2022-08-22 03:51:24 UTC to 2022-08-22 03:53:5"
    )
    service = next(line for line in out.splitlines() if line.startswith("  1  "))
    assert service.split()[1] == "db"
    assert "cpu" in service
    series = next(line for line in out.splitlines() if "db_cpu" in line)
    assert series.split()[0] == "1"
    assert series.endswith("with it")
    assert "Causes" not in out


def test_a_symptom_asks_what_moved_with_it(metrics: str, capsys: pytest.CaptureFixture[str]):
    """The symptom itself is given, not found."""
    assert main(["explain", metrics, "--at", str(FAULT_S), "--symptom", "front_latency", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert "front_latency" not in {each["name"] for each in found["series"]}
    assert {each["name"] for each in found["services"][:2]} == {"cart", "db"}


def test_a_log_speaks_for_causes_and_says_what_it_cannot_say(
    metrics: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """One kind of evidence is no root; everything that was not tested is unknown, never absent."""
    log = tmp_path / "engine.log"
    log.write_text(LOG)
    words = ["explain", metrics, "--at", str(FAULT_S), "--logs", str(log)]
    assert main([*words, "--json"]) == 0
    causes = json.loads(capsys.readouterr().out)["causes"]
    cause = causes[0]
    assert [each["probability"] for each in causes] == sorted((each["probability"] for each in causes), reverse=True)

    assert set(cause) == {"cause", "title", "where", "probability", "evidence"}
    assert cause["cause"] == "vram_exhaustion"
    assert 0.5 < cause["probability"] <= 0.9
    states = {each["id"]: each["state"] for each in cause["evidence"]}
    assert states.pop("allocation_failed") == "present"
    assert set(states.values()) == {"unknown"}
    assert "1 failed allocations in the log, the first 14 s before the alert" in cause["evidence"][0]["text"]

    assert main(words) == 0
    assert "GPU memory exhausted" in capsys.readouterr().out


def test_lines_of_another_day_speak_for_nothing(metrics: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A log of a year holds every fault there ever was."""
    log = tmp_path / "engine.log"
    log.write_text(LOG.replace("2022-08-22", "2022-08-20"))
    assert main(["explain", metrics, "--at", str(FAULT_S), "--logs", str(log)]) == 0
    out = capsys.readouterr().out

    assert "no line of the log speaks for a cause" in out
    assert "more than an hour from the alert" in out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--at", "99999999999"], "before --at"),
        (["--symptom", "front_latenzy"], "did you mean 'front_latency'?"),
        (["--logs", "/nowhere/engine.log"], "/nowhere/engine.log: No such file or directory"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_status_1(
    metrics: str, words: list[str], error: str, capsys: pytest.CaptureFixture[str]
):
    """Never a traceback."""
    assert main(["explain", metrics, *words]) == 1
    said = capsys.readouterr().err
    assert error in said
    assert said.startswith("aiops: ")
    assert said.count("\n") == 1


def test_a_bad_cell_is_named_with_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A person must find it."""
    path = tmp_path / "m.csv"
    path.write_text("time,a_x\n1,2\nyesterday,3\n")
    assert main(["explain", str(path)]) == 1
    assert capsys.readouterr().err == f"aiops: {path}:3: time 'yesterday' is no number of seconds since 1970\n"


def test_a_moment_that_is_none_is_wrong_usage(metrics: str):
    """As every program does it."""
    with pytest.raises(SystemExit, match="2"):
        main(["explain", metrics, "--at", "noon"])
