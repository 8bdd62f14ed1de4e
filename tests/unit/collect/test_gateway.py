"""The gateway's own page is found where it usually is, read, and missed when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import httpx
import pytest

from aiops.collect.gateway import Config, Gateway, build, stub_status
from aiops.model import Observation, Sample, Sight
from tests.pageserver import hang, page, serving
from tests.worlds import make_world

ENVOY = b'envoy_cluster_membership_healthy{envoy_cluster_name="chat"} 2\n'
STUB = (
    b"Active connections: 3 \nserver accepts handled requests\n 10 8 40 \nReading: 0 Writing: 1 Waiting: 2 \n"
)  # fmt: skip

Answer = Callable[[httpx.Request], httpx.Response]


def collector(answer: Answer, config: Config | None = None) -> Gateway:
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return build(config or Config(), make_world(http=http))


def rounds(gateway: Gateway, *times_s: float) -> list[Sequence[Observation]]:
    """What each round observes."""

    async def scene() -> list[Sequence[Observation]]:
        return [list(await gateway.gather(at_s)) for at_s in times_s]

    return asyncio.run(scene())


def values(observations: Sequence[Observation], metric: str) -> list[float]:
    return [o.value for o in observations if isinstance(o, Sample) and o.metric == f"http_gateway_{metric}"]


def sights(observations: Sequence[Observation]) -> list[tuple[str, bool, str]]:
    return [(o.subject, o.seen, o.detail) for o in observations if isinstance(o, Sight)]


class Neighbourhood:
    """Answers on some ports; counts who was asked what."""

    def __init__(self, **pages: bytes) -> None:
        self.pages = {int(port.removeprefix("p")): body for port, body in pages.items()}
        self.asked: list[httpx.URL] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url)
        body = self.pages.get(request.url.port or 80)
        if body is None:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, content=body)


def test_envoy_is_found_at_its_admin_port_and_asked_for_what_is_wanted():
    """Its whole page has megabytes where there are many clusters."""
    street = Neighbourhood(p9901=ENVOY)
    first, second = rounds(collector(street.answer), 0.0, 5.0)
    assert values(first, "upstreams_healthy") == values(second, "upstreams_healthy") == [2.0]
    assert values(second, "up") == [1.0]
    assert sights(first) == [("gateway at 127.0.0.1:9901", True, "Envoy")]
    assert sights(second) == []
    assert "membership_(total|healthy)" in (street.asked[0].params["filter"])


def test_where_no_gateway_is_nobody_is_missed_and_the_ports_are_asked_once_a_minute():
    """Most nodes have none; a connection refused a second would be noise."""
    street = Neighbourhood()
    assert rounds(collector(street.answer), *(5.0 * n for n in range(24))) == [[]] * 24
    assert len(street.asked) == 2 * 4


def test_a_stranger_on_such_a_port_is_left_alone():
    """Port 9113 may be anybody's exporter."""
    street = Neighbourhood(p9113=b"go_info 1\n", p9901=b"<html>admin</html>")
    first, second = rounds(collector(street.answer), 0.0, 5.0)
    assert (first, second) == ([], [])
    assert len(street.asked) == 4


def test_nothing_is_looked_for_where_that_is_not_wished():
    """`discover: false` means the settings say all there is."""
    street = Neighbourhood(p9901=ENVOY)
    rounds(collector(street.answer, Config(discover=False)), 0.0, 60.0)
    assert street.asked == []


def test_nginx_is_read_by_its_own_status_page():
    """Every nginx can show it without another program; what it accepted and dropped stands nowhere else."""
    street = Neighbourhood(p8080=STUB)
    gateway = collector(street.answer, Config(urls=("http://127.0.0.1:8080/stub_status",), discover=False))
    street_later = STUB.replace(b"10 8 40", b"20 11 55")
    (first,) = rounds(gateway, 0.0)
    street.pages[8080] = street_later
    (second,) = rounds(gateway, 5.0)
    assert values(first, "connections_dropped_total") == [2.0]
    assert values(second, "connections_dropped_total") == [9.0]
    assert values(second, "requests_total") == [55.0]
    assert [o.labels.get("gateway") for o in first if isinstance(o, Sample)] == ["nginx"] * 7


def test_a_gateway_that_is_gone_is_down_and_a_found_one_is_forgotten_after_a_while():
    """A person who wrote down an address expects it to answer."""
    street = Neighbourhood(p9901=ENVOY)
    gateway = collector(street.answer, Config(urls=("http://10.0.0.1:9113/metrics",)))
    rounds(gateway, 0.0)
    street.pages.clear()
    soon, late, after = rounds(gateway, 5.0, 1_000.0, 1_005.0)
    assert values(soon, "up") == [0.0, 0.0]
    assert [(subject, seen) for subject, seen, _ in sights(soon)] == [("gateway at 127.0.0.1:9901", False)]
    assert values(late, "up") == [0.0, 0.0]
    assert values(after, "up") == [0.0]


def test_a_page_that_is_no_gateway_s_is_said_to_be_that():
    """A wrong address in the settings must not look like an idle gateway."""
    street = Neighbourhood(p8080=b"go_info 1\n")
    (seen,) = rounds(collector(street.answer, Config(urls=("http://127.0.0.1:8080/",), discover=False)), 0.0)
    assert sights(seen) == [("gateway at 127.0.0.1:8080", False, "not a page of Envoy or nginx")]


def test_a_page_that_hangs_is_down_and_the_other_is_read():
    """The admin thread of an overloaded gateway is the first to fall silent."""

    async def scene() -> Sequence[Observation]:
        async with serving(hang) as sick, serving(page(ENVOY)) as well, httpx.AsyncClient(trust_env=False) as http:
            config = Config(urls=(sick.url, well.url), discover=False, deadline=0.1)
            return list(await build(config, make_world(http=http)).gather(0.0))

    seen = asyncio.run(scene())
    assert values(seen, "up") == [0.0, 1.0]
    assert values(seen, "upstreams_healthy") == [2.0]


@pytest.mark.parametrize(
    "text", [b"", b"Active connections: x", STUB[:60], b"go_info 1\n", b"Active connections: " + b"9" * 100_000]
)
def test_what_is_no_status_page_is_not_taken_for_one(text):
    """A cut-off page has no numbers, rather than some."""
    assert stub_status(text) is None
