"""The eight of the square: image and label together, each way once, and back."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from sardino.dino.batches import MemoryTiles
from sardino.dino.turns import WAYS, Turned, turn, turned_ids

LABELS = torch.arange(3 * 25).reshape(3, 5, 5).to(torch.uint8)
TILES = MemoryTiles(torch.stack([LABELS.float(), -LABELS.float()], 1), LABELS)


@given(st.lists(st.integers(0, len(TILES) * WAYS - 1), min_size=1, max_size=6))
def test_label_and_image_are_turned_alike(numbers):
    images, labels = Turned(TILES).read(numbers)
    assert torch.equal(images[:, 0], labels.float()) and torch.equal(images[:, 1], -labels.float())
    plain = TILES.read([number // WAYS for number in numbers])[1]
    assert torch.equal(labels.flatten(1).sort().values, plain.flatten(1).sort().values), "the same pixels, moved"


def test_there_are_eight_ways_and_the_first_is_the_tile_itself():
    _, labels = Turned(TILES).read(range(len(TILES) * WAYS))
    assert len({label.numpy().tobytes() for label in labels}) == len(Turned(TILES)) == 24
    assert torch.equal(labels[::WAYS], LABELS)
    names = turned_ids(["a", "b"])
    assert len(set(names)) == 16 and names[::WAYS] == ["a", "b"]


def test_every_way_leads_back():
    for way in range(WAYS):
        back = way if way >= 4 else -way % 4
        assert torch.equal(turn(turn(TILES.inputs, way), back), TILES.inputs)
