"""Confirm and reject over HTTP: with the token, at the next evaluation, and answered when it is saved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from aiops.export.docket import MAX_WAITING, Docket
from aiops.model import Incident, IncidentState, Judgement, Spoken
from aiops.model.judging import with_judgement
from aiops.rulebook.causes import load_causes
from aiops.rulebook.places import shipped_rules
from tests.sample_incident import sample_incident
from tests.unit.export.conftest import TOKEN, Site

CAUSES = load_causes([shipped_rules()])
INCIDENT = replace(sample_incident(), state=IncidentState.RESOLVED)


class NotingDocket(Docket):
    """Notes what had been said of each incident before the word that is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Judgement | None] = []

    def take(self) -> Sequence[Spoken]:
        taken = super().take()
        self.before += [each.incident.judgement for each in taken]
        return taken


class House(Site):
    """A site beside which an evaluation runs, as the daemon's does once a second."""

    def __init__(self, docket: Docket | None = None, *, hears: bool = True, saves: bool = True) -> None:
        self.docket = docket or Docket()
        super().__init__(docket=self.docket, causes=CAUSES)
        self.incidents.held = [INCIDENT]
        self.hears, self.saves = hears, saves

    def _evaluate(self) -> None:
        spoken = self.docket.take()
        judged = [with_judgement(each.incident, each.judgement) for each in spoken] if self.hears else []
        if self.saves:
            self.incidents.held = judged or self.incidents.held
        self.docket.settle(judged, saved=self.saves)

    def say(self, path: str, body: Any = None, token: str = TOKEN) -> httpx.Response:
        (answer,) = self.say_at_once([(path, body)], token)
        return answer

    def say_at_once(self, words: Sequence[tuple[str, Any]], token: str = TOKEN) -> list[httpx.Response]:
        async def evaluating() -> None:
            while True:
                await asyncio.sleep(0)
                self._evaluate()

        async def go() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            headers = {"Authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9477") as client:
                ticks = asyncio.create_task(evaluating())
                try:
                    posts = [client.post(path, headers=headers, **_body(body)) for path, body in words]
                    return await asyncio.gather(*posts)
                finally:
                    ticks.cancel()

        return asyncio.run(go())


def _body(body: Any) -> dict[str, Any]:
    if body is None:
        return {}
    return {"content": body} if isinstance(body, bytes) else {"json": body}


@pytest.fixture
def house() -> House:
    return House()


def path_of(action: str, incident: Incident = INCIDENT) -> str:
    return f"/api/v1/incidents/{incident.id}/{action}"


def test_a_confirmed_answer_comes_back_with_the_word_on_it(house: House):
    """The answer says what was taken in, and that it is saved."""
    answer = house.say(path_of("confirm"))

    assert answer.status_code == 200
    assert answer.json()["judgement"]["word"] == "confirmed"
    assert house.get("/api/v1/causes").json()["confirmed"] == 1


def test_saying_it_twice_changes_nothing_and_changing_one_s_mind_counts_once(house: House):
    """The last word counts."""
    for _ in range(2):
        assert house.say(path_of("confirm")).status_code == 200
    assert house.say(path_of("reject"), {"cause": "vram_leak"}).status_code == 200

    stand = house.get("/api/v1/causes").json()
    assert (stand["confirmed"], stand["rejected"], stand["known"]) == (0, 1, 1)
    rows = {row["cause"]: row for row in stand["causes"]}
    assert (rows["vram_leak"]["was"], rows["vram_leak"]["of"]) == (1, 1)
    assert rows["vram_leak"]["prior_here"] > rows["vram_leak"]["prior"]


@pytest.mark.parametrize(
    ("path", "body", "status", "complaint"),
    [
        (path_of("confirm"), b"{", 400, "no JSON"),
        (path_of("confirm"), [], 400, "expected an object"),
        (path_of("confirm"), {"cause": 3}, 400, "expected the id of a cause"),
        (path_of("confirm"), {"why": "x"}, 400, "unknown field 'why'"),
        (path_of("confirm"), {"cause": "gremlins"}, 400, "no cause 'gremlins'"),
        (path_of("reject"), {"cause": "traffic_burst"}, 409, "confirm it"),
        ("/api/v1/incidents/inc-never/confirm", None, 404, "no such incident"),
        ("/api/v1/incidents/..%2f..%2fetc/confirm", None, 404, ""),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(house: House, path: str, body: Any, status: int, complaint: str):
    """And nothing of it is counted."""
    answer = house.say(path, body)

    assert answer.status_code == status
    assert complaint in answer.json()["error"]
    assert house.get("/api/v1/causes").json()["known"] == 0


def test_nobody_speaks_without_the_token(house: House):
    """A page that a browser shows must not move priors."""
    assert house.say(path_of("confirm"), token="wrong").status_code == 401
    assert house.get("/api/v1/causes").json()["confirmed"] == 0


def test_an_incident_that_changed_meanwhile_is_to_be_looked_at_again():
    """A word on an answer that is no longer there would be counted for another."""
    answer = House(hears=False).say(path_of("confirm"))

    assert answer.status_code == 409
    assert "say it again" in answer.json()["error"]


def test_two_words_at_the_same_time_are_each_on_what_the_other_left():
    """Both counted on an incident of which nothing was said yet would be two incidents to the priors."""
    docket = NotingDocket()
    house = House(docket)
    answers = house.say_at_once([(path_of("confirm"), {}), (path_of("reject"), {"cause": "vram_leak"})])

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [each.word.value if each else None for each in docket.before] == [None, "confirmed"]


def test_a_disk_that_refuses_is_told():
    """Who believes it saved would not say it again."""
    answer = House(saves=False).say(path_of("confirm"))

    assert answer.status_code == 503
    assert "retry-after" in answer.headers


def test_more_words_than_the_docket_holds_are_refused():
    """Memory is bounded, also towards who holds the token."""
    word = with_judgement(INCIDENT, sample_word())

    async def fill() -> int:
        docket = Docket()
        for _ in range(MAX_WAITING):
            docket.offer(Spoken(INCIDENT, sample_word()))
        with pytest.raises(Exception, match="too many"):
            docket.offer(Spoken(INCIDENT, sample_word()))
        taken = len(docket.take())
        docket.settle([word], saved=True)
        return taken

    assert asyncio.run(fill()) == MAX_WAITING


def sample_word():
    from aiops.model.judging import Said, judge

    return judge(INCIDENT, Said.CONFIRM, "", 1.0, {rule.cause for rule in CAUSES})


def test_standing_lists_every_cause(make_site: Callable[..., Site]):
    """A cause that is never named is still one somebody may have to type."""
    site = make_site(causes=CAUSES)

    assert [row["cause"] for row in site.get("/api/v1/causes").json()["causes"]] == [rule.cause for rule in CAUSES]
