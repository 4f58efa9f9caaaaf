"""The sensor of the synthetic world: incidence, noise floor, speckle, and what a season's dates add up to."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sardino.data.sources.world.noise import Float, Grid, Keys, mix, uniform

RESOLUTION_M = (22.0, 20.0)
"""Azimuth (rows) and range (columns) resolution of IW GRDH."""
SD_PER_FWHM = 1 / 2.355
"""Standard deviation of a Gaussian over its full width at half maximum."""
NOISE_FLOOR_DB = (-28.0, -27.0)
"""Noise-equivalent sigma0 of VV and VH that denoising leaves, mean over the swath; lakes lie at this floor."""
SCALLOP_DB = 2.0
"""How far the floor rises from the middle of a sub-swath to its edges."""
INCIDENCE_DEG = (29.0, 46.0)
SUBSWATHS_DEG = (29.0, 36.0, 41.5, 46.0)
SWATH_M = 60_000.0
"""Width of the swath: compressed like the geography, so that a region of some 40 km sees near and far range."""
HEADING_DEG = 12.0
"""Tilt of the orbit against north."""
OVERLAP = 0.15
"""Share of a swath where two tracks overlap and far range passes into near range."""
PERSISTENCE = 0.8
"""Share of what is coherent within a season that is coherent between seasons too."""
FRAME_M = 9_000.0
GAP_RATE = 0.15
BORDER_M = 250.0

Composite = Literal["mean", "median"]
Power = NDArray[np.float32]


def _across(grid: Grid) -> NDArray[np.float64]:
    """(H, W) metres across the track, eastwards."""
    tilt = np.radians(HEADING_DEG)
    return np.asarray(np.cos(tilt) * grid.x[None, :] + np.sin(tilt) * grid.y[:, None])


def incidence_deg(grid: Grid) -> Float:
    """(H, W) incidence angle of an eastward-looking swath, near range in its west; swaths repeat without a seam."""
    place = _across(grid) / SWATH_M
    place -= np.floor(place)
    near, far = INCIDENCE_DEG
    rise = place / (1 - OVERLAP)
    # In the overlap passes of both tracks are averaged: the mean angle goes back smoothly.
    back = (1 - place) / OVERLAP
    back = back * back * (3 - 2 * back)
    return (near + (far - near) * np.where(place < 1 - OVERLAP, rise, back)).astype(np.float32)


def noise_floor(grid: Grid) -> Power:
    """(2, H, W) noise-equivalent sigma0 of VV and VH in power: lowest in the middle of each of three sub-swaths."""
    angle = incidence_deg(grid)
    edges = np.asarray(SUBSWATHS_DEG)
    number = np.clip(np.searchsorted(edges, angle, side="right") - 1, 0, 2)
    middle = 2 * (angle - edges[number]) / (edges[number + 1] - edges[number]) - 1
    scallop = SCALLOP_DB * (middle**2 - 1 / 3)
    return np.stack([10 ** ((level + scallop) / 10) for level in NOISE_FLOOR_DB]).astype(np.float32)


def gaps(grid: Grid, keys: Keys) -> NDArray[np.bool_]:
    """(4, H, W) where a season has no data: frames that were not acquired, and borders cut off along the track.

    A place misses at most two seasons, so that every tile keeps data.
    """
    tilt = np.radians(HEADING_DEG)
    across = _across(grid)
    along = np.cos(tilt) * grid.y[:, None] - np.sin(tilt) * grid.x[None, :]
    column, row = np.floor(across / FRAME_M), np.floor(along / FRAME_M)
    frame = mix(keys("frames"), column, row)
    season = np.floor(4 * uniform(mix(frame, 2))).astype(np.int64)
    absent = uniform(mix(frame, 1)) < GAP_RATE
    cut = (across - column * FRAME_M < BORDER_M) & (uniform(mix(frame, 3)) < 2 * GAP_RATE)
    other = (season + 1) % 4
    return np.stack([(absent & (season == n)) | (cut & (other == n)) for n in range(4)])


def _footprint_noise(shape: tuple[int, int], gsd_m: float, rng: np.random.Generator) -> Float:
    """(H, W) standard normal field, correlated over the sensor's footprint."""
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
    power: Power,
    floor: Power,
    coherence: Float,
    *,
    looks: float,
    dates: int,
    composite: Composite,
    gsd_m: float,
    key: tuple[int, ...],
) -> tuple[Power, Power]:
    """What a season's dates show: noise floor added, times speckle, composited.

    Speckle is drawn anew for each polarisation and date. Its coherent part (towns, rock) is the same on all dates of
    a season and mostly the same in all seasons. A mean of dates is drawn at once, as gamma of the effective looks:
    its mean, variance and correlations are those of the sum, only its shape differs, less than can be told apart.
    A median is taken over dates drawn one by one, which costs as many draws.

    Args:
        power: (4, 2, H, W) noise-free linear power.
        floor: (2, H, W) noise-equivalent power, or of a shape that broadcasts to it.
        coherence: (H, W) between dates, 0 to 1.
        looks, dates: of one acquisition; acquisitions per season.
        key: seeds the draw; polarisation, season and date are appended.

    Returns:
        VV and VH, each (4, H, W) linear power.
    """
    shape = power.shape[2:]
    kept = np.asarray(coherence, np.float32) ** 2  # correlation of speckle power between dates
    between = dates * kept * PERSISTENCE / (1 + (dates - 1) * kept)  # and between seasonal means
    mean_looks = effective_looks(coherence, looks, dates)
    seen = np.empty_like(power)
    for pol in range(2):
        always = _draw(shape, gsd_m, (*key, pol + 1))
        for season in range(power.shape[0]):
            signal = power[season, pol] + floor[pol]
            own = _draw(shape, gsd_m, (*key, pol + 1, season + 1))
            if composite == "mean":
                field = np.sqrt(between) * always + np.sqrt(1 - between) * own
                seen[season, pol] = signal * _gamma(field, mean_looks)
                continue
            still = np.sqrt(kept) * (np.sqrt(PERSISTENCE) * always + np.sqrt(1 - PERSISTENCE) * own)
            series = [
                _gamma(still + np.sqrt(1 - kept) * _draw(shape, gsd_m, (*key, pol + 1, season + 1, date + 1)), looks)
                for date in range(dates)
            ]
            seen[season, pol] = signal * np.median(series, axis=0)
    return seen[:, 0], seen[:, 1]


def _draw(shape: tuple[int, ...], gsd_m: float, key: tuple[int, ...]) -> Float:
    # The last number of a key is never 0: seeds that differ by trailing zeros alone give the same draw.
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
    return _footprint_noise((shape[0], shape[1]), gsd_m, rng)
