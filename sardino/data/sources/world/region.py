"""The three areas of interest of the synthetic world: what their landscapes are made of."""

from dataclasses import dataclass


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


REGIONS = {
    region.name: region
    for region in (
        Region(
            name="europe",
            title="Europe",
            crs="EPSG:32631",
            origin=(448000.0, 5376000.0),
            shares={
                10: 0.37,
                20: 0.03,
                30: 0.185,
                40: 0.285,
                50: 0.043,
                60: 0.016,
                70: 0.005,
                80: 0.043,
                90: 0.02,
                100: 0.004,
            },
            massif_spacing=7600,
            massif_height=2350,
            massif_radius=1230,
            snow_line=2250,
            tree_line=1550,
            aridity=-2.2,
            river_width=70,
            lake_level=1.8,
            wet_level=0.12,
            sea=False,
            forest_level=-0.95,
            farm_level=-0.3,
            crop_balance=0.35,
            district=1700,
            parcel=(150, 260),
            cardinal=0.0,
            hedged=0.45,
            pivots=0.0,
            crops={"winter_cereal": 40, "maize": 22, "rapeseed": 13, "beet": 12, "soy": 3, "fallow": 6},
            town_size=220,
            village_rate=0.6,
        ),
        Region(
            name="conus",
            title="CONUS",
            crs="EPSG:32614",
            origin=(448000.0, 4480000.0),
            shares={10: 0.33, 20: 0.066, 30: 0.282, 40: 0.178, 50: 0.035, 60: 0.038, 80: 0.053, 90: 0.019},
            massif_spacing=15000,
            massif_height=1500,
            massif_radius=2000,
            snow_line=2500,
            tree_line=2100,
            aridity=-0.5,
            river_width=80,
            lake_level=1.75,
            wet_level=0.08,
            sea=False,
            forest_level=-0.3,
            farm_level=-0.05,
            crop_balance=0.35,
            district=3200,
            parcel=(380, 420),
            cardinal=0.85,
            hedged=0.1,
            pivots=0.22,
            crops={"maize": 34, "soy": 30, "winter_cereal": 22, "beet": 2, "fallow": 12},
            town_size=210,
            village_rate=0.25,
        ),
        Region(
            name="china",
            title="China",
            crs="EPSG:32649",
            origin=(448000.0, 2464000.0),
            shares={
                10: 0.25,
                20: 0.075,
                30: 0.24,
                40: 0.155,
                50: 0.044,
                60: 0.11,
                70: 0.01,
                80: 0.09,
                90: 0.013,
                95: 0.007,
                100: 0.006,
            },
            massif_spacing=8200,
            massif_height=2600,
            massif_radius=1600,
            snow_line=2350,
            tree_line=1500,
            aridity=0.1,
            river_width=80,
            lake_level=2.0,
            wet_level=0.08,
            sea=True,
            forest_level=0.1,
            farm_level=0.2,
            crop_balance=1.0,
            district=1100,
            parcel=(60, 130),
            cardinal=0.2,
            hedged=0.05,
            pivots=0.0,
            crops={"rice": 34, "winter_cereal": 20, "maize": 24, "beet": 6, "rapeseed": 10, "fallow": 6},
            town_size=230,
            village_rate=0.9,
        ),
    )
}
"""Presets by name. Geography is compressed: one massif, its rivers and its towns fit in some 10 km."""
