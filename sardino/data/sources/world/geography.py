"""The fields that geography is made of: relief and water, parcels, and settlements with their roads."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sardino.data.sources.world import noise
from sardino.data.sources.world.noise import (
    Axis,
    Float,
    Grid,
    Hash,
    Keys,
    fbm,
    mix,
    normal,
    sites,
    smooth_noise,
    uniform,
)
from sardino.data.sources.world.tables import Region

RIVER_SPACING, TOWN_SPACING, VILLAGE_SPACING = 3600.0, 3400.0, 1150.0  # metres, about


@dataclass(frozen=True)
class Relief:
    """Slow fields, each (H, W) float32: elevation in metres; moisture and aridity in standard deviations."""

    elevation: Float
    moisture: Float
    aridity: Float


@dataclass(frozen=True)
class Water:
    """Water fields, each (H, W) float32."""

    river_m: Float  # metres to the centre line
    river_half_m: Float  # half width of the river in metres, 0 in the mountains
    stream_m: Float  # metres to the centre line
    lake: Float  # lake field minus its threshold, positive in a lake
    shore_m: Float  # metres inland (positive) or offshore (negative) of the sea; huge where there is no sea


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
    river_m = noise.meander_distance(grid, RIVER_SPACING, keys("river"))
    # Rivers widen downhill and braid a little.
    half = np.float32(region.river_width / 2) * lowland * (1 + 0.3 * smooth_noise(grid, 500, keys("width")))
    stream_m = noise.crossing_distance(grid, 1000, 4, keys("stream"))
    basin = fbm(grid, 1500, 6, keys("lake"), 0.9) + 0.2 * land.moisture - 0.3 * land.aridity.clip(-1, 2)
    lake = basin - np.float32(region.lake_level) - 2.5 * (1 - lowland)
    rim = bays(grid, region, keys)
    if rim is None:
        shore = np.full(grid.shape, 1e6, np.float32)
    else:
        # Mountains stand above the sea.
        shore = np.maximum(rim + 420 * fbm(grid, 1300, 6, keys("coast"), 0.85), (land.elevation - 450) * 2)
    return Water(river_m, half, stream_m, lake.astype(np.float32, copy=False), shore)


@dataclass(frozen=True)
class Parcels:
    """The parcel at every grid point, all (H, W)."""

    id: Hash
    district: Hash
    x: Axis  # of the centre, in metres, as is y
    y: Axis
    edge_m: Float  # metres to the parcel's nearest edge
    radius: Float  # metres to the centre over half the shorter side, that is 1 at the rim of the inscribed circle


def _cut(position: Axis, width: Axis, key: Hash) -> tuple[NDArray[np.int64], Axis, Axis]:
    """Jittered intervals along an axis: number, lower and upper end of the one that holds each position."""
    number = np.floor(position / width).astype(np.int64)
    jitter = 0.55 * uniform(mix(key, number))
    before = position / width - number < jitter
    other = 0.55 * uniform(mix(key, np.where(before, number - 1, number + 1)))
    low = np.where(before, number - 1 + other, number + jitter)
    high = np.where(before, number + jitter, number + 1 + other)
    return number - before, low * width, high * width


def parcels(grid: Grid, region: Region, keys: Keys) -> Parcels:
    """The parcel of every grid point."""
    spacing, warp = region.district, 0.07 * region.district
    x = grid.x[None, :] + warp * smooth_noise(grid, spacing / 2, keys("warp x"))
    y = grid.y[:, None] + warp * smooth_noise(grid, spacing / 2, keys("warp y"))
    nearest, index = np.full(grid.shape, np.inf), np.zeros(grid.shape, np.int64)
    places = list(sites(grid, spacing, 1.5 * spacing, keys("districts")))
    for number, (site_x, site_y, _) in enumerate(places):
        part = grid.window(site_x, site_y, 1.5 * spacing, 1.5 * spacing)
        square = (x[part] - site_x) ** 2 + (y[part] - site_y) ** 2
        closer = square < nearest[part]
        nearest[part][closer] = square[closer]
        index[part][closer] = number
    names = np.array([p[2] for p in places])
    draws = [uniform(mix(names, k)) for k in range(4)]
    angle = np.where(draws[0] < region.cardinal, 0.0, np.pi * draws[1])
    width = region.parcel[0] * np.exp(0.35 * (2 * draws[2] - 1) * 1.7)
    length = region.parcel[1] * np.exp(0.35 * (2 * draws[3] - 1) * 1.7)
    district, cosine, sine = names[index], np.cos(angle)[index], np.sin(angle)[index]
    east = grid.x[None, :] - np.array([p[0] for p in places])[index]
    north = grid.y[:, None] - np.array([p[1] for p in places])[index]
    along, across = cosine * east + sine * north, cosine * north - sine * east
    strip, low_t, high_t = _cut(across, width[index], district)
    # Neighbouring strips are cut independently, so that field corners do not line up across a track.
    lane = mix(district, strip, 7)
    block, low_s, high_s = _cut(along, length[index] * np.exp(0.5 * (uniform(mix(lane, 1)) * 2 - 1)), lane)
    name = mix(lane, block)
    # Every third parcel is split in two along its length.
    middle = (low_t + high_t) / 2
    halved = uniform(mix(name, 3)) < 0.33
    upper = halved & (across > middle)
    low_t, high_t = np.where(upper, middle, low_t), np.where(halved & ~upper, middle, high_t)
    name = mix(name, upper.astype(np.int64))
    s, t = (low_s + high_s) / 2, (low_t + high_t) / 2
    half_s, half_t = (high_s - low_s) / 2, (high_t - low_t) / 2
    edge = np.minimum(half_s - np.abs(along - s), half_t - np.abs(across - t)).astype(np.float32)
    radius = (np.hypot(along - s, across - t) / np.minimum(half_s, half_t)).astype(np.float32)
    x, y = grid.x[None, :] - east + cosine * s - sine * t, grid.y[:, None] - north + sine * s + cosine * t
    return Parcels(name, district, x, y, edge, radius)


@dataclass(frozen=True)
class Settlements:
    """The built environment at every grid point, all (H, W)."""

    density: Float  # 0 in the open country to about 1 in a town centre
    street_m: Float  # metres to the centre line of the nearest street of the settlement
    block: Hash  # the street block
    lot: Hash  # the building lot
    road_m: Float  # metres to the centre line of the nearest road between towns


def _centres(grid: Grid, region: Region, keys: Keys) -> list[tuple[float, float, float, np.uint64]]:
    """Settlements (x, y, radius in metres, hash) whose density reaches the grid."""
    found = []
    for x, y, name in sites(grid, TOWN_SPACING, 2500, keys("towns")):
        # Sizes are log-normal: many small towns, few large ones.
        radius = region.town_size * float(np.exp(0.55 * normal(mix(name, 3))[0]))
        found.append((x, y, min(radius, 1000.0), name))
    for x, y, name in sites(grid, VILLAGE_SPACING, 500, keys("villages")):
        rate, size = (float(v) for v in uniform(mix(name, [3, 4])))
        if rate < region.village_rate:
            found.append((x, y, 30 + 130 * size**2, name))
    return found


def _roads(grid: Grid, keys: Keys) -> Float:
    """Metres to the nearest road; roads join each town to its neighbours east and north."""
    reach, nearest = 150.0, np.full(grid.shape, 1e6, np.float32)
    found = sites(grid, TOWN_SPACING, 2.2 * TOWN_SPACING, keys("towns"))
    towns = {(x // TOWN_SPACING, y // TOWN_SPACING): (x, y, name) for x, y, name in found}
    warp = 55 * smooth_noise(grid, 900, keys("bends"))
    for (column, row), (x, y, name) in towns.items():
        for east, north in ((1, 0), (0, 1)):
            end = towns.get((column + east, row + north))
            if end is None or uniform(mix(name, 9, east))[0] > 0.8:
                continue
            middle, half = ((x + end[0]) / 2, (y + end[1]) / 2), (abs(end[0] - x) / 2, abs(end[1] - y) / 2)
            part = grid.window(*middle, half[0] + reach, half[1] + reach)
            length = float(np.hypot(end[0] - x, end[1] - y))
            dx, dy = (end[0] - x) / length, (end[1] - y) / length
            right_m, up_m = grid.x[None, part[1]] - x, grid.y[part[0], None] - y
            along, across = right_m * dx + up_m * dy, up_m * dx - right_m * dy
            # Bends fade out at both towns, where roads meet.
            bend = warp[part] * np.clip(np.minimum(along, length - along) / 300, 0, 1)
            beyond = np.maximum(np.maximum(-along, along - length), 0)
            np.minimum(nearest[part], np.hypot(across + bend, beyond).astype(np.float32), out=nearest[part])
    return nearest


def settlements(grid: Grid, region: Region, keys: Keys) -> Settlements:
    """Settlement density, streets and roads at every grid point."""
    # Number 0 is the open country: what depends on the nearest town must not depend on the window's first one.
    centres = [(0.0, 0.0, 1.0, keys("nowhere")), *_centres(grid, region, keys)]
    outline = smooth_noise(grid, 130, keys("outline"))
    density, index = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.int64)
    for number, (x, y, radius, _) in enumerate(centres[1:], start=1):
        part = grid.window(x, y, 2.5 * radius, 2.5 * radius)
        square = ((grid.x[None, part[1]] - x) ** 2 + (grid.y[part[0], None] - y) ** 2) / radius**2
        # Villages follow a stream or a road and are no discs.
        square = square * np.exp(0.7 * outline[part])
        level = np.exp(-(square**0.75)).astype(np.float32)
        higher = level > density[part]
        density[part][higher] = level[higher]
        index[part][higher] = number
    # Towns grow in fingers, not in discs.
    density *= np.exp(0.6 * smooth_noise(grid, 320, keys("fingers")) + 0.3 * smooth_noise(grid, 110, keys("fringe")))
    names = np.array([c[3] for c in centres])
    angle = np.pi / 2 * uniform(mix(names, 5)) * (uniform(mix(names, 6)) > region.cardinal)
    spacing = 90 + 60 * uniform(mix(names, 7))
    east = grid.x[None, :] - np.array([c[0] for c in centres])[index]
    north = grid.y[:, None] - np.array([c[1] for c in centres])[index]
    cosine, sine, pitch = np.cos(angle)[index], np.sin(angle)[index], spacing[index]
    s = (cosine * east + sine * north) / pitch
    t = (cosine * north - sine * east) / (0.7 * pitch)
    s_cell, t_cell = np.floor(s), np.floor(t)
    street = np.minimum(pitch * (0.5 - np.abs(s - s_cell - 0.5)), 0.7 * pitch * (0.5 - np.abs(t - t_cell - 0.5)))
    block = mix(names[index], s_cell, t_cell)
    lot = mix(block, np.floor(4 * (s - s_cell)), np.floor(3 * (t - t_cell)), 11)
    return Settlements(density, street.astype(np.float32), block, lot, _roads(grid, keys))
