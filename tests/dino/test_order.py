from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sardino.dino.batches import CROPS, TILES, Order, chance, seed_of
from sardino.errors import SardinoError


@given(count=st.integers(1, 40), batch=st.integers(1, 40), seed=st.integers(0, 5))
def test_an_epoch_sees_each_tile_at_most_once_and_all_but_a_short_batch(count: int, batch: int, seed: int) -> None:
    if batch > count:
        with pytest.raises(SardinoError, match="lower the batch"):
            Order(count, batch, seed)
        return
    order = Order(count, batch, seed)
    seen = [number for step in range(order.steps_per_epoch) for number in order.numbers(step)]
    assert len(set(seen)) == len(seen) == count - count % batch and set(seen) <= set(range(count))


def test_a_step_is_the_same_however_it_is_reached() -> None:
    order, other = Order(10, 3, 1), Order(10, 3, 1)
    straight = [order.numbers(step) for step in range(9)]
    assert [other.numbers(step) for step in reversed(range(9))] == straight[::-1]
    assert list(islice(Order(10, 3, 1).batches(4, 9), 5)) == straight[4:]
    assert straight[:3] != straight[3:6]  # another epoch, another order
    assert Order(10, 3, 2).numbers(0) != straight[0]


def test_ranks_share_a_batch_out() -> None:
    order = Order(12, 6, 0)
    parts = [list(order.batches(0, 2, rank, 3)) for rank in range(3)]
    assert [a + b + c for a, b, c in zip(*parts, strict=True)] == [order.numbers(0), order.numbers(1)]


def test_streams_and_places_are_independent() -> None:
    seeds = {seed_of(0, stream, place) for stream in (TILES, CROPS) for place in range(50)} | {seed_of(1, TILES, 0)}
    assert len(seeds) == 101 and all(0 <= seed < 2**63 for seed in seeds)
    first, again = chance(0, CROPS, 3), chance(0, CROPS, 3)
    assert torch.equal(torch.rand(4, generator=first), torch.rand(4, generator=again))
