"""Fields: districts that each have their own orientation, cut into strips and the strips into parcels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sardino.data.sources.world.noise import Float, Grid, Hash, Keys, mix, sites, smooth_noise, uniform
from sardino.data.sources.world.region import Region


@dataclass(frozen=True)
class Parcels:
    """The parcel at every grid point, all (H, W).

    Args:
        id: hash of the parcel.
        district: hash of its district.
        x, y: centre in metres.
        edge_m: metres to the parcel's nearest edge.
        radius: metres to the centre over half the shorter side, that is 1 at the rim of the inscribed circle.
    """

    id: Hash
    district: Hash
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    edge_m: Float
    radius: Float


def _cut(
    position: NDArray[np.float64], width: NDArray[np.float64], key: Hash
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Jittered intervals along an axis: number, lower and upper end of the one that holds each position."""
    scaled = position / width
    number = np.floor(scaled).astype(np.int64)
    jitter = 0.55 * uniform(mix(key, number))
    before = scaled - number < jitter
    other = 0.55 * uniform(mix(key, np.where(before, number - 1, number + 1)))
    low = np.where(before, number - 1 + other, number + jitter)
    high = np.where(before, number + jitter, number + 1 + other)
    return number - before, low * width, high * width


def parcels(grid: Grid, region: Region, keys: Keys) -> Parcels:
    """Assigns every grid point to a parcel."""
    spacing = region.district
    warp = 0.07 * spacing
    x = grid.x[None, :] + warp * smooth_noise(grid, spacing / 2, keys("warp x"))
    y = grid.y[:, None] + warp * smooth_noise(grid, spacing / 2, keys("warp y"))
    nearest = np.full(grid.shape, np.inf)
    index = np.zeros(grid.shape, np.int64)
    places = list(sites(grid, spacing, 1.5 * spacing, keys("districts")))
    for number, (site_x, site_y, _) in enumerate(places):
        rows, columns = grid.window(site_x, site_y, 1.5 * spacing)
        square = (x[rows, columns] - site_x) ** 2 + (y[rows, columns] - site_y) ** 2
        closer = square < nearest[rows, columns]
        nearest[rows, columns][closer] = square[closer]
        index[rows, columns][closer] = number
    names = np.array([p[2] for p in places])
    draws = [uniform(mix(names, k)) for k in range(5)]
    angle = np.where(draws[0] < region.cardinal, 0.0, np.pi * draws[1])
    width = region.parcel[0] * np.exp(0.35 * (2 * draws[2] - 1) * 1.7)
    length = region.parcel[1] * np.exp(0.35 * (2 * draws[3] - 1) * 1.7)
    district = names[index]
    cosine, sine = np.cos(angle)[index], np.sin(angle)[index]
    east = grid.x[None, :] - np.array([p[0] for p in places])[index]
    north = grid.y[:, None] - np.array([p[1] for p in places])[index]
    along, across = cosine * east + sine * north, cosine * north - sine * east
    strip, low_t, high_t = _cut(across, width[index], district)
    # Neighbouring strips are cut independently, so that field corners do not line up across a track.
    lane = mix(district, strip, 7)
    stretch = np.exp(0.5 * (uniform(mix(lane, 1)) * 2 - 1))
    block, low_s, high_s = _cut(along, length[index] * stretch, lane)
    name = mix(lane, block)
    # Every third parcel is split in two along its length.
    middle = (low_t + high_t) / 2
    halved = uniform(mix(name, 3)) < 0.33
    upper = halved & (across > middle)
    low_t = np.where(upper, middle, low_t)
    high_t = np.where(halved & ~upper, middle, high_t)
    name = mix(name, upper.astype(np.int64))
    s, t = (low_s + high_s) / 2, (low_t + high_t) / 2
    half_s, half_t = (high_s - low_s) / 2, (high_t - low_t) / 2
    edge = np.minimum(half_s - np.abs(along - s), half_t - np.abs(across - t))
    radius = np.hypot(along - s, across - t) / np.minimum(half_s, half_t)
    site_x, site_y = grid.x[None, :] - east, grid.y[:, None] - north
    return Parcels(
        name,
        district,
        site_x + cosine * s - sine * t,
        site_y + sine * s + cosine * t,
        edge.astype(np.float32),
        radius.astype(np.float32),
    )
