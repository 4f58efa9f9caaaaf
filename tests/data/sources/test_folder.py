"""A folder of chips as tiles: each where it was, whole chips in one split, everything dropped said."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from chip_folder import GRID, RASTER, SIZE, TILE, decibels, refused, run, spec, write_tif
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject
from shapely import STRtree

from sardino.data.places.leakage import store_leakage
from sardino.data.tiles.landcover import IGNORE
from sardino.data.tiles.radiometry import to_db, to_power
from sardino.errors import SardinoError


def test_a_file_of_another_place_is_not_warped_to_nothing(tmp_path: Path) -> None:
    codes, far = np.full((SIZE, SIZE), 4, np.uint8), GRID * Affine.translation(2 * SIZE, 0)
    write_tif(tmp_path / "chips" / "s1" / "a.tif", decibels(0))
    write_tif(tmp_path / "chips" / "lulc" / "a.tif", codes, far)
    message = r"lulc/a\.tif lies outside .*s1/a\.tif: correct its place, or its name"
    refused(tmp_path / "chips", spec(labels=RASTER), message, warp=True)


def test_chips_of_another_grid_are_warped_by_wish(tmp_path: Path) -> None:
    db, place = decibels(0, size=60), Affine(1.4e-4, 0, 3.2, 0, -0.9e-4, 49.6)
    db[0, 20:24] = -9999
    codes = np.random.default_rng(1).choice([10, 20], (30, 30)).astype(np.uint8)
    write_tif(tmp_path / "chips" / "s1" / "a.tif", db, place, "EPSG:4326")
    write_tif(tmp_path / "chips" / "lc" / "a.tif", codes, place * Affine.scale(2), "EPSG:4326")
    classes = [{"code": code, "name": f"class {code}", "color": f"#{code}{code}{code}"} for code in (10, 20)]
    labels = {"source": "raster", "files": "lc/{chip}.tif", "legend": "two", "classes": classes}
    refused(tmp_path / "chips", spec(), r"in degrees \(EPSG:4326\): say --warp, or warp it first .*32631 -tr 10 10")
    store = run(tmp_path / "chips", spec(labels=labels), warp=True)
    assert store.metadata["gsd_m"] == pytest.approx(10, rel=0.005) and len(store) >= 9
    seen = set()
    db[0, 20:24] = np.nan
    for tile_id in store.ids():
        (values,), (label,) = store.read([tile_id])
        tile = store.tile(tile_id)
        there = {"src_crs": "EPSG:4326", "dst_crs": tile.crs, "dst_transform": Affine(*tile.transform)}
        for plane, made in zip(db, values, strict=True):
            wanted, nodata = np.full(tile.shape, np.nan), {"src_nodata": np.nan, "dst_nodata": np.nan}
            reproject(to_power(plane), wanted, place, **there, **nodata, resampling=Resampling.bilinear)
            np.testing.assert_allclose(made, to_db(wanted), atol=0.02)
        wanted = np.zeros(tile.shape, np.uint8)
        reproject(codes, wanted, place * Affine.scale(2), **there, resampling=Resampling.nearest)
        assert np.mean(label == np.select([wanted == 10, wanted == 20], [0, 1], IGNORE)) > 0.99
        seen |= set(np.unique(label).tolist())
    assert {0, 1} <= seen <= {0, 1, IGNORE}


def test_whole_tiles_come_back_where_they_were(folder: Path) -> None:
    store = run(folder, spec())
    values = decibels(0)
    assert len(store) == 4 and store.metadata["margin_px"] == [8, 8] and not store.synthetic
    told = values[:, : 2 * TILE, : 2 * TILE].reshape(2, -1)
    assert [row[:2] for row in store.ranges.rows.values()] == [[(2 * TILE) ** 2] * 2] * 2
    np.testing.assert_allclose([row[2:] for row in store.ranges.rows.values()], np.stack([told.min(1), told.max(1)], 1))
    for tile_id in store.ids():
        left, _, _, top = store.tile(tile_id).bounds
        row, column = round((5_500_000 - top) / 10), round((left - 500_000) / 10)
        expected = values[:, row : row + TILE, column : column + TILE]
        np.testing.assert_allclose(store.read([tile_id])[0][0], expected, atol=0.0051)
    assert (store.read(store.ids())[1] == IGNORE).all() and store.metadata["labels"] == "none"


def test_files_without_georeference_lie_side_by_side(tmp_path: Path) -> None:
    for name in "ab":
        path = tmp_path / "chips" / "s1" / f"{name}.tif"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            write_tif(path, decibels(1), Affine.identity(), None)
    store = run(tmp_path / "chips", spec())
    assert len(store) == 8 and set(store.index["crs"]) == {""} and store.metadata["gsd_m"] is None
    assert store.index.geometry.isna().all()


def test_a_south_up_file_is_turned(folder: Path) -> None:
    values = decibels(0)
    write_tif(folder / "s1" / "b.tif", values[:, ::-1], Affine(10, 0, 600_000, 0, 10, 5_500_000 - 10 * SIZE))
    store = run(folder, spec())
    north = next(tile_id for tile_id in store.ids() if store.tile(tile_id).bounds[0] == 600_000)
    np.testing.assert_allclose(store.read([north])[0][0], values[:, :TILE, :TILE], atol=0.0051)


def row_of_chips(folder: Path, count: int, step_m: float) -> None:
    for number in range(count):
        place = Affine(10, 0, 500_000 + number * step_m, 0, -10, 5_500_000)
        write_tif(folder / "s1" / f"{number:02d}.tif", decibels(number), place)


def test_all_tiles_of_a_chip_stay_in_one_split(folder: Path) -> None:
    (folder / "s1" / "a.tif").unlink()
    row_of_chips(folder, 10, SIZE * 10)
    store = run(folder, spec(split="bands"))
    chip = [round((store.tile(i).bounds[0] - 500_000) // (SIZE * 10)) for i in store.ids()]
    splits = dict(zip(chip, store.index["split"], strict=True))
    assert store.index.groupby(chip)["split"].nunique().max() == 1
    assert [splits[n] for n in range(10)] == ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    assert store.metadata["dropped"] == []


def test_overlapping_chips_leak_nothing_between_splits(folder: Path) -> None:
    (folder / "s1" / "a.tif").unlink()
    row_of_chips(folder, 10, 250)
    store = run(folder, spec(split="bands"))
    outlines = [store.tile(tile_id).footprint.buffer(-0.1) for tile_id in store.ids()]
    splits = list(store.index["split"])
    pairs = STRtree(outlines).query(outlines, predicate="intersects").T
    assert all(splits[one] == splits[other] for one, other in pairs)
    assert "overlap tiles of another split" in store.metadata["dropped"][0]


def test_chips_of_two_zones_over_one_place_leak_nothing_between_splits(folder: Path) -> None:
    (folder / "s1" / "a.tif").unlink()
    for zone, crs in enumerate(("EPSG:32631", "EPSG:32632")):
        for row in range(5):  # both zones' chips lie on 6 degrees east, at the equator's end of the north
            easting = 833_700 if zone == 0 else 166_050
            place = Affine(10, 0, easting, 0, -10, 100_000 - row * 500)
            write_tif(folder / "s1" / f"{zone}{row}.tif", decibels(10 * zone + row), place, crs)
    store = run(folder, spec(split="bands"), direction_deg=20.0)
    report = store_leakage(store)
    assert store.index["crs"].nunique() == 2 and len(report.distances_m) == 3
    assert report.overlaps == 0 and "overlap tiles of another split" in store.metadata["dropped"][0]


def test_a_regular_choice_of_tiles(folder: Path) -> None:
    write_tif(folder / "s1" / "a.tif", decibels(0, size=80))
    for most in (1, 2, 7, 12, 25, 500):
        store = run(folder, spec(), max_tiles_per_chip=most, overwrite=True)
        assert min(most, 25) / 2 <= len(store) <= min(most, 25)
    assert run(folder, spec(), overwrite=True).fingerprint == store.fingerprint
    assert len(run(folder, spec(stride_px=8), overwrite=True)) == 9**2


def test_a_missing_folder_and_one_without_a_match(folder: Path) -> None:
    refused(folder / "other", spec(), "there is no folder")
    refused(folder, spec(backscatter={"files": "s9/{chip}.tif"}), r"no file in .* fits 's9/\{chip\}\.tif'")


def test_tiles_without_data_are_in_no_split_and_chips_without_are_dropped(folder: Path) -> None:
    values = decibels(1)
    values[:, :TILE, :TILE] = -9999
    write_tif(folder / "s1" / "b.tif", values, GRID @ Affine.translation(100, 0))
    write_tif(folder / "s1" / "c.tif", np.full((2, SIZE, SIZE), -9999, np.float32), GRID @ Affine.translation(200, 0))
    write_tif(folder / "s1" / "d.tif", decibels(2, size=12), GRID @ Affine.translation(300, 0))
    store = run(folder, spec())
    empty = np.isnan(store.read(store.ids())[0]).all((1, 2, 3))
    assert len(store) == 8 and empty.sum() == 1 and store.index["split"][empty].tolist() == ["none"]
    assert store.ids("train") == store.ids(("train", "val", "test")) == store.index["id"][~empty].tolist()
    pixels, valid, *_ = store.ranges.rows["vv"]
    assert (pixels, valid) == (8 * TILE**2, 7 * TILE**2)
    assert store.metadata["dropped"] == [
        "chip b has 1 tiles without a valid pixel; tiles in no split",
        "chip c has no valid pixel; chip dropped",
        "chip d is 12 x 12 px, smaller than a tile of 16 px; chip dropped",
    ]


def test_pixels_of_two_sizes_and_two_chips_of_one_place(folder: Path) -> None:
    write_tif(folder / "s1" / "b.tif", decibels(1), Affine(10.5, 0, 600_000, 0, -10.5, 5_500_000))
    assert len(run(folder, spec())) == 8
    write_tif(folder / "s1" / "c.tif", decibels(2), Affine(20, 0, 700_000, 0, -20, 5_500_000))
    sizes = r"c\.tif has pixels of 20 m and .*a\.tif of 10 m: .*--warp"
    with pytest.raises(SardinoError, match=sizes):
        run(folder, spec(), overwrite=True)
    store = run(folder, spec(), overwrite=True, warp=True)
    assert {store.tile(tile_id).transform[0] for tile_id in store.ids()} == {10.0} and len(store) == 4 + 4 + 25
    write_tif(folder / "s1" / "c.tif", decibels(2))
    with pytest.raises(SardinoError, match=r"the chips 'a' and 'c' of .* lie at the same place"):
        run(folder, spec(), overwrite=True)


def test_nothing_left_and_too_few_chips(folder: Path) -> None:
    refused(folder, spec(), "nothing of .* smaller than a tile of 448 px", tile_px=448)
    refused(folder, spec(split="bands"), "1 usable chips, too few for 5 bands")
