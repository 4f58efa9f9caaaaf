"""Seasonal coherence: the set's file names and numbers become seasons, days and decibels over each tile."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.transform import Affine

from sardino.data.rasters.interferometry import Plane, cut_seasons, plane_of, planes_in
from sardino.data.tiles.tile import Tile, tile_grid
from sardino.errors import SardinoError

# rasterio itself multiplies transforms in the way that affine is giving up.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "EPSG:32631"
# 3 degrees east is the middle of the zone and x = 500 km: two of the set's 1-degree files meet there.
TOP = 5_500_000.0
WEST_TILE, EAST_TILE = tile_grid("north", UTM, (500_000 - 960, TOP), 96, 10.0, 2, 1)
MIDDLE = Tile("north", UTM, (10.0, 0.0, 500_000 - 480, 0.0, -10.0, TOP), (96, 96))
STEP = 1 / 1200
ROWS = (400, 480)  # the part of a 1-degree file, from 50 N down, in which the tiles lie


def write_plane(folder: Path, name: str, value: float, dtype: str = "uint16", west: int = 2) -> None:
    """80 rows and 40 columns beside 3 degrees east of a 1-degree file, one number throughout."""
    columns = slice(1160, 1200) if west == 2 else slice(0, 40)
    values = np.full((1, ROWS[1] - ROWS[0], 40), value).astype(dtype)
    transform = Affine(STEP, 0, west + columns.start * STEP, 0, -STEP, 50 - ROWS[0] * STEP)
    with rasterio.open(
        folder / name, "w", driver="GTiff", count=1, height=values.shape[1], width=40, dtype=dtype,
        crs="EPSG:4326", transform=transform, nodata=0,
    ) as dataset:  # fmt: skip
        dataset.write(values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "set"
    made.mkdir()
    for tile, west, level in (("N50E002", 2, 1.0), ("N50E003", 3, 2.0)):
        for number, season in enumerate(("winter", "spring", "summer", "fall")):
            write_plane(made, f"{tile}_{season}_vv_AMP.tif", 4000 * level + number, west=west)
            write_plane(made, f"{tile}_{season}_vh_AMP.tif", 2000 * level, west=west)
            for days in (6, 12, 48):
                write_plane(made, f"{tile}_{season}_vv_COH{days:02d}.tif", 90 - days, "uint8", west)
            for parameter, value in (("rho", 21), ("tau", 120), ("rmse", 5)):
                write_plane(made, f"{tile}_{season}_vv_{parameter}.tif", value, west=west)
        write_plane(made, f"{tile}_087D_inc.tif", 38, "uint8", west)
        write_plane(made, f"{tile}_087D_lsmap.tif", 17, "uint8", west)
    write_plane(made, "N50E003_161A_inc.tif", 41, "uint8", 3)
    (made / "N50E003_overview.png").write_bytes(b"")
    return made


def opened(path: Path) -> xr.Dataset:
    with xr.open_dataset(path, engine="h5netcdf", decode_coords="all") as data:
        return data.load()


@pytest.mark.parametrize(
    ("name", "plane"),
    [
        ("N48W090_winter_vv_AMP.tif", Plane("amplitude", ("winter", "vv"))),
        ("S01E012_fall_vv_COH06.tif", Plane("coherence", ("fall", "06"))),
        ("S01E012_fall_vv_tau.tif", Plane("decay", ("fall", "tau"))),
        ("N48W090_012A_inc.tif", Plane("geometry", ("012A", "inc"))),
        ("N48W090_lsmap.tif", Plane("geometry", ("", "lsmap"))),
        ("N48W090_autumn_vv_AMP.tif", None),
        ("N48W090_winter_vv_AMP.tif.aux.xml", None),
        ("winter_vv_AMP.tif", None),
    ],
)
def test_file_names_say_what_they_hold(name: str, plane: Plane | None) -> None:
    assert plane_of(name) == plane


def test_a_tile_holds_seasons_days_and_decibels(folder: Path, tmp_path: Path) -> None:
    done = cut_seasons(folder, [WEST_TILE, EAST_TILE], tmp_path / "out")
    assert done.written == [WEST_TILE.id, EAST_TILE.id]
    data = opened(tmp_path / "out" / f"{WEST_TILE.id}.nc")
    assert data["amplitude"].dims == ("season", "polarisation", "y", "x")
    assert data["season"].values.tolist() == ["winter", "spring", "summer", "fall"]
    assert data["polarisation"].values.tolist() == ["vv", "vh"]
    assert data["deltadays"].values.tolist() == [6, 12, 48]
    assert data["param"].values.tolist() == ["rho", "tau", "rmse"]
    for number, season in enumerate(data["season"].values):
        vv, vh = data["amplitude"].sel(season=season)
        np.testing.assert_allclose(vv, 20 * np.log10(4000 + number) - 83, atol=1e-3)
        np.testing.assert_allclose(vh, 20 * np.log10(2000) - 83, atol=1e-3)
        for days in (6, 12, 48):
            np.testing.assert_allclose(
                data["coherence"].sel(season=season, deltadays=days), (90 - days) / 100, atol=1e-6
            )
        assert [float(data["decay"].sel(season=season, param=p).mean()) for p in ("rho", "tau", "rmse")] == [21, 120, 5]
    assert data.rio.crs == UTM and data.rio.bounds() == pytest.approx(WEST_TILE.bounds)
    assert data["amplitude"].attrs["units"] == "dB"
    east = opened(tmp_path / "out" / f"{EAST_TILE.id}.nc")["geometry"]
    assert east["orbit"].values.tolist() == ["087D", "161A"]
    np.testing.assert_array_equal(np.unique(east.sel(orbit="087D", feature="lsmap")), [17])
    np.testing.assert_array_equal(np.unique(east.sel(orbit="161A", feature="inc")), [41])
    assert east.sel(orbit="161A", feature="lsmap").isnull().all()


def test_where_two_files_meet_each_gives_its_part(folder: Path, tmp_path: Path) -> None:
    cut_seasons(folder, [MIDDLE], tmp_path / "out", resolution=60)
    vv = opened(tmp_path / "out" / f"{MIDDLE.id}.nc")["amplitude"].sel(season="winter", polarisation="vv").values
    assert np.isfinite(vv).all() and vv.shape == (16, 16)
    np.testing.assert_allclose(vv[:, :8], 20 * np.log10(4000) - 83, atol=1e-3)
    np.testing.assert_allclose(vv[:, 8:], 20 * np.log10(8000) - 83, atol=1e-3)


def test_amplitude_is_averaged_in_power(tmp_path: Path) -> None:
    made = tmp_path / "set"
    made.mkdir()
    write_plane(made, "N50E003_winter_vv_AMP.tif", 1000, west=3)
    with rasterio.open(made / "N50E003_winter_vv_AMP.tif", "r+") as dataset:
        values = np.random.default_rng(0).choice([500, 5000], dataset.shape).astype(np.uint16)
        dataset.write(values, 1)
    cut_seasons(made, [EAST_TILE], tmp_path / "out", resolution=480)
    vv = opened(tmp_path / "out" / f"{EAST_TILE.id}.nc")["amplitude"].values
    of_power = 10 * np.log10((values.astype(float) ** 2).mean()) - 83
    of_decibels = (20 * np.log10(values.astype(float)) - 83).mean()
    assert abs(vv.mean() - of_power) < 1 < abs(vv.mean() - of_decibels)


def test_digital_number_0_is_nodata(tmp_path: Path) -> None:
    made = tmp_path / "set"
    made.mkdir()
    write_plane(made, "N50E003_winter_vv_AMP.tif", 0, west=3)
    with pytest.raises(SardinoError, match=r"none of 2 tiles could be cut \(2 outside the files, or no valid pixel\)"):
        cut_seasons(made, [EAST_TILE, WEST_TILE], tmp_path / "out")


def test_folders_of_other_things_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SardinoError, match="there is no file of the GSSIC set"):
        planes_in(tmp_path / "absent")
    write_plane(folder, "N50E003_fall_hh_COH12.tif", 5, west=3)
    with pytest.raises(SardinoError, match="coherence of hh and vv"):
        planes_in(folder)
