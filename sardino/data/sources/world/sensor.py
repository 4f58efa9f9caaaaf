"""How the radar sees the synthetic world: mean backscatter, incidence, noise floor, speckle, a season's dates."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sardino.data.sources.world.landscape import Landscape
from sardino.data.sources.world.noise import Float, Grid, Keys, fbm, mix, normal, sites_in, smooth_noise, uniform
from sardino.data.sources.world.tables import covers
from sardino.data.tiles.radiometry import SEASONS, to_power

RESOLUTION_M = (22.0, 20.0)  # azimuth (rows) and range (columns) resolution of IW GRDH
SD_PER_FWHM = 1 / 2.355  # standard deviation of a Gaussian over its full width at half maximum
NOISE_FLOOR_DB = (-28.0, -27.0)  # noise-equivalent sigma0 of VV and VH that denoising leaves; lakes lie at this floor
SCALLOP_DB = 2.0  # how far the floor rises from the middle of a sub-swath to its edges
INCIDENCE_DEG = (29.0, 46.0)
SUBSWATHS_DEG = (29.0, 36.0, 41.5, 46.0)
SWATH_M = 60_000.0  # compressed like the geography, so that a region of some 40 km sees near and far range
HEADING_DEG = 12.0  # tilt of the orbit against north
OVERLAP = 0.15  # share of a swath where two tracks overlap and far range passes into near range
PERSISTENCE = 0.8  # share of what is coherent within a season that is coherent between seasons too
FRAME_M, GAP_RATE, BORDER_M = 9_000.0, 0.15, 250.0
VV_VH_CORRELATION = 0.75  # between the deviations of one patch in VV and in VH
REFERENCE_DEG = 38.0  # incidence for which the table of covers holds
SCATTERER_M = 22.0  # spacing of the sites where a point scatterer may stand
CALM = 0.75  # nature differs less from place to place than fields, which people treat one by one

Power = NDArray[np.float32]
Key = tuple[int, ...]


def _across(grid: Grid) -> NDArray[np.float64]:
    """(H, W) metres across the track, eastwards."""
    tilt = np.radians(HEADING_DEG)
    return np.asarray(np.cos(tilt) * grid.x[None, :] + np.sin(tilt) * grid.y[:, None])


def incidence_deg(grid: Grid) -> Float:
    """(H, W) incidence angle of an eastward-looking swath, near range in its west; swaths repeat without a seam."""
    place = _across(grid) / SWATH_M
    place -= np.floor(place)
    near, far = INCIDENCE_DEG
    # In the overlap passes of both tracks are averaged: the mean angle goes back smoothly.
    back = (1 - place) / OVERLAP
    back = back * back * (3 - 2 * back)
    return (near + (far - near) * np.where(place < 1 - OVERLAP, place / (1 - OVERLAP), back)).astype(np.float32)


def noise_floor(grid: Grid) -> Power:
    """(2, H, W) noise-equivalent sigma0 of VV and VH in power: lowest in the middle of each of three sub-swaths."""
    angle, edges = incidence_deg(grid), np.asarray(SUBSWATHS_DEG)
    number = np.clip(np.searchsorted(edges, angle, side="right") - 1, 0, 2)
    middle = 2 * (angle - edges[number]) / (edges[number + 1] - edges[number]) - 1
    scallop = SCALLOP_DB * (middle**2 - 1 / 3)
    return np.stack([10 ** ((level + scallop) / 10) for level in NOISE_FLOOR_DB]).astype(np.float32)


def gaps(grid: Grid, keys: Keys) -> NDArray[np.bool_]:
    """(4, H, W) where a season has no data: frames that were not acquired, and borders cut off along the track.

    A place misses at most two seasons, so that every tile keeps data.
    """
    tilt, across = np.radians(HEADING_DEG), _across(grid)
    along = np.cos(tilt) * grid.y[:, None] - np.sin(tilt) * grid.x[None, :]
    column, row = np.floor(across / FRAME_M), np.floor(along / FRAME_M)
    frame = mix(keys("frames"), column, row)
    season = np.floor(4 * uniform(mix(frame, 2))).astype(np.int64)
    absent = uniform(mix(frame, 1)) < GAP_RATE
    cut = (across - column * FRAME_M < BORDER_M) & (uniform(mix(frame, 3)) < 2 * GAP_RATE)
    return np.stack([(absent & (season == n)) | (cut & ((season + 1) % 4 == n)) for n in range(4)])


def _draw(shape: tuple[int, ...], gsd_m: float, *key: int) -> Float:
    """(H, W) standard normal field, correlated over the sensor's footprint."""
    # The last number of a key is never 0: seeds that differ by trailing zeros alone give the same draw.
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
    # Squaring the field narrows its correlation, hence the factor 0.9; checked by the lag-1 test.
    sigma = [0.9 * r * SD_PER_FWHM / gsd_m for r in RESOLUTION_M]
    pad = int(np.ceil(4 * max(sigma))) + 1
    white = rng.standard_normal((shape[0] + 2 * pad, shape[1] + 2 * pad), dtype=np.float32)
    impulse = np.zeros((2 * pad + 1, 2 * pad + 1), np.float32)
    impulse[pad, pad] = 1
    gain = np.sqrt((gaussian_filter(impulse, sigma, mode="constant") ** 2).sum())
    return gaussian_filter(white, sigma)[pad:-pad, pad:-pad] / gain


def _gamma(field: Float, looks: float | Float) -> Float:
    """A standard normal field as unit-mean gamma power.

    Wilson & Hilferty's cube: mean and variance are right to 1 % from 4 looks on, far cheaper than the exact quantile.
    """
    ninth = 1 / (9 * np.asarray(looks, np.float32))
    return np.maximum(1 - ninth + np.sqrt(ninth) * field, 0) ** 3


def effective_looks(coherence: Float, looks: float, dates: int) -> Float:
    """Looks of a mean over `dates` acquisitions, in the shape of `coherence`; what stays coherent averages less."""
    return np.asarray(looks * dates / (1 + (dates - 1) * np.asarray(coherence) ** 2), np.float32)


def observe(
    power: Power, floor: Power, coherence: Float, *, looks: float, dates: int, composite: str, gsd_m: float, key: Key
) -> Power:
    """What a season's dates show: noise floor added, times speckle, composited.

    Speckle is drawn anew for each polarisation and date. Its coherent part (towns, rock) is the same on all dates of
    a season and mostly the same in all seasons. A mean of dates is drawn at once, as gamma of the effective looks:
    its mean, variance and correlations are those of the sum, only its shape differs, less than can be told apart.
    A median is taken over dates drawn one by one, which costs as many draws.

    Args:
        power: (4, 2, H, W) noise-free linear power; the result is (2, 4, H, W), VV and VH.
        floor: (2, H, W) noise-equivalent power, or of a shape that broadcasts to it.
        coherence: (H, W) between dates, 0 to 1.
        looks, dates: of one acquisition; acquisitions per season.
        key: seeds the draw; polarisation, season and date are appended.
    """
    shape = power.shape[2:]
    kept = np.asarray(coherence, np.float32) ** 2  # correlation of speckle power between dates
    between = dates * kept * PERSISTENCE / (1 + (dates - 1) * kept)  # and between seasonal means
    mean_looks = effective_looks(coherence, looks, dates)
    seen = np.empty_like(power)
    for pol in range(2):
        always = _draw(shape, gsd_m, *key, pol + 1)
        for season in range(power.shape[0]):
            signal = power[season, pol] + floor[pol]
            own = _draw(shape, gsd_m, *key, pol + 1, season + 1)
            if composite == "mean":
                field = np.sqrt(between) * always + np.sqrt(1 - between) * own
                seen[season, pol] = signal * _gamma(field, mean_looks)
                continue
            still = np.sqrt(kept) * (np.sqrt(PERSISTENCE) * always + np.sqrt(1 - PERSISTENCE) * own)
            each = [_draw(shape, gsd_m, *key, pol + 1, season + 1, date + 1) for date in range(dates)]
            series = [_gamma(still + np.sqrt(1 - kept) * field, looks) for field in each]
            seen[season, pol] = signal * np.median(series, axis=0)
    return seen.swapaxes(0, 1)


def _scatterers(scene: Landscape, grid: Grid, keys: Keys) -> NDArray[np.float32]:
    """(2, H, W) power of point scatterers (walls, roofs, masts), the same in every season."""
    table = covers()
    rows, columns = grid.shape
    x, y, name = sites_in(grid, SCATTERER_M, 0.0, keys("scatterers"))
    place = row, column = grid.nearest(x, y)
    cover, density = scene.cover[place], scene.towns.density[place]
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
    sharp, uneven = scene.sharp, 0.3 * smooth_noise(grid, 70, keys("uneven"))
    first = np.where(sharp, normal(mix(scene.patch, 51)) + uneven, CALM * fbm(grid, 260, 4, keys("deviation"), 0.6))
    other = np.where(sharp, normal(mix(scene.patch, 52)) - uneven, CALM * fbm(grid, 260, 4, keys("deviation vh"), 0.6))
    second = VV_VH_CORRELATION * first + np.float32(np.sqrt(1 - VV_VH_CORRELATION**2)) * other
    # Slopes that face the sensor, which looks east, are brighter.
    relief_db = 3.5 * np.tanh(1.3 * np.gradient(scene.land.elevation, grid.x[1] - grid.x[0], axis=1))
    spread = table.spread_db[cover]  # (H, W, 2)
    tilt = incidence_deg(grid) - REFERENCE_DEG
    still_db = [
        deviation * spread[..., pol] + relief_db + tilt * table.slope_db[:, pol][cover]
        for pol, deviation in enumerate((first, second))
    ]
    rough = np.log1p(1 / table.texture)[cover]
    texture = np.exp(np.sqrt(rough) * fbm(grid, 24, 2, keys("texture"), 0.2) - rough / 2)
    points, wobble_db = _scatterers(scene, grid, keys), table.season_db[cover]
    power = np.empty((len(SEASONS), 2, *cover.shape), np.float32)
    sigma = [r * SD_PER_FWHM / abs(grid.x[1] - grid.x[0]) for r in RESOLUTION_M]
    for season, name in enumerate(SEASONS):
        weather = smooth_noise(grid, 900, keys(f"weather {name}"))
        change = wobble_db * np.where(sharp, 0.85 * normal(mix(scene.patch, 60 + season)) + 0.5 * weather, weather)
        for pol in range(2):
            mean_db = table.mean_db[:, season, pol][cover] + still_db[pol] + change
            power[season, pol] = gaussian_filter(to_power(mean_db) * texture, sigma, truncate=3.0) + points[pol]
    return power
