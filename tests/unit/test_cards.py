"""One fault of one card is one event, whoever sees it and however it spells the card."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.cards import CardBook, Spot, bus_address
from aiops.model import Event, Labels, Observation, Sample

HERE = Labels.of(host_name="n1", hw_id="GPU-7", gpu="3")
KERNEL = Spot(Labels.of(host_name="n1", hw_id="0000:65:00", gpu="3"), "0000:65:00")
NVML = Spot(HERE, "00000000:65:00.0")


def events(observations: list[Observation]) -> list[Event]:
    return [each for each in observations if isinstance(each, Event)]


def totals(observations: list[Observation]) -> list[tuple[str, float, float]]:
    return [(each.labels.get("xid"), each.at_s, each.value) for each in observations if isinstance(each, Sample)]


@pytest.mark.parametrize("text", ["0000:65:00", "00000000:65:00.0", "0000:65:00.1", "0:65:0", " 0000:65:00"])
def test_an_address_is_the_same_in_every_spelling(text):
    """The kernel leaves out the function, NVML pads the domain."""
    assert bus_address(text) == "0:65:0"


@given(st.text(max_size=40))
def test_any_text_may_be_asked_for(text):
    """Addresses come from pages and logs."""
    assert isinstance(bus_address(text), str)
    assert CardBook().labels_at(text) is None


def test_two_witnesses_of_one_xid_are_one_event():
    """Whoever comes second within a minute adds nothing."""
    book = CardBook()
    first = book.xid("kernel_log", KERNEL, 100.0, 79)
    assert [event.message for event in events(first)] == ["Xid 79 on GPU 3"]
    assert book.xid("gpu_nvml", NVML, 104.0, 79) == []
    assert book.xid("dcgm", NVML, 131.0, 79) == []


def test_another_code_or_another_card_is_news():
    """Xid 48 and 63 come together and say different things."""
    book = CardBook()
    book.xid("kernel_log", KERNEL, 100.0, 48)
    assert events(book.xid("gpu_nvml", NVML, 101.0, 63))
    assert events(book.xid("gpu_nvml", Spot(HERE, "0000:66:00"), 101.0, 48))
    assert events(book.xid("gpu_nvml", Spot(HERE.merge(host_name="n2"), "0000:65:00"), 101.0, 48))


def test_one_witness_may_repeat_itself_after_ten_seconds():
    """A card that goes on failing goes on being told, but not each time."""
    book = CardBook()
    told = [bool(book.xid("kernel_log", KERNEL, at_s, 31)) for at_s in (0.0, 3.0, 9.0, 11.0, 15.0, 22.0)]
    assert told == [True, False, False, True, False, True]


def test_a_clock_that_was_set_back_hides_nothing():
    """What was told in the future is not the same."""
    book = CardBook()
    book.xid("kernel_log", KERNEL, 10_000.0, 79)
    assert events(book.xid("gpu_nvml", NVML, 100.0, 79))


def test_a_count_begins_at_zero_and_goes_on():
    """Rules ask how much it rose."""
    book = CardBook()
    assert totals(book.xid("gpu_nvml", NVML, 100.0, 31)) == [("31", 99.0, 0.0), ("31", 100.0, 1.0)]
    assert totals(book.xid("gpu_nvml", NVML, 120.0, 31)) == [("31", 120.0, 2.0)]


def test_counts_are_repeated_every_ten_seconds_to_whoever_asks_first():
    """A series that nobody repeats would end within the hour."""
    book = CardBook()
    assert book.totals(0.0) == []
    book.xid("gpu_nvml", NVML, 100.0, 31)
    assert [len(book.totals(at_s)) for at_s in (101.0, 102.0, 110.0, 111.0, 50.0)] == [1, 0, 0, 1, 1]


def test_a_card_with_endless_codes_has_few_series():
    """What is in a log line may be anybody's."""
    book = CardBook()
    counted = {code for each in range(100) for code, _, _ in totals(book.xid("kernel_log", KERNEL, 0.0, each))}
    assert len(counted) == 17
    assert "other" in counted


def test_endless_cards_have_few_series_too():
    """Addresses are as cheap as codes."""
    book = CardBook()
    for number in range(1_000):
        book.xid("kernel_log", Spot(Labels.of(host_name="n1", hw_id=str(number)), f"0000:{number:x}:00"), 0.0, 79)
    assert len(book.totals(1.0)) == 256


def test_a_lost_card_is_told_once():
    """The kernel says that it fell off the bus, and seconds later it stops answering."""
    book = CardBook()
    assert events(book.lost("kernel_log", KERNEL, 100.0, "has fallen off the bus"))
    assert book.lost("gpu_nvml", NVML, 105.0, "does not answer any more") == []


def test_a_card_of_which_nothing_is_known_but_its_address_has_a_name():
    """In a container the kernel's numbers may be out of reach."""
    assert Spot(Labels.of(host_name="n1"), "0000:65:00").name == "the GPU at 0000:65:00"


def test_cards_that_nvml_shows_are_known_to_all():
    """The kernel log learns which card is at an address, a page which cards it need not show."""
    book = CardBook()
    book.show({"00000000:65:00.0": HERE}, 100.0)
    assert book.labels_at("0000:65:00") == HERE
    assert book.shows("GPU-7", 130.0)
    assert not book.shows("GPU-8", 130.0)
    assert not book.shows("GPU-7", 161.0)


def test_a_card_that_is_watched_and_well_reads_zero():
    """A clause on a series that is not there is unknown; this one was tested and is absent."""
    book = CardBook()
    book.watch(HERE)
    assert totals([*book.totals(100.0)]) == [("79", 100.0, 0.0)]
    assert totals(book.xid("gpu_nvml", NVML, 105.0, 79))[-1] == ("79", 105.0, 1.0)
    book.watch(HERE)
    assert totals([*book.totals(110.0)]) == [("79", 110.0, 1.0)]


def test_a_card_without_a_name_hides_no_other():
    """A page may leave names out too; those cards are not the one that was lost before our start."""
    book = CardBook()
    book.show({"number 1": Labels.of(host_name="n1", hw_id="", gpu="1")}, 100.0)
    assert not book.shows("", 100.0)
