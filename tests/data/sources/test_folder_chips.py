"""A chip of a folder: its files as the spec describes them, or refused by name."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from chip_folder import GRID, OPTICAL, RASTER, SIZE, TILE, decibels, refused, run, spec, write_tif
from rasterio.transform import Affine

from sardino.data.sources.folder.derived_labels import DERIVED
from sardino.data.tiles.landcover import IGNORE
from sardino.data.tiles.radiometry import CHANNELS
from sardino.errors import SardinoError


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


def test_names_with_brackets_and_files_that_macos_leaves(tmp_path: Path) -> None:
    folder = tmp_path / "chips [2020] {a}"
    write_tif(folder / "x[VV].tif", decibels(1)[:1])
    write_tif(folder / "x[VH].tif", decibels(1)[1:])
    (folder / "._x[VV].tif").write_bytes(b"\0\5\x16\7")
    source = {"files": "{chip}[{band}].tif", "bands": ["VV", "VH"], "names": {"VV": "vv", "VH": "vh"}}
    assert len(run(folder, spec(backscatter=source))) == 4


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


@pytest.mark.parametrize("warp", [False, True])
def test_a_raster_without_crs_lies_where_its_geotransform_says(tmp_path: Path, warp: bool) -> None:
    labels = spec(labels=RASTER)
    codes = np.full((SIZE, SIZE), 4, np.uint8)
    codes[: SIZE // 2] = 9
    write_tif(tmp_path / "chips" / "s1" / "a.tif", decibels(0))
    label = tmp_path / "chips" / "lulc" / "a.tif"
    write_tif(label, codes, crs=None)
    run(tmp_path / "chips", labels, warp=warp)
    shutil.rmtree(tmp_path / "store")
    elsewhere, south_up = Affine(10, 0, GRID.c + 500, 0, -10, GRID.f), Affine(10, 0, GRID.c, 0, 10, GRID.f - 10 * SIZE)
    for place in (elsewhere, south_up):
        write_tif(label, codes, place, crs=None)
        refused(tmp_path / "chips", labels, r"lie on different grids: .*a\.tif states no CRS, set it", warp=warp)


def test_a_chip_lies_where_any_of_its_files_says(tmp_path: Path) -> None:
    for band, crs in (("VH", None), ("VV", "EPSG:32631")):
        write_tif(tmp_path / "chips" / f"x_{band}.tif", decibels(3)[:1], crs=crs)
    source = {"files": "{chip}_{band}.tif", "bands": ["VV", "VH"], "names": {"VV": "vv", "VH": "vh"}}
    assert set(run(tmp_path / "chips", spec(backscatter=source)).index["crs"]) == {"EPSG:32631"}
