"""Bands lie at a true bearing, blocks at their size, and both hold the shares that were asked for."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from scipy.stats import spearmanr

from sardino.data.places.area import Aoi
from sardino.data.places.ground import Ground
from sardino.data.places.partitions import square_grid
from sardino.data.places.splits import (
    band_index,
    block_index,
    ground_plane,
    split_pattern,
    split_table,
    splits_of_bands,
    splits_of_blocks,
)
from sardino.data.tiles.table import tile_table
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

NORTH = square_grid(Aoi("north", shapely.box(5.0, 59.0, 13.0, 61.0)), 1000)
"""Three zones at a latitude where a degree of longitude is half as long as one of latitude."""
LONLAT = Ground(NORTH).lonlat
PLANE = ground_plane(NORTH)


@given(st.integers(5, 30), st.integers(1, 8), st.floats(-180, 180), st.integers(0, 99))
def test_bands_hold_equally_many_tiles_in_order(bands: int, per_band: int, angle: float, seed: int) -> None:
    x, y = np.random.default_rng(seed).uniform(0, 1e5, (2, bands * per_band))
    band = band_index(x, y, bands, angle)
    assert (np.bincount(band, minlength=bands) == per_band).all()
    along = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    highest = [along[band == b].max() for b in range(bands)]
    lowest = [along[band == b].min() for b in range(bands)]
    assert all(above >= below - 0.01 for below, above in zip(highest, lowest[1:], strict=False))


def test_too_few_bands_or_tiles_are_refused() -> None:
    with pytest.raises(SardinoError, match="at least 5 bands"):
        band_index(np.arange(9.0), np.arange(9.0), 4, 0)
    with pytest.raises(SardinoError, match="9 tiles cannot fill 10 bands"):
        band_index(np.arange(9.0), np.arange(9.0), 10, 0)


@settings(max_examples=30, deadline=None)
@given(st.floats(-360, 360), st.integers(5, 60))
def test_bands_follow_the_bearing_on_the_ellipsoid(bearing: float, bands: int) -> None:
    band = band_index(*PLANE, bands, 90 - bearing)
    lon, lat = LONLAT.mean(0)
    azimuth, _, metres = Geod(ellps="WGS84").inv(np.full(len(LONLAT), lon), np.full(len(LONLAT), lat), *LONLAT.T)
    along = metres * np.cos(np.radians(azimuth - bearing))
    highest = np.array([along[band == number].max() for number in range(bands)])
    lowest = np.array([along[band == number].min() for number in range(bands)])
    # A tile measures 10 km; the two projections differ by metres.
    assert (highest[:-1] - lowest[1:]).max() < 500
    assert np.ptp(np.bincount(band)) <= 1


def test_a_direction_is_one_on_the_ground_not_in_the_bounding_box() -> None:
    # At 45 degrees, geetiles' normalised box would put north-west and south-east corners into one band.
    band = band_index(*PLANE, 20, 45.0)
    corner = {
        name: band[np.abs(LONLAT - place).sum(1).argmin()]
        for name, place in {"nw": (5.1, 60.9), "se": (12.9, 59.1)}.items()
    }
    assert corner["se"] - corner["nw"] > 5
    flat = band_index(*PLANE, 20, 90.0)
    assert spearmanr(flat, LONLAT[:, 1]).statistic > 0.98


def test_the_paper_s_shares_are_the_paper_s_pattern() -> None:
    assert split_pattern() == ["train", "train", "train", "val", "test"]
    assert split_pattern((70, 10, 20)) == ["train"] * 7 + ["val"] + ["test"] * 2
    assert split_pattern((80, 0, 20)) == ["train"] * 4 + ["test"]


@given(st.integers(1, 98), st.integers(0, 98), st.integers(1, 3))
def test_shares_come_out_as_asked(train: int, val: int, cycles: int) -> None:
    if train + val > 99:
        with pytest.raises(SardinoError, match="sum to 100"):
            split_pattern((train, val, 100 - train - val))
        return
    shares = (train, val, 100 - train - val)
    split = splits_of_bands(np.arange(len(split_pattern(shares)) * cycles), shares)
    assert [(split == name).mean() * 100 for name in ("train", "val", "test")] == pytest.approx(list(shares))


@pytest.mark.parametrize("wrong", [(60, 20, 30), (100, 0, 0), (0, 50, 50), (-10, 50, 60), (33.3, 33.3, 33.4)])
def test_impossible_shares_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(SardinoError, match="whole percentages that sum to 100"):
        split_pattern(wrong)


def test_too_few_bands_for_the_shares_are_refused() -> None:
    with pytest.raises(SardinoError, match="97/1/2 needs at least 100 bands, not 50"):
        splits_of_bands(np.arange(50), (97, 1, 2))
    with pytest.raises(SardinoError, match="not nan"):
        band_index(*PLANE, 10, float("nan"))
    with pytest.raises(SardinoError, match="state no CRS"):
        ground_plane([Tile("r", "", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), (4, 4))] * 10)


@settings(max_examples=20, deadline=None)
@given(st.floats(12, 80), st.integers(0, 99))
def test_blocks_have_their_size_and_balance(block_km: float, seed: int) -> None:
    block = block_index(*PLANE, block_km)
    for number in np.unique(block):
        lon, lat = LONLAT[block == number].T
        reach = Geod(ellps="WGS84").inv(lon[0], lat[0], lon[-1], lat[-1])[2]
        assert reach <= block_km * 1000 * np.sqrt(2) * 1.01
    split = splits_of_blocks(block, seed=seed)
    assert all(len(set(split[block == number])) == 1 for number in np.unique(block))
    largest = np.bincount(block).max() / len(block)
    shares = [(split == name).mean() for name in ("train", "val", "test")]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=largest + 0.01)
    assert (splits_of_blocks(block, seed=seed) == split).all()


def test_blocks_follow_the_seed_and_are_refused_where_too_few() -> None:
    block = block_index(*PLANE, 30)
    assert (splits_of_blocks(block, seed=1) != splits_of_blocks(block, seed=2)).any()
    with pytest.raises(SardinoError, match="1 blocks cannot fill train, val, test"):
        splits_of_blocks(block_index(*PLANE, 5000))
    with pytest.raises(SardinoError, match="edge in kilometres"):
        block_index(*PLANE, 0)


def test_each_region_is_split_by_itself() -> None:
    south = square_grid(Aoi("south", shapely.box(20.0, -31.0, 22.0, -30.0)), 1000)
    table = split_table(tile_table([*NORTH, *south]), bands=10, direction_deg=70)
    for _, part in table.groupby("region"):
        assert part["band"].nunique() == 10
        assert (part["split"] == "train").mean() == pytest.approx(0.6, abs=0.02)
    with pytest.raises(SardinoError, match="empty"):
        split_table(tile_table([]))
    with pytest.raises(SardinoError, match="no split 'stripes'"):
        split_table(table, "stripes")  # type: ignore[arg-type]
