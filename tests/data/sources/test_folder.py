"""A folder of chips: what fits is imported exactly, what does not is refused or dropped by name."""

import os
import shutil
import warnings
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject
from shapely import STRtree

from sardino.data.places.leakage import store_leakage
from sardino.data.sources.folder.derived_labels import DERIVED
from sardino.data.sources.folder.source import import_folder
from sardino.data.sources.folder.specification import FolderSpec, built_in_specs
from sardino.data.tiles.landcover import IGNORE
from sardino.data.tiles.radiometry import CHANNELS, to_db, to_power
from sardino.data.tiles.store import TileStore
from sardino.errors import SardinoError

SIZE, TILE = 40, 16
GRID = Affine(10, 0, 500_000, 0, -10, 5_500_000)


def write_tif(path: Path, values: np.ndarray, transform: Affine = GRID, crs: str | None = "EPSG:32631") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values if values.ndim == 3 else values[None]
    profile = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **profile) as file:
        file.write(values)
    return path


def decibels(seed: int, bands: int = 2, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).normal(-15, 3, (bands, size, size)).astype(np.float32)


def spec(**changes: object) -> FolderSpec:
    whole: dict = {
        "name": "test",
        "title": "Test",
        "product": "test",
        "channels": ["vv", "vh"],
        "split": "train",
        "backscatter": {"files": "s1/{chip}.tif", "bands": ["vv", "vh"], "unit": "db", "nodata": [-9999]},
    }
    backscatter = whole["backscatter"] | changes.pop("backscatter", {})
    return FolderSpec.model_validate(whole | {"backscatter": backscatter} | changes)


def run(folder: Path, chosen: FolderSpec, **changes: object) -> TileStore:
    arguments: dict = {"tile_px": TILE, "bands": 5, "direction_deg": 0.0}
    return import_folder(folder, chosen, folder.parent / "store", **(arguments | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tif(tmp_path / "chips" / "s1" / "a.tif", decibels(0))
    return tmp_path / "chips"


def refused(folder: Path, chosen: FolderSpec, message: str, **changes: object) -> None:
    with pytest.raises(SardinoError, match=message) as error:
        run(folder, chosen, **changes)
    assert "\n" not in str(error.value)
    assert not (folder.parent / "store").exists()


# What fits


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


@pytest.mark.parametrize(
    ("unit", "stored", "expected"),
    [("power", 0.01, -20.0), ("amplitude", 100.0, 40.0), ("dn-83", 1000.0, -23.0), ("db", -20.0, -20.0)],
)
def test_units_become_decibels_and_nodata_goes_missing(folder: Path, unit: str, stored: float, expected: float) -> None:
    values = np.full((2, SIZE, SIZE), stored, np.float32)
    values[:, 0, 0] = 77
    write_tif(folder / "s1" / "a.tif", values)
    store = run(folder, spec(backscatter={"unit": unit, "nodata": [77]}))
    db = store.read(store.ids()[:1])[0][0]
    assert np.isnan(db[:, 0, 0]).all()
    np.testing.assert_allclose(db[:, 1:], expected, atol=0.01)
    assert store.metadata["calibrated"] is (unit != "amplitude")


def test_a_file_per_band_and_the_difference_channel(tmp_path: Path) -> None:
    for number, band in enumerate(("VV", "VH")):
        write_tif(tmp_path / "chips" / f"x_{band}.tif", decibels(3)[number])
    source = {"files": "{chip}_{band}.tif", "bands": ["VV", "VH"], "names": {"VV": "vv", "VH": "vh"}}
    store = run(tmp_path / "chips", spec(backscatter=source, channels=["vv", "vh", "vv-vh"]))
    db = store.read(store.ids())[0]
    np.testing.assert_allclose(db[:, 2], db[:, 0] - db[:, 1], atol=0.016)
    (tmp_path / "chips" / "x_VH.tif").unlink()
    with pytest.raises(SardinoError, match=r"lacks the file .*x_VH\.tif"):
        run(tmp_path / "chips", spec(backscatter=source), overwrite=True)


SEASONAL: dict = {"files": "{chip}_{time}.tif", "composite": "seasonal", "time_format": "%Y%m%d"}


def seasonal_folder(tmp_path: Path, dates: list[str]) -> Path:
    for number, date in enumerate(dates):
        write_tif(tmp_path / "chips" / f"x_{date}.tif", decibels(number))
    return tmp_path / "chips"


def test_dates_become_seasons_of_the_right_year(tmp_path: Path) -> None:
    dates = ["20200115", "20201215", "20210415", "20210715", "20211015", "20211215"]
    store = run(seasonal_folder(tmp_path, dates), spec(backscatter=SEASONAL | {"year": 2021}, channels=CHANNELS))
    db, _ = store.read(store.ids()[:1])
    for season, number in zip(("winter", "spring", "summer", "fall"), (1, 2, 3, 4), strict=True):
        found = db[0, store.channels.index(f"{season}_vv")]
        np.testing.assert_allclose(found, decibels(number)[0, :TILE, :TILE], atol=0.006)


def test_dates_of_several_years_need_a_year(tmp_path: Path) -> None:
    folder = seasonal_folder(tmp_path, ["20200115", "20200415", "20200715", "20211015"])
    refused(folder, spec(backscatter=SEASONAL, channels=CHANNELS), "spans several years: set year")


def test_a_chip_without_a_season_is_dropped_masked_or_refused(tmp_path: Path) -> None:
    folder = seasonal_folder(tmp_path, ["20200607", "20200903"])
    seasons = SEASONAL | {"year": 2020}
    refused(
        folder,
        spec(backscatter=seasons, channels=CHANNELS),
        r"nothing of .*: chip x has no valid date in winter, spring: ",
    )
    refuse = seasons | {"missing_season": "refuse"}
    refused(folder, spec(backscatter=refuse, channels=CHANNELS), "no valid date in winter, spring")
    two = run(folder, spec(backscatter=seasons, channels=["summer_vv", "fall_vv"]))
    assert two.channels == ["summer_vv", "fall_vv"]
    masked = run(folder, spec(backscatter=seasons | {"missing_season": "mask"}, channels=CHANNELS), overwrite=True)
    missing = np.isnan(masked.read(masked.ids())[0]).all((0, 2, 3))
    assert [name for name, gone in zip(CHANNELS, missing, strict=True) if not gone] == list(CHANNELS[6:])


def test_label_codes_become_indices_of_their_own_legend(folder: Path) -> None:
    codes = np.random.default_rng(5).choice([0, 4, 9], (SIZE, SIZE)).astype(np.uint8)
    write_tif(folder / "lulc" / "a.tif", codes)
    store = run(folder, spec(labels=RASTER))
    expected = np.select([codes == 4, codes == 9], [0, 1], IGNORE)[:TILE, :TILE]
    np.testing.assert_array_equal(store.read(store.ids()[:1])[1][0], expected)
    assert store.legend.names == ["Crops", "Range"] and not store.legend.derived


def test_codes_outside_the_legend_are_named_and_labels_of_another_kind_refused(folder: Path) -> None:
    codes = np.where(np.arange(SIZE) < 10, 7, 4).astype(np.int16) * np.ones((SIZE, 1), np.int16)
    write_tif(folder / "lulc" / "a.tif", codes)
    assert run(folder, spec(labels=RASTER)).metadata["doubts"] == [
        "label codes that are no class of 'Own': 7 in 25 % of pixels"
    ]
    shutil.rmtree(folder.parent / "store")
    write_tif(folder / "lulc" / "a.tif", codes + 256)
    refused(folder, spec(labels=RASTER), r"no label has a class of 'Own' \(4, 9\), but 260 in 75 %, 263 in 25 %")
    write_tif(folder / "lulc" / "a.tif", np.stack([codes, 2 * codes, 3 * codes]))
    refused(folder, spec(labels=RASTER), r"a\.tif holds an RGB picture")


RASTER = {
    "source": "raster",
    "files": "lulc/{chip}.tif",
    "legend": "Own",
    "classes": [{"code": 4, "name": "Crops", "color": "#FFDB5C"}, {"code": 9, "name": "Range", "color": "#C6AD8D"}],
}
OPTICAL = {"optical": {"files": "s2/{chip}.tif", "bands": [1, 2, 3]}}


def test_derived_labels_are_computed_from_the_whole_chip_and_say_so(folder: Path) -> None:
    image = np.zeros((3, SIZE, SIZE), np.uint8)
    image[:, :, : SIZE // 2], image[:, :, SIZE // 2 :] = (
        np.array(c, np.uint8)[:, None, None] for c in ((44, 81, 123), (140, 158, 175))
    )
    write_tif(folder / "s2" / "a.tif", image)
    store = run(folder, spec(layers=OPTICAL, labels={"source": "derived"}))
    assert store.legend == DERIVED and store.metadata["labels_derived"] is True
    np.testing.assert_array_equal(store.read_layer("optical", store.ids()[:1])[0], image[:, :TILE, :TILE])
    assert (store.read(store.ids()[:1])[1] == 0).mean() > 0.8


def test_a_layer_of_reflectance_is_stretched_and_keeps_black_for_missing(folder: Path) -> None:
    values = np.full((3, SIZE, SIZE), 1000, np.uint16)
    values[:, 0, 0], values[:, 0, 1], values[:, 0, 2] = 65535, 0, 5000
    write_tif(folder / "s2" / "a.tif", values)
    layer = OPTICAL["optical"] | {"nodata": [65535], "stretch": [0, 2000]}
    store = run(folder, spec(layers={"optical": layer}))
    image = store.read_layer("optical", store.ids()[:1])[0]
    assert image[:, 0, 0].tolist() == [0] * 3 and image[:, 0, 1].tolist() == [1] * 3
    assert image[:, 0, 2].tolist() == [255] * 3 and image[0, 5, 5] == 128


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


# What does not fit


def test_a_missing_folder_and_one_without_a_match(folder: Path) -> None:
    refused(folder / "other", spec(), "there is no folder")
    refused(folder, spec(backscatter={"files": "s9/{chip}.tif"}), r"no file in .* fits 's9/\{chip\}\.tif'")


@pytest.mark.parametrize("keep", [0, 40, 2000])
def test_a_truncated_file(folder: Path, keep: int) -> None:
    path = folder / "s1" / "a.tif"
    path.write_bytes(path.read_bytes()[:keep])
    refused(folder, spec(), r"a\.tif cannot be read .*copy the file again")


def test_a_wrong_number_of_bands(folder: Path) -> None:
    write_tif(folder / "s1" / "a.tif", decibels(0, bands=3))
    refused(folder, spec(), r"a\.tif has 3 bands, the spec 'test' describes 2")


@pytest.mark.parametrize(
    ("values", "place", "message"),
    [
        (np.ones((SIZE, SIZE - 1), np.uint8), GRID, "39 x 40 px, .* is 40 x 40 px: say --warp"),
        (np.ones((SIZE, SIZE), np.uint8), GRID @ Affine.translation(1, 0), "lie on different grids"),
    ],
)
def test_labels_on_another_grid(folder: Path, values: np.ndarray, place: Affine, message: str) -> None:
    write_tif(folder / "lulc" / "a.tif", values, place)
    refused(folder, spec(labels=RASTER), message)


def test_absent_labels_are_refused_where_they_are_required(folder: Path) -> None:
    refused(folder, spec(labels=RASTER), r"chip a has no label file .*lulc.a\.tif: add it")
    store = run(folder, spec(labels=RASTER | {"required": False}))
    assert (store.read(store.ids())[1] == IGNORE).all()


def test_an_absent_layer(folder: Path) -> None:
    refused(folder, spec(layers=OPTICAL), r"there is no file .*s2.a\.tif")


@pytest.mark.parametrize(
    ("crs", "transform", "message"),
    [
        ("EPSG:32631", Affine(10, 1, 500_000, 1, -10, 5_500_000), "rotated grid: say --warp"),
        ("EPSG:32631", Affine(10, 0, 500_000, 0, -20, 5_500_000), "10 m by 20 m: say --warp"),
        ("EPSG:4326", Affine(1e-4, 0, 73.3, 0, -1e-4, 30.5), "in degrees .*gdalwarp -t_srs EPSG:32643"),
        ("EPSG:4326", Affine(1e-4, 0, -70.0, 0, -1e-4, -30.5), "gdalwarp -t_srs EPSG:32719"),
    ],
)
def test_a_grid_that_is_no_square_grid_in_metres(folder: Path, crs: str, transform: Affine, message: str) -> None:
    write_tif(folder / "s1" / "a.tif", decibels(0), transform, crs)
    refused(folder, spec(), message)


@pytest.mark.parametrize(
    ("unit", "value", "message"),
    [
        ("db", 0.05, "can hardly be in dB: set unit to power"),
        ("power", -12.0, "cannot be power"),
        ("dn-83", -1, "dn-83"),
    ],
)
def test_numbers_that_cannot_be_of_the_unit(folder: Path, unit: str, value: float, message: str) -> None:
    write_tif(folder / "s1" / "a.tif", np.full((2, SIZE, SIZE), value, np.float32))
    refused(folder, spec(backscatter={"unit": unit}), message)


def test_chips_and_tiles_without_data_are_dropped_and_listed(folder: Path) -> None:
    values = decibels(1)
    values[:, :TILE, :TILE] = -9999
    write_tif(folder / "s1" / "b.tif", values, GRID @ Affine.translation(100, 0))
    write_tif(folder / "s1" / "c.tif", np.full((2, SIZE, SIZE), -9999, np.float32), GRID @ Affine.translation(200, 0))
    write_tif(folder / "s1" / "d.tif", decibels(2, size=12), GRID @ Affine.translation(300, 0))
    store = run(folder, spec())
    assert len(store) == 7
    assert store.metadata["dropped"] == [
        "chip b has 1 tiles without a valid pixel; tiles dropped",
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


def test_names_with_brackets_and_files_that_macos_leaves(tmp_path: Path) -> None:
    folder = tmp_path / "chips [2020] {a}"
    write_tif(folder / "x[VV].tif", decibels(1)[:1])
    write_tif(folder / "x[VH].tif", decibels(1)[1:])
    (folder / "._x[VV].tif").write_bytes(b"\0\5\x16\7")
    source = {"files": "{chip}[{band}].tif", "bands": ["VV", "VH"], "names": {"VV": "vv", "VH": "vh"}}
    assert len(run(folder, spec(backscatter=source))) == 4


def test_nothing_left_and_too_few_chips(folder: Path) -> None:
    refused(folder, spec(), "nothing of .* smaller than a tile of 448 px", tile_px=448)
    refused(folder, spec(split="bands"), "1 usable chips, too few for 5 bands")


# Specs


def test_the_built_in_specs_load() -> None:
    assert built_in_specs() == ["belgium-monthly", "finland-biomass", "los-angeles", "terramesh"]
    for name in built_in_specs():
        assert FolderSpec.load(name).name == name


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text + "\ncolour = 1\n", "labels.colour: Extra inputs"),
        (lambda text: text.replace('unit = "amplitude"', 'unit = "volt"'), "backscatter.unit"),
        (lambda text: text.replace("channels = [", "channels = [["), "not valid TOML"),
        (lambda text: text.replace("[layers.optical]", "[layers.photo]"), "unknown layer photo"),
    ],
)
def test_a_wrong_spec_is_refused_by_key(tmp_path: Path, edit: Callable[[str], str], message: str) -> None:
    text = (resources.files("sardino.data.sources.folder") / "specs" / "los-angeles.toml").read_text("utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8-sig")  # as Windows' Notepad saves it
    assert FolderSpec.load(path) == FolderSpec.load("los-angeles")
    path.write_text(edit(text))
    with pytest.raises(SardinoError, match=message):
        FolderSpec.load(path)


def test_an_unknown_spec_names_the_known_ones() -> None:
    with pytest.raises(SardinoError, match="use belgium-monthly, finland-biomass"):
        FolderSpec.load("atlantis")


# Real chips, where a folder of them is named


@pytest.fixture
def real() -> Path:
    place = os.environ.get("SARDINO_DATA", "")
    if not (Path(place) / "los-angeles").is_dir():
        pytest.skip("SARDINO_DATA names no folder of real chips")
    return Path(place)


@pytest.mark.real
@pytest.mark.parametrize("name", ["finland-biomass", "belgium-monthly"])
def test_a_real_series_becomes_twelve_plausible_channels(real: Path, tmp_path: Path, name: str) -> None:
    store = import_folder(real / name, FolderSpec.load(name), tmp_path / "store", 96, 5, 0.0)
    db = store.read(store.ids())[0]
    assert store.channels == list(CHANNELS) and np.isfinite(db).all()
    assert -14 < db[:, 0::3].mean() < -5 and -22 < db[:, 1::3].mean() < -13  # VV and VH over land
    np.testing.assert_allclose(db[:, 2::3], db[:, 0::3] - db[:, 1::3], atol=0.016)


@pytest.mark.real
def test_real_land_cover_with_a_legend_of_its_own(real: Path, tmp_path: Path) -> None:
    store = import_folder(real / "terramesh", FolderSpec.load("terramesh"), tmp_path / "store", 96, 5, 0.0, 4)
    assert len(store) == 12 and store.index["labelled_share"].min() > 0.9 and store.index["crs"].nunique() == 3
    ndvi, height = (store.read_layer(name, store.ids()) for name in ("ndvi", "elevation_m"))
    assert -0.5 < ndvi.min() < 0 < ndvi.max() < 1 and np.isfinite(height).all() and np.ptp(height) > 100


@pytest.mark.real
def test_los_angeles_is_split_by_place(real: Path, tmp_path: Path) -> None:
    for layer in ("s1_vh", "s2_rgb"):
        (tmp_path / "some" / layer).mkdir(parents=True)
        for chip in sorted((real / "los-angeles" / layer).iterdir())[::4]:
            (tmp_path / "some" / layer / chip.name).symlink_to(chip.resolve())
    store = import_folder(tmp_path / "some", FolderSpec.load("los-angeles"), tmp_path / "store", 448, 15, 120.0, 1)
    assert len(store) == 18 and set(store.index["split"]) == {"train", "val", "test"}
    assert store.metadata["gsd_m"] == pytest.approx(8.3, abs=0.1) and store.metadata["calibrated"] is False
    assert (store.index[[f"share_{code}" for code in DERIVED.codes]].mean() > 0.005).all()  # no class is empty


@pytest.mark.real
def test_real_chips_in_degrees_are_refused_with_the_zone_to_warp_to(real: Path, tmp_path: Path) -> None:
    source = {"files": "{time}_{band}.tif", "bands": ["VV", "VH"], "names": {"VV": "vv", "VH": "vh"}}
    pakistan = spec(backscatter=source | {"composite": "seasonal", "time_format": "%Y%m%d"}, channels=["summer_vv"])
    with pytest.raises(SardinoError, match=r"in degrees .*EPSG:32643"):
        import_folder(real / "pakistan-two-seasons", pakistan, tmp_path / "store", 96, 5, 0.0)
