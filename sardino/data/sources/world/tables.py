"""What the synthetic world is made of, from the tables in this folder: its areas of interest, its kinds of ground."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import TypeAdapter

from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import SEASONS
from sardino.errors import SardinoError
from sardino.files import read_toml

_FOLDER = Path(__file__).parent
YEAR = "year"  # the mean of the four seasons, in signatures.csv


@dataclass(frozen=True)
class Region:
    """A landscape preset. Levels without a unit are standard deviations of a unit-variance field."""

    name: str
    title: str
    crs: str  # a UTM zone inside the area
    origin: tuple[float, float]  # (x, y) in metres of the upper left corner of the first tile, multiples of 4480
    # Share of land-cover classes by WorldCover code that the preset comes to, the mean of eight worlds; one world
    # of 400 km2 strays from it by a third for common classes, by more for rare ones.
    shares: dict[int, float]
    massif_spacing: float  # metres, as the two below; mountains stand on a jittered lattice
    massif_height: float
    massif_radius: float
    snow_line: float  # metres above sea level
    tree_line: float  # metres above sea level
    aridity: float  # added to the aridity field, above 0 half of the land is dry
    river_width: float  # metres between the banks of a lowland river
    lake_level: float  # threshold of the lake field
    wet_level: float  # how far below it wetland reaches
    sea: bool  # whether coastal bays (with mangroves) exist
    forest_level: float  # threshold of natural forest
    farm_level: float  # threshold of farmland
    crop_balance: float  # added to the odds of crops against pasture
    district: float  # metres between parcel districts
    parcel: tuple[float, float]  # (width, length) in metres
    cardinal: float  # share of districts whose parcels run north-south
    hedged: float  # share of districts with hedges
    pivots: float  # share of parcels irrigated in circles
    crops: dict[str, float]  # relative frequency of crops by cover
    town_size: float  # metres, median radius of a town
    village_rate: float  # share of village sites that are settled


_facts = read_toml(_FOLDER / "regions.toml")
REGIONS = TypeAdapter(dict[str, Region]).validate_python({name: {"name": name, **_facts[name]} for name in _facts})


def region_of(name: str) -> Region:
    """The preset of this name; SardinoError lists those there are."""
    if name not in REGIONS:
        raise SardinoError(f"there is no region '{name}'; the world has {', '.join(REGIONS)}")
    return REGIONS[name]


@dataclass(frozen=True)
class Covers:
    """Kinds of ground, finer than land-cover classes: tables indexed by cover number, float32 but for `label`."""

    names: tuple[str, ...]
    label: NDArray[np.uint8]  # (n,) class index into WORLDCOVER
    mean_db: NDArray[np.float32]  # (n, 4, 2) sigma0 in dB by season and VV, VH
    spread_db: NDArray[np.float32]  # (n, 2) standard deviation between patches
    season_db: NDArray[np.float32]  # (n,) further standard deviation per season
    slope_db: NDArray[np.float32]  # (n, 2) dB per degree of incidence
    texture: NDArray[np.float32]  # (n,) gamma order
    coherence: NDArray[np.float32]  # (n,) 0 to 1, between dates
    color: NDArray[np.float32]  # (n, 3) 0 to 255
    vegetation: NDArray[np.float32]  # (n,) percent
    biomass: NDArray[np.float32]  # (n,) t/ha
    built: NDArray[np.float32]  # (n,) percent

    def __getitem__(self, name: str) -> int:
        return self.names.index(name)


@lru_cache(maxsize=1)
def covers() -> Covers:
    """The covers of backscatter.csv and appearance.csv."""
    with (_FOLDER / "backscatter.csv").open() as radar, (_FOLDER / "appearance.csv").open() as seen:
        table = pd.read_csv(radar, comment="#", index_col="cover")
        table = table.join(pd.read_csv(seen, comment="#", index_col="cover"))

    def columns(*names: str) -> NDArray[np.float32]:
        return table[list(names)].to_numpy(np.float32)

    return Covers(
        names=tuple(table.index),
        label=WORLDCOVER.encode(table["code"].to_numpy()),
        mean_db=np.stack([columns(f"vv_{season}", f"vh_{season}") for season in SEASONS], axis=1),
        spread_db=columns("sd_vv", "sd_vh"),
        season_db=columns("season_sd")[:, 0],
        slope_db=columns("slope_vv", "slope_vh"),
        color=columns("red", "green", "blue"),
        **{name: columns(name)[:, 0] for name in ("texture", "coherence", "vegetation", "biomass", "built")},
    )


def signatures() -> pd.DataFrame:
    """Backscatter of real land, by class and season, that the world is held against: signatures.csv, sigma0 in dB."""
    with (_FOLDER / "signatures.csv").open() as real:
        return pd.read_csv(real, comment="#", index_col=["class", "season"])
