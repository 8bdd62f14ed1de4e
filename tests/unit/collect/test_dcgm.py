"""dcgm-exporter as a source: quiet where there is none, outspoken where one was configured."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest

from aiops.cards import CardBook, Spot
from aiops.collect.dcgm import Config, Dcgm
from aiops.collect.dcgm_page import DcgmPage
from aiops.errors import SourceMalformed, SourceUnavailable
from aiops.model import Event, Labels, Observation, Sample, Sight
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

    def collector(self, *urls: str, book: CardBook | None = None) -> Dcgm:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        world = make_world(http=http)
        return Dcgm(Config(urls=urls), replace(world, cards=book) if book else world)


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
    samples = [
        o for o in DcgmPage("n1", local=local, book=CardBook()).read(page(0).encode(), 0.0) if isinstance(o, Sample)
    ]
    assert {sample.labels.get("host_name") for sample in samples} == {host}


def test_only_a_new_xid_is_an_event():
    """The page shows the last Xid for ever: at our start it may be weeks old, later it is repeated every second."""
    exporter = DcgmPage("n1", local=True, book=CardBook())
    codes = [31, 31, 79, 79, 0, 79]
    events = [
        [o.message for o in exporter.read(page(0, xid=code).encode(), float(at_s)) if isinstance(o, Event)]
        for at_s, code in enumerate(codes)
    ]
    assert events == [[], [], ["Xid 79 on GPU 0"], [], [], []]


def counted(source: str, **counts: float) -> bytes:
    lines = [f"DCGM_FI_DEV_GPU_UTIL{{{LABELS.format(gpu=0)}}} 90"]
    lines += [f'{source}{{{LABELS.format(gpu=0)},xid="{code[1:]}"}} {count}' for code, count in counts.items()]
    return "\n".join(lines).encode() + b"\n"


@pytest.mark.parametrize(
    ("source", "pages", "told"),
    [
        # the window's count falls when it moves on, and an Xid is news when it rises
        ("COUNT", [{"x31": 2}, {"x31": 2}, {"x31": 3}, {"x31": 1}, {}, {"x31": 1}], [0, 0, 1, 0, 0, 1]),
        # a total falls when the exporter restarts, and what it counts then is news
        ("TOTAL", [{"x31": 5}, {"x31": 5}, {"x31": 6}, {"x31": 1}, {"x31": 1}], [0, 0, 1, 1, 0]),
        ("TOTAL", [{}, {"x79": 1}, {"x79": 1, "x48": 1}, {}, {"x79": 1}], [0, 1, 1, 0, 1]),
        ("COUNT", [{}, {"x0": 1}, {"xabc": 1}, {"x99999": 1}, {"x7²": 1}, {"x": 1}], [0, 0, 0, 0, 0, 0]),
        ("TOTAL", [{}, {"x000001" + "9" * 5_000: 1}, {"x00000131": 1}], [0, 0, 0]),
    ],
)
def test_where_the_exporter_counts_xids_a_rise_is_an_event(source, pages, told):
    """The same Xid twice does not change the last code; the counts show it."""
    exporter = DcgmPage("n1", local=True, book=CardBook())
    events = [
        sum(
            isinstance(o, Event)
            for o in exporter.read(counted(f"DCGM_EXP_XID_ERRORS_{source}", **counts), 30.0 * number)
        )
        for number, counts in enumerate(pages)
    ]
    assert events == told


def test_an_xid_that_another_source_told_is_not_told_again():
    """The kernel log is half a minute ahead of the exporter."""
    book = CardBook()
    exporter = DcgmPage("n1", local=True, book=book)
    labels = LABELS + ',pci_bus_id="00000000:65:00.0"'
    quiet, loud = (f"DCGM_FI_DEV_XID_ERRORS{{{labels.format(gpu=0)}}} {code}\n".encode() for code in (0, 79))
    list(exporter.read(quiet, 0.0))
    book.xid("kernel_log", Spot(Labels.of(host_name="n1"), "0000:65:00"), 10.0, 79)
    assert not [o for o in exporter.read(loud, 35.0) if isinstance(o, Event)]


# --- cards that NVML shows ------------------------------------------------------------------------------------------


def shown(*gpus: int, at_s: float = 0.0, book: CardBook | None = None) -> CardBook:
    book = book or CardBook()
    book.show({f"0000:{gpu}:00": Labels.of(host_name="n1", hw_id=f"GPU-{gpu}", gpu=str(gpu)) for gpu in gpus}, at_s)
    return book


def test_a_page_whose_cards_nvml_shows_is_left_alone():
    """Two sources of one series would contradict each other; once a minute is enough to see another card come."""
    exporters = Exporters()
    exporters.pages["127.0.0.1"] = page(0, 1)
    book = shown(0, 1)
    collector = exporters.collector(book=book)
    seen = []
    for second in range(120):
        shown(0, 1, at_s=float(second), book=book)
        seen += gather(collector, float(second))
    assert [o for o in seen if isinstance(o, Sample)] == []
    assert [(o.seen, o.detail) for o in seen if isinstance(o, Sight)] == [(True, "its cards are read through NVML")]
    assert exporters.asked == 2


def test_a_card_that_nvml_does_not_show_is_taken_from_the_page():
    """In a container NVML sees the cards that were handed in."""
    exporter = DcgmPage("n1", local=True, book=shown(0))
    samples = [o for o in exporter.read(page(0, 1).encode(), 1.0) if isinstance(o, Sample)]
    assert {sample.labels.get("gpu") for sample in samples} == {"1"}
    assert "hw_gpu_count" not in {sample.metric for sample in samples}


def test_the_page_takes_over_when_nvml_falls_silent():
    """A driver that hangs for us may still answer DCGM."""
    exporter = DcgmPage("n1", local=True, book=shown(0))
    assert list(exporter.read(page(0).encode(), 1.0)) == []
    assert list(exporter.read(page(0).encode(), 61.0)) != []


def test_a_card_that_nvml_begins_to_show_is_not_missed_on_the_page():
    """At our start the page may be read first."""
    book = CardBook()
    exporter = DcgmPage("n1", local=True, book=book)
    list(exporter.read(page(0).encode(), 0.0))
    shown(0, book=book)
    assert list(exporter.read(page(0).encode(), 2.0)) == []


def test_a_page_nobody_needs_may_fail():
    """NVML shows its cards; an alert about the exporter would help no one."""
    exporters = Exporters(a=page(0))
    book = shown(0)
    collector = exporters.collector("http://a:9400/metrics", book=book)
    gather(collector, 0.0)
    exporters.pages.clear()
    shown(0, at_s=61.0, book=book)
    assert [o for o in gather(collector, 61.0) if isinstance(o, Sight)] == []


def test_a_lost_card_is_reported_for_an_hour():
    """Long enough for any rule; a card taken out for good must not stay red for ever."""
    exporter = DcgmPage("n1", local=True, book=CardBook())
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
    exporter = DcgmPage("n1", local=True, book=CardBook())
    seen = list(exporter.read(page(*range(1_000)).encode(), 0.0))
    assert sum(1 for o in seen if isinstance(o, Sample) and o.metric == "hw_gpu_up") == 256


def test_a_page_of_endless_slices_and_codes_is_bounded():
    """Labels are the exporter's word too."""
    exporter = DcgmPage("n1", local=True, book=CardBook())
    lines = []
    for number in range(2_000):
        labels = LABELS.format(gpu=0) + f',GPU_I_ID="{number}{"9" * 500}",xid="{number}"'
        lines += [f"DCGM_FI_DEV_{name}{{{labels}}} 100" for name in ("FB_USED", "FB_FREE")]
        lines.append(f"DCGM_EXP_XID_ERRORS_COUNT{{{labels}}} 0")
    list(exporter.read("\n".join(lines).encode(), 0.0))
    rising = "\n".join(line.removesuffix(" 0") + " 1" if line.endswith(" 0") else line for line in lines)
    seen = list(exporter.read(rising.encode(), 60.0))
    samples = [o for o in seen if isinstance(o, Sample)]
    assert len({o.labels for o in samples if o.metric == "hw_gpu_instance_memory_usage_bytes"}) <= 17
    assert len({o.labels for o in samples if o.metric == "hw_gpu_xid_errors_total"}) <= 17
    assert sum(isinstance(o, Event) for o in seen) <= 64
    assert max(len(value) for o in samples for _, value in o.labels.pairs) <= 200
