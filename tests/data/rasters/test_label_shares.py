"""Label shares: nodata is no class, every CRS counts the same, polygons weigh by area."""

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.transform import from_origin
from rasterio.warp import Resampling, calculate_default_transform, reproject
from shapely import box

from sardino.data.places.area import read_polygons
from sardino.data.rasters.label_shares import (
    LabelRasters,
    shares_from_polygons,
    shares_in_polygons,
    shares_in_rasters,
    shares_in_store,
    shares_of,
    with_shares,
    write_polygons,
)
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.table import tile_table
from sardino.data.tiles.tile import Chip, tile_grid
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError

# rasterio itself multiplies transforms in the way that affine is giving up.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

SIZE = 20
UTM = "EPSG:32631"
ORIGIN = (500_000.0, 5_500_000.0)
TILES = list(tile_grid("north", UTM, ORIGIN, SIZE, 10.0, 2, 1))
SHARES = [f"share_{code}" for code in WORLDCOVER.codes]


def codes(seed: int = 0) -> np.ndarray:
    """Codes of both tiles side by side, in patches of 5 px so that warping moves few of them."""
    patches = np.random.default_rng(seed).choice([10, 30, 40, 80], (SIZE // 5, 2 * SIZE // 5))
    return np.kron(patches, np.ones((5, 5))).astype(np.uint8)


def write_raster(path: Path, values: np.ndarray, crs: str | None = UTM, transform=None, **profile: object) -> Path:
    transform = transform or from_origin(*ORIGIN, 10, 10)
    given_profile = {"dtype": values.dtype, "crs": crs, "transform": transform, **profile}
    height, width = values.shape
    with rasterio.open(path, "w", driver="GTiff", height=height, width=width, count=1, **given_profile) as dataset:
        dataset.write(values, 1)
    return path


@given(arrays(np.uint8, (7, 9), elements=st.sampled_from([0, 3, 10, IGNORE])))
def test_shares_sum_to_one_over_labelled_pixels(label: np.ndarray) -> None:
    shares = shares_of(np.bincount(label.ravel(), minlength=256), label.size, WORLDCOVER)
    labelled = (label != IGNORE).mean()
    assert shares["labelled_share"] == pytest.approx(labelled)
    total = sum(shares[name] for name in SHARES)
    assert total == pytest.approx(1) if labelled else np.isnan(total)


def test_a_raster_of_the_tiles_grid_gives_the_exact_counts(tmp_path: Path) -> None:
    values = codes()
    values[:, :4] = 0
    counted = shares_in_rasters(TILES, LabelRasters([write_raster(tmp_path / "map.tif", values)]))
    for number, tile in enumerate(TILES):
        part = values[:, number * SIZE : (number + 1) * SIZE]
        for code in WORLDCOVER.codes:
            assert counted.loc[tile.id, f"share_{code}"] == pytest.approx((part == code).sum() / (part > 0).sum())
    assert counted["labelled_share"].tolist() == pytest.approx([0.8, 1.0])


def test_a_raster_of_another_crs_gives_nearly_the_same(tmp_path: Path) -> None:
    values = codes(1)
    there, width, height = calculate_default_transform(
        UTM, "EPSG:4326", 2 * SIZE, SIZE, ORIGIN[0], ORIGIN[1] - 10 * SIZE, ORIGIN[0] + 20 * SIZE, ORIGIN[1],
        resolution=5e-6,
    )  # fmt: skip
    degrees = np.zeros((height, width), np.uint8)
    reproject(
        values, degrees, src_crs=UTM, src_transform=from_origin(*ORIGIN, 10, 10), dst_crs="EPSG:4326",
        dst_transform=there, resampling=Resampling.nearest,
    )  # fmt: skip
    own = shares_in_rasters(TILES, LabelRasters([write_raster(tmp_path / "utm.tif", values)]))
    path = write_raster(tmp_path / "degrees.tif", degrees, "EPSG:4326", there)
    other = shares_in_rasters(TILES, LabelRasters([path]))
    np.testing.assert_allclose(other[SHARES], own[SHARES], atol=0.02)
    assert (other["labelled_share"] > 0.98).all()


def test_sheets_complete_each_other_and_files_elsewhere_do_not_matter(tmp_path: Path) -> None:
    values = codes(2)
    whole = shares_in_rasters(TILES, LabelRasters([write_raster(tmp_path / "whole.tif", values)]))
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    write_raster(sheets / "west.tif", values[:, :13].copy(), nodata=0)
    write_raster(sheets / "east.tif", values[:, 13:].copy(), transform=from_origin(ORIGIN[0] + 130, ORIGIN[1], 10, 10))
    write_raster(sheets / "far.tif", values, "EPSG:32650")
    np.testing.assert_array_equal(shares_in_rasters(TILES, LabelRasters([sheets])), whole)


def test_a_tile_without_label_is_nan_and_not_a_class(tmp_path: Path) -> None:
    elsewhere = write_raster(tmp_path / "map.tif", codes(), transform=from_origin(7e5, 5e6, 10, 10))
    counted = shares_in_rasters(TILES, LabelRasters([elsewhere]))
    assert (counted["labelled_share"] == 0).all() and counted[SHARES].isna().all(axis=None)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: write_raster(p, codes(), crs=None), "states no CRS"),
        (lambda p: write_raster(p, codes().astype(np.float32)), "holds float32 values and no class codes"),
        (lambda p: p.write_bytes(b"not a raster") and p, "cannot be read"),
        (lambda p: p.with_name("absent.tif"), "there is no label raster"),
    ],
)
def test_what_is_no_label_raster_is_refused(tmp_path: Path, make, sentence: str) -> None:
    with pytest.raises(SardinoError, match=sentence):
        LabelRasters([make(tmp_path / "map.tif")])


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_year_asked_for_is_held_against_name_and_tags(tmp_path: Path) -> None:
    named = write_raster(tmp_path / "ESA_WorldCover_10m_2020_v100_N48E009_Map.tif", codes())
    assert LabelRasters([named], year=2020)
    with pytest.raises(SardinoError, match=r"is of 2020, not of 2021"):
        LabelRasters([named], year=2021)
    with rasterio.open(named, "r+") as dataset:
        dataset.update_tags(time_coverage_start="2021-01-01")
    assert LabelRasters([named], year=2021)
    assert LabelRasters([write_raster(tmp_path / "map.tif", codes())], year=1999)


def test_codes_outside_the_legend_are_named(tmp_path: Path) -> None:
    values = codes()
    values[3, 3] = 7
    path = write_raster(tmp_path / "map.tif", values)
    with pytest.raises(SardinoError, match="holds the codes 7, which are no class of 'ESA WorldCover'"):
        shares_in_rasters(TILES, LabelRasters([path]))
    assert shares_in_rasters(TILES, LabelRasters([path], nodata=[7])).loc[TILES[0].id, "labelled_share"] < 1


def test_a_store_is_counted_as_it_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    chips = [
        Chip(
            rng.normal(-12, 3, (1, SIZE, SIZE)).astype(np.float32),
            rng.choice([0, 4, IGNORE], (SIZE, SIZE)).astype(np.uint8),
            {"landcover_300m": np.full((SIZE, SIZE), 2, np.uint8)},
        )
        for _ in TILES
    ]
    store = write_store(
        tmp_path / "store", TILES, ["train", "test"], lambda n: chips[n], channels=["vv"], legend=WORLDCOVER,
        product="test", synthetic=True, metadata={}, bands=[0, 4],
    )  # fmt: skip
    counted = shares_in_store(store)
    np.testing.assert_allclose(counted, store.index[[*SHARES, "labelled_share"]])
    assert (shares_in_store(store, "landcover_300m")["share_30"] == 1).all()
    with pytest.raises(SardinoError, match="layer 'optical' holds no classes"):
        shares_in_store(store, "optical")


def test_polygons_weigh_by_the_area_they_have_in_the_tile() -> None:
    left, bottom, right, top = TILES[0].bounds
    cut = left + 0.25 * (right - left)
    communes = geopandas.GeoDataFrame(
        {"share_10": [1.0, 0.2, np.nan], "share_80": [0.0, 0.8, np.nan]},
        geometry=[
            box(left - 1e4, bottom - 1e4, cut, top + 1e4),
            box(cut, bottom - 1e4, right, top + 1e4),
            box(right, bottom, right + 1e4, top),
        ],
        crs=UTM,
    )
    counted = shares_from_polygons(TILES, communes.to_crs("EPSG:4326"))
    assert counted.loc[TILES[0].id].tolist() == pytest.approx([0.25 + 0.75 * 0.2, 0.75 * 0.8, 1.0], abs=2e-3)
    # The third one has no shares: the second tile, inside it, gets none.
    assert counted.loc[TILES[1].id].isna().tolist() == [True, True, False]
    assert counted.loc[TILES[1].id, "covered_share"] == pytest.approx(0, abs=1e-3)


def test_overlapping_or_shareless_polygons_are_refused() -> None:
    outline = TILES[0].footprint.buffer(100)
    twice = geopandas.GeoDataFrame({"share_10": [1.0, 0.0]}, geometry=[outline, outline], crs=UTM)
    with pytest.raises(SardinoError, match=f"overlap at tile {TILES[0].id}"):
        shares_from_polygons(TILES[:1], twice)
    with pytest.raises(SardinoError, match="lack the columns share_<code>"):
        shares_from_polygons(TILES, twice[["geometry"]])


def test_shares_join_the_table_by_id_and_never_replace_silently() -> None:
    table = tile_table(TILES)
    shares = shares_from_polygons(
        TILES[::-1],
        geopandas.GeoDataFrame({"share_10": [0.0, 1.0]}, geometry=[t.footprint for t in TILES], crs=UTM),
    )
    joined = with_shares(table, shares, "commune_")
    assert joined["commune_share_10"].tolist() == pytest.approx([0, 1], abs=1e-6)
    assert joined.columns[-1] == "geometry" and joined.crs == "EPSG:4326"
    with pytest.raises(SardinoError, match="has commune_share_10"):
        with_shares(joined, shares, "commune_")
    assert len(with_shares(joined, shares, "commune_", overwrite=True).columns) == len(joined.columns)


def test_polygons_are_counted_window_by_window_and_handed_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = codes(5)
    rasters = LabelRasters([write_raster(tmp_path / "map.tif", values)])
    left, bottom, right, top = TILES[0].bounds
    communes = geopandas.GeoDataFrame(
        {"name": ["west", "east", "far"]},
        geometry=[
            box(left + 50, bottom, right + 100, top),
            box(right + 100, bottom, right + 200, top - 100),
            box(left + 1e5, bottom, right + 1e5, top),
        ],
        crs=UTM,
    ).to_crs("EPSG:4326")
    counted = shares_in_polygons(communes, rasters)
    for number, part in enumerate([values[:, 5:30], values[10:, 30:]]):
        for code in WORLDCOVER.codes:
            assert counted.loc[number, f"share_{code}"] == pytest.approx((part == code).mean(), abs=1e-9)
    assert counted["labelled_share"].tolist() == [1, 1, 0]
    monkeypatch.setattr("sardino.data.rasters.label_shares._WINDOW_PX", 7)
    np.testing.assert_allclose(shares_in_polygons(communes, rasters), counted)

    for name in ("communes.geojson", "communes.parquet"):
        write_polygons(communes.join(counted), tmp_path / name)
        again = read_polygons(tmp_path / name)
        np.testing.assert_allclose(again[SHARES], counted[SHARES])
        handed = shares_from_polygons(TILES[:1], again)
        # A quarter of the first tile lies outside the communes and does not count.
        assert handed["covered_share"].item() == pytest.approx(0.75, abs=2e-3)
        np.testing.assert_allclose(handed[SHARES], counted[SHARES][:1], atol=1e-6)
    with pytest.raises(SardinoError, match=r"\.parquet or \.geojson"):
        write_polygons(communes, tmp_path / "communes.shp")


def test_what_a_file_says_of_its_pixels_counts_for_labels_too(tmp_path: Path) -> None:
    values, hidden = codes(4), np.zeros((SIZE, 2 * SIZE), bool)
    hidden[:, SIZE:] = True
    masked = write_raster(tmp_path / "masked.tif", values)
    with rasterio.open(masked, "r+") as dataset:
        dataset.write_mask(~hidden)
    packed = write_raster(tmp_path / "packed.tif", np.where(hidden, 200, values // 5).astype(np.uint8), nodata=200)
    with rasterio.open(packed, "r+") as dataset:
        dataset.scales = [5.0]
    bare = write_raster(tmp_path / "bare.tif", np.where(hidden, 0, values).astype(np.uint8))
    wanted = shares_in_rasters(TILES, LabelRasters([bare]))
    assert wanted["labelled_share"].tolist() == [1, 0]
    for path in (masked, packed):
        np.testing.assert_array_equal(shares_in_rasters(TILES, LabelRasters([path])), wanted)
