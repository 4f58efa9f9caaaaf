"""Labelled tiles of a store, in dB or normalised: held in memory where they fit, else read as they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from sardino.errors import SardinoError
from sardino.tiles.normalisation import Normalisation
from sardino.tiles.tileset import TileStore
from sardino.training.mapped_tiles import MappedTiles
from sardino.training.source import MemoryTiles, TileSource

Cache = Literal["auto", "memory", "mapped", "none"]
MEMORY_BYTES = 1_000_000_000
"""A set of tiles larger than this is read from the store batch by batch instead of being held."""


@dataclass(frozen=True)
class StoreTiles:
    """Tiles read from the store as they are asked for: a `TileSource` of any size.

    Without a normalisation the inputs stay in the store's unit, and what is missing stays NaN.
    """

    store: TileStore
    ids: Sequence[str]
    normalisation: Normalisation | None

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        backscatter, label = self.store.read([self.ids[n] for n in numbers])
        inputs = backscatter if self.normalisation is None else self.normalisation.apply(backscatter)
        return torch.from_numpy(inputs), torch.from_numpy(label)


def open_tiles(
    store: TileStore,
    ids: Sequence[str],
    normalisation: Normalisation | None,
    cache: Cache = "auto",
    folder: Path | None = None,
) -> TileSource:
    """Tiles where they are read fastest.

    Args:
        store, ids, normalisation: the tiles and how they are normalised; None leaves dB, missing as NaN.
        cache: "memory" holds them; "mapped" copies them once into memory-mapped files; "none" reads the store each
            time; "auto" holds them where they take less than a gigabyte and reads the store elsewhere.
        folder: where memory-mapped files live; needed for "mapped".
    """
    tiles = StoreTiles(store, ids, normalisation)
    if cache == "mapped":
        if folder is None:
            raise SardinoError("memory-mapped tiles need a folder to live in")
        return MappedTiles.build(store, ids, normalisation, folder)
    size = len(ids) * len(store.channels) * store.tile_px**2 * 4
    if cache == "memory" or (cache == "auto" and size < MEMORY_BYTES):
        return MemoryTiles(*tiles.read(range(len(ids))))
    return tiles
