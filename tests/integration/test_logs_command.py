"""`aiops logs` as it is typed, on files, pipes and everything that can be wrong with them."""

from __future__ import annotations

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiops.cli import main

AIOPS = [sys.executable, "-m", "aiops", "logs"]
OOM = "ERROR 11-24 10:00:0{} [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {} MiB. GPU 3"


def logs(*words: str | Path, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*AIOPS, *map(str, words)],
        input=stdin, capture_output=True, timeout=60, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Eight lines: two of trouble, one of somebody's prompt, one blank, and no line feed at the end."""
    path = tmp_path / "vllm.log"
    path.write_text(
        "\n".join([
            "INFO 11-24 09:59:58 [api.py:7] request 1 took 12 ms",
            "INFO 11-24 09:59:59 [api.py:7] request 2 took 340 ms",
            OOM.format(1, 20),
            OOM.format(2, 5),
            "",
            "INFO 11-24 10:00:03 [api.py:7] request 77 took 8 ms",
            "DEBUG 11-24 10:00:03 Received request x: prompt: 'CANARY', params: None",
            "INFO 11-24 10:00:04 [api.py:7] request 78 took 9 ms",
        ])
    )  # fmt: skip
    return path


def test_templates_answers_and_table_agree(log: Path, tmp_path: Path):
    """The id beside a line is the id of its template, with the count the ids have."""
    done = logs("cluster", log, "--json", "--assign", tmp_path / "ids")
    assert (done.returncode, done.stderr) == (0, b"")
    report: dict[str, Any] = json.loads(done.stdout)
    ids = (tmp_path / "ids").read_text().split("\n")
    assert ids.pop() == ""
    assert len(ids) == report["lines"] == 8
    assert Counter(ids) == {each["id"]: each["count"] for each in report["templates"]}
    for each in report["templates"]:
        assert list(each) == ["id", "template", "count", "class", "severity", "first_line", "last_line"]
        assert ids[each["first_line"] - 1] == ids[each["last_line"] - 1] == each["id"]
    assert [each["count"] for each in report["templates"]] == [4, 2, 1, 1]
    assert ids[0] == ids[1] == ids[5] == ids[7]
    assert ids[2] == ids[3]
    trouble = [each for each in report["templates"] if each["class"] != "benign"]
    assert [(each["class"], each["severity"], each["first_line"]) for each in trouble] == [
        ("vram_exhaustion", "critical", 3)
    ]
    assert ids[6] == "private"
    assert b"CANARY" not in done.stdout


def test_the_table_puts_trouble_first(log: Path):
    """Not the most frequent but the worst is what somebody looks for."""
    done = logs("cluster", log, COLUMNS="120")
    text = done.stdout.decode()
    assert text.startswith("8 lines, 4 templates, 1 class of trouble: vram_exhaustion 2\n")
    rows = [line.split() for line in text.split("\n") if line.startswith("   ")]
    assert rows[1][0] == "2"
    assert "vram_exhaustion" in rows[1]
    assert "CANARY" not in text
    assert "\033" not in text


def test_every_line_is_classified(log: Path):
    """One answer a line: the blank one and the one nobody may look at too."""
    done = logs("classify", log)
    rows = [line.split("\t") for line in done.stdout.decode().split("\n")[:-1]]
    assert done.returncode == 0
    assert [row[0] for row in rows] == ["benign"] * 2 + ["vram_exhaustion"] * 2 + ["benign"] * 4
    assert rows[2][1] == "critical"
    assert "gpu=3" in rows[2][2].split(", ")


def test_every_line_is_classified_as_json(log: Path):
    """Programs read this: the keys are a contract, and the line is its number."""
    done = logs("classify", "--json", log)
    answers = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
    assert [answer["line"] for answer in answers] == list(range(1, 9))
    assert all(list(answer) == ["line", "class", "severity", "guess", "probability", "values"] for answer in answers)
    assert answers[2]["values"]["gpu"] == "3"
    assert b"CANARY" not in done.stdout


def test_standard_input_compressed_files_and_patterns_are_one_input(log: Path, tmp_path: Path):
    """Lines are numbered over all inputs, in the order given."""
    (tmp_path / "old.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    done = logs("cluster", "--json", f"{tmp_path}/*.gz", "-", log, stdin=b"from a pipe\xff\xed\xa0\x80\0")
    report = json.loads(done.stdout)
    (piped,) = [each for each in report["templates"] if "pipe" in each["template"]]
    assert (done.returncode, report["lines"], piped["first_line"]) == (0, 17, 9)


def test_since_leaves_out_what_says_it_is_older(log: Path, tmp_path: Path):
    """With a dash in its place: answers still stand beside their lines."""
    year = time.gmtime(time.time() + 86_400).tm_year
    if time.mktime((year, 11, 24, 0, 0, 0, 0, 0, -1)) > time.time() + 86_400:
        year -= 1
    done = logs("cluster", log, "--json", "--since", f"{year}-11-24T10:00", "--assign", tmp_path / "ids")
    ids = (tmp_path / "ids").read_text().split()
    assert ids[:2] == ["-", "-"]
    assert "-" not in ids[2:]
    assert json.loads(done.stdout)["lines"] == 6


def test_since_says_when_nothing_has_a_time(tmp_path: Path):
    """All lines of a log without times are kept, and that is not what was asked for."""
    (tmp_path / "log").write_text("a\n")
    done = logs("cluster", "--since", "2h", tmp_path / "log")
    assert b"1 line, 1 template" in done.stdout
    assert b"no line says when it was written" in done.stderr
    for misspelt in ("soon", "", "1h 30m", "2026-13-45"):
        done = logs("cluster", "--since", misspelt, tmp_path / "log")
        assert done.returncode == 2
        assert f"--since: expected 2h, 30m or 2026-11-24T10:00, found {misspelt!r}".encode() in done.stderr


def test_what_cannot_be_read_is_named_and_the_status_says_so(log: Path, tmp_path: Path):
    """The other files are still read, as grep does."""
    (tmp_path / "broken.gz").write_bytes(gzip.compress(os.urandom(5_000))[:3_000])
    for words in (["cluster", "--json"], ["classify"]):
        done = logs(*words, tmp_path / "gone", tmp_path, tmp_path / "broken.gz", log)
        complaints = done.stderr.decode().split("\n")[:-1]
        assert done.returncode == 2
        assert [Path(complaint.split(": ")[1]) for complaint in complaints] == [
            tmp_path / "gone", tmp_path, tmp_path / "broken.gz",
        ]  # fmt: skip
        assert b"vram_exhaustion" in done.stdout
    nothing = logs("cluster", tmp_path / "gone")
    assert (nothing.returncode, nothing.stdout) == (2, b"")


def test_a_log_is_never_written_over(log: Path, tmp_path: Path):
    """Two arguments in the wrong order must not cost the only copy of the evidence."""
    before = log.read_bytes()
    done = logs("cluster", log, "--assign", log)
    assert done.returncode == 1
    assert b"is one of the files to read" in done.stderr
    assert log.read_bytes() == before
    assert logs("cluster", log, "--assign", tmp_path / "no" / "such").returncode == 1
    with log.open("rb") as source:
        for inputs, stdin in (((f"{log.parent}/*{log.suffix}",), subprocess.DEVNULL), (("-",), source)):
            done = subprocess.run(
                [sys.executable, "-m", "aiops", "logs", "cluster", *inputs, "--assign", log],
                stdin=stdin, capture_output=True, check=False, timeout=60,
            )  # fmt: skip
            assert b"is one of the files to read" in done.stderr, "a pattern's find, or what standard input is"
            assert log.read_bytes() == before


@pytest.mark.parametrize("words", [["classify"], ["cluster", "--json"], ["cluster", "--assign", "/dev/full"]])
def test_a_full_disk_is_said_in_one_line(log: Path, words: list[str]):
    """Not with a traceback, and not silently: half of the answers would look like all of them."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*AIOPS, *words, log], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"No space left on device" in done.stderr


@pytest.mark.parametrize("words", [["classify"], ["cluster", "--json"]])
def test_ctrl_c_ends_it_as_a_shell_expects(words: list[str]):
    """By the signal and without a traceback: a loop in a shell script must end with it."""
    with subprocess.Popen(
        [*AIOPS, *words, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        process.stdin.write(b"line\n" * 100_000)  # more than a pipe holds: once it is written, reading has begun
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert err == b""


def test_a_reader_that_goes_away_ends_it(tmp_path: Path):
    """``aiops logs classify … | head`` is what everybody types first."""
    (tmp_path / "log").write_bytes(b"line\n" * 400_000)
    with subprocess.Popen(
        [*AIOPS, "classify", tmp_path / "log"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"benign\tinfo\t\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == -signal.SIGPIPE


def test_classify_answers_while_the_log_is_still_written():
    """Behind ``tail -f`` there is no end to wait for."""
    with subprocess.Popen([*AIOPS, "classify", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for _ in range(2):
            process.stdin.write(b"CUDA out of memory\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(b"vram_exhaustion\t")
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def _on_a_terminal(*words: str | Path, **environment: str) -> str:
    """What a person sees."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*AIOPS, *words], stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", **environment}
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 65_536):
                seen += piece
        except OSError:  # the other end is closed
            pass
        assert process.wait(timeout=30) == 0
    os.close(ours)
    return seen.decode()


def test_a_terminal_gets_colours_and_is_told_how_long_it_took(log: Path):
    """And NO_COLOR is honoured."""
    environment = {"NO_COLOR": "", "COLUMNS": "120"}
    seen = _on_a_terminal("cluster", log, **environment)
    assert "8 lines in " in seen
    assert "\033[1;31mcritical" in seen
    plain = _on_a_terminal("cluster", log, **{**environment, "NO_COLOR": "1"})
    assert "critical" in plain
    assert "\033[1;31m" not in plain


def test_help_answers_at_once():
    """Nobody waits for polars to learn how a command is spelt."""
    code = (
        "import sys\nfrom aiops.cli import main\n"
        "try:\n    main(['logs', 'cluster', '--help'])\nexcept SystemExit: pass\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "--assign OUT" in done.stdout
    assert not {"polars", "numpy", "sklearn", "drain3", "re2"} & set(done.stderr.split())


PIECES = [
    b"INFO request 1 took 2 ms", b"CUDA out of memory", b"prompt='x'", b"\n", b"\n", b"\r\n", b"\r", b"\x0b", b"\x0c", b"\x1c",
    b"\x1d", b"\x1e", b"\xc2\x85", b"\xe2\x80\xa8", b"\xff\xfe", b"\0", b"\xed\xa0\x80", b" ", b"7", b"y" * 70_000,
]  # fmt: skip


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=100))
def test_there_are_as_many_answers_as_lines(pieces: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Whatever bytes a log holds, ``paste`` must put each answer beside its line; and twice the same is the same."""
    data = b"".join(pieces)
    lines = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    (tmp_path / "log").write_bytes(data)
    runs = []
    for _ in range(2):
        assert main(["logs", "cluster", str(tmp_path / "log"), "--json", "--assign", str(tmp_path / "ids")]) == 0
        report = json.loads(capsys.readouterr().out)
        ids = (tmp_path / "ids").read_bytes()
        assert ids.count(b"\n") == report["lines"] == lines
        assert set(ids.decode().split()) == {each["id"] for each in report["templates"]}
        runs.append((report, ids))
    assert runs[0] == runs[1]
    assert main(["logs", "classify", str(tmp_path / "log")]) == 0
    assert capsys.readouterr().out.count("\n") == lines
