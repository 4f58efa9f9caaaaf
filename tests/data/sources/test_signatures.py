"""Real means by class and season: made from points as the table says, and equal to it where the points are."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import signatures as tool

from sardino.data.sources.world.tables import signatures

COLUMNS = ["points", "sites", "vv", "vv_se", "vh", "vh_se"]
USE = {"11": "temporary_crops", "20": "grasslands", "25": "grasslands", "40": "trees", "12": "permanent_crops"}


def dn(db: float) -> int:
    return round(10 ** ((db + 83) / 20))


def write(folder: Path, series: dict[str, list[tuple[str, str, int, float]]]) -> None:
    """A folder like WorldCereal's: by file, points as (name, site, code, VV dB), a date a month from September on."""
    (folder / "class_mappings.json").write_text(json.dumps({"LANDCOVER10": USE}))
    for name, points in series.items():
        months = pd.date_range(f"{tool.YEARS[name] - 1}-09-01", periods=17, freq="MS")
        frame = pd.DataFrame(
            [(p, site, code, m, dn(db + 2 * (m.month in (6, 7, 8)))) for p, site, code, db in points for m in months],
            columns=["sample_id", "h3_l3_cell", "ewoc_code", "timestamp", "S1-SIGMA0-VV"],
        )
        # Outside the year of seasons everything is bright; the first point never saw a spring.
        frame.loc[~frame["timestamp"].between(months[3], months[14]), "S1-SIGMA0-VV"] = dn(5)
        spring = frame["timestamp"].dt.month.isin([3, 4, 5]) & (frame["sample_id"] == points[0][0])
        frame.loc[spring, "S1-SIGMA0-VV"] = 65535
        frame["S1-SIGMA0-VH"] = frame["S1-SIGMA0-VV"] // 2
        frame.astype({"S1-SIGMA0-VV": np.uint16, "S1-SIGMA0-VH": np.uint16}).to_parquet(folder / name)


def test_means_and_errors_of_points_whose_answer_is_known(tmp_path: Path) -> None:
    corsica, west = tool.YEARS
    crops = [("a", "south", 11, -10.0), ("b", "south", 11, -12.0), ("c", "north", 11, -8.0), ("d", "north", 11, -6.0)]
    meadow = [("e", "south", 20, -11.0), ("f", "south", 25, -3.0), ("g", "north", 20, -13.0), ("h", "north", 12, -3.0)]
    woods = [("i", "south", 40, -9.0), ("j", "north", 40, -9.0)]
    write(tmp_path, {corsica: [("x", "south", 11, 0.0), *crops, *meadow], west: [("y", "north", 40, 0.0), *woods]})
    table = tool.measure(tmp_path)
    assert list(table.columns) == COLUMNS and len(table) == 15
    assert table.loc["Cropland", "points"].eq(4).all() and table.loc["Grassland", "points"].eq(2).all()
    assert table.loc[("Cropland", "winter"), "vv"] == pytest.approx(-9, abs=0.01)
    assert table.loc[("Cropland", "summer"), "vv"] == pytest.approx(-7, abs=0.01)
    assert table.loc[("Cropland", "year"), "vv"] == pytest.approx(-8.5, abs=0.01)
    assert table.loc[("Cropland", "fall"), "vh"] == pytest.approx(-9 - 20 * np.log10(2), abs=0.02)
    # Sites deviate by -4 and +4 in sum: sqrt((16 + 16) * 2 / 1) / 4. Counted one by one the points would give 1.29.
    assert table.loc[("Cropland", "spring"), "vv_se"] == pytest.approx(2, abs=0.01)
    assert table.loc[("Tree cover", "winter"), "vv_se"] == pytest.approx(0, abs=0.01)


@pytest.mark.real
def test_the_table_is_what_the_points_say() -> None:
    folder = Path(os.environ.get("SARDINO_DATA", "")) / "worldcereal-lpis"
    if not folder.is_dir():
        pytest.skip("SARDINO_DATA names no folder with WorldCereal's points")
    pd.testing.assert_frame_equal(tool.measure(folder), signatures()[COLUMNS])
