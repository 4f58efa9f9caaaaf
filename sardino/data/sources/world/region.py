"""The three areas of interest of the synthetic world: what their landscapes are made of."""

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from sardino.errors import SardinoError


@dataclass(frozen=True)
class Region:
    """A landscape preset. Levels without a unit are standard deviations of a unit-variance field.

    Args:
        name, title: key and heading.
        crs: a UTM zone inside the area.
        origin: (x, y) in metres of the upper left corner of the first tile, multiples of 4480.
        shares: share of land-cover classes by WorldCover code that the preset comes to, the mean of eight worlds;
            one world of 400 km2 strays from it by a third for common classes, by more for rare ones.
        massif_spacing, massif_height, massif_radius: metres; mountains stand on a jittered lattice.
        snow_line, tree_line: metres above sea level.
        aridity: added to the aridity field, above 0 half of the land is dry.
        river_width: metres between the banks of a lowland river.
        lake_level, wet_level: threshold of the lake field, and how far below it wetland reaches.
        sea: true where coastal bays (with mangroves) exist.
        forest_level: threshold of natural forest; farm_level: of farmland.
        crop_balance: added to the odds of crops against pasture.
        district: metres between parcel districts; parcel: (width, length) in metres; cardinal: share of districts
            whose parcels run north-south; hedged: share of districts with hedges; pivots: share of parcels
            irrigated in circles.
        crops: relative frequency of crops by cover.
        town_size: metres, median radius of a town; village_rate: share of village sites that are settled.
    """

    name: str
    title: str
    crs: str
    origin: tuple[float, float]
    shares: dict[int, float]
    massif_spacing: float
    massif_height: float
    massif_radius: float
    snow_line: float
    tree_line: float
    aridity: float
    river_width: float
    lake_level: float
    wet_level: float
    sea: bool
    forest_level: float
    farm_level: float
    crop_balance: float
    district: float
    parcel: tuple[float, float]
    cardinal: float
    hedged: float
    pivots: float
    crops: dict[str, float]
    town_size: float
    village_rate: float


def _presets() -> dict[str, Region]:
    found = {}
    for name, facts in tomllib.loads((files("sardino.data.sources.world") / "regions.toml").read_text("utf-8")).items():
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in facts.items()}
        values["shares"] = {int(code): share for code, share in facts["shares"].items()}
        found[name] = Region(name=name, **values)
    return found


REGIONS = _presets()
"""Presets by name, from regions.toml."""


def region_of(name: str) -> Region:
    """The preset of this name; SardinoError lists those there are."""
    if name not in REGIONS:
        raise SardinoError(f"there is no region '{name}'; the world has {', '.join(REGIONS)}")
    return REGIONS[name]
