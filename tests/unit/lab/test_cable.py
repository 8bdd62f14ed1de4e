"""A cable between two ends carries as fast as it says and keeps what came first first."""

import os

import pytest

from tests.lab.cable import Way


@pytest.fixture
def ends():
    """Read ends do not block, as TUN devices' here."""
    source, into = os.pipe2(os.O_NONBLOCK | os.O_DIRECT)  # a write is a packet
    out, target = os.pipe2(os.O_NONBLOCK | os.O_DIRECT)
    yield source, into, out, target
    for end in (source, into, out, target):
        os.close(end)


def carried(out: int) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(os.read(out, 2000))
        except BlockingIOError:
            return found


def test_a_full_wire_says_when_it_is_free_and_keeps_the_order(ends):
    """A hundred milliseconds a packet: after the first it is busy for what that took, less what it may catch up."""
    source, into, out, target = ends
    way = Way(source, target, 10_000.0)
    for number in range(3):
        os.write(into, bytes([number]) * 1000)

    waits = [way.carry(at_s) for at_s in (100.0, 100.01, 100.08, 100.2)]

    assert waits == pytest.approx([0.07, 0.06, 0.09, 0.07])
    assert [packet[0] for packet in carried(out)] == [0, 1, 2]


def test_an_idle_wire_says_that_nothing_is_left(ends):
    """It is then asked again when something comes."""
    source, into, out, target = ends
    way = Way(source, target, 1e6)
    os.write(into, b"packet")

    assert way.carry(100.0) == 0.0
    assert carried(out) == [b"packet"]


def test_over_a_second_a_wire_carries_a_second_of_its_speed(ends):
    """What it may catch up is bounded."""
    source, into, out, target = ends
    way = Way(source, target, 10_000.0)  # ten packets a second
    taken = 0
    for step in range(101):
        if step < 14:  # more than it carries, and no more than a pipe holds
            os.write(into, bytes(1000))
        way.carry(50.0 + step / 100)
        taken += len(carried(out))

    assert 10 <= taken <= 12
