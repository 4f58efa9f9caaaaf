"""Writes what Sentinel-1 shows of French fields and woods by season, which the synthetic world is held against.

    python tools/signatures.py FOLDER/worldcereal-lpis

The folder is WorldCereal's test data: points of declared land use with VV and VH over more than a year.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from sardino.data.sources.seasonal_composite import in_year, season_of
from sardino.data.sources.world.tables import YEAR, signatures
from sardino.data.tiles.radiometry import SEASONS

TABLE = Path(__file__).parents[1] / "sardino/data/sources/world/signatures.csv"
# The set's third file lies at the equator, where winter and summer are no seasons of fields.
YEARS = {"2022_FRA_LPIS_POLY_110_month.geoparquet": 2022, "2023_FRA_LPIS_POLY_110_dekad.geoparquet": 2023}
# Where WorldCereal's land use and WorldCover's class are the same ground. Its permanent crops are trees, shrubs or
# crops in WorldCover, and its sown grass is grass or crops.
CLASSES = {"temporary_crops": "Cropland", "grasslands": "Grassland", "trees": "Tree cover"}
WOODED = "25"  # first digits of grassland under trees, which WorldCereal counts as grassland and WorldCover as trees
MISSING = 0, 65535


def measure(folder: Path) -> pd.DataFrame:
    """Mean sigma0 in dB by class and season, and of the year, with standard errors, points and sites.

    Power is averaged over the dates of a season at each point, as a seasonal composite does it, and decibels over the
    points, as over pixels. A site is an H3 cell of level 3, some 12,000 km2. A point that lacks a season is left out.
    """
    use = json.loads((folder / "class_mappings.json").read_text("utf-8"))["LANDCOVER10"]
    series = [(pd.read_parquet(folder / name), year) for name, year in YEARS.items()]
    points = pd.concat(frame[in_year(frame["timestamp"].to_numpy(), year)] for frame, year in series)
    code = points["ewoc_code"].astype(str)
    points["class"] = code.map(use).map(CLASSES).where(~code.str.startswith(WOODED))
    points["season"] = points["timestamp"].dt.month.map(season_of)
    for band in ("vv", "vh"):
        number = points[f"S1-SIGMA0-{band.upper()}"].astype(float)
        points[band] = number.where(~number.isin(MISSING)) ** 2 * 10**-8.3
    seasons = points.groupby(["class", "h3_l3_cell", "sample_id", "season"])[["vv", "vh"]].mean().unstack("season")
    db = 10 * np.log10(seasons.dropna())
    for band in ("vv", "vh"):
        db[band, YEAR] = db[band].mean(axis=1)
    return pd.concat({name: _summary(db.loc[name]) for name in CLASSES.values()}, names=["class", "season"])


def _summary(db: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard error by season; `db` is a row for each site and point, a column for each band and season."""
    mean = db.mean()
    # Points of one site share weather, soil and angle: their deviations count together, as one.
    sites = (db - mean).groupby(level=0).sum()
    error = np.sqrt((sites**2).sum() * len(sites) / (len(sites) - 1)) / len(db)
    table = mean.unstack(0).join(error.unstack(0).add_suffix("_se")).loc[[*SEASONS, YEAR]].round(2)
    return table.assign(points=len(db), sites=len(sites))[["points", "sites", "vv", "vv_se", "vh", "vh_se"]]


if __name__ == "__main__":
    said = "".join(line for line in TABLE.read_text("utf-8").splitlines(keepends=True) if line.startswith("#"))
    before = signatures()[["vv_before", "vh_before"]]
    TABLE.write_text(said + measure(Path(sys.argv[1])).join(before).to_csv(), encoding="utf-8")
