"""The judge: what counts as right, and every way to be wrong."""

import pytest

from aiops.demo.verdict import Expected, Received, judge

BEGAN_S, FIRST_503_S = 1000.0, 1008.0


def told(at_s: float, change: str, cause: str = "") -> Received:
    facts = {"incident": "inc-1", "state": "open"} | ({"cause": cause, "probability": "0.9000"} if cause else {})
    return Received(at_s, {"change": change, "title": f"{change} {cause}", "incident": facts})


GOOD = [told(1010, "opened"), told(1012, "updated", "slow_node"), told(1050, "resolved", "slow_node")]


def verdict(messages, expected=Expected.NAMED, cause="slow_node", first_503_s=FIRST_503_S):
    return judge(expected, cause, messages, fault_began_s=BEGAN_S, first_503_s=first_503_s)


def test_the_right_cause_told_once_and_ended_once_is_right():
    """Seconds run from what users felt to the message that names the cause, not to the first message."""
    found = verdict(GOOD)

    assert found.faults == ()
    assert found.as_json("slow_node") == {
        "fault": "slow_node", "first_503": 1008.0, "message_at": 1012, "seconds": 4.0, "cause": "slow_node",
        "probability": 0.9, "incident": "inc-1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([told(990, "ticket"), *GOOD], "before anything happened"),
        ([told(1010, "opened", "traffic_burst"), *GOOD[1:]], "named traffic_burst first"),
        ([*GOOD[:2], told(1020, "updated", "queue_limit"), GOOD[2]], "changed its mind to queue_limit"),
        ([GOOD[0], told(1050, "resolved")], "no message named a cause"),
        (GOOD[:2], "told 0 times"),
        ([*GOOD, told(1060, "resolved", "slow_node")], "told 2 times"),
        ([], "no incident was opened"),
    ],
)
def test_every_other_course_is_wrong(messages, complaint):
    """Exit status 1 must not depend on one path alone."""
    assert any(complaint in fault for fault in verdict(messages).faults)


def test_a_cause_named_only_with_the_end_does_not_count():
    """On-call needs the cause while it hurts."""
    found = verdict([told(1010, "opened"), told(1050, "resolved", "slow_node")])

    assert found.cause is None
    assert found.faults


def test_silence_is_broken_by_any_message_and_by_any_503():
    """A lookalike run in which users were refused proves nothing, and a quiet ticket is a message too."""
    silent = verdict([], Expected.SILENT, None, None)
    spoke = verdict([told(1010, "ticket")], Expected.SILENT, None, None)
    refused = verdict([], Expected.SILENT, None, FIRST_503_S)

    assert silent.faults == ()
    assert "not silent" in spoke.faults[0]
    assert "demo itself" in refused.faults[0]


def test_undetermined_means_an_incident_and_an_end_but_no_cause():
    """Naming the nearest known cause for something new is the mistake this play is for."""
    right = verdict([told(1010, "opened"), told(1050, "resolved")], Expected.UNDETERMINED, None)
    wrong = verdict(GOOD, Expected.UNDETERMINED, None)

    assert right.faults == ()
    assert (right.incident, right.cause, right.message_at) == ("inc-1", None, 1010)
    assert "no cause file describes" in wrong.faults[0]
