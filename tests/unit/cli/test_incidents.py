"""`aiops incidents` shows the same whether the daemon answers or only its file is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from aiops.cli import main
from aiops.model import ChangeSet, Incident
from aiops.narrative.withheld import MIN_DISTINCT, WITHHELD, publishable
from aiops.store.lock import held
from aiops.store.state_sqlite import StateSqlite
from tests.sample_incident import sample_incident

PROMPT = "my landlord Erika asks for the rent of May"


@pytest.fixture
def incident() -> Incident:
    whole = sample_incident()
    template = whole.diagnosis.templates[0]
    rare = replace(template, id="rare", template=PROMPT, distinct=MIN_DISTINCT - 1)
    common = replace(template, id="common", template="CUDA out of memory <*>", distinct=MIN_DISTINCT)
    return replace(whole, diagnosis=replace(whole.diagnosis, templates=(rare, common)))


@pytest.fixture
def stopped(tmp_path: Path, incident: Incident) -> list[str]:
    """Options of a command beside a daemon that is down."""
    (tmp_path / "state").mkdir()
    state = StateSqlite(tmp_path / "state/state.db", 0.0)
    state.commit(ChangeSet(incidents=(incident,)))
    state.close()
    settings = tmp_path / "aiops.yaml"
    settings.write_text(f"web: {{listen: 127.0.0.1:1}}\nstate: {{dir: {tmp_path / 'state'}}}\n")
    return ["-c", str(settings)]


def test_text_that_may_be_a_prompt_is_withheld_from_the_file_too(
    stopped: list[str], incident: Incident, capsys: pytest.CaptureFixture[str]
):
    """A terminal is logged and pasted into tickets; a daemon that is down is no reason to show more."""
    assert main(["incidents", "show", incident.id, "--json", *stopped]) == 0

    shown = capsys.readouterr().out
    assert PROMPT not in shown
    texts = [template["template"] for template in json.loads(shown)["diagnosis"]["templates"]]
    assert texts == [WITHHELD, "CUDA out of memory <*>"]


def test_a_list_from_the_file_is_as_short_as_the_daemon_s(
    stopped: list[str], incident: Incident, capsys: pytest.CaptureFixture[str]
):
    """A script reads both; charts and templates are for the one incident that is looked at."""
    assert main(["incidents", "list", "--json", *stopped]) == 0

    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["id"] == incident.id
    assert listed["diagnosis"]["charts"] == listed["diagnosis"]["templates"] == []


def test_what_may_be_shown_is_left_as_it_is(incident: Incident):
    """Holding back more than needed would hide the evidence."""
    assert publishable(incident).diagnosis.templates[1] == incident.diagnosis.templates[1]
    assert publishable(incident).diagnosis.hypotheses == incident.diagnosis.hypotheses


# --- confirm, reject, causes ----------------------------------------------------------------------------------------


def test_without_a_daemon_a_word_goes_into_its_file(
    stopped: list[str], incident: Incident, capsys: pytest.CaptureFixture[str]
):
    """The report is often written when the node is long down; the daemon counts it at its next start."""
    assert main(["incidents", "confirm", incident.id, *stopped]) == 0
    assert "confirmed. It was: traffic_burst." in capsys.readouterr().out

    assert main(["incidents", "reject", incident.id, "--cause", "vram_leak", *stopped]) == 0
    assert "rejected, it was not: traffic_burst. It was: vram_leak." in capsys.readouterr().out

    assert main(["incidents", "causes", "--json", *stopped]) == 0
    stand = json.loads(capsys.readouterr().out)
    assert (stand["confirmed"], stand["rejected"], stand["known"]) == (0, 1, 1), "the last word counts"

    assert main(["incidents", "show", incident.id, *stopped]) == 0
    assert "A person rejected the cause: Traffic burst. It was: A process leaks GPU memory." in capsys.readouterr().out
    assert main(["incidents", *stopped]) == 0
    assert "[rejected]" in capsys.readouterr().out


def test_causes_are_listed_for_a_person_those_that_moved_first(
    stopped: list[str], incident: Incident, capsys: pytest.CaptureFixture[str]
):
    """Whoever wonders why a cause is likelier here than in the docs looks here."""
    assert main(["incidents", "confirm", incident.id, *stopped]) == 0
    capsys.readouterr()
    assert main(["incidents", "causes", *stopped]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 answers confirmed, 0 rejected; of 1 incidents it is known what they were."
    assert lines[1] == "No probability above 90 % is shown."
    assert lines[4].split()[0] == "traffic_burst"
    assert lines[4].endswith("1 of 1")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["confirm"], "confirm which incident?"),
        (["confirm", "inc-never"], "no incident 'inc-never'"),
        (["confirm", "{id}", "--cause", "vram_leek"], "no cause 'vram_leek'; did you mean vram_leak?"),
        (["reject", "{id}", "--cause", "traffic_burst"], "confirm it, or reject it with another cause"),
        (["show", "{id}", "--cause", "vram_leak"], "--cause goes with confirm and reject"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    stopped: list[str], incident: Incident, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
):
    """No traceback, no silence, and nothing is counted."""
    assert main(["incidents", *(part.format(id=incident.id) for part in words), *stopped]) == 1

    assert complaint in capsys.readouterr().err
    main(["incidents", "causes", "--json", *stopped])
    assert json.loads(capsys.readouterr().out)["known"] == 0


def test_beside_a_daemon_that_hangs_nothing_is_written(
    stopped: list[str], incident: Incident, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """It would write its own view over it a moment later, and whoever spoke would believe that it counts."""
    with held(tmp_path / "state"):
        assert main(["incidents", "confirm", incident.id, *stopped]) == 1
        assert "say it again when it answers" in capsys.readouterr().err
        assert main(["incidents", "show", incident.id, *stopped]) == 0, "to look at it harms nobody"

    capsys.readouterr()
    assert main(["incidents", "causes", "--json", *stopped]) == 0
    assert json.loads(capsys.readouterr().out)["known"] == 0
