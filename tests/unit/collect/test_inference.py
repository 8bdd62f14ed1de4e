"""The inference collector reads every server it knows, whatever one of them does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest

from aiops.collect import inference
from aiops.collect.discovery import Found, Round
from aiops.collect.engines import dialects
from aiops.collect.inference import Config, Inference, TargetConfig
from aiops.collect.known_servers import local_ports, note_coming, note_upstreams
from aiops.model import Observation, Sample, Sight
from tests.pageserver import Answer, PageServer, hang, page, serving
from tests.worlds import make_world


def vllm(running: int = 1, model: str = "m") -> bytes:
    return f'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{model_name="{model}"}} {running}\n'.encode()


GOOD = page(vllm())


class FakeDiscovery:
    """Finds what it is told to, or fails."""

    def __init__(self, *rounds: Round | OSError) -> None:
        self.rounds = list(rounds)
        self.known: list[frozenset[str]] = []
        self.named: list[frozenset[str]] = []

    async def look(self, now_s: float, known: frozenset[str], named: frozenset[str] = frozenset()) -> Round:
        self.known.append(known)
        self.named.append(named)
        answer = self.rounds.pop(0) if self.rounds else Round([], 3)
        if isinstance(answer, OSError):
            raise answer
        return answer


def found(url: str, body: bytes) -> Found:
    dialect = dialects().recognise(body)
    assert dialect is not None
    return Found(url, httpx.URL(url).netloc.decode(), dialect, body, "python")


@contextlib.asynccontextmanager
async def collector_of(
    *targets: TargetConfig, discovery: FakeDiscovery | None = None, deadline_s: float = 0.8
) -> AsyncIterator[Inference]:
    async with httpx.AsyncClient(trust_env=False) as http:
        config = Config(deadline=deadline_s, targets=targets)
        collector = Inference(config, make_world(http=http), dialects(), discovery)  # type: ignore[arg-type]
        try:
            yield collector
        finally:
            collector.close()
            await asyncio.sleep(0)


def ups(observations: Sequence[Observation]) -> dict[str, float]:
    return {
        o.labels.get("instance"): o.value
        for o in observations
        if isinstance(o, Sample) and o.metric == "gen_ai_server_up"
    }


def sights(observations: Sequence[Observation]) -> list[tuple[str, bool, str]]:
    return [(o.subject, o.seen, o.detail) for o in observations if isinstance(o, Sight)]


def values(observations: Sequence[Observation], metric: str) -> list[float]:
    return [o.value for o in observations if isinstance(o, Sample) and o.metric == metric]


async def rested(collector: Inference, at_s: float) -> list[Observation]:
    """What a round observes, with time for what runs beside it."""
    seen = list(await collector.gather(at_s))
    for _ in range(20):
        await asyncio.sleep(0.001)
    return seen


def test_a_server_is_up_and_its_page_becomes_samples():
    """The thin thread: page in, catalogued samples out, said once."""

    async def scene() -> None:
        async with serving(GOOD) as server, collector_of(TargetConfig(server.url, gpu="3")) as collector:
            first = list(await collector.gather(10.0))
            second = list(await collector.gather(15.0))
        assert ups(first) == {f"127.0.0.1:{server.port}": 1.0}
        assert values(first, "gen_ai_server_requests_running") == [1.0]
        assert sights(first) == [(f"server at 127.0.0.1:{server.port}", True, "vLLM, model m")]
        assert sights(second) == []
        gpu = [o.labels for o in first if isinstance(o, Sample) and o.metric == "gen_ai_server_gpu"]
        assert [labels.get("gpu") for labels in gpu] == ["3"]

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (page(b"<html>", content_type="text/html"), "HTML instead of metrics"),
        (page(b"", status="503 Service Unavailable"), "status 503 instead of 200"),
        (page(b"\x00\xff" * 1000), "none of the metrics"),
        (page(b'vllm:num_requests_running{model_name="m"} x\n' * 10), "none of the metrics"),
        (page(b"#" * 5_000_000), "more than 4194304 bytes"),
    ],
)
def test_a_sick_server_is_down_and_leaves_the_others_alone(answer: Answer, why: str):
    """This is the moment the daemon exists for: one replica is broken, the others must stay in sight."""

    async def scene() -> None:
        async with (
            serving(GOOD) as good,
            serving(answer) as bad,
            collector_of(TargetConfig(bad.url), TargetConfig(good.url)) as collector,
        ):
            seen = list(await collector.gather(10.0))
        assert ups(seen) == {f"127.0.0.1:{bad.port}": 0.0, f"127.0.0.1:{good.port}": 1.0}
        assert any(why in detail and not ok for _, ok, detail in sights(seen))

    asyncio.run(scene())


def test_a_hanging_server_delays_nobody_and_is_down_after_its_deadline():
    """A stalled engine accepts and never answers; the round goes on, and the verdict comes with a later one."""

    async def scene() -> None:
        async with (
            serving(GOOD) as good,
            serving(hang) as bad,
            collector_of(TargetConfig(bad.url), TargetConfig(good.url), deadline_s=0.8) as collector,
        ):
            loop = asyncio.get_running_loop()
            first = list(await collector.gather(10.0))
            started_s = loop.time()
            second = list(await collector.gather(11.0))
            took_s = loop.time() - started_s
        assert ups(first)[f"127.0.0.1:{good.port}"] == 1.0
        assert ups([*first, *second])[f"127.0.0.1:{bad.port}"] == 0.0
        assert ups(second)[f"127.0.0.1:{good.port}"] == 1.0
        assert values([*first, *second], "gen_ai_server_page_timed_out").count(1.0) == 1  # it is there, and blocked
        assert took_s < 0.7  # a sick server is hardly waited for, far less than its deadline

    asyncio.run(scene())


@pytest.mark.parametrize("sick", [page(b"", status="500 Oops"), page(b"\x00\xff" * 1_000), page(b"other_metric 1\n")])
def test_a_server_that_comes_back_is_up_again_under_the_same_labels(sick: Answer):
    """An outage must be a gap of one series, not two series."""

    async def scene() -> None:
        async with serving(GOOD) as server, collector_of(TargetConfig(server.url)) as collector:
            seen = list(await collector.gather(10.0))
            server.answer = sick
            seen += await collector.gather(15.0)
            seen += await collector.gather(20.0)
            server.answer = GOOD
            seen += await collector.gather(25.0)
        series = [(o.labels, o.at_s, o.value) for o in seen if isinstance(o, Sample) and o.metric == "gen_ai_server_up"]
        assert len({labels for labels, _, _ in series}) == 1
        assert [(at_s, value) for _, at_s, value in series] == [(10.0, 1.0), (15.0, 0.0), (20.0, 0.0), (25.0, 1.0)]

    asyncio.run(scene())


def test_a_server_that_loads_its_model_is_there_and_not_ready():
    """llama.cpp answers 503 to everything meanwhile: not a dead replica, and not one that takes requests."""

    async def scene() -> None:
        loading = page(b'{"error":{"message":"Loading model"}}', status="503 Service Unavailable")
        async with serving(loading) as server, collector_of(TargetConfig(server.url)) as collector:
            seen = [o for at_s in (0.0, 5.0, 10.0) for o in await rested(collector, at_s)]
            server.answer = page(b"llamacpp:requests_processing 0\n")
            later = [o for at_s in (15.0, 20.0, 25.0) for o in await rested(collector, at_s)]
        assert values(seen, "gen_ai_server_up") == [0.0] * 3
        assert values(seen, "gen_ai_server_ready") == [0.0] * 3
        assert values(seen, "gen_ai_server_loading") == [1.0]
        assert values(later, "gen_ai_server_up") == [1.0] * 3
        assert values(later, "gen_ai_server_ready")[-1] == 1.0

    asyncio.run(scene())


def test_a_replica_whose_page_is_fine_and_whose_health_path_refuses_is_not_ready():
    """An engine that died behind its web server still shows its page; the load balancer has left it already."""

    async def scene() -> None:
        async with serving(GOOD) as server, collector_of(TargetConfig(server.url)) as collector:
            await rested(collector, 0.0)
            server.answers["/health"] = page(b"", status="503 Service Unavailable")
            seen = [o for at_s in (10.0, 15.0, 20.0, 25.0) for o in await rested(collector, at_s)]
        assert values(seen, "gen_ai_server_up") == [1.0] * 4
        assert values(seen, "gen_ai_server_ready")[-1] == 0.0
        assert values(seen, "gen_ai_server_health_status_code")[-1] == 503.0

    asyncio.run(scene())


def test_a_server_whose_page_hangs_is_still_asked_for_its_health():
    """A load balancer goes by that path: whether it still sends requests there is half of the story."""

    async def scene() -> None:
        async with serving(GOOD) as server, collector_of(TargetConfig(server.url)) as collector:
            await rested(collector, 0.0)
            server.answer, server.answers["/health"] = hang, page(b"")
            seen = [o for at_s in (10.0, 20.0, 30.0) for o in await rested(collector, at_s)]
        assert values(seen, "gen_ai_server_health_up")[-1] == 1.0

    asyncio.run(scene())


def test_an_engine_that_sleeps_is_not_ready():
    """It was told to put its weights away; that is capacity gone, and no fault."""
    asleep = (
        b'vllm:engine_sleep_state{sleep_state="weights_offloaded"} 1\nvllm:engine_sleep_state{sleep_state="awake"} 0\n'
    )

    async def scene() -> None:
        async with serving(page(vllm() + asleep)) as server, collector_of(TargetConfig(server.url)) as collector:
            seen = list(await collector.gather(0.0))
        assert values(seen, "gen_ai_server_up") == [1.0]
        assert values(seen, "gen_ai_server_asleep") == [1.0]
        assert values(seen, "gen_ai_server_ready") == [0.0]

    asyncio.run(scene())


def test_what_a_page_cannot_tell_is_said_beside_the_server():
    """Nobody should look for 503s on a page that calls every failure 5xx."""

    async def scene() -> None:
        async with serving(GOOD) as server, collector_of(TargetConfig(server.url)) as collector:
            seen = list(await collector.gather(0.0))
        assert ["cannot tell 503 from 500" in o.hint for o in seen if isinstance(o, Sight)] == [True]

    asyncio.run(scene())


def test_where_a_p99_is_a_guess_is_said_beside_the_server():
    """Whoever reads "P99 550 ms" must know that the server counts up to 0.4 and 0.6 s."""
    text = b"".join(
        b'sglang:time_to_first_token_seconds_bucket{is_streaming="true",le="%b"} 1\n' % edge
        for edge in (b"0.4", b"0.6", b"+Inf")
    )

    async def scene() -> None:
        body = page(b"sglang:num_running_reqs 1\n" + text)
        async with serving(body) as server, collector_of(TargetConfig(server.url)) as collector:
            seen = list(await collector.gather(0.0))
        assert [detail for _, _, detail in sights(seen)] == [
            "SGLang; a P99 time to first token near 0.5 s is interpolated between 0.4 and 0.6 s"
        ]

    asyncio.run(scene())


def test_what_discovery_finds_is_read_from_the_first_round_on():
    """`aiops once` has one round to show what is there."""

    async def scene() -> None:
        async with serving(GOOD) as server:
            discovery = FakeDiscovery(Round([found(server.url, vllm(7))], 4))
            async with collector_of(discovery=discovery) as collector:
                first = list(await collector.gather(10.0))
                second = list(await collector.gather(15.0))
        assert values(first, "gen_ai_server_requests_running") == [7.0]
        assert values(second, "gen_ai_server_requests_running") == [1.0]
        assert ("inference servers", True, "1 known") in sights(first)

    asyncio.run(scene())


def test_with_nothing_to_find_it_says_what_to_do():
    """A person on a laptop should learn about the demo instead of seeing an empty page."""

    async def scene() -> None:
        async with collector_of(discovery=FakeDiscovery()) as collector:
            seen = list(await collector.gather(10.0))
        assert seen == [
            Sight(
                "inference",
                "inference servers",
                seen=False,
                detail="no inference server found on 3 local ports",
                hint="try `aiops demo`, or add collect.inference.targets",
            )
        ]

    asyncio.run(scene())


def test_ports_that_cannot_be_listed_are_a_blind_spot():
    """/proc may be hidden; known targets are read all the same."""

    async def scene() -> None:
        discovery = FakeDiscovery(PermissionError(13, "Permission denied", "/proc/net/tcp"))
        async with collector_of(discovery=discovery) as collector:
            seen = list(await collector.gather(10.0))
        assert sights(seen) == [("local ports", False, "/proc/net/tcp: Permission denied")]

    asyncio.run(scene())


def test_discovery_looks_once_a_minute_and_is_told_what_is_known():
    """Reading /proc and probing ports every second would be noise."""

    async def scene() -> None:
        discovery = FakeDiscovery()
        async with serving(GOOD) as server, collector_of(TargetConfig(server.url), discovery=discovery) as collector:
            for now_s in (0.0, 5.0, 30.0, 59.0, 61.0):
                await collector.gather(now_s)
                await asyncio.sleep(0)
        assert discovery.known == [frozenset({f"127.0.0.1:{server.port}"})] * 2

    asyncio.run(scene())


def test_a_found_server_that_is_gone_is_forgotten_after_a_while_and_a_configured_one_never():
    """Memory of dead servers is bounded; but what a person wrote down is expected to exist."""

    async def scene() -> None:
        async with serving(GOOD) as server:
            url = server.url
        async with serving(GOOD) as other:
            configured = other.url
        discovery = FakeDiscovery(Round([found(url, vllm())], 1))
        async with collector_of(TargetConfig(configured), discovery=discovery) as collector:
            await collector.gather(0.0)
            soon = ups(await collector.gather(30.0))
            await collector.gather(30.0 + inference._FORGET_S)
            late = ups(await collector.gather(60.0 + inference._FORGET_S))
        assert set(soon) == {httpx.URL(url).netloc.decode(), httpx.URL(configured).netloc.decode()}
        assert set(late) == {httpx.URL(configured).netloc.decode()}

    asyncio.run(scene())


def test_no_more_than_a_bounded_number_of_servers_is_adopted():
    """A thousand containers on one host are somebody's test, not ours to scrape."""
    many = [found(f"http://127.0.0.1:{port}/metrics", vllm()) for port in range(20_000, 20_100)]

    async def scene() -> int:
        async with collector_of(discovery=FakeDiscovery(Round(many, 100))) as collector:
            return len(ups(await collector.gather(0.0)))

    assert asyncio.run(scene()) == 64


def test_a_model_that_changes_on_the_same_port_gets_a_series_of_its_own():
    """A port is reused by the next deployment; its counters must not continue the old ones."""

    async def scene() -> None:
        async with serving(GOOD) as server, collector_of(TargetConfig(server.url)) as collector:
            await collector.gather(0.0)
            server.answer = page(vllm(2, model="other"))
            seen = list(await collector.gather(5.0))
        running = [o for o in seen if isinstance(o, Sample) and o.metric == "gen_ai_server_requests_running"]
        assert [(o.labels.get("model"), o.value) for o in running] == [("other", 2.0)]
        assert any("model other" in detail for _, _, detail in sights(seen))

    asyncio.run(scene())


def test_connections_are_kept():
    """A new connection a second a server would fill the server's TIME_WAIT table."""

    async def scene() -> PageServer:
        async with serving(GOOD) as server, collector_of(TargetConfig(server.url)) as collector:
            for now_s in range(20):
                await collector.gather(float(now_s))
            return server

    server = asyncio.run(scene())
    assert server.requests >= 20
    assert server.connections <= 3  # pages, health, and the version once


def test_the_version_of_a_server_is_told_beside_its_page():
    """vLLM's page does not show it, and a rollout is hard to see without."""

    async def scene() -> None:
        async with serving(GOOD) as server, collector_of(TargetConfig(server.url)) as collector:
            server.answers["/version"] = page(b'{"version": "0.33.0"}')
            seen: list[Observation] = []
            for now_s in range(200):
                seen += await collector.gather(float(now_s))
                if any(isinstance(o, Sample) and o.metric == "gen_ai_server_info" for o in seen):
                    break
                await asyncio.sleep(0.01)
        versions = [o.labels.get("version") for o in seen if isinstance(o, Sample) and o.metric == "gen_ai_server_info"]
        assert versions
        assert set(versions) == {"0.33.0"}

    asyncio.run(scene())


def test_known_servers_are_noted_for_whoever_follows_their_processes():
    """A server known by its page, and not by its program's name, has processes too."""
    world = make_world()
    target = inference.TargetConfig(url="http://127.0.0.1:8001/metrics")
    collector = inference.build(inference.Config(discover=False, targets=(target,)), world)
    asyncio.run(collector.gather(0.0))
    assert local_ports(world.checkpoints) == {8001}


def test_an_upstream_that_a_gateway_names_and_nobody_watches_is_looked_for_at_once():
    """A replica that was put into service before it is ready answers users with 503; a minute later it is over."""

    async def scene() -> None:
        loading = page(b'{"detail": "Loading model"}', status="503 Service Unavailable")
        async with serving(loading) as young:
            instance = f"127.0.0.1:{young.port}"
            new = Found(young.url, instance, dialects().unknown, b"", "python")
            discovery = FakeDiscovery(Round([], 3), Round([new], 4))
            async with httpx.AsyncClient(trust_env=False) as http:
                world = make_world(http=http)
                collector = Inference(Config(), world, dialects(), discovery)  # type: ignore[arg-type]
                await rested(collector, 0.0)
                await rested(collector, 5.0)
                assert len(discovery.known) == 1
                note_upstreams(world.checkpoints, {instance, "10.0.0.9:8000", "-"})
                seen = await rested(collector, 10.0)
                seen += await rested(collector, 15.0)
                seen += await rested(collector, 20.0)
                seen += await rested(collector, 25.0)
                collector.close()
            assert discovery.named[1] == {instance}
            assert ups(seen) == {instance: 0.0}
            assert set(values(seen, "gen_ai_server_ready")) == {0.0}
            assert values(seen, "gen_ai_server_loading") == [1.0]
            assert local_ports(world.checkpoints) == {young.port}
            assert len(discovery.known) == 2  # it is known now

    asyncio.run(scene())


def test_a_server_that_is_being_started_and_does_not_listen_yet_is_not_ready():
    """Nothing about it would read as if all replicas were well."""

    async def scene() -> None:
        async with serving(GOOD) as server:
            instance = f"127.0.0.1:{server.port}"
            async with httpx.AsyncClient(trust_env=False) as http:
                world = make_world(http=http)
                collector = Inference(Config(), world, dialects(), FakeDiscovery())  # type: ignore[arg-type]
                await rested(collector, 0.0)
                note_coming(world.checkpoints, {"127.0.0.1:9", instance, "10.0.0.9:8000"})
                seen = await rested(collector, 5.0)
                seen += await rested(collector, 10.0)
                collector.close()
            assert ups(seen) == {"127.0.0.1:9": 0.0, instance: 1.0}
            assert set(values(seen, "gen_ai_server_ready")) == {0.0, 1.0}

    asyncio.run(scene())


def test_a_server_that_was_ended_before_it_listened_is_soon_forgotten():
    """It is asked for as long as it starts, an hour with large weights, and not reported as down long after."""

    async def scene() -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            world = make_world(http=http)
            collector = Inference(Config(), world, dialects(), FakeDiscovery())  # type: ignore[arg-type]
            note_coming(world.checkpoints, {"127.0.0.1:9"})
            for at_s in range(0, 3000, 100):
                starting = await rested(collector, float(at_s))
            note_coming(world.checkpoints, set())
            ended = [await rested(collector, 3000.0 + at_s) for at_s in (0.0, 5.0, 70.0)]
            collector.close()
        assert ups(starting) == {"127.0.0.1:9": 0.0}
        assert ups(ended[-1]) == {}

    asyncio.run(scene())


def test_an_upstream_that_is_not_found_is_looked_for_often_only_for_a_while():
    """Behind most gateways there are services of other kinds as well."""

    async def scene() -> None:
        discovery = FakeDiscovery()
        async with httpx.AsyncClient(trust_env=False) as http:
            world = make_world(http=http)
            note_upstreams(world.checkpoints, {"127.0.0.1:9"})
            collector = Inference(Config(), world, dialects(), discovery)  # type: ignore[arg-type]
            for at_s in range(0, 600, 5):
                await rested(collector, float(at_s))
            collector.close()
        assert len(discovery.known) == 12 + 8

    asyncio.run(scene())
