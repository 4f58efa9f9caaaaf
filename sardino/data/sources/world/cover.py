"""The covers of the synthetic world: kinds of ground finer than land-cover classes, and their tables."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import SEASONS


@dataclass(frozen=True)
class Covers:
    """Tables indexed by cover number.

    Args:
        names: the covers in order.
        label: (n,) uint8 class index into WORLDCOVER.
        mean_db: (n, 4, 2) float32 sigma0 in dB by season and VV, VH.
        spread_db: (n, 2) float32, standard deviation between patches; season_db: (n,) further per season.
        slope_db: (n, 2) float32, dB per degree of incidence.
        texture: (n,) float32 gamma order; coherence: (n,) float32, 0 to 1, between dates.
        color: (n, 3) float32, 0 to 255.
        vegetation, built: (n,) float32, percent; biomass: (n,) float32, t/ha.
    """

    names: tuple[str, ...]
    label: NDArray[np.uint8]
    mean_db: NDArray[np.float32]
    spread_db: NDArray[np.float32]
    season_db: NDArray[np.float32]
    slope_db: NDArray[np.float32]
    texture: NDArray[np.float32]
    coherence: NDArray[np.float32]
    color: NDArray[np.float32]
    vegetation: NDArray[np.float32]
    biomass: NDArray[np.float32]
    built: NDArray[np.float32]

    def __getitem__(self, name: str) -> int:
        return self.names.index(name)


@lru_cache(maxsize=1)
def covers() -> Covers:
    """The covers of backscatter.csv and appearance.csv."""
    folder = files("sardino.data.sources.world")
    with (folder / "backscatter.csv").open() as lines:
        radar = pd.read_csv(lines, comment="#", index_col="cover")
    with (folder / "appearance.csv").open() as lines:
        seen = pd.read_csv(lines, comment="#", index_col="cover").loc[radar.index]
    means = [[radar[f"{pol}_{season}"] for pol in ("vv", "vh")] for season in SEASONS]
    return Covers(
        names=tuple(radar.index),
        label=WORLDCOVER.encode(radar["code"].to_numpy()),
        mean_db=np.moveaxis(np.array(means, np.float32), 2, 0),
        spread_db=radar[["sd_vv", "sd_vh"]].to_numpy(np.float32),
        season_db=radar["season_sd"].to_numpy(np.float32),
        slope_db=radar[["slope_vv", "slope_vh"]].to_numpy(np.float32),
        texture=radar["texture"].to_numpy(np.float32),
        coherence=radar["coherence"].to_numpy(np.float32),
        color=seen[["red", "green", "blue"]].to_numpy(np.float32),
        vegetation=seen["vegetation"].to_numpy(np.float32),
        biomass=seen["biomass"].to_numpy(np.float32),
        built=seen["built"].to_numpy(np.float32),
    )
