"""Labelled tiles of a store, normalised: held in memory where they fit, else read as they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sardino.tiles.normalisation import Normalisation
from sardino.tiles.tileset import TileStore
from sardino.training.source import MemoryTiles, TileSource

MEMORY_BYTES = 1_000_000_000
"""A set of tiles larger than this is read from the store batch by batch instead of being held."""


@dataclass(frozen=True)
class StoreTiles:
    """Tiles read from the store as they are asked for: a `TileSource` of any size."""

    store: TileStore
    ids: Sequence[str]
    normalisation: Normalisation

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        backscatter, label = self.store.read([self.ids[n] for n in numbers])
        return torch.from_numpy(self.normalisation.apply(backscatter)), torch.from_numpy(label)


def open_tiles(store: TileStore, ids: Sequence[str], normalisation: Normalisation) -> TileSource:
    """Tiles held in memory where they fit, else left on disk."""
    tiles = StoreTiles(store, ids, normalisation)
    size = len(ids) * len(store.channels) * store.tile_px**2 * 4
    return MemoryTiles(*tiles.read(range(len(ids)))) if size < MEMORY_BYTES else tiles
