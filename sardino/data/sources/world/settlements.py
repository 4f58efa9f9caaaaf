"""Towns, villages and farmsteads, their street blocks, and the roads between them."""

from dataclasses import dataclass

import numpy as np

from sardino.data.sources.world.noise import Float, Grid, Hash, Keys, mix, normal, sites, smooth_noise, uniform
from sardino.data.sources.world.region import Region

TOWN_SPACING = 3400.0
VILLAGE_SPACING = 1150.0


@dataclass(frozen=True)
class Settlements:
    """The built environment at every grid point, all (H, W).

    Args:
        density: 0 in the open country to about 1 in a town centre.
        street_m: metres to the centre line of the nearest street of the settlement.
        block, lot: hashes of the street block and of the building lot.
        road_m: metres to the centre line of the nearest road between towns.
    """

    density: Float
    street_m: Float
    block: Hash
    lot: Hash
    road_m: Float


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
    reach = 150.0
    nearest = np.full(grid.shape, 1e6, np.float32)
    margin = 2.2 * TOWN_SPACING
    towns = {}
    for x, y, name in sites(grid, TOWN_SPACING, margin, keys("towns")):
        towns[int(np.floor(x / TOWN_SPACING)), int(np.floor(y / TOWN_SPACING))] = (x, y, name)
    warp = 55 * smooth_noise(grid, 900, keys("bends"))
    for (column, row), (x, y, name) in towns.items():
        for step in ((1, 0), (0, 1)):
            end = towns.get((column + step[0], row + step[1]))
            if end is None or uniform(mix(name, 9, step[0]))[0] > 0.8:
                continue
            left, right = sorted((x, end[0]))
            bottom, top = sorted((y, end[1]))
            columns = np.flatnonzero((grid.x > left - reach) & (grid.x < right + reach))
            rows = np.flatnonzero((grid.y > bottom - reach) & (grid.y < top + reach))
            if not len(columns) or not len(rows):
                continue
            part = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
            dx, dy = end[0] - x, end[1] - y
            length = float(np.hypot(dx, dy))
            along = (grid.x[None, part[1]] - x) * (dx / length) + (grid.y[part[0], None] - y) * (dy / length)
            across = (grid.y[part[0], None] - y) * (dx / length) - (grid.x[None, part[1]] - x) * (dy / length)
            # Bends fade out at both towns, where roads meet.
            bend = warp[part] * np.clip(np.minimum(along, length - along) / 300, 0, 1)
            beyond = np.maximum(np.maximum(-along, along - length), 0)
            distance = np.hypot(across + bend, beyond).astype(np.float32)
            np.minimum(nearest[part], distance, out=nearest[part])
    return nearest


def settlements(grid: Grid, region: Region, keys: Keys) -> Settlements:
    """Settlement density, streets and roads at every grid point."""
    # Number 0 is the open country: what depends on the nearest town must not depend on the window's first one.
    centres = [(0.0, 0.0, 1.0, keys("nowhere")), *_centres(grid, region, keys)]
    outline = smooth_noise(grid, 130, keys("outline"))
    density = np.zeros(grid.shape, np.float32)
    index = np.zeros(grid.shape, np.int64)
    for number, (x, y, radius, _) in enumerate(centres[1:], start=1):
        part = grid.window(x, y, 2.5 * radius)
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
