"""The eight ways to turn and flip a square tile: what the land looks like does not follow from where north is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sardino.dino.batches import Batch, TileSource

WAYS = 8


@dataclass(frozen=True)
class Turned:
    """A `TileSource` of each tile in all its ways, label and image alike: number 8 n + w is tile n, turned way w."""

    tiles: TileSource

    def __len__(self) -> int:
        return WAYS * len(self.tiles)

    def read(self, numbers: Sequence[int]) -> Batch:
        images, labels = self.tiles.read([number // WAYS for number in numbers])
        ways = [number % WAYS for number in numbers]
        return torch.stack(list(map(turn, images, ways))), torch.stack(list(map(turn, labels, ways)))


def turn(tile: Tensor, way: int) -> Tensor:
    """(..., N, N) by `way` quarter turns, and flipped for ways 4 to 7; way 0 is the tile itself."""
    turned = torch.rot90(tile, way % 4, (-2, -1))
    return turned.flip(-1) if way >= 4 else turned


def turned_ids(ids: Sequence[str]) -> list[str]:
    """Names of the tiles of a `Turned`; way 0 keeps the tile's."""
    return [f"{tile}@{way}" if way else tile for tile in ids for way in range(WAYS)]
