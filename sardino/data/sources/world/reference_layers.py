"""Reference layers beside the radar: optical image, coarse land cover, vegetation, biomass, built surface."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sardino.data.sources.world.cover import covers
from sardino.data.sources.world.landscape import Landscape, landscape
from sardino.data.sources.world.noise import Grid, Keys, fbm, mix, normal, smooth_noise
from sardino.data.sources.world.region import Region
from sardino.data.tiles.landcover import WORLDCOVER

COARSE_CELL_M = 300.0
COARSE_SAMPLES = 10
"""Samples per side of a coarse cell, hence every 30 m."""


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
    step = grid.x[1] - grid.x[0]
    down, right = np.gradient(scene.land.elevation, step)
    shade = 1 + 0.55 * np.tanh(-0.9 * right - 0.9 * down)
    light = shade * (1 + 0.07 * vigour + roughness * grain)
    tint = np.stack([1 + 0.05 * ripeness, np.ones_like(ripeness), 1 - 0.03 * ripeness])
    image = color * light * tint
    return np.stack([np.clip(np.rint(_blur(band, 0.5)), 0, 255) for band in image]).astype(np.uint8)


def coarse_landcover(grid: Grid, region: Region, keys: Keys) -> NDArray[np.uint8]:
    """(H, W) uint8 majority class of the absolute 300 m cell around each point, computed over whole cells."""
    step = COARSE_CELL_M / COARSE_SAMPLES
    cells = [np.floor(a / COARSE_CELL_M).astype(np.int64) for a in (grid.x, grid.y)]
    first = [int(c.min()) for c in cells]
    counts = [int(c.max()) - f + 1 for c, f in zip(cells, first, strict=True)]
    axes = [
        f * COARSE_CELL_M + step * (np.arange(n * COARSE_SAMPLES, dtype=np.float64) + 0.5)
        for f, n in zip(first, counts, strict=True)
    ]
    label = covers().label[landscape(Grid(*axes), region, keys).cover]
    blocks = label.reshape(counts[1], COARSE_SAMPLES, counts[0], COARSE_SAMPLES)
    votes = np.stack([(blocks == index).sum((1, 3)) for index in range(len(WORLDCOVER))])
    majority = votes.argmax(0).astype(np.uint8)
    return majority[(cells[1] - first[1])[:, None], (cells[0] - first[0])[None, :]]


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
