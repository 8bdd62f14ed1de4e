"""Recordings as tables, cut short, and played without a cause file: what bench makes of them must be true to them."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from aiops.model import Labels, Tally
from aiops.offline.columns import read_columns
from aiops.offline.explain import service_of
from aiops.replay.reading import Heard, Noted, Recording
from aiops.rulebook.causes import load_causes, reachable
from aiops.rulebook.places import shipped_rules
from aiops.rulebook.priors import MAX_SHOWN
from tests.recorded import live, observations
from tests.scenarios.scenario import HERE, START_S, read

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

import lab_columns
import lab_play
import lab_runs
import lab_trim

WORDS = ("ERROR 01-02 03:04:05 [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {n}.00 MiB.",)


@pytest.fixture(scope="module", autouse=True)
def _kept_here(tmp_path_factory: pytest.TempPathFactory):
    """What was played is not kept from one test run to the next."""
    lab_play.KEPT, before = tmp_path_factory.mktemp("played"), lab_play.KEPT
    yield
    lab_play.KEPT = before


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lab_runs.Run:
    """A scripted fault, recorded, with its truth beside it."""
    folder = tmp_path_factory.mktemp("lab") / "vram_exhaustion-nginx-vllm-1"
    path = next(
        p for p in sorted((HERE / "vram_exhaustion").glob("*.yaml")) if read(p).expect.cause == "vram_exhaustion"
    )
    scenario = read(path)
    asyncio.run(live(observations(scenario, path.stem, WORDS), folder / "recording", -1000))
    truth = {
        "fault": "vram", "cause": "vram_exhaustion", "kind": "fault", "where": {"gpu": scenario.expect.place.split()[-1]},
        "gateway": "nginx", "dialect": "vllm", "seed": 1, "began_s": START_S + scenario.first_bad - 5,
        "first_bad_s": START_S + scenario.first_bad, "ended_s": START_S + scenario.end, "magnitudes": {"file": "/home/x"},
    }  # fmt: skip
    (folder / "truth.json").write_text(json.dumps(truth))
    (found,) = lab_runs.read_runs([folder.parent])
    return found


def test_runs_are_found_and_failed_experiments_are_not(run: lab_runs.Run):
    """An experiment in which nobody was hurt says nothing about the daemon."""
    failed = run.folder.parent / "failed" / "x"
    failed.mkdir(parents=True)
    (failed / "truth.json").write_text((run.folder / "truth.json").read_text())

    assert [one.name for one in lab_runs.read_runs([run.folder.parent])] == [run.name]
    assert [one.name for one in lab_runs.read_runs([run.folder])] == [run.name]
    assert run.truth.causes == ("vram_exhaustion",)


def test_a_table_has_a_thing_a_column_and_no_holes(run: lab_runs.Run, tmp_path: Path):
    """What `aiops explain` is given must be what was observed."""
    table = lab_columns.columns(run.recording, symptom=True)

    assert {"host", "gpu0", "gpu1", "127.0.0.1:8001"} <= {service_of(name) for name in table.names}
    assert np.isfinite(table.values).all()
    failed = table.values[table.names.index(lab_columns.SYMPTOM)]
    first_bad = int(run.truth.first_bad_s - table.at_s[0])
    assert failed[: first_bad - 1].max() == 0.0
    assert failed[first_bad + 5 :].max() > 0.0
    lab_columns.write(table, tmp_path / "t.csv")
    assert read_columns(tmp_path / "t.csv").names == table.names


def test_counters_become_rates_and_gauges_stand_until_the_next_reading(monkeypatch: pytest.MonkeyPatch):
    """A running total that grows evenly is level."""
    monkeypatch.setattr(lab_columns, "_MEAN_S", 1)
    at_s = np.arange(0.0, 8.0)
    counted = lab_columns._filled("log_records_total", {0.0: 10.0, 2.0: 14.0, 4.0: 18.0}, at_s)
    held = lab_columns._filled("hw_gpu_utilization_ratio", {1.0: 0.5, 4.0: 0.7}, at_s)

    assert counted.tolist() == [0, 0, 2, 2, 2, 2, 2, 2]
    assert held.tolist() == [0.5, 0.5, 0.5, 0.5, 0.7, 0.7, 0.7, 0.7]


def test_rows_are_means_of_the_seconds_before():
    """A collector that runs five times as often must not look like a fault."""
    assert lab_columns._averaged(np.array([5.0, 5.0, 10.0, 0.0, 0.0])).tolist() == [5.0, 5.0, 6.0, 5.0, 4.0]


@pytest.mark.parametrize(
    ("labels", "thing"),
    [
        ({"gpu": "1", "instance": "a:1"}, "gpu1"),
        ({"service": "chat", "upstream": "a:1"}, "a:1"),
        ({"service": "chat", "upstream": "none"}, "gateway"),
        ({"service": "chat"}, "gateway"),
        ({"gateway": "nginx", "instance": "a:8080"}, "gateway"),
        ({"source": "/var/log/gateway-error.log"}, "gateway"),
        ({"host_name": "n", "device": "eth0"}, "host"),
        ({"instance": "a_b"}, "a-b"),
    ],
)
def test_a_series_is_about_one_thing(labels: dict[str, str], thing: str):
    """The service of a column ends at the first underscore."""
    assert lab_columns.thing(Labels.from_mapping(labels)) == thing


@pytest.mark.parametrize(
    ("cause", "where", "things"),
    [
        ("gpu_fault", {"gpu": "1"}, {"gpu1"}),
        ("slow_node", {"instance": "a_b:1"}, {"a-b:1"}),
        ("disk_full", {}, {"host"}),
        ("nic_saturation", {}, {"host"}),
        ("kv_cache_exhaustion", {}, {"a:1", "a:2"}),
    ],
)
def test_what_is_to_be_found_is_where_the_fault_was(cause: str, where: dict[str, str], things: set[str]):
    """A fault of all replicas is at no single one; the gateway, where its signs cannot be, is no answer to it."""
    rule = next(rule for rule in load_causes([shipped_rules()]) if rule.cause == cause)
    truth = lab_runs.Truth(cause, "fault", (cause,), where, False, "nginx", "vllm", 1, 0.0, 1.0, 2.0)
    names = [
        "gateway_http_server_log_up", "host_system_cpu_utilization_ratio",
        "a:1_gen_ai_server_kv_cache_utilization_ratio", "a:2_gen_ai_server_kv_cache_utilization_ratio",
    ]  # fmt: skip

    assert lab_columns.true_things(truth, rule, names) == things


def test_a_cut_recording_has_the_same_answer_and_fewer_bytes(run: lab_runs.Run, tmp_path: Path):
    """Else it would test something that never happened."""
    said = lab_trim.trim(run, tmp_path / "to")

    assert said.endswith("bytes"), said
    files = {path.name: path.stat().st_size for path in (tmp_path / "to" / "recording").iterdir()}
    assert files.keys() == {"samples.om.gz", "logs.jsonl.gz", "events.jsonl", "meta.json.gz"}
    assert sum(files.values()) < sum(path.stat().st_size for path in run.recording.iterdir())
    assert json.loads((tmp_path / "to" / "truth.json").read_text())["magnitudes"] == {"file": "/srv/h/x"}


def test_a_run_that_is_answered_wrongly_is_not_kept(run: lab_runs.Run, tmp_path: Path):
    """A scenario says what must be found."""
    wrong = lab_runs.Run(run.name, run.folder, lab_runs.read_truth(run.folder / "truth.json"))
    object.__setattr__(wrong.truth, "causes", ("disk_full",))

    assert lab_trim.trim(wrong, tmp_path / "to") == "not kept, for it is wrong: named vram_exhaustion"
    assert not (tmp_path / "to").exists()


def test_a_cut_begins_where_every_detector_is_asked_and_holds_no_words(run: lab_runs.Run, tmp_path: Path):
    """A replay asks every detector in its first evaluation, and every five seconds from there."""
    from_s = run.truth.first_bad_s - 22.0
    lab_trim.cut(run.recording, tmp_path / "r", from_s, run.truth.ended_s)
    recording = Recording(tmp_path / "r")
    steps = list(recording.steps())

    assert 0.0 <= from_s - recording.beginning.at_s < 6.0
    assert abs((recording.beginning.at_s - Recording(run.recording).beginning.at_s) % 5.0) < 1.0
    assert recording.beginning.host == "node1"
    notes = [note for step in steps if isinstance(step, Noted) for note in step.notes]
    assert notes
    assert {(note.template, note.values) for note in notes} == {("", ())}
    assert all(step.event.message == "" for step in steps if isinstance(step, Heard))


@pytest.mark.parametrize(
    ("line", "scrubbed"),
    [
        (b'["series",1,"m",{"host_name":"vm"}]', b'["series",1,"m",{"host_name":"node1"}]'),
        (b'{"source":"/tmp/run/a.log"}', b'{"source":"/srv/t/run/a.log"}'),
        (b'{"mountpoint":"/data/ours"}', b'{"mountpoint":"/srv/m/ours"}'),
        (b'{"mountpoint":"/var/lib"}', b'{"mountpoint":"/var/lib"}'),
        (b'{"mountpoint":"/"}', b'{"mountpoint":"/"}'),
        (b'{"http_route":"/data/ours"}', b'{"http_route":"/data/ours"}'),
        (b'{"model":"vm-7b","server":"kvm"}', b'{"model":"vm-7b","server":"kvm"}'),
    ],
)
def test_names_of_the_machine_become_others(line: bytes, scrubbed: bytes):
    """A recording that is published tells nothing of where it was made."""
    assert lab_trim.scrubbed(line, "vm") == scrubbed


def test_what_clauses_alerts_and_the_engine_read_is_kept():
    """A metric that is left out is unknown in every replay."""
    kept = lab_trim.read_metrics()

    assert {
        "hw_gpu_memory_utilization_ratio", "gen_ai_server_generation_tokens_total", "http_server_arrival_rate",
        "gen_ai_server_up", "hw_gpu_process_port", "log_records_total", "gen_ai_server_kv_cache_blocks",
    } <= kept  # fmt: skip
    assert "log_template_records_total" not in kept


@pytest.mark.parametrize("cause", [rule.cause for rule in load_causes([shipped_rules()])])
def test_without_any_one_cause_file_the_rules_are_whole(cause: str):
    """What led to the missing cause leads to what it led to, and to it no more."""
    rules = load_causes([lab_play.rules_without(cause)])
    leads = reachable(rules)

    assert cause not in {rule.cause for rule in rules}
    for name, before in lab_play.leads().items():
        if name != cause:
            assert set(leads[name]) == set(before) - {cause}


def test_a_recording_is_played_once_for_the_same_rules(run: lab_runs.Run, monkeypatch: pytest.MonkeyPatch):
    """Scoring again after a change of the scores takes no time."""
    first = lab_play.played(run.recording)
    monkeypatch.setattr(lab_play, "_play", lambda *_: pytest.fail("played again"))

    assert lab_play.played(run.recording) == json.loads(json.dumps(first))
    assert first["incidents"][0]["hypotheses"][0]["cause"] == "vram_exhaustion"


def test_a_damaged_recording_is_a_finding_and_stops_no_other(run: lab_runs.Run, tmp_path: Path):
    """One of a hundred and fifty may be."""
    (tmp_path / "meta.json").write_text("{]")

    assert "meta.json:1" in lab_play.played(tmp_path)["damaged"]


def test_a_fault_without_its_file_is_played_without_it(run: lab_runs.Run):
    """The cause must not be known in any form."""
    without = lab_play.played(run.recording, "vram_exhaustion")

    assert without["incidents"]
    assert all(h["cause"] != "vram_exhaustion" for one in without["incidents"] for h in one["hypotheses"])


def test_an_answer_sounds_surer_once_people_confirmed_others(run: lab_runs.Run):
    """The second figure of calibration must be of what such a node would show."""
    said = Tally(confirmed=98, known=98, was={"vram_exhaustion": 98})
    fresh, after = (
        one["incidents"][0]["hypotheses"][0]
        for one in (lab_play.played(run.recording), lab_play.played(run.recording, said=said))
    )

    assert fresh["cause"] == after["cause"] == "vram_exhaustion"
    assert fresh["probability"] <= MAX_SHOWN < after["probability"] <= 0.99
