"""The scheduler and its KV budget: blocks are conserved, nobody is forgotten, the queue is bounded."""

from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.demo.kv import Batcher, Sequence


def sequence(name: str = "a", prompt: int = 100, output: int = 50) -> Sequence:
    return Sequence(name, prompt, output, arrived_s=0.0)


def decode(batcher: Batcher) -> list[Sequence]:
    """One step without time: admit, grow, one token each; returns who finished."""
    batcher.admit(4)
    batcher.grow()
    finished = []
    for running in list(batcher.running):
        running.computed = running.tokens
        running.generated += 1
        if running.done:
            batcher.remove(running)
            finished.append(running)
    return finished


def test_a_full_queue_refuses():
    """That refusal is the 503 of an overloaded engine."""
    batcher = Batcher(blocks=100, block_size=16, max_running=8, max_waiting=2)

    taken = [batcher.offer(sequence(str(n))) for n in range(3)]

    assert taken == [True, True, False]


def test_a_prompt_waits_until_its_blocks_are_free():
    """KV blocks, not slots, are what runs out first on real cards."""
    batcher = Batcher(blocks=8, block_size=16, max_running=8, max_waiting=8)
    first, second = sequence("first", prompt=100, output=2), sequence("second", prompt=100)
    batcher.offer(first)
    batcher.offer(second)

    at_once = batcher.admit(4)
    decode(batcher)
    decode(batcher)
    later = batcher.admit(4)

    assert at_once == [first]
    assert later == [second]


def test_growth_without_a_free_block_puts_the_newest_back_to_the_head_of_the_queue():
    """Preemption by recomputation: the work is lost, the request is not."""
    batcher = Batcher(blocks=4, block_size=16, max_running=8, max_waiting=8)
    old, new, waiting = sequence("old", 31, 20), sequence("new", 31, 20), sequence("waiting", 31, 20)
    for each in (old, new, waiting):
        batcher.offer(each)
    batcher.admit(4)
    old.generated = new.generated = 1

    preempted = batcher.grow()

    assert preempted == [new]
    assert list(batcher.waiting) == [new, waiting]
    assert (new.preempted, new.blocks, old.blocks) == (1, 0, 3)


def test_removing_twice_frees_once():
    """A client may leave in the same step in which its request fails."""
    batcher = Batcher(blocks=10, block_size=16, max_running=8, max_waiting=8)
    leaving = sequence()
    batcher.offer(leaving)
    batcher.admit(1)

    batcher.remove(leaving)
    batcher.remove(leaving)

    assert (batcher.used, batcher.running) == (0, [])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 120), st.integers(1, 40)), min_size=1, max_size=25),
    st.integers(10, 40),
)
def test_blocks_are_conserved_and_every_request_ends(lengths: list[tuple[int, int]], blocks: int):
    """A leak of blocks in the demo would look like a fault nobody planted."""
    batcher = Batcher(blocks=blocks, block_size=16, max_running=6, max_waiting=50)
    offered = [sequence(str(n), p, o) for n, (p, o) in enumerate(lengths) if batcher.fits(p, o)]
    for each in offered:
        batcher.offer(each)
    finished = 0

    for _ in range(20_000):
        finished += len(decode(batcher))
        assert batcher.used == sum(s.blocks for s in batcher.running) <= blocks
        if not batcher.running and not batcher.waiting:
            break

    assert finished == len(offered)
    assert batcher.used == 0
