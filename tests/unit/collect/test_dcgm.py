"""dcgm-exporter as a source: quiet where there is none, outspoken where one was configured."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from aiops.collect.dcgm import Config, Dcgm, DcgmPage
from aiops.errors import SourceMalformed, SourceUnavailable
from aiops.model import Event, Observation, Sample, Sight
from tests.worlds import make_world

LABELS = 'gpu="{gpu}",UUID="GPU-{gpu}",device="nvidia{gpu}",modelName="L40S",Hostname="exporter-pod"'


def page(*gpus: int, xid: int = 0) -> str:
    lines = ["# TYPE DCGM_FI_DEV_GPU_UTIL gauge"]
    for gpu in gpus:
        lines.append(f"DCGM_FI_DEV_GPU_UTIL{{{LABELS.format(gpu=gpu)}}} 90")
        lines.append(f"DCGM_FI_DEV_XID_ERRORS{{{LABELS.format(gpu=gpu)}}} {xid}")
    return "\n".join(lines) + "\n"


class Exporters:
    """Pages by URL, and how often each was asked."""

    def __init__(self, **pages: str) -> None:
        self.pages = dict(pages)
        self.asked = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if request.url.host not in self.pages:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, text=self.pages[request.url.host])

    def collector(self, *urls: str) -> Dcgm:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        return Dcgm(Config(urls=urls), make_world(http=http))


def gather(collector: Dcgm, now_s: float) -> list[Observation]:
    return list(asyncio.run(collector.gather(now_s)))


def test_a_node_without_exporter_is_silent_and_hardly_asked():
    """Most nodes have none; that is neither a fault nor worth a connection a second."""
    exporters = Exporters()
    collector = exporters.collector()
    seen = [o for second in range(120) for o in gather(collector, float(second))]
    assert seen == []
    assert exporters.asked == 2


def test_an_exporter_on_the_default_port_is_found_and_missed_when_it_goes():
    """From then on people rely on it."""
    exporters = Exporters()
    collector = exporters.collector()
    gather(collector, 0.0)
    exporters.pages["127.0.0.1"] = page(0, 1)
    found = gather(collector, 60.0)
    assert [(o.seen, o.detail) for o in found if isinstance(o, Sight)] == [(True, "2 GPUs")]
    exporters.pages.clear()
    with pytest.raises(SourceUnavailable, match="refused"):
        gather(collector, 62.0)


def test_one_of_two_exporters_may_fail():
    """The other's cards must stay in sight."""
    exporters = Exporters(a=page(0))
    seen = gather(exporters.collector("http://a:9400/metrics", "http://b:9400/metrics"), 0.0)
    assert [o.value for o in seen if isinstance(o, Sample) and o.metric == "hw_gpu_utilization_ratio"] == [0.9]
    assert {(o.subject, o.seen) for o in seen if isinstance(o, Sight)} == {
        ("dcgm-exporter at a:9400", True),
        ("dcgm-exporter at b:9400", False),
    }


def test_a_configured_exporter_that_refuses_is_an_error_at_once():
    """A typing error in the URL must not look like a node without GPUs."""
    with pytest.raises(SourceUnavailable, match="refused"):
        gather(Exporters().collector("http://a:9400/metrics"), 0.0)


def test_a_page_without_gpus_is_malformed():
    """Port 9400 may belong to another program."""
    with pytest.raises(SourceMalformed, match="no GPU on the page"):
        gather(Exporters(a="go_info 1\n").collector("http://a:9400/metrics"), 0.0)


@pytest.mark.parametrize(("local", "host"), [(True, "n1"), (False, "exporter-pod")])
def test_a_local_exporter_s_cards_belong_to_this_node(local, host):
    """In a pod the exporter calls its host by the pod's name, which joins nothing here."""
    samples = [o for o in DcgmPage("n1", local=local).read(page(0).encode(), 0.0) if isinstance(o, Sample)]
    assert {sample.labels.get("host_name") for sample in samples} == {host}


def test_only_a_new_xid_is_an_event():
    """The page shows the last Xid for ever: at our start it may be weeks old, later it is repeated every second."""
    exporter = DcgmPage("n1", local=True)
    codes = [31, 31, 79, 79, 0, 79]
    events = [
        [o.message for o in exporter.read(page(0, xid=code).encode(), float(at_s)) if isinstance(o, Event)]
        for at_s, code in enumerate(codes)
    ]
    assert events == [[], [], ["Xid 79"], [], [], ["Xid 79"]]


def test_a_lost_card_is_reported_for_an_hour():
    """Long enough for any rule; a card taken out for good must not stay red for ever."""
    exporter = DcgmPage("n1", local=True)
    list(exporter.read(page(0, 1).encode(), 0.0))

    def lost(at_s: float) -> list[str]:
        return [
            o.labels.get("gpu")
            for o in exporter.read(page(1).encode(), at_s)
            if isinstance(o, Sample) and o.metric == "hw_gpu_up" and o.value == 0.0
        ]

    assert lost(10.0) == ["0"]
    assert lost(3_700.0) == ["0"]
    assert lost(3_710.0) == []


def test_a_page_of_endless_cards_is_bounded():
    """UUIDs are the exporter's word; memory is ours."""
    exporter = DcgmPage("n1", local=True)
    seen = list(exporter.read(page(*range(1_000)).encode(), 0.0))
    assert sum(1 for o in seen if isinstance(o, Sample) and o.metric == "hw_gpu_up") == 256
