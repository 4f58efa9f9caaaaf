"""The synthetic world: any tile of it, alone, from a seed and the tile's place."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sardino.data.sources.world.backscatter import mean_power
from sardino.data.sources.world.cover import covers
from sardino.data.sources.world.landscape import landscape
from sardino.data.sources.world.noise import Grid, Keys
from sardino.data.sources.world.reference_layers import reference_layers
from sardino.data.sources.world.region import region_of
from sardino.data.sources.world.sensor import INCIDENCE_DEG, NOISE_FLOOR_DB, Composite, gaps, noise_floor, observe
from sardino.data.tiles.radiometry import seasonal_stack
from sardino.data.tiles.tile import Chip, Tile, tile_grid
from sardino.errors import SardinoError

VERSION = 3
"""Counts changes after which the same seed shows another world."""
PAD_PX = 6
"""Pixels beyond the tile's edge that its blurred pixels draw on."""


@dataclass(frozen=True)
class World:
    """Synthetic Sentinel-1 scenes with their land cover; no pixel of it was ever measured.

    Args:
        seed: names the world; another seed is another geography.
        looks: equivalent number of looks of one acquisition, 4.4 for IW GRDH.
        dates_per_season: acquisitions that make one seasonal composite.
        composite: "mean" of the dates in linear power, or their "median", which Earth Engine scripts take; it
            simulates every date and takes some ten times as long.
        gaps: leave out, as NaN, frames that a season lacks and borders that were cut off.
    """

    seed: int = 0
    looks: float = 4.4
    dates_per_season: int = 15
    composite: Composite = "mean"
    gaps: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0 or self.looks < 1 or self.dates_per_season < 1:
            raise SardinoError("a world needs a seed from 0, at least one look and at least one date per season")
        if self.composite not in ("mean", "median"):
            raise SardinoError(f"a world's composite is mean or median, not '{self.composite}'")

    def tiles(self, region: str, size_px: int, columns: int, rows: int, gsd_m: float = 10.0) -> list[Tile]:
        """Square tiles side by side from the region's origin, row by row; size_px is 448 in the paper."""
        preset = region_of(region)
        return list(tile_grid(region, preset.crs, preset.origin, size_px, gsd_m, columns, rows))

    def chip(self, tile: Tile) -> Chip:
        """Backscatter, label and reference layers of one tile.

        The same tile gives the same bytes. Land cover, reference layers and the noise-free backscatter continue
        across tile borders. Speckle is drawn per tile.
        """
        region = region_of(tile.region)
        if tile.crs != region.crs:
            raise SardinoError(f"region '{region.name}' lies in {region.crs}, not in '{tile.crs}'")
        keys = Keys(self.seed, region.name)
        gsd, _, left, _, step, top = tile.transform
        rows, columns = tile.shape
        grid = Grid(
            left + gsd * (np.arange(-PAD_PX, columns + PAD_PX, dtype=np.float64) + 0.5),
            top + step * (np.arange(-PAD_PX, rows + PAD_PX, dtype=np.float64) + 0.5),
        )
        inner = slice(PAD_PX, -PAD_PX), slice(PAD_PX, -PAD_PX)
        scene = landscape(grid, region, keys)
        cover = scene.cover[inner]
        vv, vh = observe(
            mean_power(scene, grid, keys)[:, :, *inner],
            noise_floor(grid)[:, *inner],
            covers().coherence[cover],
            looks=self.looks,
            dates=self.dates_per_season,
            composite=self.composite,
            gsd_m=gsd,
            key=(self.seed, int(tile.id, 16)),
        )
        if self.gaps:
            absent = gaps(grid, keys)[:, *inner]
            vv, vh = np.where(absent, np.float32(np.nan), vv), np.where(absent, np.float32(np.nan), vh)
        layers = reference_layers(scene, grid, inner, region, keys)
        return Chip(seasonal_stack(vv, vh), covers().label[cover], layers)

    def metadata(self) -> dict[str, Any]:
        """What a store must say about these chips."""
        return {
            "product": "sardino synthetic world",
            "synthetic": True,
            "version": VERSION,
            "seed": self.seed,
            "unit": "dB",
            "quantity": f"sigma0, seasonal {self.composite} of linear power",
            "looks": self.looks,
            "dates_per_season": self.dates_per_season,
            "composite": self.composite,
            "gaps": self.gaps,
            "noise_floor_db": list(NOISE_FLOOR_DB),
            "incidence_deg": list(INCIDENCE_DEG),
            "labels": "ESA WorldCover classes, synthetic",
        }
