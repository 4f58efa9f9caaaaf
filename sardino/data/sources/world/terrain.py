"""Relief, moisture, aridity and water of the synthetic world."""

from dataclasses import dataclass

import numpy as np

from sardino.data.sources.world.noise import (
    Float,
    Grid,
    Keys,
    crossing_distance,
    fbm,
    meander_distance,
    mix,
    sites,
    smooth_noise,
    uniform,
)
from sardino.data.sources.world.region import Region

RIVER_SPACING = 3600.0
"""Metres between rivers, about."""


@dataclass(frozen=True)
class Relief:
    """Slow fields, each (H, W) float32: elevation in metres; moisture and aridity in standard deviations."""

    elevation: Float
    moisture: Float
    aridity: Float


@dataclass(frozen=True)
class Water:
    """Water fields, each (H, W) float32.

    Args:
        river_m, stream_m: metres to the centre line.
        river_half_m: half width of the river in metres, 0 in the mountains.
        lake: lake field minus its threshold, positive in a lake.
        shore_m: metres inland (positive) or offshore (negative) of the sea; huge where there is no sea.
    """

    river_m: Float
    river_half_m: Float
    stream_m: Float
    lake: Float
    shore_m: Float


def _massifs(grid: Grid, region: Region, key: np.uint64) -> Float:
    relief = np.zeros(grid.shape, np.float32)
    for x, y, value in sites(grid, region.massif_spacing, 4 * region.massif_radius, key):
        size, stretch = (float(v) for v in uniform(mix(value, [3, 4])))
        height = region.massif_height * (0.75 + 0.5 * size)
        radius = region.massif_radius * np.array([0.75 + 0.5 * stretch, 1.25 - 0.5 * stretch])
        # A Gaussian hill is separable, so that its cost is that of one outer product.
        east = np.exp(-(((grid.x - x) / radius[0]) ** 2)).astype(np.float32)
        north = np.exp(-(((grid.y - y) / radius[1]) ** 2)).astype(np.float32)
        np.maximum(relief, np.float32(height) * north[:, None] * east[None, :], out=relief)
    return relief


def bays(grid: Grid, region: Region, keys: Keys) -> Float | None:
    """(H, W) metres from the rim of the nearest bay, negative inside; None where the region has no sea."""
    if not region.sea:
        return None
    rim = np.full(grid.shape, 1e6, np.float32)
    for x, y, value in sites(grid, 13000, 9000, keys("bay")):
        radius = 1250 + 1100 * float(uniform(mix(value, 5))[0])
        distance = np.hypot(grid.x[None, :] - x, grid.y[:, None] - y).astype(np.float32) - np.float32(radius)
        np.minimum(rim, distance, out=rim)
    return rim


def relief(grid: Grid, region: Region, keys: Keys) -> Relief:
    """Elevation, moisture and aridity at every grid point."""
    hills = fbm(grid, 2600, 6, keys("hills"), 0.9)
    ridges = 1 - np.abs(fbm(grid, 1100, 5, keys("ridges"), 0.85))
    massif = _massifs(grid, region, keys("massifs"))
    inland = bays(grid, region, keys)
    if inland is not None:
        # No snow by the sea: mountains rise behind a coastal plain. Sea air is moist.
        massif *= np.clip((inland - 500) / 3000, 0, 1)
    elevation = 140 + 45 * hills + massif * (0.82 + 0.22 * ridges)
    moisture = fbm(grid, 1900, 5, keys("moisture"), 0.7)
    aridity = np.float32(region.aridity) + fbm(grid, 3600, 3, keys("aridity"), 0.8)
    if inland is not None:
        aridity -= 2.4 * np.exp(-np.clip(inland, 0, None) / 1800).astype(np.float32)
    return Relief(elevation.astype(np.float32, copy=False), moisture, aridity)


def water(grid: Grid, land: Relief, region: Region, keys: Keys) -> Water:
    """Rivers, streams, lakes and the sea at every grid point."""
    lowland = np.clip((420 - land.elevation) / 300, 0, 1)
    river_m = meander_distance(grid, RIVER_SPACING, keys("river"))
    # Rivers widen downhill and braid a little.
    half = np.float32(region.river_width / 2) * lowland * (1 + 0.3 * smooth_noise(grid, 500, keys("width")))
    stream_m = crossing_distance(grid, 1000, 4, keys("stream"))
    basin = fbm(grid, 1500, 6, keys("lake"), 0.9) + 0.2 * land.moisture - 0.3 * land.aridity.clip(-1, 2)
    lake = basin - np.float32(region.lake_level) - 2.5 * (1 - lowland)
    rim = bays(grid, region, keys)
    if rim is None:
        shore = np.full(grid.shape, 1e6, np.float32)
    else:
        # Mountains stand above the sea.
        shore = np.maximum(rim + 420 * fbm(grid, 1300, 6, keys("coast"), 0.85), (land.elevation - 450) * 2)
    return Water(river_m, half, stream_m, lake.astype(np.float32, copy=False), shore)
