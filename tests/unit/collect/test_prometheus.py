"""A Prometheus that answers, lies, hangs or knows too much."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.cards import CardBook
from aiops.catalog import CATALOG
from aiops.clock import ManualClock
from aiops.collect import prometheus
from aiops.collect.addresses import Addresses
from aiops.collect.known_servers import note_servers
from aiops.collect.prometheus import Config, Prometheus, QueryConfig, ServerConfig, build
from aiops.collect.prometheus_api import answer
from aiops.collect.scraped import Place, Scraped, vocabulary
from aiops.document import Secret
from aiops.errors import SourceError
from aiops.model import Labels, Observation, Sample, Sight
from aiops.ports import World
from tests.pageserver import hang, serving
from tests.worlds import make_world

NOW_S = 1_800_000_000.0
Answer = Callable[[str], httpx.Response]


def matrix(*series: tuple[dict[str, str], list[list[Any]]]) -> dict[str, Any]:
    result = [{"metric": metric, "values": values} for metric, values in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def running(*values: list[Any], instance: str = "10.0.0.7:8000") -> dict[str, Any]:
    labels = {"__name__": "vllm:num_requests_running", "job": "v", "instance": instance, "model_name": "m"}
    return matrix((labels, list(values)))


class Scene:
    """A collector whose servers answer what the test says, by host name."""

    def __init__(self, *servers: ServerConfig, answers: dict[str, Answer] | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self.queries: list[str] = []
        self.answers = answers or {}
        self.clock = ManualClock(NOW_S)
        self.world: World = make_world(
            http=httpx.AsyncClient(transport=httpx.MockTransport(self.answer)), clock=self.clock
        )
        self.collector: Prometheus = build(Config(servers=servers or (ServerConfig("http://p:9090"),)), self.world)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        query = parse_qs(request.content.decode())["query"][0]
        self.queries.append(query)
        return self.answers[request.url.host](query)

    def rounds(self, *at_s: float) -> list[list[Observation]]:
        async def scene() -> list[list[Observation]]:
            return [list(await self.collector.gather(each)) for each in at_s]

        return asyncio.run(scene())


def ok(body: dict[str, Any], **headers: str) -> Answer:
    return lambda _: httpx.Response(200, json=body, headers=headers)


def samples(observations: Sequence[Observation], metric: str) -> list[Sample]:
    return [o for o in observations if isinstance(o, Sample) and o.metric == metric]


def sights(observations: Sequence[Observation]) -> list[tuple[bool, str]]:
    return [(o.seen, o.detail) for o in observations if isinstance(o, Sight)]


def test_the_question_holds_the_match_and_the_token_and_reaches_back_to_the_last_answer():
    """What was missed while nobody could answer is asked for, up to five minutes."""
    scene = Scene(ServerConfig("http://p:9090/prom/", Secret("t0ken"), 'job="v"'), answers={"p": ok(matrix())})

    scene.rounds(NOW_S, NOW_S + 15.0, NOW_S + 5_000.0)

    assert {str(request.url) for request in scene.requests} == {"http://p:9090/prom/api/v1/query"}
    assert {request.headers["authorization"] for request in scene.requests} == {"Bearer t0ken"}
    assert [query.rpartition("[")[2] for query in scene.queries] == ["60s]", "30s]", "300s]"]
    assert all(',job="v"}[' in query for query in scene.queries)
    assert "vllm:num_requests_running|" in scene.queries[0]


def test_times_are_theirs_and_nothing_is_told_twice():
    """Onsets are compared with logs of this machine to the second."""
    scene = Scene(answers={"p": ok(running([NOW_S - 9.5, "3"], [NOW_S - 4.5, "4"]))})

    first, second = scene.rounds(NOW_S, NOW_S + 15.0)

    assert [(s.at_s, s.value) for s in samples(first, "gen_ai_server_requests_running")] == [
        (NOW_S - 9.5, 3.0),
        (NOW_S - 4.5, 4.0),
    ]
    assert samples(second, "gen_ai_server_requests_running") == []


@pytest.mark.parametrize(("ahead_s", "at_s"), [(0.0, NOW_S - 9.5), (100.0, NOW_S - 109.5), (-100.0, NOW_S + 89.5)])
def test_a_clock_that_is_surely_off_is_allowed_for(ahead_s: float, at_s: float):
    """Date has whole seconds: a difference it cannot prove is left alone."""
    body = running([NOW_S - 9.5, "3"])
    scene = Scene(answers={"p": ok(body, Date=formatdate(NOW_S + ahead_s, usegmt=True))})

    (found,) = scene.rounds(NOW_S)

    (sample,) = samples(found, "gen_ai_server_requests_running")
    assert sample.at_s == pytest.approx(at_s, abs=1.0)
    assert (ahead_s == 0.0) == ("clock" not in sights(found)[0][1])


def test_haste_asks_every_five_seconds():
    """A Prometheus scrapes no faster for being asked more often, and many nodes may ask it at once."""
    scene = Scene(answers={"p": ok(matrix())})

    scene.rounds(*(NOW_S + number for number in range(21)))

    assert len(scene.queries) == 5


def test_a_server_that_this_machine_reads_itself_is_left_to_it():
    """Two collectors writing one series at different times would lose the later half of both."""
    body = running([NOW_S - 9.5, "3"])
    scene = Scene(answers={"p": ok(body)})
    note_servers(scene.world.checkpoints, ["10.0.0.7:8000"])

    (found,) = scene.rounds(NOW_S)

    assert samples(found, "gen_ai_server_requests_running") == []
    assert sights(found) == [(True, "nothing that is not read here already")]


def test_too_many_series_are_refused_whole_and_counted():
    """A target of which half is missing would look like a node that lost a card."""
    labels = {"__name__": "up", "job": "j"}
    many = matrix(*(({**labels, "instance": str(number)}, []) for number in range(20_001)))
    answers = iter([many, running([NOW_S, "3"])])
    scene = Scene(answers={"p": lambda _: httpx.Response(200, json=next(answers))})

    refused, taken = scene.rounds(NOW_S, NOW_S + 15.0)

    assert [s.value for s in samples(refused, "aiops_feed_refused_series")] == [20_001.0]
    assert "narrow it with match" in sights(refused)[0][1]
    assert [s.value for s in samples(taken, "aiops_feed_refused_series")] == [0.0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(401, text="no"), "status 401, and no answer of the query API"),
        (httpx.Response(422, json={"status": "error", "error": "too many\nsamples"}), "status 422: too many samples"),
        (httpx.Response(503, json={"status": "error", "error": "query timed out"}), "status 503: query timed out"),
        (httpx.Response(302, headers={"location": "http://elsewhere/"}), "status 302"),
        (httpx.Response(200, content=b"x" * (16 * 2**20 + 1)), "an answer of more than 16777216 bytes"),
        (httpx.Response(200, json={"status": "success", "data": {"resultType": "string", "result": 1}}), "of type"),
        (httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": 1}}), "no series"),
        (httpx.Response(200, content=b"[" * 100_000), "no answer of the query API"),
        (httpx.Response(200, content=b"{}", headers={"content-encoding": "br"}), "compressed"),
    ],
)  # fmt: skip
def test_whatever_else_answers_is_one_error_without_the_token(answer: httpx.Response, words: str):
    """The daemon goes on without that source, and its log holds no password."""
    scene = Scene(ServerConfig("http://p", Secret("t0ken")), answers={"p": lambda _: answer})

    with pytest.raises(SourceError, match=words) as raised:
        scene.rounds(NOW_S)

    assert "t0ken" not in str(raised.value)


def test_one_server_that_fails_leaves_the_others_alone():
    """Two Prometheus servers are usually two teams'."""

    def down(_: str) -> httpx.Response:
        raise httpx.ConnectError("refused")

    servers = (ServerConfig("http://p"), ServerConfig("http://q"))
    scene = Scene(*servers, answers={"p": ok(running([NOW_S, "3"])), "q": down})

    first, second = scene.rounds(NOW_S, NOW_S + 15.0)

    assert len(samples(first, "gen_ai_server_requests_running")) == 1
    assert (False, "cannot be reached (ConnectError)") in sights(first)
    assert sights(second) == [], "it is said once"


def test_a_server_that_hangs_delays_no_round(monkeypatch):
    """It has its own deadline; the other's answers are taken meanwhile."""
    monkeypatch.setattr(prometheus, "_PATIENCE_S", 0.2)

    async def scene() -> Sequence[Observation]:
        async with serving(hang) as pages, httpx.AsyncClient(trust_env=False) as http:
            config = Config(servers=(ServerConfig(f"http://127.0.0.1:{pages.port}"),), deadline=0.3)
            collector = build(config, make_world(http=http))
            first = await collector.gather(0.0)
            with pytest.raises(SourceError, match=r"no answer within 0\.3 s"):
                await collector.gather(15.0)
            with pytest.raises(SourceError, match=r"no answer within 0\.3 s"):  # not to know is no recovery
                await collector.gather(16.0)
            collector.close()
            return first

    assert asyncio.run(scene()) == []


def test_warnings_are_told_and_what_is_there_is_taken():
    """Thanos answers in part while a store is away."""
    body = {**running([NOW_S, "3"]), "warnings": ["store a: deadline exceeded"]}
    (found,) = Scene(answers={"p": ok(body)}).rounds(NOW_S)

    assert len(samples(found, "gen_ai_server_requests_running")) == 1
    assert sights(found) == [(True, "vLLM: 1; store a: deadline exceeded")]


def test_ones_own_queries_give_metrics_of_the_catalogue():
    """A business metric is often in Prometheus already, under a name of its own."""
    queries = (
        QueryConfig("business_success_ratio", "a"),
        QueryConfig("business_complaint_ratio", "b", {"service": "chat"}),
        QueryConfig("business_success_ratio", "c", {"service": "all"}),
        QueryConfig("business_success_ratio", "broken"),
    )
    bodies: dict[str, dict[str, Any]] = {
        "a": {"resultType": "vector", "result": [{"metric": {"service": "x", "pod": "p"}, "value": [NOW_S, "0.99"]}]},
        "b": {"resultType": "scalar", "result": [NOW_S - 1.0, "0.01"]},
        "c": {"resultType": "matrix", "result": [{"metric": {}, "values": [[NOW_S, "NaN"], [NOW_S + 1, "0.9"]]}]},
    }

    def answer(query: str) -> httpx.Response:
        if query not in bodies:
            return httpx.Response(400, json={"status": "error", "error": "parse error"})
        return httpx.Response(200, text=json.dumps({"status": "success", "data": bodies[query]}))

    (found,) = Scene(ServerConfig("http://p", pages=False, queries=queries), answers={"p": answer}).rounds(NOW_S)

    assert [o for o in found if isinstance(o, Sample) and o.metric.startswith("business")] == [
        Sample("business_success_ratio", Labels.of(service="x"), NOW_S, 0.99),
        Sample("business_complaint_ratio", Labels.of(service="chat"), NOW_S - 1.0, 0.01),
        Sample("business_success_ratio", Labels.of(service="all"), NOW_S + 1.0, 0.9),
    ]
    assert sights(found) == [(True, "answers; business_success_ratio: status 400: parse error")]


def test_settings_that_cannot_work_are_refused():
    """At `aiops check`, not at three in the morning."""
    for wrong in (
        lambda: ServerConfig("p:9090"),
        lambda: QueryConfig("no_such_metric", "up"),
        lambda: QueryConfig("business_success_ratio", "up", {"instance": "a"}),
        lambda: Config(servers=(ServerConfig("http://p"),) * 9),
    ):
        with pytest.raises(ValueError, match=r"expected|no such|has no label"):
            wrong()


_TEXTS = st.sampled_from(["", "1", "NaN", "+Inf", "-1e308", "nonsense", "vllm:num_requests_running", "up", "x" * 300])
_SERIES = st.fixed_dictionaries(
    {},
    optional={
        "metric": st.dictionaries(
            st.sampled_from(
                ["__name__", "job", "instance", "le", "gpu", "UUID", "exported_instance", "exported_", "mode"]
            ),
            _TEXTS | st.sampled_from(vocabulary().wanted),
        ),
        "values": st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), _TEXTS), max_size=4),
        "value": st.tuples(st.integers(), _TEXTS),
        "histograms": st.none(),
    },
)


@settings(max_examples=300)
@given(
    st.binary(max_size=200) | st.lists(_SERIES, max_size=12).map(lambda r: json.dumps(_success("matrix", r)).encode())
)
def test_no_answer_raises_anything_but_a_source_error(body: bytes):
    """Whatever a server, or something in its place, says."""
    scraped, place = Scraped(), Place("n1", Addresses(), CardBook(), frozenset(), this_host=False)
    try:
        for _ in range(2):
            seen = list(scraped.read(answer(200, body).series, 0.0, place))
            assert all(o.metric in CATALOG for o in seen if isinstance(o, Sample))
    except SourceError:
        pass


def _success(kind: str, result: object) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}}
