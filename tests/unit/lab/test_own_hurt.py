"""Whose bad answers they are, by replica and outcome, where two faults are at work."""

import json

from tests.lab.own_hurt import BadAnswer, own, read_bad, span

A, B, C = "127.0.0.1:8001", "127.0.0.1:8002", "127.0.0.1:8003"
CALM = span([], 0.0, 40.0)


def line(at_s: float, status: int, upstream: str, rc: str = "OK") -> str:
    return json.dumps({"t": f"{at_s:.3f}", "st": status, "ua": upstream, "rc": rc})


def bad(upstream: str, outcome: str, start_s: float, count: int, every_s: float = 1.0) -> list[BadAnswer]:
    return [BadAnswer(start_s + number * every_s, upstream, outcome) for number in range(count)]


def ask(during, before, at: str = "", taken: str = ""):
    return own(during, before, at=at, taken=taken, replicas=(A, B, C))


def test_bad_answers_are_read_with_who_gave_them():
    lines = [
        line(1, 200, A), line(2, 503, f"{A}, {B}"), line(3, 429, ""), line(4, 200, C, rc=""), line(5, 400, A), '{"t":"6',
    ]  # fmt: skip

    assert read_bad(lines) == [BadAnswer(2, B, "503"), BadAnswer(3, "", "429"), BadAnswer(4, C, "broken off")]


def test_what_began_with_the_fault_is_its_own():
    found = ask(span(bad(A, "502", 41.0, 12), 40.0, 60.0), [CALM])

    assert (found.count, found.kinds, found.first_s, found.hurts) == (12, {f"{A} 502": 12}, 41.0, True)


def test_what_came_as_often_before_is_not():
    before = span(bad(A, "499", 0.0, 40), 0.0, 40.0)

    assert ask(span(bad(A, "499", 40.0, 20), 40.0, 60.0), [before]).count == 0


def test_nine_bad_answers_are_no_hurt():
    assert not ask(span(bad(A, "502", 41.0, 9), 40.0, 60.0), [CALM]).hurts


def test_a_fault_of_one_replica_owns_nothing_at_others():
    assert ask(span(bad(B, "503", 41.0, 15), 40.0, 60.0), [CALM], at=A).count == 0


def test_what_untouched_replicas_answer_as_often_is_not_of_the_one():
    everywhere = [*bad(A, "503", 41.0, 15), *bad(B, "503", 41.0, 12), *bad(C, "503", 41.0, 12)]

    assert ask(span(everywhere, 40.0, 60.0), [CALM], at=A).count == 0
    assert ask(span([*everywhere, *bad(A, "502", 41.0, 15)], 40.0, 60.0), [CALM], at=A).kinds == {f"{A} 502": 15}


def test_the_other_faults_replica_is_not_asked():
    during = span([*bad(A, "502", 61.0, 30), *bad(B, "503", 61.0, 12)], 60.0, 90.0)

    assert ask(during, [CALM, span(bad(A, "502", 41.0, 3), 40.0, 60.0)], taken=A).kinds == {f"{B} 503": 12}


def test_what_the_gateway_answers_itself_is_told_as_its_own():
    assert ask(span(bad("", "429", 41.0, 12), 40.0, 60.0), [CALM]).kinds == {"gateway 429": 12}
