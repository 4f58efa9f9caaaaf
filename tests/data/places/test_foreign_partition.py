"""Foreign partitions: the cell that covers most, counted pixel by pixel, and splits handed down."""

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from sardino.data.places.area import Aoi
from sardino.data.places.partitions import square_grid
from sardino.data.places.splits import intersect_table, majority_splits, split_table
from sardino.data.tiles.table import tile_table
from sardino.errors import SardinoError

TABLE = tile_table(square_grid(Aoi("a", shapely.box(5.4, 50.0, 6.4, 50.4)), 448))


def voronoi(count: int, seed: int) -> geopandas.GeoDataFrame:
    places = shapely.multipoints(np.random.default_rng(seed).uniform((5.4, 50.0), (6.4, 50.4), (count, 2)))
    cells = shapely.get_parts(shapely.voronoi_polygons(places, extend_to=shapely.box(5, 49, 7, 51)))
    return geopandas.GeoDataFrame({"name": [f"v{n}" for n in range(len(cells))]}, geometry=cells, crs="EPSG:4326")


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 40), st.integers(0, 99))
def test_the_cell_is_the_one_that_most_points_of_a_tile_lie_in(count: int, seed: int) -> None:
    cells = voronoi(count, seed)
    table = intersect_table(TABLE, cells, "v", "name")
    found, share = table["foreignid_v"], table["foreignshare_v"]
    for outline, cell, part in zip(TABLE.geometry[:20], found[:20], share[:20], strict=True):
        west, south, east, north = outline.bounds
        x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(west, east, 40), np.linspace(south, north, 40)))
        inside = shapely.contains_xy(outline, x, y)
        votes = np.array([shapely.contains_xy(shape, x[inside], y[inside]).mean() for shape in cells.geometry])
        assert votes[cells["name"].tolist().index(cell)] == pytest.approx(part, abs=0.05)
        assert part >= votes.max() - 0.05


def test_equal_overlaps_go_to_the_first_id_and_none_to_nobody() -> None:
    west, south, east, north = TABLE.geometry[0].bounds
    whole = shapely.box(west - 1, south - 1, east + 1, north + 1)
    cells = geopandas.GeoDataFrame(geometry=[whole, whole], crs="EPSG:4326")
    assert intersect_table(TABLE[:1], cells.assign(id=["b", "a"]), "v")["foreignid_v"].tolist() == ["a"]
    far = geopandas.GeoDataFrame(geometry=[shapely.box(50, 0, 51, 1)], crs="EPSG:4326")
    table = intersect_table(TABLE[:1], far, "v")
    assert table["foreignid_v"].tolist() == [""] and table["foreignshare_v"].tolist() == [0.0]


def test_cells_stay_whole_in_a_split() -> None:
    table = intersect_table(TABLE, voronoi(30, 1), "cells", "name")
    result = split_table(table, bands=20, direction_deg=0, foreign="cells")
    assert (result.groupby("foreignid_cells")["split"].nunique() == 1).all()
    free = split_table(table, bands=20, direction_deg=0)
    assert (free.groupby("foreignid_cells")["split"].nunique() > 1).any()


def test_splits_are_inherited() -> None:
    cells = voronoi(12, 2).assign(split=["train"] * 8 + ["val", "val", "test", "test"])
    table = intersect_table(TABLE, cells, "coarse", "name")
    result = split_table(table, "inherited", foreign="coarse")
    of_cell = dict(zip(cells["name"], cells["split"], strict=True))
    assert result["split"].tolist() == [of_cell[cell] for cell in table["foreignid_coarse"]]
    apart = intersect_table(TABLE, cells.clip((5, 49, 5.9, 51)), "apart", "name")
    uncovered = (apart["foreignid_apart"] == "").to_numpy()
    assert uncovered.any() and (split_table(apart, "inherited", foreign="apart")["split"][uncovered] == "none").all()
    with pytest.raises(SardinoError, match="unknown split dev"):
        split_table(intersect_table(TABLE, cells.assign(split="dev"), "coarse", "name"), "inherited", foreign="coarse")


def test_the_majority_decides_and_test_wins_a_tie() -> None:
    splits = ["train", "train", "test", "val", "train", "test", "none", "val"]
    groups = ["a", "a", "a", "b", "c", "c", "b", ""]
    assert majority_splits(splits, groups).tolist() == [
        "train", "train", "train", "val", "test", "test", "val", "val",
    ]  # fmt: skip


def test_what_does_not_fit_is_refused() -> None:
    cells = voronoi(4, 0)
    with pytest.raises(SardinoError, match="no attribute 'NUTS'"):
        intersect_table(TABLE, cells, "v", "NUTS")
    with pytest.raises(SardinoError, match="repeat in 'same'"):
        intersect_table(TABLE, cells.assign(same="x"), "v", "same")
    with pytest.raises(SardinoError, match="no name for a column"):
        intersect_table(TABLE, cells, "a b/c")
    with pytest.raises(SardinoError, match=r"partitions known: v\)"):
        split_table(intersect_table(TABLE, cells, "v"), foreign="w")
    with pytest.raises(SardinoError, match="no column foreignsplit_v"):
        split_table(intersect_table(TABLE, cells, "v"), "inherited", foreign="v")
    with pytest.raises(SardinoError, match="needs the foreign partition's name"):
        split_table(TABLE, "inherited")
