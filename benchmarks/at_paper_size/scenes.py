"""Tiles of the synthetic world, simulated on all cores and held packed, on the GPU where they fit."""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.at_paper_size.preset import ARMS, Preset
from sardino.data.places.splits import band_index, splits_of_bands
from sardino.data.sources.world.region import REGIONS
from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.radiometry import CHANNELS, NODATA, SCALE_DB, pack
from sardino.data.tiles.tile import Tile

BAND_ANGLE_DEG = 30.0


def simulate(job: tuple[int, Tile]) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """One tile of the world: packed backscatter, labels, and (3, C) count, sum and sum of squares of valid pixels."""
    seed, tile = job
    chip = World(seed).chip(tile)
    counts = pack(chip.backscatter_db)
    pixels = counts.reshape(len(counts), -1).astype(np.float64) * SCALE_DB
    valid = counts.reshape(len(counts), -1) != NODATA
    pixels[~valid] = 0
    return counts, chip.label, np.stack([valid.sum(1), pixels.sum(1), (pixels**2).sum(1)])


@dataclass(frozen=True)
class Scenes:
    """All tiles of the run, packed: 4.8 MB each at the paper's size, so that they fit on the GPU as a whole.

    Args:
        counts: (N, C, H, W) int16; labels: (N, H, W) uint8 on the CPU; moments: (N, 3, C), see `simulate`.
    """

    tiles: list[Tile]
    split: NDArray[np.str_]
    band: NDArray[np.int64]
    counts: Tensor
    labels: Tensor
    moments: NDArray[np.float64]

    def numbers(self, split: str, regions: Sequence[str]) -> list[int]:
        return [i for i, tile in enumerate(self.tiles) if tile.region in regions and self.split[i] == split]

    def source(self, numbers: list[int], arm: str, device: torch.device) -> "Packed":
        """Some tiles, normalised by the mean and deviation of the arm's training tiles."""
        count, total, squares = self.moments[self.numbers("train", ARMS[arm])].sum(0)
        mean = total / count
        std = np.sqrt(squares / count - mean**2)
        shape = (len(CHANNELS), 1, 1)
        statistics = (torch.tensor(v, dtype=torch.float32, device=device).view(shape) for v in (mean, std))
        return Packed(self, numbers, *statistics)


@dataclass(frozen=True)
class Packed:
    """A `TileSource` that unpacks and normalises on the device when asked; labels stay on the CPU."""

    scenes: Scenes
    numbers: list[int]
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def inputs(self, numbers: Sequence[int]) -> Tensor:
        chosen = torch.tensor([self.numbers[n] for n in numbers], device=self.scenes.counts.device)
        counts = self.scenes.counts[chosen].to(self.mean.device)
        return ((counts.float() * SCALE_DB - self.mean) / self.std).masked_fill_(counts == NODATA, 0.0)

    def read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.inputs(numbers), self.scenes.labels[[self.numbers[n] for n in numbers]]


def make_scenes(preset: Preset, seed: int, workers: int) -> Scenes:
    """Simulate all tiles on all cores, split each region into bands by itself (paper, Figure 3)."""
    world = World(seed)
    per_region = [
        world.tiles(region, preset.tile_px, columns, rows)
        for region, (columns, rows) in zip(REGIONS, preset.tiles, strict=True)
    ]
    bands = []
    for tiles in per_region:
        x, y = np.array([tile.centre for tile in tiles]).T
        bands.append(band_index(x, y, preset.bands, BAND_ANGLE_DEG))
    band = np.concatenate(bands)
    tiles = [tile for group in per_region for tile in group]
    counts = np.empty((len(tiles), len(CHANNELS), preset.tile_px, preset.tile_px), np.int16)
    labels = np.empty((len(tiles), preset.tile_px, preset.tile_px), np.uint8)
    moments = np.empty((len(tiles), 3, len(CHANNELS)))
    # A fork shares the loaded libraries; it must come before CUDA starts, and is safe on Linux alone.
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for i, made in enumerate(pool.map(simulate, [(seed, tile) for tile in tiles], chunksize=2)):
            counts[i], labels[i], moments[i] = made
    return Scenes(tiles, splits_of_bands(band), band, torch.from_numpy(counts), torch.from_numpy(labels), moments)
