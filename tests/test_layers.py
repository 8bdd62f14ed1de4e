"""The shape of the program: layers, gated libraries, and what the resident process holds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"sklearn", "scipy", "pandas", "polars", "pynvml", "elasticsearch", "joblib"}


def test_imports_only_point_down_and_each_gated_library_has_one_door():
    """The layer diagram is a contract, not a drawing."""
    program = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert program, "lint-imports is part of the development requirements"
    result = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_there_is_no_drawer_for_odds_and_ends():
    """A module called utils is a module nobody can find anything in."""
    names = {path.name for path in (ROOT / "aiops").rglob("*.py")}
    assert not names & {"utils.py", "helpers.py", "manager.py", "common.py"}


@pytest.fixture
def live_modules(tmp_path: Path) -> set[str]:
    """Names in sys.modules of a daemon that has run a few seconds (plug-in tables are invisible to an import linter)."""
    out = tmp_path / "modules.json"
    (tmp_path / "aiops.yaml").write_text(f"web: {{listen: 127.0.0.1:0}}\nstate: {{dir: {tmp_path / 'state'}}}\n")
    code = (
        "import json, signal, sys, threading, pathlib, os\n"
        "from aiops.cli import main\n"
        f"out = pathlib.Path({str(out)!r})\n"
        "def stop():\n"
        "    out.write_text(json.dumps(sorted(sys.modules)))\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Timer(5.0, stop).start()\n"
        f"sys.exit(main(['run', '-c', {str(tmp_path / 'aiops.yaml')!r}]))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)
    return set(json.loads(out.read_text()))


def test_the_resident_process_holds_no_heavy_library(live_modules: set[str]):
    """A node agent that imports scikit-learn costs 180 MB on every node."""
    assert not {name.split(".")[0] for name in live_modules} & HEAVY
    assert "aiops.collect.nvml" not in live_modules, "NVML belongs into the child process"


def test_no_module_of_the_demo_is_in_the_daemon(live_modules: set[str]):
    """The daemon has no hint of the fault it is shown."""
    assert not [name for name in live_modules if name.startswith("aiops.demo")]


def _start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "aiops", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def _free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _get(url: str, limit_s: float) -> bytes:
    until = time.monotonic() + limit_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1.0) as answer:
                return answer.read()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_cleanly_within_five_seconds(tmp_path: Path, how: signal.Signals):
    """systemd kills what does not stop, and a killed daemon repeats its last page."""
    port = _free_port()
    file = tmp_path / "aiops.yaml"
    file.write_text(f"web: {{listen: 127.0.0.1:{port}}}\nstate: {{dir: {tmp_path / 'state'}}}\n")
    daemon = _start(["run", "-c", str(file)], {})
    try:
        assert b"aiops_build_info" in _get(f"http://127.0.0.1:{port}/metrics", 15.0)
        begun = time.monotonic()
        daemon.send_signal(how)
        assert daemon.wait(10.0) == 0
        assert time.monotonic() - begun < 5.0
    finally:
        daemon.kill()
        daemon.communicate()


def test_a_reload_takes_new_settings_and_a_bad_file_keeps_the_old(tmp_path: Path):
    """A typo in the settings of 2,000 nodes must not take the watch from 2,000 nodes."""
    port = _free_port()
    file = tmp_path / "aiops.yaml"
    good = f"web: {{listen: 127.0.0.1:{port}}}\nstate: {{dir: {tmp_path / 'state'}}}\n"
    file.write_text(good)
    daemon = _start(["run", "-c", str(file)], {})
    url = f"http://127.0.0.1:{port}/api/v1/status"
    try:
        _get(url, 15.0)
        file.write_text(good + "colect: {}\n")
        daemon.send_signal(signal.SIGHUP)
        time.sleep(1.0)
        assert json.loads(_get(url, 5.0))["version"]
        file.write_text(good + "collect: {host: {enabled: false}}\n")
        daemon.send_signal(signal.SIGHUP)
        until = time.monotonic() + 10.0
        while "host" in {sight["collector"] for sight in json.loads(_get(url, 5.0))["sights"]}:
            assert time.monotonic() < until, "the new settings left the host collector out"
            time.sleep(0.1)
    finally:
        daemon.terminate()
        _, said = daemon.communicate(timeout=10.0)
    assert daemon.returncode == 0
    assert "settings are wrong" in said
    assert "aiops.yaml:3: colect: unknown key" in said
    assert "settings read again" in said


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("web: {lisen: 127.0.0.1:1}\n", "aiops.yaml:1: web.lisen: unknown key"),
        ("state:\n  retention: soon\n", "aiops.yaml:2: state.retention: expected a duration"),
        ("collect:\n  host: {interval: 5 parsecs}\n", "aiops.yaml:2: collect.host.interval: expected a duration"),
        ("collect:\n  hots: {}\n", "aiops.yaml:2: collect.hots"),
        ("notify:\n  receivers:\n    - {name: a, kind: pigeon}\n", "aiops.yaml:3:"),
        ("rules: {dir: /no/such/folder}\n", "rules.dir"),
        ("web: [\n", "aiops.yaml:2: no valid YAML"),
    ],
)
def test_bad_settings_exit_78_with_the_line_and_start_nothing(tmp_path: Path, text: str, complaint: str):
    """One message a person can act on, and the exit status systemd knows not to restart on."""
    file = tmp_path / "aiops.yaml"
    file.write_text(text)
    state = tmp_path / "state"
    result = subprocess.run(
        [sys.executable, "-m", "aiops", "run", "-c", str(file)],
        capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "XDG_STATE_HOME": str(state)},
    )  # fmt: skip
    assert result.returncode == 78, result.stderr
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr
    assert not state.exists()


def test_a_missing_settings_file_is_one_clear_line():
    """The commonest mistake of all."""
    result = subprocess.run(
        [sys.executable, "-m", "aiops", "run", "-c", "/no/such.yaml"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 78
    assert result.stderr.strip() == "/no/such.yaml:1: cannot be read: No such file or directory"


def test_a_broken_cause_is_refused_with_its_line(tmp_path: Path):
    """Rules are code that pages people: a typo must be found before the night it matters."""
    causes = tmp_path / "rules" / "causes"
    causes.mkdir(parents=True)
    (causes / "mine.yaml").write_text("cause: mine\ntitel: My cause\n")
    file = tmp_path / "aiops.yaml"
    file.write_text(f"rules: {{dir: {tmp_path / 'rules'}}}\n")
    result = subprocess.run(
        [sys.executable, "-m", "aiops", "check", "-c", str(file)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 78
    assert "mine.yaml:2: titel: unknown key" in result.stderr
