"""How a lab run is judged: a wrong judgement would make every figure in docs/quality.md wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

import calibration
import lab_judged
import lab_scores
import shares

TRUTH = {
    "fault": "f", "kind": "fault", "causes": ("slow_node",), "where": {"instance": "r1"}, "stub": False, "gateway": "nginx",
    "dialect": "vllm", "seed": 1, "began_s": 100.0, "first_bad_s": 105.0, "ended_s": 160.0, "magnitudes": {},
}  # fmt: skip


def hypothesis(cause: str, verdict: str = "root", probability: float = 0.9, level: str = "fault", **where: str) -> dict:
    return {
        "cause": cause,
        "level": level,
        "where": where,
        "place": str(where),
        "probability": probability,
        "verdict": verdict,
        "reason": "",
        "evidence": [],
    }


def told(at_s: float, cause: str | None, status: str = "", change: str = "updated", probability: float = 0.9) -> dict:
    status = status or ("named" if cause else "pending")
    return {"at_s": at_s, "change": change, "incident": "i", "status": status, "cause": cause, "place": None,
            "probability": probability if cause else None}  # fmt: skip


def incident(
    *hypotheses: dict, failed: int = 10, opened_at_s: float = 106.0, name: str = "i", status: str = ""
) -> dict:
    named = any(h["verdict"] == "root" for h in hypotheses)
    return {"id": name, "service": "chat", "opened_at_s": opened_at_s, "resolved_at_s": None, "failed": failed, "movers": [],
            "status": status or ("named" if named else "undetermined"), "hypotheses": list(hypotheses), "symptoms": [], "notes": []}  # fmt: skip


def played(*incidents: dict, said: tuple = ()) -> dict:
    return {"incidents": list(incidents), "told": list(said), "payloads": [], "rules": "x", "at_s": 0.0, "ended_s": 200.0,
            "cut_off": ""}  # fmt: skip


def row(truth: dict | None = None, *incidents: dict, said: tuple = ()) -> dict:
    return lab_scores.row_of("run", TRUTH | (truth or {}), played(*incidents, said=said), None, "x")


def test_a_named_cause_at_its_place_is_right():
    """The whole of what is wanted."""
    found = row({}, incident(hypothesis("slow_node", instance="r1")), said=(told(109.0, "slow_node", change="opened"),))

    assert found["right"]
    assert found["place_right"] is True
    assert found["in_three"] == ["slow_node"]
    assert found["seconds"] == {"message": 4.0, "answer": 4.0, "named": 4.0, "final": 4.0}
    assert lab_scores.wrong(found) == ""


def test_a_cause_that_is_ranked_first_but_not_named_is_no_answer():
    """Nobody was told it."""
    found = row({}, incident(hypothesis("slow_node", "candidate", instance="r1")))

    assert not found["right"]
    assert found["ranked_first"] == "slow_node"
    assert found["in_three"] == ["slow_node"]
    assert lab_scores.wrong(found) == "undetermined"


@pytest.mark.parametrize(
    ("said", "true", "right"),
    [
        ({"instance": "r2"}, {"instance": "r1"}, False),
        ({"service": "chat"}, {"instance": "r1"}, False),
        ({"gpu": "2"}, {"gpu": "2", "instance": "r1"}, True),
        ({"gpu": "2"}, {"gpu": 2}, True),
        ({"instance": "r1"}, {}, None),
    ],
)
def test_the_place_must_agree_in_what_both_name(said: dict, true: dict, right: bool | None):
    """A truth may know card and replica; an answer names one of them; "the service" is no replica."""
    assert row({"where": true}, incident(hypothesis("slow_node", **said)))["place_right"] is right


def test_a_cause_at_three_places_takes_one_of_the_first_three():
    """Three replicas of a wrong cause do not push the right one out."""
    ranked = [hypothesis("a", "candidate", instance=f"r{n}") for n in range(3)] + [hypothesis("slow_node", "candidate")]

    assert row({}, incident(*ranked))["in_three"] == ["slow_node"]


def test_what_is_ruled_out_is_not_among_the_first():
    """It was said not to be the cause."""
    assert row({}, incident(hypothesis("slow_node", "ruled_out", 0.0)))["in_three"] == []


def test_the_incident_that_hurt_most_counts_and_earlier_ones_are_false_pages():
    """A flicker before the fault must neither win nor be forgotten."""
    early = incident(hypothesis("a"), failed=500, opened_at_s=50.0, name="e") | {"resolved_at_s": 60.0}
    small = incident(hypothesis("b"), failed=1, name="s")
    found = row({}, early, small, incident(hypothesis("slow_node"), failed=9))

    assert found["answer"] == "slow_node"
    assert found["false_pages"] == 1


def test_the_final_answer_is_where_the_answer_stopped_changing():
    """What was taken back was not yet the answer."""
    said = (
        told(106.0, None, change="opened"), told(110.0, "a"), told(120.0, "slow_node"), told(130.0, "slow_node"),
        told(150.0, "slow_node", change="resolved"),
    )  # fmt: skip
    found = row({}, incident(hypothesis("slow_node")), said=said)

    assert found["seconds"] == {"message": 1.0, "answer": 5.0, "named": 5.0, "final": 15.0}
    assert found["first_named"] == "a"
    assert found["sure_and_wrong"] == ["a"]


def test_an_incident_that_stays_pending_has_no_answer():
    """A message that only says that something is wrong is no answer."""
    found = row({}, incident(status="pending"), said=(told(106.0, None, change="opened"),))

    assert found["seconds"] == {"message": 1.0}


def test_a_harmless_run_is_wrong_as_soon_as_a_cause_was_named():
    """Also where it was taken back later."""
    harmless = {"kind": "lookalike", "causes": (), "where": {}}
    quiet, named = row(harmless), row(harmless, incident(), said=(told(110.0, "a", probability=0.7),))
    beside = row(harmless, incident(), said=(told(110.0, "b") | {"incident": "another"},))

    assert lab_scores.wrong(quiet) == ""
    assert lab_scores.wrong(named) == "named a"
    assert lab_scores.wrong(beside) == "named b"
    assert lab_scores.of_harmless([quiet, named, beside])["held_back"]["hits"] == 1


def test_a_cause_that_was_taken_back_was_not_the_final_answer():
    """Whoever named something wrong and then said "undetermined" has changed his mind."""
    kept = row({}, incident(hypothesis("slow_node")), said=(told(109.0, "slow_node"),))
    taken_back = row({}, incident(), said=(told(109.0, "a"), told(140.0, None, "undetermined")))
    never = row({}, incident())

    assert lab_scores.of_faults([kept, taken_back, never])["kept"] == shares.share([True, False])


def test_two_faults_need_both_in_the_first_three():
    """One of two is half an answer."""
    two = {"kind": "two", "causes": ("a", "b"), "where": {}}
    both = row(two, incident(hypothesis("a"), hypothesis("x", "candidate"), hypothesis("b", "candidate")))
    one = row(two, incident(hypothesis("a"), *(hypothesis(c, "candidate") for c in "xyb")))

    assert lab_scores.of_two([both, one])["both_in_three"]["hits"] == 1


@pytest.mark.parametrize(
    ("hypotheses", "said"),
    [
        ([], "undetermined"),
        ([hypothesis("queue_limit", level="state")], "its state"),
        ([hypothesis("engine_crash")], "its consequence"),
        ([hypothesis("traffic_burst")], "wrong"),
    ],
)
def test_with_its_file_missing_only_undetermined_is_right(hypotheses: list[dict], said: str):
    """A state that the cause leads to is told apart, and no more."""
    leads = {"slow_node": ("queue_limit", "engine_crash")}
    found = lab_scores.left_out_row("run", TRUTH, played(incident(*hypotheses)), leads)

    assert found["said"] == said


def test_with_its_file_missing_who_has_said_nothing_yet_is_told_apart():
    """It names no cause, and has not said that it knows none."""
    rows = [
        lab_scores.left_out_row("run", TRUTH, played(*incidents), {})
        for incidents in ((incident(),), (incident(status="pending"),), (), (incident(hypothesis("a")),))
    ]
    found = lab_scores.of_left_out(rows)

    assert found["held_back"]["hits"] == 3
    assert found["undetermined"]["hits"] == 1
    assert found["said"] == {"undetermined": 1, "nothing yet": 2, "its state": 0, "its consequence": 0, "wrong": 1}


def test_messages_are_the_same_only_field_by_field():
    """A recording that replays to another text has lost something."""
    payload = {"created_at": 110.0, "title": "t"}
    late = {"at": 301.0, "message": {"created_at": 300.0, "title": "after the recording"}}
    found = played() | {"payloads": [payload]}

    assert lab_scores.same_as_live(found, [{"at": 110.1, "message": payload}, late])
    assert not lab_scores.same_as_live(found, [{"at": 110.1, "message": payload | {"title": "u"}}])


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (139, 150, 0.873, 0.959)],
)
def test_wilsons_bounds(hits: int, total: int, low: float, high: float):
    """Against values from tables."""
    assert shares.wilson(hits, total) == pytest.approx((low, high), abs=6e-4)


def test_calibration_of_a_sound_forecaster_and_of_a_boaster():
    """Right nine times of ten at .9 is no error; always sure and right half of the time is one."""
    sound = calibration.judged([(0.9, True)] * 9 + [(0.9, False)] + [(0.1, False)] * 9 + [(0.1, True)])
    boast = calibration.judged([(1.0, True), (1.0, False)] * 5)

    assert sound["ece"] == pytest.approx(0.0, abs=1e-9)
    assert sound["brier_skill"] == pytest.approx(1 - 0.09 / 0.25, abs=1e-3)
    assert boast["ece"] == pytest.approx(0.5)
    assert boast["brier_skill"] == pytest.approx(-1.0)


def test_the_error_of_few_answers_is_held_against_what_chance_makes_of_them():
    """Three answers at .9 that are all right err by .1, and a perfect forecaster's would err by more."""
    few = calibration.judged([(0.9, True)] * 3)
    many = calibration.judged([(0.9, True)] * 900 + [(0.9, False)] * 100)

    assert few["ece"] == pytest.approx(0.1)
    assert few["ece_by_chance"] > few["ece"]
    assert many["ece_by_chance"] < 0.01


def judged_row(answer: str | None, *causes: str, status: str | None = "named") -> dict:
    return {"status": status, "answer": answer, "causes": list(causes), "right": answer in causes}


def test_people_who_know_the_truth_confirm_what_is_right_and_tell_what_it_was():
    """Each run is judged as a person would on the page; where nothing was told there is nothing to judge."""
    words = [
        lab_judged.judgement(row)
        for row in (
            judged_row("slow_node", "slow_node"), judged_row("slow_node", "disk_full"), judged_row("slow_node"),
            judged_row(None, "disk_full", status="undetermined"), judged_row(None, status="undetermined"),
            judged_row(None, "disk_full", status=None),
        )
    ]  # fmt: skip

    assert [word and (word.word.value, word.named, word.causes) for word in words] == [
        ("confirmed", ("slow_node",), ("slow_node",)),
        ("rejected", ("slow_node",), ("disk_full",)),
        ("rejected", ("slow_node",), ()),
        ("told", (), ("disk_full",)),
        None,
        None,
    ]


def test_no_run_is_played_after_a_word_on_itself():
    """The first of two causes is known from the other half alone."""
    rows = [judged_row("slow_node", "slow_node"), judged_row("disk_full", "disk_full")] * 30
    first, second = lab_judged.tallies(rows)

    assert (first.was, second.was) == ({"disk_full": 30}, {"slow_node": 30})
    assert lab_judged.tallies(rows[:-2]) is None, "29 confirmed are too few"


def test_what_the_true_cause_leads_to_is_not_judged():
    """It may be at work, and the truth does not say."""
    ranked = [
        {"cause": c, "probability": 0.5, "place": "", "verdict": "candidate"} for c in ("slow_node", "queue_limit", "x")
    ]
    pairs = calibration.all_answers([{"ranked": ranked, "causes": ["slow_node"]}], {"slow_node": ("queue_limit",)})

    assert pairs == [(0.5, True), (0.5, False)]


def test_the_picture_shows_every_bin_with_its_count():
    """A point without its number of cases is a claim."""
    bins = calibration.judged([(0.9, True)] * 12 + [(0.35, False)] * 3)["bins"]
    text = calibration.picture(bins)

    assert text.count("<circle") == 2
    assert ">12</text>" in text
    assert ">3</text>" in text
    assert "prefers-color-scheme: dark" in text
