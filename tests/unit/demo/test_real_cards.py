"""Which real cards the demo may touch, and how much of them it takes: never what somebody else could need."""

import pytest

from aiops.demo.cards import RealCards
from aiops.demo.real_cards import NoCard, RealGpu, held_mib, idle_cards

MIB = 2**20


def card(index: int = 0, **readings: object) -> dict[str, object]:
    """One card of an NVML reading: idle, of 80 GiB."""
    idle = {"index": index, "uuid": f"GPU-{index}", "name": "Card", "memory_used_bytes": 4.0 * MIB, "processes": []}
    return idle | readings


def gpu(index: int = 0, total_mib: float = 81_920.0, context_mib: float = 500.0) -> RealGpu:
    return RealGpu(index, f"GPU-{index}", "Card", total_mib - context_mib, total_mib)


def test_a_card_with_a_process_on_it_is_left_alone():
    """The demo fills the card: whoever computes there would lose hours of work."""
    found = idle_cards([card(0, processes=[(4711, 30.0 * MIB)]), card(1)])

    assert list(found) == ["GPU-1"]


def test_memory_in_use_without_a_process_means_somebody_we_do_not_see():
    """In a container NVML lists nobody, whoever is there; and a screen is no compute process."""
    with pytest.raises(NoCard, match="somebody else uses every GPU"):
        idle_cards([card(0, memory_used_bytes=900.0 * MIB), card(1, processes=[(1, 1.0)])])


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ([], "no NVIDIA GPU answers"),
        ([{"index": 0, "uuid": "GPU-0", "lost": True}], "no NVIDIA GPU answers"),
        ([{"index": 0, "uuid": "GPU-0", "name": "Shared"}], "no memory of its own"),
        ([card(0, processes=[(1, 1.0)])], "somebody else uses the GPU"),
    ],
)
def test_a_card_that_cannot_be_used_is_refused_in_words(cards: list[dict[str, object]], reason: str):
    """The terminal says why the GPUs are simulated."""
    with pytest.raises(NoCard, match=reason):
        idle_cards(cards)


@pytest.mark.parametrize(("total_mib", "reserve_mib"), [(16_384.0, 2_048.0), (143_771.0, 143_771.0 * 0.05)])
@pytest.mark.parametrize("servers", [1, 3])
def test_servers_leave_the_reserve_free_even_while_they_prefill(total_mib: float, reserve_mib: float, servers: int):
    """A driver, a profiler, a colleague's first import: something must always fit beside a demo that is healthy."""
    context_mib, prefills_mib = 450.0, 900.0

    held = held_mib(gpu(total_mib=total_mib, context_mib=context_mib), servers)

    assert held > 0
    assert total_mib - servers * (held + context_mib + prefills_mib) >= reserve_mib


def test_a_card_that_is_too_small_is_not_used():
    """Better a simulation than a demo that fails half-way."""
    with pytest.raises(NoCard, match="not enough free memory on GPU 4"):
        RealCards(3, [gpu(4, total_mib=6_144.0)])


def test_servers_share_one_card_and_spread_over_several():
    """One card is the usual machine."""
    one, two = RealCards(3, [gpu(5)]), RealCards(3, [gpu(0), gpu(2)])

    assert [seat.gpu for seat in one.seats] == [5, 5, 5]
    assert [seat.gpu for seat in two.seats] == [0, 2, 0]
    assert two.seats[1].held_mib > 2 * two.seats[0].held_mib
    assert two.seats[1].address == "cuda:GPU-2"
