"""Land cover from geography: which cover lies at each point, and in which patch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sardino.data.sources.world.geography import (
    Parcels,
    Relief,
    Settlements,
    Water,
    parcels,
    relief,
    settlements,
    water,
)
from sardino.data.sources.world.noise import Float, Grid, Hash, Keys, fbm, mix, normal, smooth_noise, uniform
from sardino.data.sources.world.tables import Region, covers

Mask = NDArray[np.bool_]
COARSE_M = 80.0  # Step of the grid on which a parcel looks up the geography at its centre


@dataclass(frozen=True)
class Landscape:
    """What lies at every grid point, all (H, W)."""

    cover: NDArray[np.uint8]  # number of the cover
    patch: Hash  # hash of the field, block or lot
    sharp: Mask  # true where the patch has edges (fields, towns), false where cover varies smoothly (nature)
    land: Relief
    towns: Settlements
    stand: Float  # density of natural vegetation in standard deviations


def _paint(canvas: NDArray[np.uint8], name: str, where: Mask) -> None:
    canvas[where] = covers()[name]


def _nature(canvas: NDArray[np.uint8], grid: Grid, land: Relief, fields: Parcels, region: Region, keys: Keys) -> Float:
    """Woods, scrub, grassland and dry land where nobody farms; returns the stand density."""
    fine = smooth_noise(grid, 26, keys("fine"))
    patchy = fbm(grid, 620, 5, keys("patchy"), 0.65)
    heath = fbm(grid, 1000, 5, keys("heath"), 0.7)
    climb = np.clip((land.elevation - region.tree_line + 150 * patchy) / 220, 0, 3)
    dry = land.aridity.clip(-1, 2.5)
    stand = 0.78 * fbm(grid, 950, 6, keys("woods"), 0.62) + 0.34 * land.moisture - 0.62 * dry.clip(0)
    # Mountain sides are wooded, the plain is not.
    stand += 0.8 * np.clip((land.elevation - 230) / 300, 0, 1) - 1.6 * climb + 0.16 * fine
    wooded = stand > region.forest_level
    ecotone = ~wooded & (stand > region.forest_level - 0.25) & (heath + 0.35 * fine > 0.25)
    _paint(canvas, "dry_grass", dry + 0.4 * heath > 0.35)
    _paint(canvas, "alpine", climb > 0.35)
    _paint(canvas, "heath", (heath > 1.05 - 0.2 * dry) | ((climb > 0.15) & (climb < 1.1) & (heath > 0.45)))
    _paint(canvas, "scrub", (dry > 0.25) & (patchy + 0.3 * fine - 0.25 * dry > 0.62))
    _paint(canvas, "regrowth", ecotone)
    _paint(canvas, "soil", (dry > 0.8) & (dry + 0.55 * patchy + 0.15 * fine > 1.25))
    _paint(canvas, "sand", (dry > 1.2) & (dry + 0.5 * heath > 1.85))
    _paint(canvas, "rock", (dry > 0.9) & (land.elevation > 420 + 160 * heath) & (patchy > -0.3))
    wooded &= heath < 2.1
    _paint(canvas, "broadleaf", wooded)
    conifer = 0.9 * heath + (land.elevation - 500) / 350 + 0.7 * (uniform(mix(fields.district, 21)) * 2 - 1)
    # Stands are planted and felled parcel by parcel.
    conifer += 0.5 * normal(mix(fields.id, 22))
    _paint(canvas, "conifer", wooded & (conifer > 0.25))
    felled = wooded & (uniform(mix(fields.id, 23)) < 0.035) & (fields.edge_m > 0) & (climb < 0.2)
    _paint(canvas, "regrowth", felled)
    _paint(canvas, "meadow", felled & (uniform(mix(fields.id, 24)) < 0.35))
    return stand.astype(np.float32)


def _farms(canvas: NDArray[np.uint8], grid: Grid, fields: Parcels, region: Region, keys: Keys) -> Mask:
    """Farmland, parcel by parcel, judged by the geography at the parcel's centre; returns where it is."""
    coarse = grid.coarse(COARSE_M, 1500)
    slow = relief(coarse, region, keys)
    promise = 0.75 * fbm(coarse, 2300, 4, keys("farm"), 0.8) - np.clip((slow.elevation - 330) / 180, 0, 4)
    promise -= 0.45 * slow.aridity.clip(0)
    centre = coarse.nearest(fields.x, fields.y)
    own, custom = normal(mix(fields.id, 31)), normal(mix(fields.district, 32))
    farmed = promise[centre] + 0.22 * own + 0.25 * custom > region.farm_level
    crops = 0.8 * normal(mix(fields.id, 33)) + 0.6 * normal(mix(fields.district, 34)) - 0.45 * slow.moisture[centre]
    cropped = farmed & (crops + region.crop_balance > 0)
    draw = uniform(mix(fields.id, 35))
    grazed = farmed & ~cropped
    _paint(canvas, "pasture", grazed)
    # Each from its share of the draw to the next one's.
    grass = {"meadow": 0.46, "dry_grass": 0.8, "scrub": 0.84, "broadleaf": 0.9, "conifer": 0.94, "orchard": 0.96}
    for name, low in grass.items():
        _paint(canvas, name, grazed & (draw >= low))
    # A third of the fields follow their district's main crop.
    follow = uniform(mix(fields.id, 36)) < 0.35
    choice = np.where(follow, uniform(mix(fields.district, 37)), draw)
    total, low = sum(region.crops.values()), 0.0
    for name, weight in region.crops.items():
        high = low + weight / total
        _paint(canvas, name, cropped & (choice >= low) & (choice < high + 1e-12))
        low = high
    # Pits, building sites and fields left bare.
    _paint(canvas, "soil", farmed & (uniform(mix(fields.id, 46)) < 0.018))
    pivot = cropped & (uniform(mix(fields.id, 38)) < region.pivots)
    _paint(canvas, "dry_grass", pivot & (fields.radius > 0.96))
    hedged = farmed & (uniform(mix(fields.district, 39)) < region.hedged) & (uniform(mix(fields.id, 40)) < 0.6)
    gaps = smooth_noise(grid, 45, keys("gaps")) > -0.7
    _paint(canvas, "hedge", hedged & gaps & (fields.edge_m < 6.5))
    track = farmed & ~hedged & (uniform(mix(fields.id, 45)) < 0.35)
    _paint(canvas, "pasture", track & (fields.edge_m < 2.5))
    _paint(canvas, "hedge", farmed & (smooth_noise(grid, 18, keys("copse")) > 2.75))
    return farmed


def _towns(canvas: NDArray[np.uint8], towns: Settlements, land: Relief, region: Region) -> Mask:
    """Streets, lots and gardens; returns where they are."""
    settled = (towns.density > 0.2) & (land.elevation < 620) & (land.aridity < 1.6)
    garden = uniform(mix(towns.lot, 41)) > np.clip(0.35 + 0.75 * towns.density, 0, 0.97)
    park = uniform(mix(towns.block, 42)) < 0.06
    _paint(canvas, "residential", settled)
    trade = settled & (uniform(mix(towns.block, 43)) < 0.12 + 0.25 * (towns.density > 0.75)) & (towns.density > 0.35)
    _paint(canvas, "industrial", trade)
    green = settled & (garden | park) & ~trade
    _paint(canvas, "pasture", green)
    _paint(canvas, "hedge", green & (uniform(mix(towns.lot, 44)) < 0.45))
    _paint(canvas, "road", settled & (towns.street_m < 6) & ~park)
    roads = (towns.road_m < 7.5) & (land.elevation < 1400)
    _paint(canvas, "road", roads)
    return settled | roads


def _heights(canvas: NDArray[np.uint8], grid: Grid, land: Relief, region: Region, keys: Keys) -> None:
    """Above the trees: moss and lichen, rock, snow."""
    rough = fbm(grid, 380, 5, keys("cliffs"), 0.6)
    level = land.elevation - region.snow_line
    snow, high = level + 130 * rough, level + 90 * rough > -430
    _paint(canvas, "lichen", high & (rough > -0.9))
    _paint(canvas, "moss", high & (rough < -0.1) & (level < -150))
    _paint(canvas, "rock", (level > -420 - 80 * rough) & (rough > -0.15))
    _paint(canvas, "snowfield", snow > 0)
    _paint(canvas, "glacier", (snow > 130) & (rough < -0.2))


def _wet(canvas: NDArray[np.uint8], grid: Grid, land: Relief, wet: Water, region: Region, keys: Keys) -> Mask:
    """Riverside trees, wetland, mangroves and open water; returns the water."""
    swamp = fbm(grid, 520, 5, keys("swamp"), 0.65) + 0.25 * land.moisture
    bank = wet.river_m - wet.river_half_m
    flows = wet.river_half_m > 4
    _paint(canvas, "hedge", (wet.stream_m < 13) & (swamp > -0.1) & (land.elevation < 500) & (land.aridity < 1.2))
    _paint(canvas, "broadleaf", flows & (bank < 28) & (swamp > 0.2))
    _paint(canvas, "sand", flows & (bank < 18) & (swamp < -1.0))
    fringe = (wet.lake > -region.wet_level) & (swamp > -0.1)
    plain = flows & (bank < 130) & (swamp > 1.3)
    bog = (land.moisture > 1.7) & (swamp > 1.25) & (land.elevation < 260)
    sedge = smooth_noise(grid, 140, keys("sedge")) + 0.3 * swamp
    marsh = fringe | plain | bog
    _paint(canvas, "sedge", marsh)
    _paint(canvas, "reed", marsh & (sedge > 0.3))
    _paint(canvas, "flooded", marsh & (sedge < -0.7))
    tidal = (wet.shore_m < 160) & (swamp + 0.5 * sedge > 0.35)
    _paint(canvas, "sedge", (wet.shore_m < 60) & (swamp < -0.6))
    _paint(canvas, "sand", (wet.shore_m < 35) & (swamp < 0.3) & (swamp > -0.6))
    mangrove = tidal & (wet.shore_m > -70)
    _paint(canvas, "mangrove", mangrove)
    open_sea = (wet.shore_m < 0) & ~mangrove
    river = wet.river_m < wet.river_half_m - 3
    pond = smooth_noise(grid, 95, keys("pond")) + 0.3 * swamp > 3.2
    lake = (wet.lake > 0) | (pond & (land.elevation < 500) & (land.aridity < 0.6))
    _paint(canvas, "river", river)
    _paint(canvas, "lake", lake)
    _paint(canvas, "sea", open_sea)
    _paint(canvas, "rough_sea", open_sea & (smooth_noise(grid, 1300, keys("wind")) > 0.3) & (wet.shore_m < -60))
    return river | lake | open_sea


def landscape(grid: Grid, region: Region, keys: Keys) -> Landscape:
    """The land cover at every grid point; depends on coordinates only, never on the window."""
    land = relief(grid, region, keys)
    wet = water(grid, land, region, keys)
    fields = parcels(grid, region, keys)
    towns = settlements(grid, region, keys)
    canvas = np.full(grid.shape, covers()["meadow"], np.uint8)
    stand = _nature(canvas, grid, land, fields, region, keys)
    farmed = _farms(canvas, grid, fields, region, keys)
    _heights(canvas, grid, land, region, keys)
    built = _towns(canvas, towns, land, region)
    covered = _wet(canvas, grid, land, wet, region, keys)
    patch = np.where(built, towns.lot, fields.id)
    return Landscape(canvas, patch, (farmed | built) & ~covered, land, towns, stand)
