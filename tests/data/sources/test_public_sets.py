"""Public data sets by name, on small files made in each set's layout: names, types, bands, codes and known faults."""

import os
import re
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from chip_folder import decibels, write_tif
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from sardino.data.sources.folder.source import import_folder
from sardino.data.sources.folder.specification import FolderSpec, built_in_specs
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.store import TileStore
from sardino.errors import SardinoError
from sardino.study.preparation import prepare
from sardino.study.profile import FOLDER
from sardino.study.workspace import Workspace

SIZE = 16
PUBLIC = ["bigearthnet", "dfc2020", "mapinwild", "sen12ms", "sen1floods11", "ssl4eo-s12"]
PUBLIC += ["ssl4eo-s12-shards", "terramesh-shards"]


def imported(folder: Path, name: str, warp: bool = False) -> TileStore:
    spec = FolderSpec.load(name)
    return import_folder(folder, spec, folder.parent / "store", SIZE, 5, 0.0, warp=warp, overwrite=True)


def at(row: int, size: int = SIZE, easting: float = 500_000) -> Affine:
    """A grid of 10 m, so many chips to the south."""
    return Affine(10, 0, easting, 0, -10, 5_500_000 - 10 * size * row)


def label_of(store: TileStore, top: float) -> np.ndarray:
    """The label of the tile whose upper edge lies there."""
    tile = next(tile_id for tile_id in store.ids() if store.tile(tile_id).bounds[3] == top)
    return store.read([tile])[1][0]


def test_public_sets_say_where_they_come_from() -> None:
    assert [name for name in built_in_specs() if FolderSpec.load(name).origin] == PUBLIC
    for name in PUBLIC:
        spec = FolderSpec.load(name)
        assert (
            spec.origin and re.match(r"(https|gs)://\w", spec.origin.url) and spec.origin.size and spec.origin.licence
        )
        assert spec.labels.source == ("none" if name.startswith("ssl4eo") else "raster")


# MapInWild


def mapinwild(folder: Path, size: int = SIZE, aside_px: float = 0) -> Path:
    codes = np.resize(np.array([0, 10, 95, 80], np.uint8), (size, size))
    for site in range(6):
        part, grid, zone = f"s1_part{1 + site % 2}", at(site, size), f"EPSG:327{20 + site // 3}"
        write_tif(folder / part / f"{10 + site}.tif", decibels(site, size=size).astype(np.float64), grid, zone)
        aside = grid @ Affine.translation(aside_px, 0)
        write_tif(folder / "ESA_WC" / f"{10 + site}.tif", codes, aside, zone)
        write_tif(folder / "mask" / f"{10 + site}.tif", codes // 80, grid, zone)
    return folder


def test_the_profile_makes_a_store_of_the_layout(tmp_path: Path) -> None:
    mapinwild(tmp_path / "chips" / "mapinwild", 112, aside_px=0.6)
    text = (FOLDER / "mapinwild.toml").read_text().replace("bands = 60", "bands = 5")
    (tmp_path / "small.toml").write_text(text)
    space = Workspace.open(str(tmp_path / "small.toml"), tmp_path / "chips", root=tmp_path)
    store = prepare(space, workers=1)["store"]
    assert store.channels == ["vv", "vh", "vv-vh"] and store.regions == ["mapinwild"] and len(store) == 6
    assert set(store.index["split"]) == {"train", "val", "test"} and store.index["labelled_share"].min() > 0.7


def test_mapinwild_in_its_two_parts(tmp_path: Path) -> None:
    folder = mapinwild(tmp_path / "mapinwild")
    store = imported(folder, "mapinwild")
    assert store.channels == ["vv", "vh", "vv-vh"] and len(store) == 6 and store.legend == WORLDCOVER
    assert set(store.index["split"]) == {"train", "val", "test"} and not store.metadata["doubts"]
    codes = np.resize(np.array([IGNORE, 0, 9, 7], np.uint8), (SIZE, SIZE))
    np.testing.assert_array_equal(label_of(store, 5_500_000), codes)
    first = next(tile_id for tile_id in store.ids() if store.tile(tile_id).bounds[3] == 5_500_000)
    db = store.read([first])[0][0]
    np.testing.assert_allclose(db[:2], decibels(0, size=SIZE), atol=0.0051)
    np.testing.assert_allclose(db[2], db[0] - db[1], atol=0.016)


def test_mapinwild_merged_as_well_as_in_parts_is_refused(tmp_path: Path) -> None:
    folder = mapinwild(tmp_path / "mapinwild")
    shutil.copytree(folder / "s1_part1", folder / "s1")
    with pytest.raises(SardinoError, match=r"chip 10 has two files, .*s1.10\.tif and .*s1_part1.10\.tif: remove one"):
        imported(folder, "mapinwild")
    shutil.rmtree(folder / "s1_part1")
    assert len(imported(folder, "mapinwild")) == 6


# SEN12MS and DFC2020


def test_sen12ms_in_seasons_that_use_the_same_names(tmp_path: Path) -> None:
    igbp, folder = np.resize(np.arange(1, 18, dtype=np.uint16), (2 * SIZE, 2 * SIZE)), tmp_path / "sen12ms"
    for number, season in enumerate(("ROIs1158_spring", "ROIs1868_summer")):
        for patch in range(3):  # that overlap by half
            place = Affine(10, 0, 390_772.3 + 50_000 * number, 0, -10, 8_114_182.8 - 10 * SIZE * patch)
            db = decibels(patch, size=2 * SIZE)
            db[:, :, 0] = np.nan
            maps = np.stack([igbp, igbp * 0 + 9, igbp * 0 + 2, igbp * 0 + 11])
            write_tif(folder / season / "s1_1" / f"{season}_s1_1_p{patch}.tif", db, place, "EPSG:32737")
            write_tif(folder / season / "lc_1" / f"{season}_lc_1_p{patch}.tif", maps, place, "EPSG:32737")
    store = imported(folder, "sen12ms")
    # Three rows of patches are four rows of two tiles, in each season; those at borders of splits do not overlap.
    assert len(store) == 2 * 4 * 2 and store.metadata["chips"] == 6
    assert store.metadata["dropped"] == ["8 tiles lie where a chip before already has one; tiles dropped"]
    assert store.legend.names[2:5] == ["Savanna", "Grassland", "Wetlands"] and not store.metadata["doubts"]
    simplified = np.array([1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 6, 8, 9, 10]) - 1
    top = max(store.tile(tile_id).bounds[3] for tile_id in store.ids())
    np.testing.assert_array_equal(label_of(store, top), simplified[igbp - 1][:SIZE, :SIZE])


@pytest.mark.parametrize(
    ("radar", "cover"), [("ROIs0000_test/s1_0", "ROIs0000_test/dfc_0"), ("dfc2020_s1s2/s1", "dfc2020_s1s2/dfc")]
)
def test_dfc2020_whose_files_know_no_place(tmp_path: Path, radar: str, cover: str) -> None:
    codes, folder = np.resize(np.array([1, 2, 3, 4, 6, 10], np.int32), (SIZE, SIZE)), tmp_path / "dfc2020"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for patch in range(6):
            db, nowhere = decibels(patch, size=SIZE).astype(np.float64), (Affine.identity(), "EPSG:4326")
            write_tif(folder / radar / f"ROIs0000_test_s1_0_p{patch}.tif", db, *nowhere)
            write_tif(folder / cover / f"ROIs0000_test_dfc_0_p{patch}.tif", codes, *nowhere)
    store = imported(folder, "dfc2020")
    assert len(store) == 6 and set(store.index["crs"]) == {""}
    assert store.metadata["doubts"] == ["label codes that are no class of 'DFC2020': 3 in 16.8 % of pixels"]
    indices = np.resize(np.array([0, 1, IGNORE, 2, 4, 7], np.uint8), (SIZE, SIZE))
    assert all((label == indices).all() for label in store.read(store.ids())[1])


# BigEarthNet


def bigearthnet(folder: Path) -> Path:
    """Six patches, the last at the place of the first on another day, and one that the table does not list."""
    clc, rows = np.resize(np.array([112, 124, 241, 333, 523, 999], np.uint16), (SIZE, SIZE)), []
    for patch in range(7):
        scene, tile = f"S1A_IW_GRDH_1SDV_201706{13 + patch}T165043", f"S2A_MSIL2A_201706{13 + patch}_N9999_R022_T33UUP"
        name, patch_id, place = f"{scene}_33UUP_61_{patch}", f"{tile}_26_{patch}", at(patch % 6)
        for number, band in enumerate(("VV", "VH")):
            file = folder / "BigEarthNet-S1" / scene / name / f"{name}_{band}.tif"
            write_tif(file, decibels(patch, size=SIZE)[number], place, "EPSG:32633")
        if patch != 2:
            file = folder / "Reference_Maps" / tile / patch_id / f"{patch_id}_reference_map.tif"
            write_tif(file, clc, place, "EPSG:32633")
            rows.append({"patch_id": patch_id, "labels": ["Pastures"], "split": "train", "s1_name": name})
    pd.DataFrame(rows).to_parquet(folder / "metadata.parquet")
    return folder


def test_bigearthnet_finds_the_map_of_each_patch_by_the_table(tmp_path: Path) -> None:
    store = imported(bigearthnet(tmp_path / "bigearthnet"), "bigearthnet")
    assert len(store) == 6 and len(store.legend) == 19 and not store.metadata["doubts"]
    assert store.metadata["dropped"] == ["1 tiles lie where a chip before already has one; tiles dropped"]
    indices = np.resize(np.array([0, IGNORE, 3, 11, 18, IGNORE], np.uint8), (SIZE, SIZE))
    np.testing.assert_array_equal(label_of(store, 5_500_000), indices)
    assert (label_of(store, 5_500_000 - 2 * 10 * SIZE) == IGNORE).all()
    first = next(tile_id for tile_id in store.ids() if store.tile(tile_id).bounds[3] == 5_500_000)
    np.testing.assert_allclose(store.read([first])[0][0][:2], decibels(0, size=SIZE), atol=0.0051)


def test_a_table_of_labels_that_is_missing_damaged_or_another(tmp_path: Path) -> None:
    folder = bigearthnet(tmp_path / "bigearthnet")
    table, spec = folder / "metadata.parquet", FolderSpec.load("bigearthnet")
    strict = spec.model_copy(update={"labels": spec.labels.model_copy(update={"required": True})})
    with pytest.raises(SardinoError, match=r"33UUP_61_2 is not in metadata\.parquet.*set required = false"):
        import_folder(folder, strict, tmp_path / "store", SIZE, 5, 0.0)
    for content, fault in ((b"", "cannot be read"), (None, r"there is no file .*metadata\.parquet")):
        other = tmp_path / fault[:6]
        shutil.copytree(folder, other)
        (other / table.name).write_bytes(content) if content is not None else (other / table.name).unlink()
        with pytest.raises(SardinoError, match=fault):
            imported(other, "bigearthnet")
    pd.DataFrame({"patch": ["a"]}).to_parquet(table)
    with pytest.raises(SardinoError, match="the columns s1_name and patch_id"):
        imported(folder.rename(tmp_path / "renamed"), "bigearthnet")


def test_two_maps_of_one_patch(tmp_path: Path) -> None:
    folder = bigearthnet(tmp_path / "bigearthnet")
    shutil.copytree(next((folder / "Reference_Maps").glob("*0613*")), folder / "Reference_Maps" / "copy")
    with pytest.raises(SardinoError, match=r"61_0 has two files, .*reference_map\.tif.*: remove one"):
        imported(folder, "bigearthnet")


@pytest.mark.real
def test_real_patches_of_bigearthnet_in_the_layout_of_its_second_version(tmp_path: Path) -> None:
    place = Path(os.environ.get("SARDINO_DATA", "")) / "bigearthnet-s1" / "v1" / "BigEarthNet-S1-Example"
    if not place.is_dir():
        pytest.skip("SARDINO_DATA names no folder of real chips with patches of BigEarthNet")
    folder = tmp_path / "bigearthnet"
    for patch in place.iterdir():
        shutil.copytree(patch, folder / "BigEarthNet-S1" / "_".join(patch.name.split("_")[:-3]) / patch.name)
    pd.DataFrame({"patch_id": ["another"], "s1_name": ["another"]}).to_parquet(folder / "metadata.parquet")
    spec = FolderSpec.load("bigearthnet")
    store = import_folder(folder, spec, tmp_path / "store", 96, 5, 0.0)
    vv, vh, ratio = (np.nanmean(store.read(store.ids())[0][:, channel]) for channel in range(3))
    assert len(store) == 6 and -20 < vv < -4 and 2 < ratio < 14 and ratio == pytest.approx(vv - vh, abs=0.05)


# Sen1Floods11 and SSL4EO-S12, which lie in degrees


def test_sen1floods11_in_degrees_with_pixels_that_are_not_valid(tmp_path: Path) -> None:
    folder, step = tmp_path / "sen1floods11", 8.983152841195215e-05
    water = np.zeros((40, 40), np.int16)
    water[:, 10:20], water[:, 20:] = 1, -1
    for chip in range(6):
        place, db = Affine(step, 0, -65.1, 0, -step, -12.9 + 0.01 * chip), decibels(chip, size=40)
        db[:, :5] = np.nan
        write_tif(folder / "S1Hand" / f"Bolivia_{chip}_S1Hand.tif", db, place, "EPSG:4326")
        write_tif(folder / "LabelHand" / f"Bolivia_{chip}_LabelHand.tif", water, place, "EPSG:4326")
    with pytest.raises(SardinoError, match="say --warp"):
        imported(folder, "sen1floods11")
    store = imported(folder, "sen1floods11", warp=True)
    db, label = store.read(store.ids())
    assert store.legend.names == ["No water", "Water"] and store.metadata["doubts"] == []
    assert set(np.unique(label).tolist()) == {0, 1, IGNORE} and np.isnan(db).any()
    assert store.metadata["gsd_m"] == pytest.approx(10, rel=0.001)


def test_ssl4eo_s12_becomes_twelve_channels(tmp_path: Path) -> None:
    folder = tmp_path / "ssl4eo-s12"
    scenes = [
        "S1A_IW_GRDH_1SDV_20200329T001515_20200329T001540_031883_03AE27_9BAF",
        "S1B_IW_GRDH_1SDV_20200627T001449_20200627T001514_022212_02A27E_2A09",
        "S1B_IW_GRDH_1SDV_20200928T120105_20200928T120130_023575_02CCB0_F035",
        "S1A_IW_GRDH_1SDV_20201230T001523_20201230T001548_035908_04349D_C91E",
    ]
    for number, name in enumerate(("0000000", "0000001")):
        for season, scene in enumerate(scenes[: 4 - number]):
            west = -91.8457 + number + 1e-5 * season  # a grid of its own
            place = Affine(9.2216e-05, 0, west, 0, -8.7972e-05, 18.5881)
            for band, level in (("VV", -10), ("VH", -17)):
                db = np.full((40, 40), level - season, np.float32)
                write_tif(folder / "s1" / name / scene / f"{band}.tif", db, place, "EPSG:4326")
    store = imported(folder, "ssl4eo-s12", warp=True)
    assert store.channels == list(CHANNELS) and (store.read(store.ids())[1] == IGNORE).all()
    (dropped,) = store.metadata["dropped"]
    assert dropped.startswith("chip 0000001 has no valid date in winter: ")
    levels = np.nanmean(store.read(store.ids())[0], axis=(0, 2, 3))
    expected = [(-10 - season, -17 - season, 7) for season in (3, 0, 1, 2)]  # winter first
    np.testing.assert_allclose(levels, np.ravel(expected), atol=0.02)


# Shards of zipped Zarr stores: TerraMesh and SSL4EO-S12 v1.1


def write_sample(path: Path, bands: np.ndarray, row: int, dates: Sequence[str] = ("2020-06-01",)) -> Path:
    """A sample of a shard: a zipped Zarr store of format 2, bands (time, band, y, x), its CRS a number."""
    grid, pixels = at(row), np.arange(SIZE) + 0.5
    data = xr.Dataset(
        {"bands": (("time", "band", "y", "x"), bands), "center_lon": 3.0, "center_lat": 49.6, "crs": 32631},
        {"x": grid.c + 10 * pixels, "y": grid.f - 10 * pixels, "time": np.array(dates, "datetime64[ns]")},
    )
    return zipped(path, data)


def zipped(path: Path, data: xr.Dataset) -> Path:
    """The data as a zipped Zarr store of format 2, in place of what was there."""
    for variable in data.variables.values():
        variable.encoding.clear()
    store = path.with_suffix("")
    data.to_zarr(store, zarr_format=2, consolidated=True)
    shutil.make_archive(str(store), "zip", store)
    shutil.rmtree(store)
    return path


def unzipped(path: Path) -> xr.Dataset:
    with xr.open_zarr(zarr.storage.ZipStore(path, mode="r")) as data:
        return data.load()


def test_terramesh_shards_unpacked(tmp_path: Path) -> None:
    folder, codes = tmp_path / "terramesh", np.resize(np.array([0, 1, 8, 9], np.uint8), (SIZE, SIZE))
    for number in range(6):
        name = f"majortom_{number}.zarr.zip"
        write_sample(folder / "S1RTC" / name, decibels(number, size=SIZE).astype(np.float16)[None], number)
        if number:
            write_sample(folder / "LULC" / name, codes[None, None], number)
    store = imported(folder, "terramesh-shards")
    assert store.channels == ["vv", "vh"] and len(store) == 6 and set(store.index["crs"]) == {"EPSG:32631"}
    np.testing.assert_array_equal(label_of(store, 5_500_000), np.full((SIZE, SIZE), IGNORE))
    expected = np.resize(np.array([IGNORE, 0, IGNORE, 7], np.uint8), (SIZE, SIZE))
    np.testing.assert_array_equal(label_of(store, 5_500_000 - 10 * SIZE), expected)
    first = next(tile_id for tile_id in store.ids() if store.tile(tile_id).bounds[3] == 5_500_000)
    np.testing.assert_allclose(store.read([first])[0][0], decibels(0, size=SIZE), atol=0.014)  # half a step of float16


def test_a_damaged_sample_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "terramesh"
    path = write_sample(folder / "S1RTC" / "majortom_1.zarr.zip", decibels(1, size=SIZE).astype(np.float16)[None], 0)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(SardinoError, match=r"majortom_1\.zarr\.zip cannot be read .*copy the file again"):
        imported(folder, "terramesh-shards")


DATES = ["2020-03-29T00:15:15", "2020-06-27", "2020-09-28", "2020-12-30"]


def four_dates(level: float) -> np.ndarray:
    """(4, 2, SIZE, SIZE) dB, VV and VH, each date 1 dB lower."""
    levels = level - np.arange(4)[:, None] - np.array([0, 7])
    return np.broadcast_to(levels[:, :, None, None], (4, 2, SIZE, SIZE)).astype(np.float16)


def test_ssl4eo_s12_shards_unpacked(tmp_path: Path) -> None:
    folder = tmp_path / "ssl4eo"
    for number in range(3):
        dates = [*DATES[:3], "2020-11-30"] if number == 2 else DATES
        name = f"ssl4eos12_train_seasonal_data_{number:07d}.zarr.zip"
        write_sample(folder / "S1GRD" / name, four_dates(-10), number, dates)
    store = imported(folder, "ssl4eo-s12-shards")
    assert store.channels == list(CHANNELS) and len(store) == 2 and set(store.index["crs"]) == {"EPSG:32631"}
    (dropped,) = store.metadata["dropped"]
    assert "0000002 has no valid date in winter: " in dropped
    expected = [(-10 - season, -17 - season, 7) for season in (3, 0, 1, 2)]  # winter first
    levels = store.read(store.ids())[0].mean(axis=(0, 2, 3))
    np.testing.assert_allclose(levels, np.ravel(expected), atol=0.01)


def test_bands_and_dates_that_lie_the_other_way_round(tmp_path: Path) -> None:
    path = write_sample(tmp_path / "ssl4eo" / "S1GRD" / "s.zarr.zip", four_dates(-10), 0, DATES)
    store = imported(tmp_path / "ssl4eo", "ssl4eo-s12-shards")
    expected = store.read(store.ids())[0]
    zipped(path, unzipped(path).transpose("band", "time", "y", "x").isel(time=[2, 0, 3, 1]))
    store = imported(tmp_path / "ssl4eo", "ssl4eo-s12-shards")
    np.testing.assert_array_equal(store.read(store.ids())[0], expected)


def test_a_store_without_dates_has_no_seasons(tmp_path: Path) -> None:
    path = write_sample(tmp_path / "ssl4eo" / "S1GRD" / "s.zarr.zip", four_dates(-10), 0, DATES)
    zipped(path, unzipped(path).assign_coords(time=np.arange(4)))
    with pytest.raises(SardinoError, match=r"s\.zarr\.zip has no time axis for seasons: write time by CF"):
        imported(tmp_path / "ssl4eo", "ssl4eo-s12-shards")
