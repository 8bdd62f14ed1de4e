import json
from collections import Counter
from itertools import islice
from typing import Any

import pytest

from tests.lab.questions import TENANTS, Ask, Questions


def asked(questions: Questions, count: int) -> list[Ask]:
    return list(islice(iter(questions.next, None), count))


def bodies(asks: list[Ask]) -> list[dict[str, Any]]:
    return [json.loads(ask.body) for ask in asks]


def questions(seed: int = 1) -> Questions:
    return Questions(seed, prompt=(70, 170), output=(30, 90))


def test_lengths_are_within_what_was_asked_for() -> None:
    for body in bodies([ask for ask in asked(questions(), 400) if not ask.told]):
        assert 70 <= len(body["prompt"].split()) <= 170
        assert body["max_tokens"] < 0 or 30 <= body["max_tokens"] <= 90


def test_every_tenant_asks_with_its_key_and_some_ask_more_than_others() -> None:
    seen = Counter(body["user"] for body in bodies(asked(questions(), 600)))
    assert set(seen) == set(TENANTS)
    assert seen["acme"] > 3 * seen["fjord"]


def test_prompts_begin_alike_until_they_are_stamped_and_stay_as_long() -> None:
    asker = questions()
    before = bodies(asked(asker, 300))
    asker.reshape(stamped=True)
    after = bodies(asked(asker, 300))
    assert len({" ".join(body["prompt"].split()[:32]) for body in before}) <= 24
    assert len({body["prompt"].split()[0] for body in after}) == 300
    assert {len(body["prompt"].split()) for body in after} <= set(range(70, 171))


def test_without_shared_beginnings_every_prompt_is_its_own() -> None:
    asker = questions()
    asker.reshape(shared=0.0)
    assert len({" ".join(body["prompt"].split()[:8]) for body in bodies(asked(asker, 200))}) == 200


def test_factors_are_of_the_normal_lengths_however_often_they_change() -> None:
    asker = questions()
    for _ in range(3):
        asker.reshape(prompt=4.0, output=0.5)
    for body in bodies(asked(asker, 100)):
        assert 280 <= len(body["prompt"].split()) <= 680
        assert body["max_tokens"] < 0 or 15 <= body["max_tokens"] <= 45


def test_a_tenant_that_misbehaves_comes_on_top_of_everybody_else() -> None:
    asker = questions()
    asker.misbehave(tenant="elm", kind="impatient", times=1.0, patience_s=0.4)
    told = [ask for ask in asked(asker, 400) if ask.told]
    assert asker.crowding == 2.0
    assert 150 < len(told) < 250
    assert {(json.loads(ask.body)["user"], ask.patience_s, ask.tries) for ask in told} == {("elm", 0.4, 1)}
    asker.misbehave(tenant="elm", kind="none")
    assert asker.crowding == 1.0
    assert not any(ask.told for ask in asked(asker, 100))


@pytest.mark.parametrize(("kind", "tenant"), [("impatient", "nobody"), ("rude", "elm")])
def test_what_does_not_exist_is_refused(kind: str, tenant: str) -> None:
    with pytest.raises(ValueError, match="no tenant"):
        questions().misbehave(tenant=tenant, kind=kind)


def test_a_tenant_with_a_long_system_prompt_has_one_of_it() -> None:
    asker = Questions(1, prompt=(450, 500), output=(30, 90), prefix=400)
    beginnings = {(body["user"], " ".join(body["prompt"].split()[:400])) for body in bodies(asked(asker, 300))}
    assert len(beginnings) == len(TENANTS)
