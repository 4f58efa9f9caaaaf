"""Seasonal mean backscatter of a synthetic landscape, before the sensor adds speckle and noise."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sardino.data.sources.world.cover import covers
from sardino.data.sources.world.landscape import Landscape
from sardino.data.sources.world.noise import Grid, Keys, fbm, mix, normal, sites_in, smooth_noise, uniform
from sardino.data.sources.world.sensor import RESOLUTION_M, SD_PER_FWHM, incidence_deg
from sardino.data.tiles.radiometry import SEASONS, to_power

VV_VH_CORRELATION = 0.75
"""Between the deviations of one patch in VV and in VH."""
REFERENCE_DEG = 38.0
"""Incidence for which the table of covers holds."""
LEVEL_DB = (-1.7, -2.7)
"""Added to VV and VH of every cover, so that Europe as one date shows it has the mean of BigEarthNet's Sentinel-1
patches, -12.62 and -19.29 dB (the statistics that users of that data set publish)."""
SCATTERER_M = 22.0
"""Spacing of the sites where a point scatterer may stand."""
CALM = 0.75
"""Nature differs less from place to place than fields, which people treat one by one."""


def _scatterers(scene: Landscape, grid: Grid, keys: Keys) -> NDArray[np.float32]:
    """(2, H, W) power of point scatterers (walls, roofs, masts), the same in every season."""
    table = covers()
    rows, columns = grid.shape
    x, y, name = sites_in(grid, SCATTERER_M, 0.0, keys("scatterers"))
    row, column = grid.nearest(x, y)
    cover, density = scene.cover[row, column], scene.towns.density[row, column]
    chance = np.where(cover == table["industrial"], 0.16, np.where(cover == table["residential"], 0.05, 0.0))
    seen = uniform(mix(name, 3)) < chance * (0.5 + density)
    x, y, name, row, column = x[seen], y[seen], name[seen], row[seen], column[seen]
    strength = -2 + 4.5 * normal(mix(name, 4))
    cross = strength - 8.5 + 2.5 * normal(mix(name, 5))
    power = np.zeros((2, rows * columns))
    sigma = [r * SD_PER_FWHM for r in RESOLUTION_M]
    for down in range(-3, 4):
        for right in range(-3, 4):
            r, c = row + down, column + right
            inside = (r >= 0) & (r < rows) & (c >= 0) & (c < columns)
            r, c = r[inside], c[inside]
            weight = np.exp(-(((grid.y[r] - y[inside]) / sigma[0]) ** 2) / 2)
            weight *= np.exp(-(((grid.x[c] - x[inside]) / sigma[1]) ** 2) / 2)
            for pol, level in enumerate((strength, cross)):
                weights = weight * 10 ** (level[inside] / 10)
                power[pol] += np.bincount(r * columns + c, weights, minlength=rows * columns)
    return power.reshape(2, rows, columns).astype(np.float32)


def mean_power(scene: Landscape, grid: Grid, keys: Keys) -> NDArray[np.float32]:
    """(4, 2, H, W) linear power by season and VV, VH, free of speckle and noise, of the landscape on `grid`.

    The outermost four pixels are only good as padding.
    """
    table, cover = covers(), scene.cover
    # Patches with edges deviate as a whole, with a little unevenness inside; nature varies smoothly.
    uneven = 0.3 * smooth_noise(grid, 70, keys("uneven"))
    sharp = scene.sharp
    first = np.where(sharp, normal(mix(scene.patch, 51)) + uneven, CALM * fbm(grid, 260, 4, keys("deviation"), 0.6))
    other = np.where(sharp, normal(mix(scene.patch, 52)) - uneven, CALM * fbm(grid, 260, 4, keys("deviation vh"), 0.6))
    second = VV_VH_CORRELATION * first + np.float32(np.sqrt(1 - VV_VH_CORRELATION**2)) * other
    # Slopes that face the sensor, which looks east, are brighter.
    slope = np.gradient(scene.land.elevation, grid.x[1] - grid.x[0], axis=1)
    relief_db = 3.5 * np.tanh(1.3 * slope)
    spread = table.spread_db[cover]  # (H, W, 2)
    tilt = incidence_deg(grid) - REFERENCE_DEG
    still_db = [
        deviation * spread[..., pol] + relief_db + tilt * table.slope_db[:, pol][cover] + np.float32(LEVEL_DB[pol])
        for pol, deviation in enumerate((first, second))
    ]
    rough = np.log1p(1 / table.texture)[cover]
    texture = np.exp(np.sqrt(rough) * fbm(grid, 24, 2, keys("texture"), 0.2) - rough / 2)
    points = _scatterers(scene, grid, keys)
    wobble_db = table.season_db[cover]
    power = np.empty((len(SEASONS), 2, *cover.shape), np.float32)
    sigma = [r * SD_PER_FWHM / abs(grid.x[1] - grid.x[0]) for r in RESOLUTION_M]
    for season, name in enumerate(SEASONS):
        weather = smooth_noise(grid, 900, keys(f"weather {name}"))
        patch = normal(mix(scene.patch, 60 + season))
        change = wobble_db * np.where(sharp, 0.85 * patch + 0.5 * weather, weather)
        for pol in range(2):
            mean_db = table.mean_db[:, season, pol][cover] + still_db[pol] + change
            power[season, pol] = gaussian_filter(to_power(mean_db) * texture, sigma, truncate=3.0) + points[pol]
    return power
