"""The synthetic world: any tile of it, alone, from a seed and the tile's place."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sardino.errors import SardinoError
from sardino.scenes.backscatter import NOISE_FLOOR_DB, effective_looks, mean_power, observe
from sardino.scenes.cover import covers
from sardino.scenes.landscape import landscape
from sardino.scenes.noise import Grid, Keys
from sardino.scenes.reference import reference_layers
from sardino.scenes.region import REGIONS, Region
from sardino.tiles.chip import Chip
from sardino.tiles.grid import Tile, tile_grid
from sardino.tiles.radiometry import seasonal_stack

__all__ = ["REGIONS", "Region", "World"]

VERSION = 2
"""Counts changes after which the same seed shows another world."""
PAD_PX = 6
"""Pixels beyond the tile's edge that its blurred pixels draw on."""


@dataclass(frozen=True)
class World:
    """Synthetic Sentinel-1 scenes with their land cover; no pixel of it was ever measured.

    Args:
        seed: names the world; another seed is another geography.
        looks: equivalent number of looks of one acquisition, 4.4 for IW GRDH.
        dates_per_season: acquisitions averaged, in linear power, into one seasonal mean.
    """

    seed: int = 0
    looks: float = 4.4
    dates_per_season: int = 15

    def __post_init__(self) -> None:
        if self.seed < 0 or self.looks < 1 or self.dates_per_season < 1:
            raise SardinoError(
                f"a world needs a seed from 0, at least one look and one date per season, not {self.seed}, "
                f"{self.looks} and {self.dates_per_season}"
            )

    def tiles(self, region: str, size_px: int, columns: int, rows: int, gsd_m: float = 10.0) -> list[Tile]:
        """Square tiles side by side from the region's origin, row by row.

        Args:
            region: a name in REGIONS.
            size_px: pixels per side; 448 in the paper.
            columns, rows: tiles per row and per column.
            gsd_m: pixel spacing in metres.
        """
        preset = _preset(region)
        return list(tile_grid(region, preset.crs, preset.origin, size_px, gsd_m, columns, rows))

    def chip(self, tile: Tile) -> Chip:
        """Backscatter, label and reference layers of one tile.

        The same tile gives the same bytes. Land cover and reference layers continue across tile
        borders, except that a road outside towns may change its brightness there (below 2.5 dB,
        on less than 0.4 % of pixels). Speckle is drawn per tile.
        """
        region = _preset(tile.region)
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
        power = mean_power(scene, grid, keys)[:, :, *inner]
        looks = effective_looks(cover, self.looks, self.dates_per_season)
        vv, vh = observe(power, looks, gsd, (self.seed, int(tile.id, 16)))
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
            "quantity": "sigma0, seasonal mean of linear power",
            "looks": self.looks,
            "dates_per_season": self.dates_per_season,
            "noise_floor_db": list(NOISE_FLOOR_DB),
            "labels": "ESA WorldCover classes, synthetic",
        }


def _preset(region: str) -> Region:
    if region not in REGIONS:
        raise SardinoError(f"there is no region '{region}'; the world has {', '.join(REGIONS)}")
    return REGIONS[region]
