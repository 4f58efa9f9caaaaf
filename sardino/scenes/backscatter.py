"""Radiometry of the synthetic world: seasonal mean backscatter of a landscape, seen through speckle and noise."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sardino.scenes.cover import covers
from sardino.scenes.landscape import Landscape
from sardino.scenes.noise import Float, Grid, Keys, fbm, mix, normal, sites_in, smooth_noise, uniform
from sardino.tiles.radiometry import SEASONS, to_power

RESOLUTION_M = (22.0, 20.0)
"""Azimuth (rows) and range (columns) resolution of IW GRDH."""
NOISE_FLOOR_DB = (-28.0, -27.0)
"""Noise-equivalent sigma0 of VV and VH that denoising leaves; lakes lie at this floor."""
VV_VH_CORRELATION = 0.75
"""Between the deviations of one patch in VV and in VH."""
# Standard deviation of a Gaussian over its full width at half maximum.
_SD_PER_FWHM = 1 / 2.355
SCATTERER_M = 22.0
"""Spacing of the sites where a point scatterer may stand."""
CALM = 0.75
"""Nature differs less from place to place than fields, which people treat one by one."""


def speckle(shape: tuple[int, int], looks: float | Float, gsd_m: float, rng: np.random.Generator) -> Float:
    """(H, W) unit-mean speckle in power, gamma with `looks` looks, correlated over the sensor's footprint.

    A correlated normal field is mapped to gamma by Wilson & Hilferty's cube, whose mean and
    variance are right to 1 % from 4 looks on and far cheaper than the exact quantile.

    Args:
        shape: (rows, columns).
        looks: equivalent number of looks, one number or (H, W).
        gsd_m: pixel spacing in metres.
        rng: source of the draw.
    """
    # Squaring the field narrows its correlation, hence the factor 0.9; checked by the lag-1 test.
    sigma = [0.9 * r * _SD_PER_FWHM / gsd_m for r in RESOLUTION_M]
    pad = int(np.ceil(4 * max(sigma))) + 1
    white = rng.standard_normal((shape[0] + 2 * pad, shape[1] + 2 * pad), dtype=np.float32)
    impulse = np.zeros((2 * pad + 1, 2 * pad + 1), np.float32)
    impulse[pad, pad] = 1
    gain = np.sqrt((gaussian_filter(impulse, sigma, mode="constant") ** 2).sum())
    field = gaussian_filter(white, sigma)[pad:-pad, pad:-pad] / gain
    ninth = 1 / (9 * np.asarray(looks, np.float32))
    return np.maximum(1 - ninth + np.sqrt(ninth) * field, 0) ** 3


def effective_looks(cover: NDArray[np.uint8], looks: float, dates: int) -> Float:
    """(H, W) looks of a mean over `dates` acquisitions; what stays coherent between dates averages less."""
    rho = covers().coherence ** 2
    return (looks * dates / (1 + (dates - 1) * rho)).astype(np.float32)[cover]


def _scatterers(scene: Landscape, grid: Grid, keys: Keys) -> NDArray[np.float32]:
    """(2, H, W) power of point scatterers (walls, roofs, masts), the same in every season."""
    table = covers()
    rows, columns = grid.shape
    step_y, step_x = grid.y[1] - grid.y[0], grid.x[1] - grid.x[0]
    x, y, name = sites_in(grid, SCATTERER_M, 0.0, keys("scatterers"))
    column = np.clip(np.rint((x - grid.x[0]) / step_x).astype(np.int64), 0, columns - 1)
    row = np.clip(np.rint((y - grid.y[0]) / step_y).astype(np.int64), 0, rows - 1)
    cover, density = scene.cover[row, column], scene.towns.density[row, column]
    chance = np.where(cover == table["industrial"], 0.16, np.where(cover == table["residential"], 0.05, 0.0))
    seen = uniform(mix(name, 3)) < chance * (0.5 + density)
    x, y, name, row, column = x[seen], y[seen], name[seen], row[seen], column[seen]
    strength = -2 + 4.5 * normal(mix(name, 4))
    cross = strength - 8.5 + 2.5 * normal(mix(name, 5))
    power = np.zeros((2, rows * columns))
    sigma = [r * _SD_PER_FWHM for r in RESOLUTION_M]
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
    """Noise-free seasonal backscatter of a landscape, before the sensor adds speckle.

    Args:
        scene: the landscape on `grid`.
        grid: regular sample points; the outermost four pixels are only good as padding.
        keys: names the random fields.

    Returns:
        (4, 2, H, W) float32 linear power by season and VV, VH.
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
    still_db = [first * spread[..., 0] + relief_db, second * spread[..., 1] + relief_db]
    rough = np.log1p(1 / table.texture)[cover]
    texture = np.exp(np.sqrt(rough) * fbm(grid, 24, 2, keys("texture"), 0.2) - rough / 2)
    points = _scatterers(scene, grid, keys)
    wobble_db = table.season_db[cover]
    power = np.empty((len(SEASONS), 2, *cover.shape), np.float32)
    sigma = [r * _SD_PER_FWHM / abs(grid.x[1] - grid.x[0]) for r in RESOLUTION_M]
    for season, name in enumerate(SEASONS):
        weather = smooth_noise(grid, 900, keys(f"weather {name}"))
        patch = normal(mix(scene.patch, 60 + season))
        change = wobble_db * np.where(sharp, 0.85 * patch + 0.5 * weather, weather)
        for pol in range(2):
            mean_db = table.mean_db[:, season, pol][cover] + still_db[pol] + change
            power[season, pol] = gaussian_filter(to_power(mean_db) * texture, sigma, truncate=3.0) + points[pol]
    return power


def observe(
    power: NDArray[np.float32], looks: Float, gsd_m: float, key: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Adds the noise floor and multiplies by speckle, drawn independently per season and polarisation.

    Args:
        power: (4, 2, H, W) linear power.
        looks: (H, W) looks of one seasonal mean.
        gsd_m: pixel spacing in metres.
        key: seeds the draw; season and polarisation are appended.

    Returns:
        VV and VH, each (4, H, W) linear power.
    """
    seen = np.empty_like(power)
    for season in range(power.shape[0]):
        for pol in range(2):
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((*key, season, pol))))
            floor = np.float32(10 ** (NOISE_FLOOR_DB[pol] / 10))
            seen[season, pol] = (power[season, pol] + floor) * speckle(power.shape[2:], looks, gsd_m, rng)
    return seen[:, 0], seen[:, 1]
