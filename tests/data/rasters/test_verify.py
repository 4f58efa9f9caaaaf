"""Integrity: every damage is found and named, and only what proves unreadable is ever deleted."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.transform import Affine

from sardino.data.rasters.verify import examine_file, examine_folder
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.tile import Chip, tile_grid
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError

SIZE = 64


def write_tif(path: Path, values: np.ndarray, **profile: object) -> Path:
    bands, rows, columns = values.shape
    transform = Affine(10, 0, 5e5, 0, -10, 5.5e6)
    with rasterio.open(
        path, "w", driver="GTiff", height=rows, width=columns, count=bands, dtype=values.dtype, crs="EPSG:32631",
        transform=transform, **profile,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


def pixels(rows: int = SIZE, columns: int = SIZE) -> np.ndarray:
    return np.random.default_rng(rows).normal(-12, 3, (2, rows, columns)).astype(np.float32)


def write_nc(path: Path, values: np.ndarray, group: str | None = None) -> Path:
    data = xr.Dataset({"coherence": (("datepair", "y", "x"), values)})
    data.to_netcdf(path, engine="h5netcdf", group=group, encoding={"coherence": {"zlib": True}})
    return path


def cut_short(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        write_tif(tmp_path / f"whole{number}.tif", pixels())
    cut_short(write_tif(tmp_path / "short.tif", pixels()))
    (tmp_path / "foreign.tif").write_bytes(b"<html>quota exceeded</html>")
    (tmp_path / "zero.tif").touch()
    write_tif(tmp_path / "nan.tif", np.full((2, SIZE, SIZE), np.nan, np.float32), nodata=np.nan)
    write_tif(tmp_path / "nodata.tif", np.zeros((1, SIZE, SIZE), np.uint8), nodata=0)
    write_tif(tmp_path / "narrow.tif", pixels(SIZE, SIZE - 1))
    (tmp_path / "notes.txt").write_text("no raster")
    (tmp_path / ".being-written.partial.tif").write_bytes(b"half")
    return tmp_path


def test_each_fault_is_found_and_named(folder: Path) -> None:
    examined = examine_folder(folder)
    assert examined.files == 10 and examined.removed == []
    found = {finding.path.name: finding.fault for finding in examined.findings}
    assert found == {
        "short.tif": "unreadable",
        "foreign.tif": "unreadable",
        "zero.tif": "unreadable",
        "nan.tif": "empty",
        "nodata.tif": "empty",
        "narrow.tif": "size",
    }
    assert any("63 x 64 px where 64 x 64 are wanted" in finding.reason for finding in examined.findings)
    assert [line.split(":")[0] for line in examined.summary()] == ["3 unreadable", "2 empty", "1 size"]


def test_a_dry_run_deletes_nothing_and_removal_only_the_unreadable(folder: Path) -> None:
    before = set(folder.iterdir())
    examine_folder(folder)
    assert set(folder.iterdir()) == before
    examined = examine_folder(folder, remove=True)
    gone = before - set(folder.iterdir())
    assert {path.name for path in gone} == {"short.tif", "foreign.tif", "zero.tif"} and gone == set(examined.removed)
    assert examine_folder(folder).of("unreadable") == []


def test_netcdf_is_read_to_its_end_in_every_group(tmp_path: Path) -> None:
    write_nc(tmp_path / "whole.nc", pixels(), group="science/grids/data")
    write_nc(tmp_path / "empty.nc", np.full((1, SIZE, SIZE), np.nan, np.float32))
    cut_short(write_nc(tmp_path / "short.nc", pixels()))
    damaged = write_nc(tmp_path / "bits.nc", pixels())
    content = bytearray(damaged.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    damaged.write_bytes(content)
    found = {finding.path.name: finding.fault for finding in examine_folder(tmp_path).findings}
    assert found == {"empty.nc": "empty", "short.nc": "unreadable", "bits.nc": "unreadable"}


def test_the_size_may_be_given(folder: Path) -> None:
    assert len(examine_folder(folder, shape=(SIZE, SIZE - 1)).of("size")) == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_never_removed(folder: Path) -> None:
    locked = folder / "whole0.tif"
    locked.chmod(0)
    try:
        examined = examine_folder(folder, remove=True)
    finally:
        locked.chmod(0o644)
    assert examined.of("unexamined") == [locked] and locked.exists()


def test_a_passing_fault_is_not_proof(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("sardino.data.rasters.verify.rasterio.open", fail)
    examined = examine_folder(folder, remove=True)
    assert examined.removed == [folder / "zero.tif"] and len(examined.of("unexamined")) == 9


def test_a_failing_disk_is_not_the_file_s_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sardino.data.rasters.verify._bytes_can_be_read", lambda path: path.name != "short.tif")
    examined = examine_folder(folder, remove=True)
    assert examined.of("unexamined") == [folder / "short.tif"] and (folder / "short.tif").exists()


def test_a_file_that_reads_the_second_time_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def once(path: Path, *arguments: object, **options: object):
        seen.append(path.name)
        if seen.count("whole0.tif") == 1 and path.name == "whole0.tif":
            raise rasterio.errors.RasterioIOError("read failed")
        return genuine(path, *arguments, **options)

    genuine = rasterio.open
    monkeypatch.setattr("sardino.data.rasters.verify.rasterio.open", once)
    examined = examine_folder(folder, remove=True)
    assert folder / "whole0.tif" in examined.of("unreadable")
    assert folder / "whole0.tif" not in examined.removed and (folder / "whole0.tif").exists()


def test_a_second_look_that_proves_nothing_removes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def only_the_first_time(path: Path) -> bool:
        looks.append(path.name)
        return looks.count(path.name) == 1

    monkeypatch.setattr("sardino.data.rasters.verify._bytes_can_be_read", only_the_first_time)
    examined = examine_folder(folder, remove=True)
    # The empty file needs no second opinion: there is nothing in it to lose.
    assert examined.removed == [folder / "zero.tif"] and len(examined.of("unreadable")) == 3


def test_whole_files_give_their_size(tmp_path: Path) -> None:
    assert examine_file(write_tif(tmp_path / "a.tif", pixels(32, 48))) == (32, 48)
    assert examine_file(write_nc(tmp_path / "a.nc", pixels(32, 48), "science/grids/data")) == (32, 48)


def test_folders_without_rasters_and_stores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SardinoError, match="there is no folder"):
        examine_folder(tmp_path / "absent")
    with pytest.raises(SardinoError, match=r"there is no \.tif or \.nc file"):
        examine_folder(tmp_path)


def test_a_store_names_its_damaged_tiles(tmp_path: Path) -> None:
    tiles = list(tile_grid("north", "EPSG:32631", (5e5, 5.5e6), 16, 10.0, 3, 1))

    def chip(number: int) -> Chip:
        db = np.random.default_rng(number).normal(-12, 3, (1, 16, 16)).astype(np.float32)
        return Chip(db, np.full((16, 16), number, np.uint8))

    store = write_store(
        tmp_path / "store", tiles, ["train"] * 3, chip, channels=["vv"], legend=WORLDCOVER, product="test",
        synthetic=True, metadata={}, bands=[0, 1, 2],
    )  # fmt: skip
    assert TileStore.open(store.path).damaged() == []
    with pytest.raises(SardinoError, match="is a tile store"):
        examine_folder(store.path)
    chunk = next(path for path in (store.path / "tiles.zarr" / "label" / "c" / "1").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-8])
    assert TileStore.open(store.path).damaged() == [tiles[1].id]
