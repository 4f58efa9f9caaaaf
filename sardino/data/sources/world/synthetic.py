"""The synthetic world: any tile of it with its reference layers, alone, from a seed and its place; and whole scenes."""

import math
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sardino.data.rasters.geotiff import GeoTiff, write_geotiff
from sardino.data.sources.passes import Method
from sardino.data.sources.seasonal_composite import METHODS
from sardino.data.sources.world import sensor
from sardino.data.sources.world.landscape import Landscape, landscape
from sardino.data.sources.world.noise import Grid, Keys, fbm, mix, normal, smooth_noise
from sardino.data.sources.world.tables import Region, covers, region_of
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS, seasonal_stack
from sardino.data.tiles.tile import Chip, Progress, Tile, tile_grid
from sardino.errors import SardinoError

VERSION = 4  # counts changes after which the same seed shows another world
PAD_PX = 6  # pixels beyond the tile's edge that its blurred pixels draw on
PIECE_PX = 448  # side of what a scene is simulated in at once
UNLABELLED = 0
COARSE_CELL_M = 300.0
COARSE_SAMPLES = 10  # samples per side of a coarse cell, hence every 30 m


def _blur(layer: NDArray[np.floating], sigma: float) -> NDArray[np.float32]:
    return gaussian_filter(layer.astype(np.float32), sigma, truncate=3.0)


def optical(scene: Landscape, grid: Grid, keys: Keys) -> NDArray[np.uint8]:
    """(3, H, W) uint8 natural-colour image of summer, sunlit from the south-east."""
    color = np.moveaxis(covers().color[scene.cover], 2, 0)
    vigour = np.where(scene.sharp, normal(mix(scene.patch, 71)), fbm(grid, 210, 4, keys("vigour"), 0.5))
    ripeness = np.where(scene.sharp, normal(mix(scene.patch, 72)), scene.land.moisture)
    grain = fbm(grid, 24, 2, keys("texture"), 0.2)
    # Woods and towns are rough in the visible, too.
    roughness = 0.03 + 0.5 / (4 + covers().texture[scene.cover])
    down, right = np.gradient(scene.land.elevation, grid.x[1] - grid.x[0])
    light = (1 + 0.55 * np.tanh(-0.9 * right - 0.9 * down)) * (1 + 0.07 * vigour + roughness * grain)
    tint = np.stack([1 + 0.05 * ripeness, np.ones_like(ripeness), 1 - 0.03 * ripeness])
    image = [np.clip(np.rint(_blur(band, 0.5)), 0, 255) for band in color * light * tint]
    return np.stack(image).astype(np.uint8)


def coarse_landcover(grid: Grid, region: Region, keys: Keys) -> NDArray[np.uint8]:
    """(H, W) uint8 majority class of the absolute 300 m cell around each point, computed over whole cells."""
    step = COARSE_CELL_M / COARSE_SAMPLES
    cells = [np.floor(a / COARSE_CELL_M).astype(np.int64) for a in (grid.x, grid.y)]
    first = [int(c.min()) for c in cells]
    counts = [int(c.max()) - f + 1 for c, f in zip(cells, first, strict=True)]
    samples = [np.arange(n * COARSE_SAMPLES, dtype=np.float64) + 0.5 for n in counts]
    x, y = (f * COARSE_CELL_M + step * sample for f, sample in zip(first, samples, strict=True))
    label = covers().label[landscape(Grid(x, y), region, keys).cover]
    blocks = label.reshape(counts[1], COARSE_SAMPLES, counts[0], COARSE_SAMPLES)
    votes = np.stack([(blocks == index).sum((1, 3)) for index in range(len(WORLDCOVER))])
    return votes.argmax(0).astype(np.uint8)[(cells[1] - first[1])[:, None], (cells[0] - first[0])[None, :]]


def reference_layers(
    scene: Landscape, grid: Grid, inner: tuple[slice, slice], region: Region, keys: Keys
) -> dict[str, NDArray[Any]]:
    """All reference layers of a chip (see sardino.data.tiles.tile.LAYERS), the `inner` rows and columns of the grid."""
    table, cover = covers(), scene.cover
    vary = smooth_noise(grid, 130, keys("canopy"))
    vegetation = np.clip(_blur(table.vegetation[cover] * (1 + 0.09 * vary), 1.0), 0, 100)
    closed = np.clip(1 + 0.3 * (scene.stand - region.forest_level) + 0.25 * vary, 0.25, 1.9)
    biomass = _blur(table.biomass[cover] * np.where(scene.sharp, 1 + 0.2 * vary.clip(-2, 2), closed), 1.0)
    dense = 0.7 + 0.5 * scene.towns.density.clip(0, 1)
    built = np.clip(_blur(table.built[cover] * dense, 1.0), 0, 100)
    core = Grid(grid.x[inner[1]], grid.y[inner[0]])
    return {
        "optical": np.ascontiguousarray(optical(scene, grid, keys)[:, *inner]),
        "landcover_300m": coarse_landcover(core, region, keys),
        "vegetation_percent": np.ascontiguousarray(vegetation[inner]),
        "biomass_t_ha": np.ascontiguousarray(np.maximum(biomass, 0)[inner]),
        "built_percent": np.ascontiguousarray(built[inner]),
    }


@dataclass(frozen=True)
class World:
    """Synthetic Sentinel-1 scenes with their land cover; no pixel of it was ever measured."""

    seed: int = 0  # names the world; another seed is another geography
    looks: float = 4.4  # equivalent number of looks of one acquisition, 4.4 for IW GRDH
    dates_per_season: int = 15  # acquisitions that make one seasonal composite
    # "mean" of the dates in linear power, or their "median", as Earth Engine scripts take: some ten times slower
    composite: Method = "mean"
    gaps: bool = False  # leave out, as NaN, frames that a season lacks and borders that were cut off

    def __post_init__(self) -> None:
        if self.seed < 0 or self.looks < 1 or self.dates_per_season < 1:
            raise SardinoError("a world needs a seed from 0, at least one look and at least one date per season")
        if self.composite not in METHODS:
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
        power, floor = sensor.mean_power(scene, grid, keys)[:, :, *inner], sensor.noise_floor(grid)[:, *inner]
        how: dict[str, Any] = {"looks": self.looks, "dates": self.dates_per_season, "composite": self.composite}
        key = self.seed, int(tile.id, 16)
        pair = sensor.observe(power, floor, covers().coherence[cover], gsd_m=gsd, key=key, **how)
        if self.gaps:
            pair[:, sensor.gaps(grid, keys)[:, *inner]] = np.nan
        layers = reference_layers(scene, grid, inner, region, keys)
        return Chip(seasonal_stack(*pair), covers().label[cover], layers)

    def metadata(self) -> dict[str, Any]:
        """What a store must say about these chips."""
        return {
            "product": f"sardino synthetic world, version {VERSION}",
            "synthetic": True,
            "version": VERSION,
            "seed": self.seed,
            "unit": "dB",
            "quantity": f"sigma0, seasonal {self.composite} of linear power",
            **asdict(self),
            "noise_floor_db": list(sensor.NOISE_FLOOR_DB),
            "incidence_deg": list(sensor.INCIDENCE_DEG),
            "labels": "ESA WorldCover classes, synthetic",
        }


def write_scene(
    world: World,
    region: str,
    path: Path,
    shape: tuple[int, int],
    *,
    labels: Path | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> None:
    """Write the 12 channels of a rectangle of land, in dB, and beside it the land cover that is there.

    Args:
        region: "europe", "conus" or "china"; the rectangle begins at its origin.
        path: .tif file to make, float32, NaN where missing.
        shape: (rows, columns) in pixels of 10 m.
        labels: .tif file of WorldCover codes to make as well.

    SardinoError is raised for an unknown region, an empty rectangle, or an unwritable path.
    """
    if min(shape) < 1:
        raise SardinoError(f"a scene of {shape[1]} x {shape[0]} pixels is empty")
    rows, columns = (math.ceil(side / PIECE_PX) for side in shape)
    pieces = world.tiles(region, PIECE_PX, columns, rows)
    facts = world.metadata()
    tags = {name: str(facts[name]) for name in ("product", "synthetic", "seed", "unit", "quantity")}
    crs, corner = pieces[0].crs, pieces[0].transform
    what = GeoTiff(crs, corner, shape, CHANNELS, "float32", math.nan, {}, tags)
    colours = dict(zip(WORLDCOVER.codes, WORLDCOVER.colors, strict=True))
    cover = GeoTiff(crs, corner, shape, ["label"], "uint8", UNLABELLED, colours, tags)
    with ExitStack() as stack:
        scene = stack.enter_context(write_geotiff(path, what, overwrite))
        land = stack.enter_context(write_geotiff(labels, cover, overwrite)) if labels is not None else None
        for piece in progress(pieces):
            chip = world.chip(piece)
            row = round((piece.transform[5] - corner[5]) / corner[4])
            column = round((piece.transform[2] - corner[2]) / corner[0])
            scene.lay(chip.backscatter_db, row, column)
            if land is not None:
                land.lay(WORLDCOVER.decode(chip.label, UNLABELLED)[None], row, column)
